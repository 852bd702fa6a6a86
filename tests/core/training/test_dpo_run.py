"""A DPO run through its job: the facts are what the files it leaves say, and what is wrong is said."""

from __future__ import annotations

import json
import time
from pathlib import Path

import mlx.core as mx
import mlx_lm
import numpy as np
import pytest

from core.engine.client import submit
from core.engine.host import InProcessEngine
from core.errors import UserError
from core.models.load import load
from core.store import Database, facts, log, metrics, runs
from core.training import dpo_run
from core.training.control import Stopped
from core.training.score import score
from core.workspace import Workspace
from tests.core.training import tiny
from tests.core.training.test_resume import digest, execute


@pytest.fixture
def tiny_workspace(tmp_path: Path) -> tuple[Workspace, Database]:
    return tiny.workspace(tmp_path / "w")


def train(space: Workspace, db: Database, **changes: object) -> runs.Run:
    run = submit(space, db, "dpo", tiny.dpo_config(**changes))
    execute(space, db, run.id, dpo_run.run, None)
    return runs.get(db, run.id)


# name: unit, n, whether it has an interval, whether it stands on the files of the checkpoint
FACTS = {
    "dpo.config_valid": ("", None, False, False),
    "dpo.batch_size": ("pairs", None, False, False),
    "dpo.checkpoints": ("steps", None, False, False),
    "dpo.distribution": ("", None, False, False),
    "dpo.logging": ("", None, False, False),
    "dpo.started": ("", None, False, False),
    "dpo.kl_divergence": ("nats/token", 4, True, True),
    "dpo.preference_gap": ("", 10, True, True),
    "dpo.preference_accuracy": ("%", 10, True, True),
    "dpo.accuracy_trend": ("", None, False, True),
    "dpo.loss_trend": ("", None, False, True),
    "dpo.throughput": ("examples/sec", 12, False, True),
    "dpo.validated": ("", 10, False, True),
    "dpo.best_checkpoint": ("", None, False, True),
    "dpo.finished": ("", None, False, True),
    "dpo.logs_saved": ("", None, False, False),
}


def test_what_a_run_leaves(tiny_workspace: tuple[Workspace, Database]) -> None:
    space, db = tiny_workspace
    config = {"training_max_steps": 24, "training_learning_rate": 5e-3, "constraints_kl_target": 10.0}
    run = train(space, db, **config)
    found = facts.of_run(db, run.id)
    assert set(found) == set(FACTS)
    for name, (unit, n, interval, stands) in FACTS.items():
        fact = found[name]
        assert (fact.unit, fact.n) == (unit, n), name
        if interval:
            assert fact.low <= fact.value <= fact.high, name
            assert fact.low < fact.high, name
        else:
            assert fact.low is fact.high is None, name
        assert ("outputs/dpo" in fact.inputs) == stands, name
        if stands:
            assert {"data/pairs_train.jsonl", "data/pairs_val.jsonl", "models/tiny"} <= set(fact.inputs), name
        assert fact.source, name
        assert fact.run == run.id
    # It learnt.
    losses = [point.value for point in metrics.since(db, run.id, "loss")]
    assert np.mean(losses[-3:]) < losses[0] - 0.1
    assert found["dpo.loss_trend"].value == found["dpo.accuracy_trend"].value == 1.0
    assert found["dpo.batch_size"].value == 8
    evaluated = [point.step for point in metrics.since(db, run.id, "eval_loss")]
    assert evaluated == [0, 4, 8, 12, 16, 20, 24]
    assert [point.step for point in metrics.since(db, run.id, "loss")] == list(range(2, 25, 2))
    rates = {point.step: point.value for point in metrics.since(db, run.id, "learning_rate")}
    assert rates[2] == pytest.approx(2.5e-3)
    assert 0 < rates[24] < 1e-4  # the last update of a cosine over 24, of which 23 came before

    # The gap once more, by another way: the files that were handed over, scored pair by pair.
    folder, base = space.root / "outputs" / "dpo", space.root / "models" / "tiny"
    pairs = space.data / "pairs_val.jsonl"
    ours, theirs = (score(base, adapter, pairs, batch_size=1) for adapter in (folder, None))
    margins = [
        0.1 * (a.chosen_logp - a.rejected_logp - b.chosen_logp + b.rejected_logp)
        for a, b in zip(ours, theirs, strict=True)
    ]
    gap = found["dpo.preference_gap"]
    assert gap.value == pytest.approx(np.mean(margins), rel=1e-3)
    half = 1.96 * np.std(margins, ddof=1) / np.sqrt(len(margins))
    assert (gap.low, gap.high) == pytest.approx((np.mean(margins) - half, np.mean(margins) + half), rel=1e-2)
    assert found["dpo.preference_accuracy"].value == pytest.approx(100 * np.mean(np.array(margins) > 0))

    # And the model as mlx-lm loads it is the one that was measured.
    model, _ = mlx_lm.load(str(base), adapter_path=str(folder))
    assert not np.allclose(np.array(model(mx.array([[5, 6, 7]]))), np.array(load(base).model(mx.array([[5, 6, 7]]))))
    written = json.loads((folder / "training_metrics.json").read_text())
    for fact, key in (("dpo.kl_divergence", "kl_divergence"), ("dpo.preference_gap", "eval_rewards/margins")):
        assert written[key] == found[fact].value
    assert written["run"] == run.id
    assert (written["kl_divergence_low"], written["kl_divergence_high"]) == (
        found["dpo.kl_divergence"].low, found["dpo.kl_divergence"].high,
    )  # fmt: skip
    assert written["eval_rewards/accuracies"] == found["dpo.preference_accuracy"].value / 100
    assert json.loads((folder / written["checkpoint"] / "training_metrics.json").read_text()) == written
    assert not [name for name in written if name.startswith("_")]


