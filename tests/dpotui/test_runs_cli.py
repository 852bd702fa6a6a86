"""`dpotui runs` as a person and as a script uses it. No engine runs: what it does is tested with the engine."""

from __future__ import annotations

import csv
import io
import json
import math
import time

import pytest

from core.config import RUN_CONFIGS, load_config
from core.store import Database, artifacts, commands, facts, metrics, notes, runs, transaction
from core.store.facts import Fact
from core.workspace import Workspace
from dpotui.commands.runs import asking as module
from tests.dpotui.test_gates_cli import Shell, inside

__all__ = ["inside"]  # fixture


@pytest.fixture
def trained(db: Database) -> str:
    run = runs.create(db, "dpo", config={"training": {"beta": 0.1}}, name="first try", seed=7, steps=20).id
    with transaction(db):
        metrics.write(db, [(run, step, "loss", 0.7 - step / 100, 0.0) for step in (10, 20)])
        metrics.write(db, [(run, 20, "rewards/margins", math.nan, 0.0)])
        db.execute("INSERT INTO log (run, time, level, text) VALUES (?, 0, 'info', 'step 10')", [run])
        db.execute("INSERT INTO log (run, time, level, text) VALUES (?, 0, 'warning', 'row 3 \x1b[2J')", [run])
    facts.record(db, Fact("dpo.kl_divergence", 0.08, "nats per token", run=run, low=0.07, high=0.09, n=32))
    facts.record(db, Fact("dpo.finished", 1.0, run=run), Fact("dpo.throughput", None, run=run, source="too short"))
    artifacts.record(db, run, "adapter", "outputs/x/adapters.safetensors", "ab" * 32, 1234, 20)
    notes.add(db, f"run:{run}", "looks fine", "ada")
    now = time.time()
    runs.update(db, run, state="finished", step=20, started=now - 65, ended=now, output_dir="outputs/x")
    return run


def test_no_runs_say_how_to_start_one(inside: Shell) -> None:
    assert "dpotui train" in inside.run("runs")
    assert inside.json("runs") == []


def test_the_list_for_people(inside: Shell, trained: str) -> None:
    (line,) = inside.run("runs", "list").splitlines()
    assert line.split()[:3] == ["dpo-001", "finished", "20/20"]
    assert "0:01:05" in line
    assert line.endswith("first try")
    assert inside.run("runs") == inside.run("runs", "list", "--kind", "dpo", "-n", "5")
    assert inside.run("runs", "--state", "failed") == "no runs\n"


def test_the_list_for_programs(inside: Shell, trained: str, db: Database) -> None:
    runs.create(db, "sft", config={})
    found = inside.json("runs")
    assert [run["id"] for run in found] == ["sft-001", "dpo-001"]
    run = found[1]
    assert {"id", "kind", "state", "pid", "step", "steps", "facts"} <= set(run)
    assert (run["state"], run["step"], run["steps"], run["pid"], run["stage"]) == ("finished", 20, 20, None, 5)
    assert run["facts"]["dpo.kl_divergence"]["value"] == 0.08
    assert run["facts"]["dpo.throughput"]["value"] is None


def test_one_run_for_programs(inside: Shell, trained: str) -> None:
    run = inside.json("runs", "show", trained)
    assert run["config"] == {"training": {"beta": 0.1}}
    loss = run["metrics"]["loss"]
    assert (loss["points"], loss["last_step"]) == (2, 20)
    assert loss["last"] == pytest.approx(0.5)
    assert run["metrics"]["rewards/margins"]["last"] is None
    assert run["artifacts"][0]["path"] == "outputs/x/adapters.safetensors"
    assert run["notes"][0]["text"] == "looks fine"


def test_one_run_for_people(inside: Shell, trained: str) -> None:
    said = inside.run("runs", "show", trained)
    assert "dpo.kl_divergence  0.08 nats per token  0.07 to 0.09" in said
    assert "dpo.finished       yes" in said
    assert "dpo.throughput     unknown" in said
    assert "adapter  1,234 bytes  abababababab  outputs/x/adapters.safetensors" in said


def test_the_log_with_its_levels_and_nothing_that_commands_the_terminal(inside: Shell, trained: str) -> None:
    said = inside.run("runs", "log", trained)
    assert "\x1b" not in said
    assert [line.split(" ", 2)[2] for line in said.splitlines()] == ["step 10", "warning: row 3 ␛[2J"]
    assert len(inside.run("runs", "log", trained, "--level", "warning").splitlines()) == 1
    assert len(inside.run("runs", "log", trained, "-n", "1").splitlines()) == 1


