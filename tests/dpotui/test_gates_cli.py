"""`dpotui gates` as a person and as a script uses it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from core.store import Database, facts, runs
from core.store.facts import Fact
from core.workspace import Workspace
from dpotui.cli import main


class Shell:
    """The program, from its entry point on, in a folder."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch, captured: pytest.CaptureFixture[bytes]) -> None:
        self.folder, self.patch, self.captured = folder, patch, captured

    def run(self, *args: str, code: int = 0) -> str:
        """Standard output; with code 2 the one line on standard error."""
        with self.patch.context() as patch:
            patch.chdir(self.folder)
            patch.setattr(sys, "argv", ["dpotui", *args])
            with pytest.raises(SystemExit) as left:
                main()
        out, err = (stream.decode() for stream in self.captured.readouterr())
        assert (left.value.code or 0) == code, (out, err)
        if code == 2:
            assert out == ""
            assert len(err.splitlines()) == 1
            return err.removeprefix("dpotui: ").strip()
        assert err == ""
        return out

    def json(self, *args: str, code: int = 0) -> dict[str, Any]:
        return json.loads(self.run(*args, "--json", code=code))  # type: ignore[no-any-return]


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Shell:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    return Shell(folder, monkeypatch, capfdbinary)


@pytest.fixture
def inside(workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Shell:
    return Shell(workspace.root, monkeypatch, capfdbinary)


def pairs(path: Path, count: int = 1000, chosen: float | None = 0.9) -> Path:
    scores = {} if chosen is None else {"chosen_score": chosen, "rejected_score": 0.5}
    rows = [{"prompt": f"p{n}", "chosen": f"good {n}", "rejected": f"bad {n}"} | scores for n in range(count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


# Without a workspace


@pytest.mark.parametrize(
    ("args", "code", "line"),
    [
        (("dpo_training", "--kl", "0.08"), 0, "PASS     KL Divergence  0.0800  ≤0.1"),
        (("dpo_training", "--kl", "0.1"), 0, "PASS     KL Divergence  0.1000  ≤0.1"),
        (("dpo_training", "--kl", "0.1004"), 1, "FAIL     KL Divergence  0.1004  ≤0.1"),
        (("dpo_training", "--kl", "nan"), 1, "UNKNOWN  KL Divergence  —      ≤0.1"),
        (("dpo_training", "--kl", "inf"), 1, "FAIL     KL Divergence  inf    ≤0.1"),
        (("5", "--kl", "0.08"), 0, "stage 5 dpo_training: PASS"),
        (("--kl", "0.08"), 0, "stage 5 dpo_training: PASS"),
        (("evaluation", "--retention", "96.5"), 0, "PASS     Capability Retention  96.5%  ≥95%"),
        (("evaluation", "--retention", "94.99"), 1, "FAIL     Capability Retention  94.99%  ≥95%"),
    ],
)
def test_a_given_value_is_judged(outside: Shell, args: tuple[str, ...], code: int, line: str) -> None:
    assert line in outside.run("gates", *args, code=code)


def test_a_file_of_pairs_is_measured(outside: Shell) -> None:
    pairs(outside.folder / "pairs.jsonl")
    said = outside.run("gates", "preference_data", "--pairs", "pairs.jsonl", code=1)
    assert "PASS     Preference Gap   0.4000  ≥0.15   0.4 to 0.4     1000" in said
    assert "PASS     Pair Count       1000" in said
    assert "UNKNOWN  Decontamination  —" in said
    assert said.endswith("stage 2 preference_data: UNKNOWN\n")
    pairs(outside.folder / "pairs.jsonl", count=999)
    assert outside.run("gates", "preference_data", "--pairs", "pairs.jsonl", code=1).endswith(": FAIL\n")


def test_the_json_document(outside: Shell) -> None:
    pairs(outside.folder / "pairs.jsonl", 10)
    found = outside.json("gates", "preference_data", "--pairs", "pairs.jsonl", code=1)
    assert (found["stage"], found["verdict"]) == ("preference_data", "FAIL")
    gap, count, clean = found["gates"]
    assert set(gap) >= {"name", "value", "op", "threshold", "verdict", "n", "interval", "run", "source"}
    assert (gap["name"], gap["value"], gap["op"], gap["threshold"]) == ("preference_gap", 0.4, ">=", 0.15)
    assert (gap["verdict"], gap["n"], gap["run"]) == ("PASS", 10, None)
    assert gap["interval"] == pytest.approx([0.4, 0.4])
    assert (count["value"], count["verdict"]) == (10, "FAIL")
    assert (clean["value"], clean["verdict"], clean["interval"]) == (None, "UNKNOWN", None)
    assert outside.json("gates", "5", "--kl", "inf", code=1)["gates"][0]["value"] is None
    assert outside.json("gates", "5", "--kl", "0.1")["stage"] == 5


def test_a_declared_scale(outside: Shell) -> None:
    pairs(outside.folder / "pairs.jsonl", 10)
    found = outside.json("gates", "--pairs", "pairs.jsonl", "--scale", "0:10", code=1)
    assert found["gates"][0]["value"] == 0.04
    assert "declared scale 0 to 10" in found["gates"][0]["source"]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ((), "is not a workspace"),
        (("preference_data",), "is not a workspace"),
        (("evaluatoin", "--retention", "96"), "'evaluatoin' is no stage: did you mean evaluation?"),
        (("8",), "'8' is no stage: 0 to 7, or planning"),
        (("preference_data", "--kl", "1"), "--kl is for stage dpo_training, not preference_data"),
        (("--kl", "1", "--retention", "1"), "--kl and --retention do not go together"),
        (("--kl", "-0.1"), "--kl -0.1: it cannot be negative"),
        (("--kl", "0.1", "--scale", "1:5"), "--scale goes with --pairs"),
        (("--pairs", "none.jsonl"), "none.jsonl does not exist"),
        (("--kl", "0.1", "-w", "nowhere"), "nowhere is no folder"),
    ],
)
def test_wrong_use_is_one_line(outside: Shell, args: tuple[str, ...], words: str) -> None:
    assert words in outside.run("gates", *args, code=2)


# In a workspace


def test_the_workspaces_own_thresholds_count(inside: Shell, workspace: Workspace) -> None:
    path = workspace.configs / "dpo_config.yaml"
    path.write_text(path.read_text().replace("kl_target: 0.1 ", "kl_target: 0.05 "))
    assert "≤0.05" in inside.run("gates", "--kl", "0.08", code=1)
    (workspace.data / "deep").mkdir()
    below = Shell(workspace.data / "deep", inside.patch, inside.captured)
    assert "≤0.05" in below.run("gates", "--kl", "0.08", code=1)


def test_the_facts_of_the_workspace_are_judged_and_the_verdicts_kept(
    inside: Shell, workspace: Workspace, db: Database
) -> None:
    assert "UNKNOWN  Initial KL Divergence  —      ≤0.0001" in inside.run("gates", "3", code=1)
    facts.record(db, Fact("init.kl_divergence", 0.0, "nats per token", n=32, source="exact"))
    said = inside.run("gates", "initialization")
    assert "PASS     Initial KL Divergence  0.0000  ≤0.0001  32  exact" in said
    verdicts = [row[0] for row in db.execute("SELECT verdict FROM verdicts WHERE stage = 3 ORDER BY id")]
    assert verdicts == ["PASS"]


def test_the_history_of_a_stage(inside: Shell, workspace: Workspace, db: Database) -> None:
    run = runs.create(db, "init_check", config={}, seed=1).id
    facts.record(db, Fact("init.kl_divergence", 0.3, "nats per token", run=run, low=0.2, high=0.4, n=32))
    inside.run("gates", "3", code=1)
    facts.record(db, Fact("init.kl_divergence", 0.0, "nats per token"))
    said = inside.run("gates", "3", "--history")
    lines = said.splitlines()
    assert lines[0] == "Initial KL Divergence (initial_kl_divergence, stage 3)"
    assert "PASS" in lines[2] and "0.0000" in lines[2] and "≤0.0001" in lines[2]
    assert "FAIL" in lines[3] and "0.2 to 0.4" in lines[3] and lines[3].endswith(f"{run}  0.3000 is not ≤0.0001")
    found = inside.json("gates", "initialization", "--history")
    (gate,) = found["gates"]
    assert (found["stage"], gate["name"]) == ("initialization", "initial_kl_divergence")
    newest, oldest = gate["history"]
    assert (newest["verdict"], newest["value"], newest["threshold"], newest["op"]) == ("PASS", 0.0, 1e-4, "<=")
    assert (oldest["verdict"], oldest["interval"], oldest["run"], oldest["n"]) == ("FAIL", [0.2, 0.4], run, 32)
    assert newest["time"] >= oldest["time"] > 0
    assert "no verdict yet" in inside.run("gates", "2", "--history")


@pytest.mark.parametrize("option", [("--kl", "0.1"), ("--run", "dpo-001")])
def test_a_history_is_of_the_workspace(inside: Shell, option: tuple[str, str]) -> None:
    assert f"--history and {option[0]} do not go together" in inside.run("gates", "--history", *option, code=2)


def test_all_stages_at_once(inside: Shell, db: Database) -> None:
    facts.record(db, Fact("init.kl_divergence", 1.0))
    said = inside.run("gates", code=1)
    assert "FAIL     3 Initial KL Divergence" in said
    assert "UNKNOWN  7 Win Rate" in said
    assert said.endswith("all stages: FAIL\n")
    found = inside.json("gates", code=1)
    assert found["stage"] is None
    assert {gate["stage"] for gate in found["gates"]} == {2, 3, 4, 5, 7}


def test_a_stage_without_gates_says_so(inside: Shell) -> None:
    assert inside.run("gates", "0") == "stage 0 planning: no gates\n"
    assert inside.json("gates", "planning") == {"stage": "planning", "verdict": None, "gates": []}


def test_one_run(inside: Shell, db: Database) -> None:
    config = {"constraints": {"kl_target": 0.2, "preference_gap_target": 0.3}}
    run = runs.create(db, "dpo", config=config)
    facts.record(
        db,
        Fact("dpo.kl_divergence", 0.15, "nats per token", run=run.id),
        Fact("dpo.preference_gap", 0.31, run=run.id),
        Fact("data.validation_gap", 0.4),
    )
    said = inside.run("gates", "dpo_training", "--run", run.id)
    assert f"PASS     KL Divergence                      0.1500  ≤0.2    {run.id}" in said
    assert inside.run("gates", "--run", run.id) == said
    assert "no run 'dpo-009'" in inside.run("gates", "--run", "dpo-009", code=2)


def test_hostile_sources_do_not_reach_the_terminal(inside: Shell, db: Database) -> None:
    facts.record(db, Fact("init.kl_divergence", 0.0, source="\x1b[2J\u202emoc"))
    said = inside.run("gates", "3")
    assert "\x1b" not in said
    assert "\u202e" not in said
