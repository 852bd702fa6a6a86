"""A reward run through its job: the facts are what the files it leaves say, and it resumes to the bit."""

from __future__ import annotations

import json
import math
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from core import checklist, gates
from core.data.pairs import read_pairs
from core.engine.client import submit
from core.errors import UserError
from core.evaluation.reward_summary import read_summary
from core.intervals import wilson
from core.models.load import load
from core.models.reward_folder import load_reward
from core.store import Database, artifacts, facts, log, metrics, runs
from core.training import checkpoints, reward_run
from core.training.control import Stopped
from core.training.reward_scores import RewardScore, reward_scores
from core.workspace import Workspace
from tests.core.training import tiny
from tests.core.training.test_resume import digest, execute, values


@pytest.fixture
def place(tmp_path: Path) -> tuple[Workspace, Database]:
    return tiny.workspace(tmp_path / "w")


def train(place: tuple[Workspace, Database], **changes: object) -> runs.Run:
    space, db = place
    run = submit(space, db, "reward", tiny.reward_config(**changes))
    execute(space, db, run.id, reward_run.run, None)
    return runs.get(db, run.id)


def written(space: Workspace, run: runs.Run) -> dict[str, list[RewardScore]]:
    """scores.jsonl by split, in the order of the lines."""
    found: dict[str, dict[int, RewardScore]] = {"train": {}, "validation": {}}
    for line in (space.root / run.output_dir / "scores.jsonl").read_text().splitlines():
        row = json.loads(line)
        assert set(row) == {"split", "line", "chosen_reward", "rejected_reward"}
        found[row["split"]][row["line"]] = RewardScore(row["chosen_reward"], row["rejected_reward"])
    return {split: [scores[line] for line in sorted(scores)] for split, scores in found.items()}


def right(scores: list[RewardScore]) -> float:
    return sum(score.chosen_reward > score.rejected_reward for score in scores) / len(scores)


FACTS = {
    "reward.train_accuracy", "reward.validation_accuracy", "reward.overfitting_gap", "reward.finished",
    "reward.checkpoint_saved", "reward.calibration", "reward.architecture", "reward.data", "reward.validation_share",
}  # fmt: skip


@pytest.mark.parametrize("adapter", ["lora", "full"])
def test_what_a_run_leaves(place: tuple[Workspace, Database], adapter: str) -> None:
    space, db = place
    run = train(place, adapter_type=adapter, training_learning_rate=2e-3, training_max_steps=6)
    found = facts.of_run(db, run.id)
    assert set(found) == FACTS
    scores = written(space, run)
    assert {split: len(rows) for split, rows in scores.items()} == {"train": 30, "validation": 10}
    # The scores once more, from the folder that was handed over.
    for split, name in (("train", "pairs_train"), ("validation", "pairs_val")):
        again = reward_scores(space.checkpoints / "reward", read_pairs(space.data / f"{name}.jsonl"), batch_size=3)
        for one, other in zip(scores[split], again, strict=True):
            assert one.chosen_reward == pytest.approx(other.chosen_reward, abs=1e-5)
            assert one.rejected_reward == pytest.approx(other.rejected_reward, abs=1e-5)
        fact = found[f"reward.{split}_accuracy"]
        assert fact.value == pytest.approx(100 * right(again))
        assert (fact.unit, fact.n) == ("%", len(again))
        low, high = wilson(right(again) * len(again), len(again))
        assert (fact.low, fact.high) == pytest.approx((100 * low, 100 * high))
        assert fact.inputs.keys() == {"checkpoints/reward", f"data/{name}.jsonl"}
        assert "ties count half" in fact.source
    gap = found["reward.overfitting_gap"]
    assert gap.value == pytest.approx(100 * (right(scores["train"]) - right(scores["validation"])))
    assert (gap.unit, gap.n) == ("points", 40)
    assert gap.low < gap.value < gap.high
    assert gap.inputs.keys() == {"checkpoints/reward", "data/pairs_train.jsonl", "data/pairs_val.jsonl"}
    assert found["reward.finished"].source == "6 steps"
    told = read_summary(space.path(run.output_dir))
    assert told is not None
    ece, split = found["reward.calibration"], told.validation
    assert (ece.value, ece.low, ece.high, ece.n) == (
        split.calibration.ece, split.calibration.low, split.calibration.high, 10,
    )  # fmt: skip
    assert ece.inputs.keys() == {"checkpoints/reward", "data/pairs_val.jsonl"}
    assert "10 pairs of data/pairs_val.jsonl, their order drawn by seed 42" in ece.source
    wrong = [score for score in scores["train"] if score.chosen_reward < score.rejected_reward - 1e-4]
    assert told.train.wrong == len(wrong)
    margins = [pair.chosen - pair.rejected for pair in told.train.worst]
    assert margins == sorted(score.chosen_reward - score.rejected_reward for score in wrong)
    assert sum(told.train.chosen.counts) == sum(told.train.margins.counts) == 30
    built = "LoRA rank 4 on all blocks" if adapter == "lora" else "all weights"
    assert found["reward.architecture"].text == f"Llama, a linear score on the last token, {built}, from models/tiny"
    saved = found["reward.checkpoint_saved"]
    assert (saved.text, saved.inputs.keys()) == ("checkpoints/reward", {"checkpoints/reward"})
    assert all(fact.run == run.id and fact.source for fact in found.values())
    # It learnt, and says so under TRL's names.
    losses = [point.value for point in metrics.since(db, run.id, "loss")]
    assert losses[-1] < losses[0] - 0.05
    assert {"accuracy", "margin", "min_reward", "mean_reward", "max_reward"} <= set(metrics.names(db, run.id))
    assert [point.step for point in metrics.since(db, run.id, "eval_accuracy")] == [0, 4, 6]
    noted = json.loads((space.checkpoints / "reward" / "training_metrics.json").read_text())
    assert noted["validation_accuracy"] == found["reward.validation_accuracy"].value / 100
    assert (noted["run"], noted["train_pairs"], noted["validation_pairs"]) == (run.id, 30, 10)
    assert math.isfinite(noted["train_margin"])
    told_of = [line.text for line in log.lines(db, run.id) if "handed over" in line.text]
    assert told_of == [f"{noted['best']} is handed over, which has the lowest loss on the validation pairs"]
    for path in (*(space.root / "outputs").rglob("*"), *(space.checkpoints / "reward").rglob("*")):
        assert path.stat().st_mode & 0o077 == 0, path
    kept = {artifact.kind for artifact in artifacts.of_run(db, run.id)}
    assert {"checkpoint", "model", "scores", "summary"} <= kept


