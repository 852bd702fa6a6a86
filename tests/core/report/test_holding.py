"""A report is held against its workspace: each figure is the same, changed, stale, gone or was changed by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from core.errors import UserError
from core.report import Sources, build, verify
from core.report.holding import Checked
from core.report.pages import BEGIN, END, comment, line_hash
from core.report.save import save
from core.store import benchmarks, facts, transaction
from core.store.facts import Fact
from tests.core.report import made
from tests.core.report.conftest import Bench

FORMATS = pytest.mark.parametrize("suffix", [".md", ".html"])


@pytest.fixture
def file(bench: Bench, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    path = tmp_path / f"report{request.node.callspec.params.get('suffix', '.md')}"
    save(build(Sources(bench.db, bench.workspace)), [path])
    return path


def held(bench: Bench, file: Path) -> Checked:
    return verify(Sources(bench.db, bench.workspace), file)


def outcomes(checked: Checked) -> dict[str, str]:
    return {each.id: each.outcome for each in checked.figures if each.outcome != "same"}


@FORMATS
def test_a_report_that_nobody_touched_holds(bench: Bench, file: Path, suffix: str) -> None:
    checked = held(bench, file)
    assert checked.good and checked.whole and checked.sealed and len(checked.figures) > 300
    assert file.stat().st_mode & 0o777 == 0o600
    assert {each.line for each in checked.figures} <= set(range(1, file.read_text().count("\n") + 1))


@FORMATS
def test_a_newer_measurement_is_a_change(bench: Bench, file: Path, suffix: str) -> None:
    facts.record(bench.db, Fact("eval.win_rate", 48.0, "%", "evaluate-002", made.NOW, source="measured", n=200))
    benchmarks.record(bench.db, made.result("evaluate-002", "final", "mmlu", 0.47))
    checked = held(bench, file)
    found = {each.id: each for each in checked.figures}
    assert not checked.good and checked.sealed and not checked.lines
    assert (found["gate/7/win_rate/value"].was, found["gate/7/win_rate/value"].now) == ("61%", "48%")
    assert found["gate/7/win_rate/verdict"].outcome == "changed"
    assert found["benchmark/final/mmlu/value"].outcome == "changed"
    assert found["benchmark/baseline/mmlu/value"].outcome == "same"
    assert found["gate/5/kl_divergence/value"].outcome == "same"


@FORMATS
def test_inputs_that_changed_make_figures_stale(bench: Bench, file: Path, suffix: str) -> None:
    (bench.workspace.data / "pairs.jsonl").write_text("other\n")
    found = {each.id: each for each in held(bench, file).figures}
    stale = found["gate/7/win_rate/value"]
    assert (stale.outcome, stale.why) == ("stale", "data/pairs.jsonl changed since")
    assert found["since/dpo-001/data/pairs.jsonl"].outcome == "changed"
    assert found["metric/dpo-001/loss/last"].outcome == "same"
    # A report written now says so itself, and holds.
    save(build(Sources(bench.db, bench.workspace)), [file])
    assert held(bench, file).good


@FORMATS
def test_what_is_not_there_any_more_is_gone(bench: Bench, file: Path, suffix: str) -> None:
    with transaction(bench.db):
        bench.db.execute("DELETE FROM series WHERE run = 'dpo-001' AND name = 'loss'")
    gates = bench.workspace.configs / "gates.yaml"
    gates.write_text(gates.read_text().replace("name: critical_regressions", "name: other"))
    found = outcomes(held(bench, file))
    assert found["metric/dpo-001/loss/last"] == "gone"
    assert found["gate/7/critical_regressions/verdict"] == "gone"


@FORMATS
def test_a_figure_changed_by_hand_is_found(bench: Bench, file: Path, suffix: str) -> None:
    before = file.read_text()
    file.write_text(before.replace("0.1004", "0.0904", 1))
    checked = held(bench, file)
    found = {each.id: each for each in checked.figures if each.outcome != "same"}
    assert {each.outcome for each in found.values()} == {"tampered"}
    assert found["gate/5/kl_divergence/value"].now == "0.1004"
    assert checked.sealed and not checked.lines and len(found) < 10
    # Lines that came and went: each figure is found where it stands now.
    lines = before.split("\n")
    moved = [*lines[:3], "a line of nobody", *lines[3:]]
    file.write_text("\n".join(moved))
    checked = held(bench, file)
    assert not checked.good and checked.lines == (4,) and outcomes(checked) == {}
    file.write_text("\n".join([line for line in lines if "0.1004" not in line or line.startswith(("[", "{"))]))
    assert outcomes(held(bench, file))["gate/5/kl_divergence/value"] == "tampered"


def _rewritten(text: str, change: Any) -> str:
    """With the machine-readable part made anew, as somebody would who read this program."""
    visible, _, rest = text.partition(f"\n{BEGIN}\n")
    document = json.loads(rest.rpartition(f"\n{END}")[0])
    visible = change(visible, document)
    document["lines"] = "".join(line_hash(line) for line in visible.split("\n"))
    return visible + "\n" + comment({key: value for key, value in document.items() if key != "seal"})


@FORMATS
def test_a_forger_who_makes_the_hashes_anew_is_found_too(bench: Bench, file: Path, suffix: str) -> None:
    text = file.read_text()
    file.write_text(_rewritten(text, lambda visible, document: visible))
    assert held(bench, file).good

    def visible_only(visible: str, document: Any) -> str:
        return visible.replace("0.1004", "0.0904")

    def both(visible: str, document: Any) -> str:
        for figure in document["figures"]:
            figure[3] = figure[3].replace("0.1004", "0.0904")
        return visible_only(visible, document)

    def hidden(visible: str, document: Any) -> str:
        return visible.replace("0.1004", "0.0904<!--0.1004-->", 1)

    for change in (visible_only, both, hidden):
        file.write_text(_rewritten(text, change))
        checked = held(bench, file)
        assert checked.sealed and "gate/5/kl_divergence/value" in outcomes(checked), change


@FORMATS
def test_a_change_of_the_machine_readable_part_breaks_its_seal(bench: Bench, file: Path, suffix: str) -> None:
    text = file.read_text()
    file.write_text(text[::-1].replace("4001.0", "4090.0", 1)[::-1])
    assert not held(bench, file).sealed
    file.write_text(text + "PASS, all of it\n")
    assert not held(bench, file).good


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"# a report\n", "has no part that begins with"),
        (b"\xff\xfe", "is not UTF-8"),
        (f"x\n{BEGIN}\n{{\n{END}\n".encode(), "is broken"),
        (f"x\n{BEGIN}\n[1]\n{END}\n".encode(), "is no object"),
        (f"x\n{BEGIN}\n{'[' * 100000}\n{END}\n".encode(), "is broken"),
        (
            f'x\n{BEGIN}\n{{"format": ".md", "lines": "", "figures": [[0]], "seal": ""}}\n{END}\n'.encode(),
            "not as this",
        ),
        (f'x\n{BEGIN}\n{{"format": ".exe", "lines": "", "figures": [], "seal": ""}}\n{END}\n'.encode(), "not as this"),
    ],
)
def test_what_is_no_report_is_said_in_one_line(bench: Bench, tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "x.md"
    path.write_bytes(content)
    with pytest.raises(UserError, match=says) as raised:
        held(bench, path)
    assert "\n" not in str(raised.value)
    with pytest.raises(UserError, match="does not exist"):
        held(bench, tmp_path / "none.md")


@pytest.mark.parametrize(
    "key",
    [
        ["file", "/etc/passwd"],
        ["file", "../../x"],
        ["data", "/etc/passwd", 0, "state"],
        ["run", "dpo-001", "config"],
        ["resolve", "x"],
        ["gate", "x", "y", "z"],
        ["metric"],
        ["fact", "eval.win_rate", "value", "more"],
        ["config", "\ud800", "x"],
        [],
    ],
)
def test_keys_that_anybody_wrote_look_nothing_up(bench: Bench, key: list[Any]) -> None:
    assert Sources(bench.db, bench.workspace).resolve(tuple(key)) is None


def test_nothing_but_a_report_is_written_over(bench: Bench, tmp_path: Path) -> None:
    report = build(Sources(bench.db, bench.workspace))
    (tmp_path / "README.md").write_text("mine")
    (tmp_path / "link.md").symlink_to(tmp_path / "README.md")
    (tmp_path / "folder.md").mkdir()
    for name, says in (
        ("README.md", "is no report"),
        ("link.md", "no regular file"),
        ("folder.md", "no regular file"),
        ("a.pdf", "ends so"),
    ):
        with pytest.raises(UserError, match=says):
            save(report, [tmp_path / "new.md", tmp_path / name])
    assert (tmp_path / "README.md").read_text() == "mine" and not (tmp_path / "new.md").exists()