def test_another_run_s_files_stay(tiny_workspace: tuple[Workspace, Database]) -> None:
    space, db = tiny_workspace
    first = train(space, db, training_max_steps=3)
    before = {path: digest(path) for path in (space.root / first.output_dir).rglob("*") if path.is_file()}
    second, third = train(space, db, training_max_steps=3), train(space, db, training_max_steps=3)
    assert [run.output_dir for run in (first, second, third)] == ["outputs/dpo", "outputs/dpo-2", "outputs/dpo-3"]
    assert {path: digest(path) for path in before} == before
    said = [line.text for line in log.lines(db, second.id, level="warning")]
    assert "outputs/dpo holds another run's files: this run writes to outputs/dpo-2" in said
    for path in (space.root / "outputs").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path


def test_a_stop_before_the_first_report(tiny_workspace: tuple[Workspace, Database]) -> None:
    space, db = tiny_workspace
    run = train(
        space, db, training_max_steps=100, training_logging_steps=100, training_eval_steps=1, training_warmup_steps=0,
        training_learning_rate=0.05, constraints_kl_target=1e-9, training_early_stopping_patience=2,
    )  # fmt: skip
    assert [point.step for point in metrics.since(db, run.id, "loss")] == [2]
    found = facts.of_run(db, run.id)
    assert found["dpo.throughput"].value > 0
    assert found["dpo.finished"].source == "2 steps"


@pytest.mark.parametrize(
    ("steps", "word"), [(8, "step 2: the gradient is nan"), (1, "step 1: the validation loss is nan")]
)
def test_numbers_that_are_none_end_the_run_through_the_engine(
    tiny_workspace: tuple[Workspace, Database], steps: int, word: str
) -> None:
    space, db = tiny_workspace
    config = tiny.dpo_config(
        training_learning_rate=1.0, training_max_steps=steps, training_warmup_steps=0, adapter_alpha=1e6,
        adapter_rank=1, optimization_optimizer="sgd", optimization_max_grad_norm=0.0,
        optimization_lr_scheduler="constant",
    )  # fmt: skip
    weights = mx.load(str(space.root / "models" / "tiny" / "model.safetensors"))
    weights["model.norm.weight"] = weights["model.norm.weight"] * 1e12
    mx.eval(weights)
    mx.save_safetensors(str(space.root / "models" / "tiny" / "model.safetensors"), weights)
    run = submit(space, db, "dpo", config)
    engine = InProcessEngine(space)
    engine.start()
    try:
        deadline = time.monotonic() + 60
        while runs.get(db, run.id).ended is None:
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        engine.stop()
    failed = runs.get(db, run.id)
    assert failed.state == "failed"
    assert failed.error.startswith(word)
    assert "lower training.learning_rate, or set compute.dtype: float32" in failed.error
    assert "\n" not in failed.error
    assert "dpo.finished" not in facts.of_run(db, run.id)
    assert any(line.text == failed.error for line in log.lines(db, run.id, level="error"))