def test_gates_and_checklist_of_stage_4(place: tuple[Workspace, Database]) -> None:
    space, db = place
    run = train(place, training_max_steps=24, training_learning_rate=5e-3)
    verdicts = {result.gate.name: result for result in gates.evaluate(db, space, 4)}
    assert {name: result.verdict for name, result in verdicts.items()} == {
        "train_accuracy": "PASS", "validation_accuracy": "PASS", "overfitting_gap": "PASS",
    }  # fmt: skip
    assert all(result.run == run.id for result in verdicts.values())
    (root,) = [root for root in checklist.load_tree(space) if root.stage == 4]
    states = checklist.states(db, space, [root])
    done = {item.id for item in root.children if states[item.id].state == "done"}
    assert done == {
        "reward.architecture", "reward.data", "reward.split", "reward.finished", "reward.train_accuracy",
        "reward.validation_accuracy", "reward.overfitting", "reward.checkpoint",
    }  # fmt: skip
    # A model that is wrong fails, without rounding.
    facts.record(db, facts.Fact("reward.validation_accuracy", 69.999, unit="%", run=run.id))
    assert gates.evaluate(db, space, 4)[1].verdict == "FAIL"


def test_facts_stand_on_the_folder_that_was_written(place: tuple[Workspace, Database]) -> None:
    space, db = place
    train(place, training_max_steps=3)
    head = space.checkpoints / "reward" / "reward_head.safetensors"
    mx.save_safetensors(str(head), {"score.weight": mx.zeros((1, 128))})
    assert {result.verdict for result in gates.evaluate(db, space, 4)} == {"STALE"}


def test_a_bounded_number_of_pairs_is_scored(place: tuple[Workspace, Database]) -> None:
    space, db = place
    run = train(place, training_max_steps=3, training_scored_pairs=7)
    scores = written(space, run)
    assert {split: len(rows) for split, rows in scores.items()} == {"train": 7, "validation": 7}
    assert facts.of_run(db, run.id)["reward.train_accuracy"].n == 7


def test_a_model_that_stands_there_is_moved_aside(place: tuple[Workspace, Database]) -> None:
    space, _ = place
    first, second = (train(place, training_max_steps=3, training_seed=seed) for seed in (1, 2))
    assert (space.checkpoints / "reward-earlier-1" / "reward_config.json").exists()
    assert [run.output_dir for run in (first, second)] == ["outputs/reward", "outputs/reward-2"]


