"""Iterations on a tiny model with a real engine: what a round starts from, what stands after it, what is resumed."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from core import checklist
from core.config import IterateConfig
from core.config.models import Adapter
from core.engine.client import engine_alive, ensure_engine, submit
from core.engine.host import InProcessEngine
from core.errors import UserError
from core.experiments.iterate_decide import decide, standing
from core.models.reward_folder import RewardSettings, save_reward, start_reward
from core.report import Sources
from core.store import Database, engines, facts, iterations, log, runs
from core.store.runs import Run
from core.workspace import Workspace
from tests.core.engine.test_engine import ended, wait
from tests.core.training import tiny

SHORT = {"training_max_steps": 2, "training_warmup_steps": 0, "training_eval_steps": 2, "training_save_steps": 2}


@pytest.fixture
def space(tmp_path: Path) -> Iterator[tuple[Workspace, Database]]:
    workspace, db = tiny.workspace(tmp_path / "a workspace")
    write(workspace, "dpo", tiny.dpo_config(**SHORT, training_sample_prompts=0).model_dump(mode="json"))
    yield workspace, db
    engine = engines.latest(db)
    if engine is not None and engine_alive(workspace) and engine.pid != os.getpid():
        os.kill(engine.pid, signal.SIGKILL)


def write(workspace: Workspace, name: str, value: dict) -> None:
    (workspace.configs / f"{name}_config.yaml").write_text(yaml.safe_dump(value))


def config(**sections: dict) -> IterateConfig:
    value = {
        "iteration": {"max_iterations": 2},
        "steps": {"evaluate_file": None},
        "score": {"fact": "dpo.preference_accuracy"},
    }
    for name, given in sections.items():
        value[name] = {**value.get(name, {}), **given}
    return IterateConfig.model_validate(value)


def execute(workspace: Workspace, db: Database, run: Run) -> Run:
    engine = InProcessEngine(workspace)
    engine.start()
    try:
        wait(lambda: ended(db, run.id))
    finally:
        engine.stop()
    return runs.get(db, run.id)


def stands(workspace: Workspace) -> dict:
    return json.loads((workspace.path("checkpoints/iterated") / "iteration.json").read_text())


def test_a_person_decides_after_each_round_and_a_rollback_restores(space) -> None:
    workspace, db = space
    run = execute(workspace, db, submit(workspace, db, "iterate", config()))
    assert run.state == "stopped", run.error
    assert "waits for your decision" in run.hint
    # Nothing stands before somebody said so, and a resume without a word asks again.
    assert not workspace.path("checkpoints/iterated").exists()
    runs.requeue(db, run.id)
    assert execute(workspace, db, run).state == "stopped"

    decide(db, runs.get(db, run.id), "continue", "looks well", "ann", settings=["dpo.training.learning_rate=0.05"])
    run = execute(workspace, db, run)
    start, one, two = iterations.listing(db, run.id)
    assert (start.number, start.model, start.score) == (0, "models/tiny", None)
    assert (one.policy, one.reference, one.model) == ("models/tiny", "models/tiny", "outputs/iterate/iteration-1/dpo")
    assert (two.policy, two.reference) == (one.model, one.model)
    first, second = (runs.get(db, name) for name in (one.dpo, two.dpo))
    assert (first.config["training"]["learning_rate"], second.config["training"]["learning_rate"]) == (1e-3, 0.05)
    assert second.config["training"]["seed"] == first.config["training"]["seed"] + 1
    assert (first.part, second.part_of) == ("iteration 1 dpo", run.id)
    assert stands(workspace)["iteration"] == 1
    kl = [facts.of_run(db, each.id)["dpo.kl_divergence"].value for each in (first, second)]
    assert facts.latest(db)["dpo.kl_divergence"].value == kl[1] != kl[0]
    assert [each.score for each in (one, two)] == [
        facts.of_run(db, each.id)["dpo.preference_accuracy"].value for each in (first, second)
    ]

    decide(db, runs.get(db, run.id), "rollback", "too far", "ann", to=1)
    run = execute(workspace, db, run)
    assert run.state == "finished"
    assert (stands(workspace)["iteration"], stands(workspace)["decision"]) == (1, "rollback")
    # What later steps read is the better round's: its files, and what was measured of it.
    for file in ("adapters.safetensors", "adapter_config.json", "training_metrics.json"):
        own = workspace.path(one.model) / file
        assert (workspace.path("checkpoints/iterated") / file).read_bytes() == own.read_bytes()
    newest = facts.latest(db)["dpo.kl_divergence"]
    assert (newest.value, newest.run) == (kl[0], first.id)
    assert newest.source.endswith(f"{run.id} went back to iteration 1")
    assert iterations.decision(db, run.id, 2).done is not None
    # And so does the report, which passes over the round that was left.
    assert (iterations.left(db), Sources(db, workspace).chain.dpo.id) == ({second.id}, first.id)
    with pytest.raises(UserError, match="there is no iteration 7"):
        decide(db, run, "rollback", "x", "ann", to=7)


def test_stage_6_fills_itself(space) -> None:
    workspace, db = space
    run = execute(workspace, db, submit(workspace, db, "iterate", config(decision={"by": "rule"})))
    assert run.state == "finished", run.error
    assert (run.step, run.steps) == (2, 2)
    roots = checklist.load_tree(workspace)
    states = checklist.states(db, workspace, roots)
    done = {name: states[name].state for name in states if name.startswith("iteration.")}
    # No evaluation looked for weaknesses, and there was no third round: both say so.
    assert {name for name, state in done.items() if state != "done"} == {
        "iteration.weaknesses", "iteration.compared", "iteration.3.score",
    }  # fmt: skip
    assert states["iteration.weaknesses"].why.endswith("nothing looked for them")
    assert f"{run.id} ended with iteration 2" in states["iteration.3.score"].why
    assert states["iteration.decision"].value.split()[0] in ("stop", "rollback")
    # A new run empties the blanks of the last one.
    again = submit(workspace, db, "iterate", config(iteration={"max_iterations": 1}))
    assert execute(workspace, db, again).state == "stopped"
    assert facts.latest(db)["iteration.2.score"].value is None


def test_it_goes_on_where_its_engine_was_killed(space) -> None:
    workspace, db = space
    longer = {**SHORT, "training_max_steps": 30, "training_eval_steps": 15, "training_save_steps": 3}
    # No round may break a limit: the rule would end it there.
    wide = {"training_sample_prompts": 0, "training_learning_rate": 1e-4, "constraints_kl_target": 100.0}
    write(workspace, "dpo", tiny.dpo_config(**longer, **wide).model_dump(mode="json"))
    run = submit(workspace, db, "iterate", config(decision={"by": "rule"}))
    ensure_engine(workspace)
    wait(lambda: len(runs.parts(db, run.id)) == 2 and runs.parts(db, run.id)[1].step > 6)
    engine = engines.latest(db)
    os.kill(engine.pid, signal.SIGKILL)
    wait(lambda: not engine_alive(workspace))
    from core.engine.client import reap

    assert set(reap(workspace, db)) == {run.id, runs.parts(db, run.id)[1].id}
    runs.requeue(db, run.id)
    assert execute(workspace, db, run).state == "finished"
    parts = runs.parts(db, run.id)
    assert [(part.part, part.state) for part in parts] == [
        ("iteration 1 dpo", "finished"), ("iteration 2 dpo", "finished"),
    ]  # fmt: skip
    said = [line.text for line in log.lines(db, parts[1].id)]
    assert any(line.startswith("resumed from checkpoint-") for line in said)
    assert len(iterations.decisions(db, run.id)) == 2


def test_fresh_pairs_of_the_policy_without_held_out_prompts(space) -> None:
    workspace, db = space
    reward = start_reward(workspace.path("models/tiny"), RewardSettings(format=1), seed=3)
    save_reward(reward, Adapter(type="full"), workspace.path("checkpoints/reward"))
    validation = [json.loads(line)["prompt"] for line in (workspace.data / "pairs_val.jsonl").read_text().splitlines()]
    prompts = [*(f"Say {word}. " for word in tiny.WORDS[:6]), *validation[:2]]
    (workspace.data / "prompts.jsonl").write_text("".join(json.dumps({"prompt": one}) + "\n" for one in prompts))
    write(workspace, "generate", {
        "model": {"base_model": "models/tiny"},
        "data": {"prompts_file": "data/prompts.jsonl", "output_file": "data/candidates.jsonl"},
        "generation": {"responses_per_prompt": 3, "max_tokens": 6, "temperature": 1.5},
        "logging": {"output_dir": "outputs/generate"},
    })  # fmt: skip
    write(workspace, "judge", {
        "data": {"input_file": "data/candidates.jsonl", "output_file": "data/judged.jsonl"},
        "judges": {"taste": {"kind": "reward", "model": "checkpoints/reward"}},
        "logging": {"output_dir": "outputs/judge"},
    })  # fmt: skip
    run = submit(workspace, db, "iterate", config(data={"on_policy": True, "train_on": "all"}, decision={"by": "rule"}))
    run = execute(workspace, db, run)
    assert run.state == "finished", run.error
    assert [part.part for part in runs.parts(db, run.id)] == [
        f"iteration {number} {what}" for number in (1, 2) for what in ("generate", "judge", "dpo")
    ]
    folders = [workspace.path(f"outputs/iterate/iteration-{number}") for number in (1, 2)]
    pairs = [[json.loads(row) for row in (each / "pairs.jsonl").read_text().splitlines()] for each in folders]
    fresh = [[json.loads(row) for row in (each / "fresh_pairs.jsonl").read_text().splitlines()] for each in folders]
    assert not any(row["prompt"] in validation for rows in pairs for row in rows)
    kept = [[row for row in rows if row["prompt"] not in validation] for rows in fresh]
    first = (workspace.data / "pairs_train.jsonl").read_text().splitlines()
    assert len(pairs[0]) == len(first) + len(kept[0])
    assert len(pairs[1]) == len(first) + len(kept[0]) + len(kept[1])
    # The second round asked the policy of the first one, by another seed.
    asked = [runs.get(db, each.id).config for each in runs.parts(db, run.id) if each.kind == "generate"]
    assert [each["model"]["base_model"] for each in asked] == ["models/tiny", "outputs/iterate/iteration-1/dpo"]
    assert asked[0]["generation"]["seed"] != asked[1]["generation"]["seed"]
    data = facts.latest(db)["iteration.data"]
    assert (data.text, data.n) == (f"{len(kept[1])} pairs", len(pairs[1]))


def test_what_cannot_come_to_a_score_is_refused_before_the_first_round(space) -> None:
    workspace, db = space
    from core.experiments.iterate_plan import read_plan

    with pytest.raises(UserError, match=r"score\.fact eval\.win_rate waits for one"):
        read_plan(
            workspace, config(steps={"evaluate_file": "configs/eval_config.yaml"}, score={"fact": "eval.win_rate"})
        )
    (workspace.configs / "dpo_config.yaml").write_text("model: {}\n")
    with pytest.raises(UserError, match=r"dpo_config.yaml:1: model.base_model: is missing"):
        read_plan(workspace, config())
    with pytest.raises(UserError, match="no iteration of it is done yet"):
        standing(db, runs.create(db, "iterate", config={}))
    with pytest.raises(UserError, match="is a run of kind dpo"):
        standing(db, runs.create(db, "dpo", config={}))


def test_another_program_s_folder_is_left_alone(space) -> None:
    workspace, db = space
    theirs = workspace.path("checkpoints/iterated")
    theirs.mkdir(parents=True)
    (theirs / "thesis.txt").write_text("three years")
    run = execute(workspace, db, submit(workspace, db, "iterate", config(decision={"by": "rule"})))
    assert run.state == "failed"
    assert run.error == (
        "logging.model_dir: checkpoints/iterated holds something else, which would be replaced: name another folder"
    )
    assert (theirs / "thesis.txt").read_text() == "three years"
    assert time.time() - run.ended < 60