def test_a_model_that_gives_no_numbers_is_said_before_training(tiny_workspace: tuple[Workspace, Database]) -> None:
    space, db = tiny_workspace
    file = space.root / "models" / "tiny" / "model.safetensors"
    good = file.read_bytes()
    weights = mx.load(str(file))
    weights["model.norm.weight"] = mx.full(weights["model.norm.weight"].shape, float("nan"))
    mx.eval(weights)
    mx.save_safetensors(str(file), weights)
    run = submit(space, db, "dpo", tiny.dpo_config(training_max_steps=3))
    with pytest.raises(UserError, match=r"step 0: the validation loss is nan: the model gives no numbers before it"):
        execute(space, db, run.id, dpo_run.run, None)
    # Without a checkpoint nothing ties the run to what it read: mended, it begins.
    file.write_bytes(good)
    execute(space, db, run.id, dpo_run.run, None)
    assert facts.of_run(db, run.id)["dpo.finished"].value == 1.0


def test_files_that_changed_are_not_resumed_on(tiny_workspace: tuple[Workspace, Database]) -> None:
    space, db = tiny_workspace
    run = submit(space, db, "dpo", tiny.dpo_config())
    with pytest.raises(Stopped):
        execute(space, db, run.id, dpo_run.run, 4)
    file = space.data / "pairs_train.jsonl"
    was = file.read_text()
    lines = was.splitlines(keepends=True)
    file.write_text("".join(reversed(lines)))
    for _ in range(2):  # asking again does not help
        with pytest.raises(UserError, match=r"data/pairs_train\.jsonl changed since dpo-001 wrote its last checkpoint"):
            execute(space, db, run.id, dpo_run.run, None)
    file.write_text(was)
    execute(space, db, run.id, dpo_run.run, None)
    assert facts.of_run(db, run.id)["dpo.finished"].value == 1.0


def test_files_may_change_before_the_first_checkpoint(tiny_workspace: tuple[Workspace, Database]) -> None:
    space, db = tiny_workspace
    file = space.data / "pairs_train.jsonl"
    was = file.read_text()
    file.write_text("{\n")
    run = submit(space, db, "dpo", tiny.dpo_config(training_max_steps=3))
    with pytest.raises(UserError, match="no row to learn from"):
        execute(space, db, run.id, dpo_run.run, None)
    file.write_text(was)
    execute(space, db, run.id, dpo_run.run, None)


def test_many_bad_rows_are_counted(tiny_workspace: tuple[Workspace, Database]) -> None:
    space, db = tiny_workspace
    file = space.data / "pairs_train.jsonl"
    bad = '{"prompt": "x", "chosen": ""}\n' * 4 + "not json\n" * 3
    file.write_text(file.read_text() + bad)
    run = train(space, db, training_max_steps=3)
    said = [line.text for line in log.lines(db, run.id, level="warning") if "left out" in line.text]
    assert len([text for text in said if text.startswith("left out: data/pairs_train.jsonl:")]) == 5
    assert said[-1].startswith("left out of data/pairs_train.jsonl: 7 rows (")
    assert facts.of_run(db, run.id)["dpo.started"].source == "30 pairs"