def test_metrics_as_a_table(inside: Shell, trained: str) -> None:
    rows = list(csv.reader(io.StringIO(inside.run("runs", "export", trained))))
    assert rows[0] == ["step", "loss", "rewards/margins"]
    assert [row[0] for row in rows[1:]] == ["10", "20"]
    assert float(rows[2][1]) == pytest.approx(0.5)
    assert rows[2][2] == ""  # not a number
    inside.run("runs", "export", trained, "-o", "loss.csv")
    assert list(csv.reader(io.StringIO((inside.folder / "loss.csv").read_text()))) == rows
    assert "name another file" in inside.run("runs", "export", trained, "-o", "no/such/folder.csv", code=2)


@pytest.mark.parametrize("words", [("show",), ("log",), ("stop",), ("resume",), ("export",)])
def test_an_unknown_run_names_the_nearest(inside: Shell, trained: str, words: tuple[str, ...]) -> None:
    assert "did you mean 'dpo-001'" in inside.run("runs", *words, "dpo-01", code=2)


def test_stopping_a_queued_run(inside: Shell, db: Database) -> None:
    run = runs.create(db, "dpo", config={}).id
    assert inside.run("runs", "stop", run) == f"{run}: taken out of the queue\n"
    assert runs.get(db, run).state == "stopped"


@pytest.mark.parametrize("verb", ["stop", "pause", "checkpoint", "resume"])
def test_nothing_is_asked_of_a_run_that_is_over(inside: Shell, trained: str, verb: str) -> None:
    assert "dpo-001 is finished" in inside.run("runs", verb, trained, code=2)


def test_a_run_without_its_engine_reads_interrupted(inside: Shell, db: Database) -> None:
    run = runs.create(db, "dpo", config={}).id
    runs.update(db, run, state="running")
    assert inside.json("runs")[0]["state"] == "interrupted"
    assert "is interrupted" in inside.run("runs", "pause", run, code=2)


