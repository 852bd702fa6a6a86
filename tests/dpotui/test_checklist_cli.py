"""`dpotui checklist` as a person and as a script uses it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.store import Database, facts, open_store
from core.store.facts import Fact
from core.store.files import fingerprints
from core.workspace import Workspace, create_workspace, templates
from dpotui.cli import main


class Shell:
    """The program, from its entry point on, in a workspace."""

    def __init__(
        self, workspace: Workspace, db: Database, patch: pytest.MonkeyPatch, captured: pytest.CaptureFixture[bytes]
    ) -> None:
        self.workspace, self.db, self.patch, self.captured = workspace, db, patch, captured

    def run(self, *args: str, code: int = 0, cwd: Path | None = None) -> str:
        """Standard output; on a failure the line on standard error, which has to be one."""
        with self.patch.context() as patch:
            patch.chdir(cwd or self.workspace.root)
            patch.setenv("LOGNAME", "ann")
            patch.setattr(sys, "argv", ["dpotui", "checklist", *args])
            with pytest.raises(SystemExit) as left:
                main()
        out, err = (stream.decode() for stream in self.captured.readouterr())
        assert (left.value.code or 0) == code, (out, err)
        if code:
            assert out == ""
            assert len(err.splitlines()) == 1
            return err.removeprefix("dpotui: ").strip()
        assert err == ""
        return out

    def json(self, *args: str) -> dict[str, Any]:
        return json.loads(self.run("show", "--json", *args))  # type: ignore[no-any-return]

    def measure(self, name: str, value: float | None, unit: str = "", **more: Any) -> None:
        facts.record(self.db, Fact(name, value, unit, **more))


@pytest.fixture
def shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> Iterator[Shell]:
    workspace = create_workspace(tmp_path / "w")
    db = open_store(workspace.database, create=True)
    yield Shell(workspace, db, monkeypatch, capsysbinary)
    db.close()


def line(text: str, words: str) -> str:
    (found,) = [row for row in text.splitlines() if words in row]
    return found.strip()


def test_show(shell: Shell) -> None:
    shell.measure("dpo.kl_divergence", 0.1004, source="exact KL")
    shell.measure("data.pairs", 1200.0)
    shell.measure("data.decontamination", None, source="no benchmark files")
    out = shell.run("show")
    assert "\x1b" not in out
    assert line(out, "] KL divergence:") == "[ ] KL divergence: 0.1004 (target ≤0.1)  FAIL  by fact"
    assert line(out, "KL divergence ≤0.1") == "[ ] KL divergence ≤0.1  0.1004  FAIL  by fact"
    assert line(out, "Pair count") == "[x] Pair count: 1200 (target ≥1000)  PASS  by fact"
    assert line(out, "Stage 2") == "[-] Stage 2: Preference Data Generation  2/13"
    assert line(out, "Stage 5") == "[ ] Stage 5: DPO Optimization  0/18  2 FAIL"
    assert line(out, "no benchmark") == "data.decontamination could not be measured: no benchmark files"
    assert out.splitlines()[-1] == "2 of 104 done, 2 FAIL, 0 STALE"
    assert out.count("dpo.kl_divergence 0.1004 (exact KL)") == 2


def test_show_a_branch_an_item_and_what_is_open(shell: Shell) -> None:
    shell.measure("data.format_valid", 1.0, run=None, low=0.9, high=1.0, n=20, source="checked")
    branch = shell.run("show", "2", "--open", "--ids")
    assert "Data format" not in branch
    assert branch.splitlines()[0] == "[-] Stage 2: Preference Data Generation  1/13  <data>"
    card = shell.run("show", "data.format")
    assert "data.format_valid = 1.0 [0.9, 1] n=20" in card
    assert '{"prompt": "...", "chosen": "...", "rejected": "..."}' in card
    assert "in        configs/checklists/2-preference-data.md:9" in card


def test_show_what_failed_went_stale_or_is_mine(shell: Shell) -> None:
    data = shell.workspace.data / "pairs.jsonl"
    data.write_text("{}\n")
    shell.measure("dpo.kl_divergence", 0.1004)
    shell.measure("data.pairs", 1204.0, "pairs", inputs=fingerprints(shell.db, shell.workspace, "data/pairs.jsonl"))
    data.write_text("{}\n{}\n")
    shell.run("note", "planning.license", "Apache-2.0")
    failed, stale, mine = (shell.run("show", flag) for flag in ("--failed", "--stale", "--mine"))
    assert failed.count("FAIL  by fact") == 2
    assert "Pair count" not in failed
    assert "Pair count: 1204 (target ≥1000)  STALE" in stale
    assert "KL divergence" not in stale
    assert "License compatible" in mine
    assert "Apache-2.0" in mine
    assert "Base model" not in mine


def test_a_card_says_what_starts_from_the_item(shell: Shell) -> None:
    assert "terminal  g starts SFT training" in shell.run("show", "sft.finished")
    assert "dpotui data decontaminate FILE" in shell.run("show", "data.decontamination")


def test_the_history_names_evidence(shell: Shell) -> None:
    (shell.workspace.outputs / "a.md").write_text("x")
    shell.run("evidence", "planning.license", "--file", str(shell.workspace.outputs / "a.md"))
    assert "+ file outputs/a.md" in shell.run("history")


def test_json_is_nested_as_scripts_rely_on(shell: Shell) -> None:
    shell.measure("dpo.kl_divergence", 0.08)
    shell.measure("reward.train_accuracy", 0.72)
    shell.run("value", "qualitative", "fluent")
    document = shell.json()
    assert {"id", "text", "state", "value", "target", "verdict", "items"} <= document.keys()
    found: dict[str, dict[str, Any]] = {}

    def walk(node: dict[str, Any]) -> None:
        assert {"id", "text", "state", "value", "target", "verdict", "items"} <= node.keys()
        found[node["id"]] = node
        for child in node["items"]:
            walk(child)

    walk(document)
    assert len([node for node in found.values() if node.get("kind") == "item"]) == 114
    keys = ("state", "value", "unit", "target", "verdict", "by")
    assert [found["dpo.gates.kl_divergence"][k] for k in keys] == ["done", 0.08, "", "≤0.1", "PASS", "fact"]
    assert [found["reward.train_accuracy"][k] for k in keys] == ["done", 72.0, "%", "≥70%", "PASS", "fact"]
    assert [found["eval.qualitative"][k] for k in keys] == ["open", "fluent", "", None, None, "ann"]
    assert found["dpo"]["state"] == "partial"
    assert found["data.format"]["verdict"] is None
    assert shell.json("dpo.gates")["id"] == "dpo.gates"


def test_tick_untick_and_the_reason_for_it(shell: Shell) -> None:
    assert shell.run("tick", "planning.license", "Budget") == (
        "[x] License compatible with use case  by ann\n[x] Budget allocated for data collection  by ann\n"
    )
    assert shell.run("untick", "license") == "[ ] License compatible with use case\n"
    shell.measure("dpo.kl_divergence", 0.2)
    assert shell.run("tick", "planning.domain", "gates.kl", code=2) == (
        "dpo.gates.kl_divergence: dpo.kl_divergence 0.2 does not meet ≤0.1: say why in a note"
    )
    assert shell.json("planning.domain")["state"] == "open"
    assert shell.run("tick", "gates.kl", "--note", "a pilot") == (
        "[x] KL divergence: 0.2 (target ≤0.1)  FAIL  OVERRIDE  by ann\n"
    )
    assert "      a pilot\n" in shell.run("show", "dpo.gates")


def test_values(shell: Shell) -> None:
    assert shell.run("value", "retention", "96.5%") == "[ ] Retention rate: 96.5 % (target ≥95%)  PASS  by ann\n"
    assert (
        shell.run("value", "eval.domain", "-0.02", "--blank", "base")
        == "[ ] Domain-specific: _____ (baseline: -0.02)\n"
    )
    assert shell.run("value", "eval.domain", "0.4", "--blank", "1") == "[ ] Domain-specific: 0.4 (baseline: -0.02)\n"
    assert (
        shell.run("value", "eval.domain", "--clear", "--blank", "2") == "[ ] Domain-specific: 0.4 (baseline: _____)\n"
    )
    for args, message in (
        (("retention", "0,965"), "'0,965' for eval.retention is not a number in %: write 0.965 with a point"),
        (("retention", "0.965"), "could be 96.5% or 0.965%"),
        (("eval.domain", "1", "--blank", "3"), "eval.domain has 2 blank(s)"),
        (("eval.domain", "1", "--blank", "x"), "--blank x: eval.domain has the blanks Domain-specific, baseline"),
        (("retention",), "give a VALUE, or --clear to empty the blank"),
        (("mmlu", "0.4"), "'mmlu' means several items: sft.mmlu (MMLU score: _____), eval.mmlu"),
        (("nothing", "0.4"), "no item 'nothing'"),
    ):
        assert message in shell.run("value", *args, code=2)


def test_notes_evidence_undo_and_history(shell: Shell) -> None:
    (shell.workspace.data / "criteria.md").write_text("be good")
    shell.run("evidence", "planning.success", "--file", "criteria.md", "--note", "agreed", cwd=shell.workspace.data)
    shell.run("note", "planning.success", "see", "the", "wiki")
    card = shell.run("show", "planning.success")
    assert "evidence  file data/criteria.md sha256 " in card
    assert "note      see the wiki" in card
    assert "evidence  note agreed, ann " in card
    assert "note planning.success  note: see the wiki" in shell.run("undo")
    assert shell.json("planning.success")["note"] is None
    assert "brought back" in shell.run("undo", "--redo")
    assert shell.run("undo", "--redo") == "nothing to redo\n"
    rows = [row.split("  ") for row in shell.run("history", "planning.success").splitlines()]
    assert {row[1] for row in rows} == {"ann"}
    assert [row[2].split()[:-1] for row in rows] == [["redo", "note"], ["undo", "note"], ["note"], ["evidence"]]


def test_export_and_import(shell: Shell, tmp_path: Path) -> None:
    template = (templates() / "checklists" / "5-dpo-optimization.md").read_bytes()
    assert shell.run("export", "5").encode() == template
    shell.run("tick", "dpo.hardware")
    out = tmp_path / "my exports"
    names = shell.run("export", "-o", str(out)).splitlines()
    assert sorted(path.name for path in out.iterdir()) == [Path(name).name for name in names]
    assert len(names) == 8
    assert {oct(path.stat().st_mode & 0o777) for path in out.iterdir()} == {"0o600"}
    assert oct(out.stat().st_mode & 0o777) == "0o700"
    page = out / "5-dpo-optimization.md"
    assert page.read_bytes() == template.replace(b"- [ ] Hardware", b"- [x] Hardware")
    assert shell.run("import", str(out)) == "nothing to change\n"
    page.write_text(page.read_text().replace("- [ ] DPO training", "- [x] DPO training"))
    assert "differs: import it first" in shell.run("export", "-o", str(out), code=2)
    expected = f"{page}:12: dpo.started: ticked\n"
    assert shell.run("import", str(page), "--dry-run") == expected + "1 change would be made\n"
    assert shell.json("dpo.started")["state"] == "open"
    assert shell.run("import", str(out)) == expected + "1 change made\n"
    assert shell.json("dpo.started")["by"] == "ann"
    page.write_text("gone")
    shell.run("export", "dpo", "-o", str(out), "--force")
    assert "- [x] DPO training started" in page.read_text()
    for args, message in (
        (("export",), "name a stage to write to stdout, or a folder for all with --output DIR"),
        (("export", "dpo.gates"), "dpo.gates is no stage"),
        (("export", "-o", "configs/checklists"), "holds the checklists themselves"),
        (("export", "-o", str(page)), "cannot be written"),
        (("import", "data"), "data has no .md files"),
        (("import", "none.md"), "none.md cannot be read: No such file"),
    ):
        assert message in shell.run(*args, code=2)


def test_a_checklist_that_cannot_be_read_is_one_line(shell: Shell) -> None:
    (shell.workspace.checklists / "8-mine.md").write_text("- [ ] a <!-- fcat: x -->\n")
    assert shell.run("show", code=2) == (
        "configs/checklists/8-mine.md:1: unknown key 'fcat' in the comment: did you mean 'fact'?"
    )
    (shell.workspace.checklists / "8-mine.md").write_text("\n- [ ] a <!-- id: sft.mmlu -->\n")
    assert shell.run("show", code=2).startswith(
        "configs/checklists/8-mine.md:2: id 'sft.mmlu' is that of configs/checklists/1-sft-preparation.md:11 too"
    )
    for path in shell.workspace.checklists.iterdir():
        path.unlink()
    assert "has no checklists: 'dpotui init" in shell.run("show", code=2)
    assert "is not a workspace" in shell.run("show", "-w", str(shell.workspace.root.parent), code=2)


def test_ticks_of_items_that_are_gone_are_named(shell: Shell) -> None:
    (shell.workspace.checklists / "8-mine.md").write_text("- [ ] Old words\n")
    shell.run("tick", "mine.old-words")
    (shell.workspace.checklists / "8-mine.md").write_text("- [ ] New words\n")
    assert "no longer in the files: mine.old-words" in shell.run("show", "-w", str(shell.workspace.root), cwd=Path("/"))


def test_foreign_text_cannot_command_the_terminal(shell: Shell) -> None:
    evil = "\x1b]0;owned\x07\x9b2J\u202e{0}[red]"
    inputs = fingerprints(shell.db, shell.workspace, "configs/checklists/0-planning.md")
    shell.measure("dpo.best_checkpoint", 1.0, text=evil, source=evil, inputs=inputs)
    shell.measure("dpo.kl_divergence", 0.3, source=evil)
    shell.run("note", "dpo.hardware", evil)
    shell.run("value", "qualitative", evil)
    for args in (("show",), ("show", "dpo.best_checkpoint"), ("history",), ("export", "7"), ("undo",)):
        out = shell.run(*args)
        assert not set(out) & set("\x1b\x07\x9b\u202e")
    assert "{0}[red]" in shell.run("show", "dpo")


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals")
@pytest.mark.parametrize(("env", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)])
def test_colours_on_a_terminal_only(shell: Shell, env: dict[str, str], coloured: bool) -> None:
    import pty

    shell.measure("dpo.kl_divergence", 0.3)
    master, slave = pty.openpty()
    base = {k: v for k, v in os.environ.items() if k != "NO_COLOR"}
    root = str(Path(__file__).parents[2])
    process = subprocess.Popen(
        [sys.executable, "-m", "dpotui", "checklist", "show", "gates.kl_divergence"],
        cwd=shell.workspace.root,
        env={**base, "PYTHONPATH": root, "TERM": "xterm-256color", "COLUMNS": "80", **env},
        stdout=slave,
        stderr=slave,
    )
    os.close(slave)
    seen = b""
    while True:
        try:
            chunk = os.read(master, 4096)
        except OSError:  # the other side is closed: that is how Linux says it
            break
        if not chunk:
            break
        seen += chunk
    os.close(master)
    assert process.wait(30) == 0
    assert b"FAIL" in seen
    assert (b"\x1b[31m" in seen) is coloured
    if not coloured:
        assert b"\x1b" not in seen