def test_a_template_that_refuses_a_row(tiny_workspace: tuple[Workspace, Database]) -> None:
    space, db = tiny_workspace
    settings = space.root / "models" / "tiny" / "tokenizer_config.json"
    strict = (
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role here') }}{% endif %}"
        "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>{% endif %}"
    )
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"chat_template": strict}))
    answers = {
        "chosen": [{"role": "assistant", "content": "red"}],
        "rejected": [{"role": "assistant", "content": "no"}],
    }
    user = {"role": "user", "content": "Say"}
    rows = [{"prompt": [user], **answers}] * 5
    rows.insert(2, {"prompt": [{"role": "system", "content": "Be kind"}, user], **answers})
    (space.data / "pairs_train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = train(space, db, training_max_steps=3)
    said = [line.text for line in log.lines(db, run.id, level="warning")]
    refusal = "left out: data/pairs_train.jsonl:3: the chat template refuses it (no system role here)"
    assert refusal in said
    assert facts.of_run(db, run.id)["dpo.started"].source == "5 pairs"


def test_messages_for_a_tokenizer_without_a_template(tiny_workspace: tuple[Workspace, Database]) -> None:
    space, db = tiny_workspace
    settings = space.root / "models" / "tiny" / "tokenizer_config.json"
    without = {key: value for key, value in json.loads(settings.read_text()).items() if key != "chat_template"}
    settings.write_text(json.dumps(without))
    with pytest.raises(UserError, match="need a chat template and the model's tokenizer has none"):
        train(space, db, data_apply_chat_template=True)


def test_a_tokenizer_of_another_model(tiny_workspace: tuple[Workspace, Database]) -> None:
    space, db = tiny_workspace
    folder = space.root / "models" / "tiny"
    weights = mx.load(str(folder / "model.safetensors"))
    weights["model.embed_tokens.weight"] = weights["model.embed_tokens.weight"][:250]
    mx.eval(weights)
    mx.save_safetensors(str(folder / "model.safetensors"), weights)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"vocab_size": 250}))
    word = r"token \d+ is beyond the model's 250: the tokenizer in its folder is another model's"
    with pytest.raises(UserError, match=word):
        train(space, db)
    with pytest.raises(UserError, match=word):
        score(folder, None, space.data / "pairs_train.jsonl", batch_size=4)


@pytest.mark.parametrize("adapter", ["lora", "dora", "full"])
def test_a_policy_that_starts_from_other_weights(tiny_workspace: tuple[Workspace, Database], adapter: str) -> None:
    space, db = tiny_workspace
    other = space.root / "models" / "other"
    copy_model(space.root / "models" / "tiny", other)
    run = train(
        space, db, model_policy_model="models/other", adapter_type=adapter, training_max_steps=4,
        constraints_kl_target=10.0, training_learning_rate=1e-4, compute_gradient_checkpointing=True,
    )  # fmt: skip
    kl = {point.step: point.value for point in metrics.since(db, run.id, "kl_divergence")}
    assert kl[0] > 1e-4
    found = facts.of_run(db, run.id)
    assert {"models/tiny", "models/other"} <= set(found["dpo.preference_gap"].inputs)
    # The handed-over files are of the policy's own base.
    folder, pairs = space.root / "outputs" / "dpo", space.data / "pairs_val.jsonl"
    model, files = (folder, None) if adapter == "full" else (other, folder)
    ours = score(model, files, pairs, batch_size=4)
    theirs = score(space.root / "models" / "tiny", None, pairs, batch_size=4)
    margins = [
        0.1 * (a.chosen_logp - a.rejected_logp - b.chosen_logp + b.rejected_logp)
        for a, b in zip(ours, theirs, strict=True)
    ]
    assert found["dpo.preference_gap"].value == pytest.approx(np.mean(margins), rel=1e-3, abs=1e-4)


def copy_model(source: Path, target: Path) -> None:
    """The model with other weights."""
    target.mkdir()
    for file in source.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    weights = mx.load(str(target / "model.safetensors"))
    weights["model.embed_tokens.weight"] = weights["model.embed_tokens.weight"] * 1.1
    mx.eval(weights)
    mx.save_safetensors(str(target / "model.safetensors"), weights)