def test_an_engine_that_is_busy_answers_later(
    inside: Shell, db: Database, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    from core.engine.lock import engine_lock

    run = runs.create(db, "dpo", config={}).id
    runs.update(db, run, state="running")
    monkeypatch.setattr(module, "PATIENCE", 0.2)
    with engine_lock(workspace.engine_lock):  # an engine, as far as anybody can tell
        assert "asked to pause" in inside.run("runs", "pause", run)
    assert [command.verb for command in commands.pending(db, run)] == ["pause"]


def test_resuming_puts_it_back_in_the_queue_and_calls_an_engine(
    inside: Shell, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    called = []
    monkeypatch.setattr(module, "ensure_engine", called.append)
    run = runs.create(db, "dpo", config={}).id
    runs.update(db, run, state="failed", error="x")
    assert f"{run}: queued" in inside.run("runs", "resume", run)
    assert runs.get(db, run).state == "queued"
    assert len(called) == 1


def test_finding_and_sorting(inside: Shell, trained: str, db: Database) -> None:
    runs.create(db, "sft", config={"training": {"learning_rate": 1e-5}})
    said = inside.run("runs", "list", "--filter", "kl<=0.1 kind=dpo")
    assert said.split()[0] == trained
    assert [run["id"] for run in inside.json("runs", "list", "--sort", "created")] == ["sft-001", "dpo-001"]
    assert [run["id"] for run in inside.json("runs", "list", "--sort", "kl")] == ["dpo-001", "sft-001"]
    assert [run["id"] for run in inside.json("runs", "list", "--sort", "-lr")] == ["sft-001", "dpo-001"]
    assert [run["id"] for run in inside.json("runs", "--filter", "lr<1", "--kind", "sft")] == ["sft-001"]
    assert inside.run("runs", "--filter", "kl>0.1") == "no runs\n"
    assert "filter, column 4: a value is wanted" in inside.run("runs", "--filter", "kl>", code=2)
    assert "sort: no field 'kll': did you mean 'kl'?" in inside.run("runs", "--sort", "kll", code=2)


def test_putting_in_order(inside: Shell, trained: str, db: Database) -> None:
    assert inside.run("runs", "rename", trained, "calm") == f"{trained}: calm\n"
    assert inside.run("runs", "tag", trained, "good", "keep") == f"{trained}: good keep\n"
    assert inside.run("runs", "untag", trained, "keep") == f"{trained}: good\n"
    assert inside.run("runs", "note", trained, "quiet\x1b[2J") == f"{trained}: noted: quiet␛[2J\n"
    assert inside.run("runs", "archive", trained) == f"{trained}: archived\n"
    assert inside.run("runs", "list") == "no runs yet: 'dpotui train' starts one\n"
    assert inside.json("runs", "list", "--archived")[0]["tags"] == ["good"]
    assert inside.run("runs", "undo") == f"{trained}: taken back: archived\n"
    assert inside.run("runs", "archive", trained)
    assert inside.run("runs", "unarchive", trained) == f"{trained}: in the list again\n"
    shown = inside.json("runs", "show", trained)
    changed = [change["field"] for change in shown["changes"]]
    assert changed == ["name", "tags", "tags", "archived", "archived", "archived"]
    assert all(change["who"] for change in shown["changes"])
    assert "tags      good" in inside.run("runs", "show", trained)
    assert "is no tag" in inside.run("runs", "tag", trained, "two words", code=2)


def test_comparing(inside: Shell, trained: str, db: Database) -> None:
    other = runs.create(db, "dpo", config={"training": {"beta": 0.2}}).id
    facts.record(db, Fact("dpo.kl_divergence", 0.2, "nats per token", run=other, low=0.18, high=0.22))
    said = inside.run("runs", "compare", trained, other)
    assert "training.beta  0.1      0.2" in said
    assert "0.0800 best [0.0700, 0.0900]" in said
    found = inside.json("runs", "compare", trained, other)
    assert found["config"] == {"training.beta": {trained: 0.1, other: 0.2}}
    assert found["facts"]["dpo.kl_divergence"]["best"] == [trained]
    assert "2 to 8 runs are compared, not 1" in inside.run("runs", "compare", trained, code=2)


def test_lineage(inside: Shell, trained: str, db: Database) -> None:
    child = runs.create(db, "evaluate", config={"model": {"final": "outputs/x"}}).id
    runs.update(db, child, inputs={"outputs/x": "cd" * 32}, started=time.time())
    said = inside.run("runs", "lineage", trained)
    assert f"{child}  queued  outputs/x (model.final)" in said
    assert inside.json("runs", "lineage", child)["made_from"][0]["run"] == trained


def test_all_that_is_known_of_several_as_one_document(inside: Shell, trained: str, db: Database) -> None:
    other = runs.create(db, "dpo", config={}).id
    found = json.loads(inside.run("runs", "export", trained, other, "--format", "json"))
    assert [run["id"] for run in found] == [trained, other]
    assert found[0]["metrics"]["rewards/margins"] == [[20, None]]
    assert inside.run("runs", "export", trained, other).splitlines()[0] == "run,step,loss,rewards/margins"
    inside.run("runs", "export", trained, "--format", "json", "-o", "all.json")
    assert (inside.folder / "all.json").stat().st_mode & 0o777 == 0o600


def test_a_run_once_more_with_changes(
    inside: Shell, db: Database, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dpotui.commands import launch

    monkeypatch.setattr(launch, "ensure_engine", lambda workspace: None)
    path = workspace.configs / "dpo_config.yaml"
    config = load_config(path, RUN_CONFIGS["dpo"], ["training.beta=0.25"])
    for folder in config.reads().values():
        (workspace.path(folder).parent).mkdir(parents=True, exist_ok=True)
        if folder.endswith(".jsonl"):
            workspace.path(folder).touch()
        else:
            workspace.path(folder).mkdir(exist_ok=True)
    made = runs.create(db, "dpo", config=config.model_dump(mode="json"), config_path="configs/dpo_config.yaml")
    runs.update(db, made.id, state="finished")
    said = inside.json("runs", "rerun", made.id, "--set", "training.max_steps=700", "--detach")
    assert (said["id"], said["state"]) == ("dpo-002", "queued")
    again = runs.get(db, "dpo-002")
    assert (again.config["training"]["beta"], again.config["training"]["max_steps"]) == (0.25, 700)
    assert (again.state, again.parent, again.config_path) == ("queued", None, "configs/dpo_config.yaml")
    assert "training.bta" in inside.run("runs", "rerun", made.id, "--set", "training.bta=1", "--detach", code=2)