@pytest.mark.parametrize(("adapter", "stop_at"), [("lora", 1), ("lora", 8), ("full", 5)])
def test_resumes_to_the_bit(place: tuple[Workspace, Database], adapter: str, stop_at: int) -> None:
    """With dropout, in the middle of an epoch (30 pairs, 8 a step)."""
    space, db = place
    config = tiny.reward_config(adapter_type=adapter, training_center_rewards_coefficient=0.01)
    assert config.adapter.dropout > 0
    whole, parted = (submit(space, db, "reward", config) for _ in range(2))
    execute(space, db, whole.id, reward_run.run, None)
    with pytest.raises(Stopped):
        execute(space, db, parted.id, reward_run.run, stop_at)
    mx.random.seed(99)  # whatever the process did meanwhile
    execute(space, db, parted.id, reward_run.run, None)
    first, second = (space.path(runs.get(db, run.id).output_dir) for run in (whole, parted))
    assert first != second
    for step in (9, 12):
        one, other = (folder / f"checkpoint-{step}" / checkpoints.WEIGHTS for folder in (first, second))
        assert digest(one) == digest(other), step
    assert digest(first / "scores.jsonl") == digest(second / "scores.jsonl")
    assert values(db, whole.id) == values(db, parted.id)
    name = "adapters.safetensors" if adapter == "lora" else "model.safetensors"
    assert digest(space.checkpoints / "reward" / name) == digest(space.checkpoints / "reward-earlier-1" / name)


def test_the_best_checkpoint_is_handed_over_and_scored(place: tuple[Workspace, Database]) -> None:
    space, db = place
    # The other taste in the validation file: the more is learnt, the worse.
    file = space.data / "pairs_val.jsonl"
    swapped = [json.loads(line) for line in file.read_text().splitlines()]
    rewrite(file, chosen=[row["rejected"] for row in swapped], rejected=[row["chosen"] for row in swapped])
    run = train(place, training_max_steps=5, training_eval_steps=1, training_learning_rate=5e-3)
    losses = {point.step: point.value for point in metrics.since(db, run.id, "eval_loss") if point.step}
    best = min(losses, key=losses.get)
    margins = {point.step: point.value for point in metrics.since(db, run.id, "eval_margin")}
    assert losses[5] > losses[best] + 0.1
    noted = json.loads((space.checkpoints / "reward" / "training_metrics.json").read_text())
    assert noted["best"] == f"checkpoint-{best}"
    assert noted["validation_margin"] == pytest.approx(margins[best], rel=1e-4)
    again = reward_scores(space.checkpoints / "reward", read_pairs(space.data / "pairs_val.jsonl"))
    assert np.mean([s.chosen_reward - s.rejected_reward for s in again]) == pytest.approx(margins[best], rel=1e-3)


# The data


def rewrite(file: Path, **columns: list[object]) -> list[dict[str, object]]:
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    for name, column in columns.items():
        for row, value in zip(rows, column, strict=False):
            row[name] = value
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return rows


def first_loss(place: tuple[Workspace, Database], **changes: object) -> float:
    run = train(place, training_max_steps=3, **changes)
    return metrics.since(place[1], run.id, "eval_loss")[0].value


def test_margins_of_the_file_enter_the_loss(place: tuple[Workspace, Database]) -> None:
    space, db = place
    plain = first_loss(place)
    rewrite(space.data / "pairs_val.jsonl", margin=[3.0] * 10, chosen_score=[9] * 10, rejected_score=[4] * 10)
    with_field = first_loss(place)
    said = [line.text for line in log.lines(db, "reward-002")]
    assert "data/pairs_val.jsonl: 10 of 10 pairs have a margin (field), the others 0" in said
    assert not any("pairs_train.jsonl" in line and "margin" in line for line in said)
    with_scores = first_loss(place, training_margin="scores")
    scaled = first_loss(place, training_margin="scores", training_margin_scale=0.6)
    none = first_loss(place, training_margin="none")
    # At step 0 rewards are near to each other: the loss is near to softplus(margin).
    assert plain == none
    assert with_field == pytest.approx(3.05, abs=0.2)
    assert with_scores == pytest.approx(5.01, abs=0.2)
    assert scaled == pytest.approx(with_field, rel=1e-6)