def test_another_architecture_is_one_sentence(tiny_workspace: tuple[Workspace, Database]) -> None:
    space, db = tiny_workspace
    other = space.root / "models" / "other"
    copy_model(space.root / "models" / "tiny", other)
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 1, "vocab_size": 512}))
    with pytest.raises(UserError) as refused:
        train(space, db, model_policy_model="models/other")
    assert str(refused.value) == (
        "model.policy_model differs from model.reference_model in vocab_size, num_hidden_layers: "
        "start the policy from a model of the same architecture"
    )


def test_gradient_checkpointing_and_dropout_learn_as_well(
    tiny_workspace: tuple[Workspace, Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    space, db = tiny_workspace
    checkpoint, blocks = mx.checkpoint, []
    monkeypatch.setattr(mx, "checkpoint", lambda function: blocks.append(function) or checkpoint(function))
    run = train(
        space, db, compute_gradient_checkpointing=True, adapter_dropout=0.2, training_max_steps=16,
        training_learning_rate=5e-3, constraints_kl_target=10.0,
    )  # fmt: skip
    losses = [point.value for point in metrics.since(db, run.id, "loss")]
    assert losses[-1] < losses[0] - 0.1
    # In every micro-batch of every step, in both blocks.
    assert len(blocks) >= 16 * 2 * 2


def test_only_some_validation_pairs_are_looked_at(tiny_workspace: tuple[Workspace, Database]) -> None:
    space, db = tiny_workspace
    run = train(space, db, training_max_steps=4, training_eval_pairs=6)
    assert facts.of_run(db, run.id)["dpo.preference_gap"].n == 6


def test_a_policy_that_is_itself_an_adapter(tiny_workspace: tuple[Workspace, Database]) -> None:
    """As in iterations: what is written afterwards stands on both."""
    space, db = tiny_workspace
    train(space, db, training_max_steps=4, training_learning_rate=5e-3, constraints_kl_target=10.0)
    first = space.root / "outputs" / "dpo"
    run = train(
        space, db, model_policy_model="outputs/dpo", model_reference_model="outputs/dpo", training_max_steps=4,
        constraints_kl_target=10.0, logging_output_dir="outputs/second",
    )  # fmt: skip
    second = space.path(run.output_dir or "")
    assert second != first
    written = json.loads((second / "adapter_config.json").read_text("utf-8"))
    assert written["model"] == "outputs/second/base"
    pairs = space.data / "pairs_val.jsonl"
    ours = score(second / "base", second, pairs, batch_size=4)
    theirs = score(first, None, pairs, batch_size=4)
    margins = [
        0.1 * (a.chosen_logp - a.rejected_logp - b.chosen_logp + b.rejected_logp)
        for a, b in zip(ours, theirs, strict=True)
    ]
    gap = facts.of_run(db, run.id)["dpo.preference_gap"].value
    assert gap == pytest.approx(np.mean(margins), rel=1e-3, abs=1e-4) and abs(gap) > 1e-4


def test_a_kl_beyond_the_limit_says_what_to_try(tiny_workspace: tuple[Workspace, Database]) -> None:
    space, db = tiny_workspace
    far = {
        "training_learning_rate": 1e-2,
        "training_warmup_steps": 0,
        "training_max_steps": 6,
        "training_eval_steps": 3,
    }
    beyond = train(space, db, **far, constraints_kl_target=1e-6)
    assert beyond.state == "queued"  # the engine writes states; nothing here ended it as failed
    assert beyond.hint.startswith("no checkpoint kept KL within 1e-06, the last has ")
    assert beyond.hint.endswith(": try training.learning_rate=0.005, or training.beta=0.2, or kl_guard.action=rollback")
    said = [line.text for line in log.lines(db, beyond.id, level="warning")]
    assert beyond.hint.split(": try ")[0] in said
    stopped = train(space, db, **far, constraints_kl_target=1e-6, kl_guard_action="stop")
    assert "kl_guard" not in stopped.hint
    within = train(space, db, **far, constraints_kl_target=50.0)
    assert within.hint is None
    guarded = train(space, db, **far, constraints_kl_target=50.0, kl_guard_action="stop", kl_guard_kl_limit=1e-6)
    assert "the KL guard stopped training after step 3; checkpoint-3 is within the limit" in guarded.hint