def test_a_margin_that_is_no_number_is_left_out_and_said(place: tuple[Workspace, Database]) -> None:
    space, db = place
    rewrite(space.data / "pairs_train.jsonl", margin=["much", 0.5])
    run = train(place, training_max_steps=3)
    said = [line.text for line in log.lines(db, run.id)]
    assert "left out: data/pairs_train.jsonl:1: margin must be a number, not 'much'" in said
    assert "data/pairs_train.jsonl: 1 of 29 pairs have a margin (field), the others 0" in said
    # Who does not ask does not mind.
    train(place, training_max_steps=3, training_margin="none")


def test_long_responses_are_left_out_and_lines_stay_right(place: tuple[Workspace, Database]) -> None:
    space, db = place
    rewrite(space.data / "pairs_val.jsonl", rejected=["word " * 80, "red", "word " * 90])
    run = train(place, training_max_steps=3)
    said = [line.text for line in log.lines(db, run.id, level="warning")]
    assert any("pairs_val.jsonl:1: a response has" in line and "more than data.max_response_length 64" in line
               for line in said)  # fmt: skip
    lines = [json.loads(line) for line in (space.root / run.output_dir / "scores.jsonl").read_text().splitlines()]
    assert [row["line"] for row in lines if row["split"] == "validation"] == [2, *range(4, 11)]
    assert facts.of_run(db, run.id)["reward.validation_accuracy"].n == 8


def test_training_settings_go_with_the_model(place: tuple[Workspace, Database]) -> None:
    space, _ = place
    train(place, training_max_steps=3, data_apply_chat_template=True, data_max_prompt_length=5)
    loaded = load_reward(space.checkpoints / "reward")
    assert (loaded.settings.apply_chat_template, loaded.settings.max_prompt_length) == (True, 5)
    pairs = list(read_pairs(space.data / "pairs_val.jsonl"))
    default = reward_scores(space.checkpoints / "reward", pairs)
    assert default == reward_scores(space.checkpoints / "reward", pairs, chat=True, max_prompt_length=5)
    assert default != reward_scores(space.checkpoints / "reward", pairs, chat=False)
    assert default != reward_scores(space.checkpoints / "reward", pairs, max_prompt_length=50)


@pytest.mark.parametrize("adapter", ["lora", "full"])
def test_a_reward_model_as_its_own_start(place: tuple[Workspace, Database], adapter: str) -> None:
    space, db = place
    train(place, training_max_steps=3, adapter_type="full")
    scores = reward_scores(space.checkpoints / "reward", read_pairs(space.data / "pairs_val.jsonl"))
    margin = np.mean([s.chosen_reward - s.rejected_reward for s in scores])
    run = train(
        place, training_max_steps=3, model_base_model="checkpoints/reward", model_checkpoint="checkpoints/again",
        adapter_type=adapter,
    )  # fmt: skip
    assert metrics.since(db, run.id, "eval_margin")[0].value == pytest.approx(margin, rel=1e-4)
    assert load_reward(space.checkpoints / "again")


def test_rewards_that_are_no_numbers_make_no_facts(place: tuple[Workspace, Database]) -> None:
    """Of a pair that training never came to."""
    space, db = place
    file = space.root / "models" / "tiny" / "model.safetensors"
    weights = mx.load(str(file))
    token = load(file.parent).tokenizer.encode("z")
    weights["model.embed_tokens.weight"][mx.array(token)] = float("nan")
    mx.eval(weights)
    mx.save_safetensors(str(file), weights)
    rewrite(space.data / "pairs_train.jsonl", chosen=["z"])
    with pytest.raises(UserError, match=r"a reward is no number: lower training\.learning_rate"):
        train(place, training_max_steps=1, training_batch_size=1, training_gradient_accumulation_steps=1,
              training_warmup_steps=0)  # fmt: skip
    assert set(facts.of_run(db, "reward-001")) == {"reward.data", "reward.validation_share"}


def test_changed_files_are_not_resumed_on(place: tuple[Workspace, Database]) -> None:
    space, db = place
    run = submit(space, db, "reward", tiny.reward_config())
    with pytest.raises(Stopped):
        execute(space, db, run.id, reward_run.run, 3)
    rewrite(space.data / "pairs_train.jsonl", chosen=["something else"])
    with pytest.raises(UserError, match=r"data/pairs_train\.jsonl changed since reward-001"):
        execute(space, db, run.id, reward_run.run, None)
