"""An SFT run through its job: the loss is of response tokens, and the model handed over is the one measured."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import mlx_lm
import numpy as np
import pytest
from mlx.utils import tree_flatten

from core.data.tokenize import Tokens
from core.engine.client import submit
from core.errors import UserError
from core.models.load import load
from core.store import Database, facts, log, metrics, runs
from core.training import sft_run
from core.training.sft import SFT
from core.workspace import Workspace
from tests.core.models.architectures import build
from tests.core.training import tiny
from tests.core.training.objectives import random_pairs
from tests.core.training.test_resume import digest, execute


def train(space: Workspace, db: Database, **changes: object) -> runs.Run:
    run = submit(space, db, "sft", tiny.sft_config(**changes))
    execute(space, db, run.id, sft_run.run, None)
    return runs.get(db, run.id)


def nll(model: nn.Module, prompt: list[int], response: list[int]) -> float:
    """Summed negative log-likelihood of the response, in float64."""
    logits = np.array(model(mx.array([prompt + response]))[0].astype(mx.float32), np.float64)
    table = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    return -sum(table[len(prompt) + i - 1, token] for i, token in enumerate(response))


@pytest.mark.parametrize("batch_size", [1, 3, 16])
def test_loss_and_perplexity_of_response_tokens(batch_size: int) -> None:
    examples = [Tokens(pair.prompt, pair.responses[:1]) for pair in random_pairs(7)]
    model = build("llama", spread=0.1)
    objective = SFT(model, examples, examples, batch_size=batch_size, write_model=lambda folder: None)
    total = sum(nll(model, example.prompt, example.responses[0]) for example in examples)
    tokens = sum(len(example.responses[0]) for example in examples)
    loss, count, sums = objective.loss(*objective.batch(list(range(7))))
    assert (loss.item(), count.item()) == pytest.approx((total, tokens), rel=1e-5)
    assert sums == {}
    found = objective.evaluate(1, lambda: False)
    assert found["eval_loss"] == pytest.approx(total / tokens, rel=1e-5)
    assert found["eval_perplexity"] == pytest.approx(math.exp(total / tokens), rel=1e-5)
    assert objective.score(found) == -found["eval_loss"]
    assert objective.evaluate(1, lambda: True) is None
    assert objective.tokens([0, 2]) == examples[0].length + examples[2].length


def held_out(space: Workspace, tokenizer: object) -> list[tuple[list[int], list[int]]]:
    rows = [json.loads(line) for line in (space.data / "sft_val.jsonl").read_text().splitlines()]
    found = []
    for row in rows:
        ids = [*tokenizer.encode(row["prompt"] + row["response"]), tokenizer.eos_token_id]
        start = len(tokenizer.encode(row["prompt"].rstrip()))  # the space melts into the response's first word
        found.append((ids[:start], ids[start:]))
    return found


@pytest.mark.parametrize("adapter", ["lora", "full"])
def test_the_perplexity_is_that_of_the_model_handed_over(tmp_path: Path, adapter: str) -> None:
    space, db = tiny.workspace(tmp_path / "w")
    run = train(space, db, adapter_type=adapter, training_learning_rate=5e-3)
    model, tokenizer = mlx_lm.load(str(space.checkpoints / "sft"))
    pairs = held_out(space, tokenizer)
    mean = sum(nll(model, *pair) for pair in pairs) / sum(len(response) for _, response in pairs)
    fact = facts.of_run(db, run.id)["sft.perplexity"]
    assert fact.value == pytest.approx(math.exp(mean), rel=1e-3)
    assert fact.n == 10
    written = json.loads((space.checkpoints / "sft" / "training_metrics.json").read_text())
    assert written["eval_perplexity"] == fact.value
    # Better than the model it came from.
    base = load(space.root / "models" / "tiny").model
    before = sum(nll(base, *pair) for pair in pairs) / sum(len(response) for _, response in pairs)
    assert metrics.since(db, run.id, "eval_loss")[0].value == pytest.approx(before, rel=1e-4)
    assert mean < before - 0.1
    # No trace of the adapter in the files.
    assert not any("lora" in name for name, _ in tree_flatten(model.parameters()))


FACTS = {
    "sft.base_model_verified", "sft.config_valid", "sft.data_valid", "sft.validation_share", "sft.finished",
    "sft.perplexity", "sft.checkpoint_saved", "sft.logs_saved",
}  # fmt: skip


def test_facts(tmp_path: Path) -> None:
    space, db = tiny.workspace(tmp_path / "w")
    found = facts.of_run(db, train(space, db, training_max_steps=3, training_eval_pairs=4).id)
    assert set(found) == FACTS
    assert found["sft.validation_share"].unit == "%"
    assert found["sft.data_valid"].n == 40
    assert found["sft.perplexity"].n == 4
    assert found["sft.base_model_verified"].inputs.keys() == {"models/tiny"}
    assert found["sft.checkpoint_saved"].inputs.keys() == {"checkpoints/sft"}
    assert found["sft.checkpoint_saved"].text == "checkpoints/sft"
    assert found["sft.finished"].source == "3 steps"


def quantize(folder: Path, **options: Any) -> None:
    """A model folder as `mlx_lm.convert -q` leaves it."""
    options = options or {"group_size": 32, "bits": 4}
    model = load(folder).model
    nn.quantize(model, **options)
    mx.save_safetensors(str(folder / "model.safetensors"), dict(tree_flatten(model.parameters())))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"quantization": options, "quantization_config": options}))


@pytest.mark.parametrize("dequantize", [False, True])
@pytest.mark.parametrize("adapter", ["lora", "dora"])
def test_a_quantized_base_is_measured_as_it_is_handed_over(tmp_path: Path, adapter: str, dequantize: bool) -> None:
    space, db = tiny.workspace(tmp_path / "w")
    quantize(space.root / "models" / "tiny")
    run = train(
        space, db, training_learning_rate=5e-3, adapter_type=adapter, model_dequantize=dequantize,
        training_max_steps=6, training_eval_steps=6, training_save_steps=6,
    )  # fmt: skip
    model, tokenizer = mlx_lm.load(str(space.checkpoints / "sft"))
    assert any(hasattr(module, "bits") for _, module in model.named_modules()) != dequantize
    written = json.loads((space.checkpoints / "sft" / "config.json").read_text())
    assert ("quantization" in written) == ("quantization_config" in written) == (not dequantize)
    pairs = held_out(space, tokenizer)
    mean = sum(nll(model, *pair) for pair in pairs) / sum(len(response) for _, response in pairs)
    fact = facts.of_run(db, run.id)["sft.perplexity"]
    assert fact.value == pytest.approx(math.exp(mean), rel=1e-3)
    # What training ended with, but for what is rounded again.
    ended = metrics.tail(db, run.id, "eval_perplexity", 1)[0].value
    assert (fact.value == pytest.approx(ended, rel=1e-4)) == dequantize
    said = [line.text for line in log.lines(db, run.id)]
    words = "written without quantization: perplexity " if dequantize else "quantized again: perplexity "
    assert any(line.startswith(words) for line in said)


def test_quantized_weights_are_not_trained_in_full(tmp_path: Path) -> None:
    space, db = tiny.workspace(tmp_path / "w")
    quantize(space.root / "models" / "tiny")
    with pytest.raises(UserError, match="full cannot train quantized weights"):
        train(space, db, adapter_type="full")


def test_the_best_checkpoint_is_handed_over_not_the_last(tmp_path: Path) -> None:
    space, db = tiny.workspace(tmp_path / "w")
    # A rate at which it gets worse again.
    run = train(
        space, db, training_learning_rate=1.0, training_max_steps=4, training_eval_steps=1, training_warmup_steps=0,
        adapter_dropout=0.0, adapter_scale=8.0, optimization_optimizer="sgd", optimization_lr_scheduler="constant",
    )  # fmt: skip
    losses = {point.step: point.value for point in metrics.since(db, run.id, "eval_loss") if point.step}
    best = min(losses, key=losses.get)
    assert losses[best] < losses[4] - 1
    written = json.loads((space.checkpoints / "sft" / "training_metrics.json").read_text())
    assert written["best"] == f"checkpoint-{best}"
    assert written["eval_loss"] == losses[best]
    model, tokenizer = mlx_lm.load(str(space.checkpoints / "sft"))
    pairs = held_out(space, tokenizer)
    mean = sum(nll(model, *pair) for pair in pairs) / sum(len(response) for _, response in pairs)
    assert mean == pytest.approx(losses[best], rel=1e-3)


def test_a_model_that_stands_there_is_moved_aside(tmp_path: Path) -> None:
    space, db = tiny.workspace(tmp_path / "w")
    train(space, db, training_max_steps=3)
    first = digest(space.checkpoints / "sft" / "model.safetensors")
    run = train(space, db, training_max_steps=3, training_seed=1)
    train(space, db, training_max_steps=3, training_seed=2)
    assert digest(space.checkpoints / "sft-earlier-1" / "model.safetensors") == first
    assert (space.checkpoints / "sft-earlier-2" / "model.safetensors").exists()
    said = [line.text for line in log.lines(db, run.id, level="warning")]
    assert "the model that stood in sft is kept in sft-earlier-1" in said


def test_rows_of_messages_learn_the_assistant_s_part(tmp_path: Path) -> None:
    space, db = tiny.workspace(tmp_path / "w")
    for name in ("train", "val"):
        file = space.data / f"sft_{name}.jsonl"
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        text = "".join(
            json.dumps(
                {"messages": [
                    {"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": row["response"]}
                ]}
            ) + "\n"
            for row in rows
        )  # fmt: skip
        file.write_text(text)
    run = train(space, db, training_max_steps=10, training_learning_rate=5e-3)
    losses = metrics.since(db, run.id, "eval_loss")
    assert losses[-1].value < losses[0].value - 0.1


def test_a_base_that_is_itself_an_adapter(tmp_path: Path) -> None:
    """Checkpoints stand on both as one model: read back they are what was trained."""
    space, db = tiny.workspace(tmp_path / "w")
    first = train(space, db, training_learning_rate=5e-3, training_save_steps=12)
    below = f"{first.output_dir}/checkpoint-12"
    assert (space.path(below) / "adapter_config.json").is_file()
    run = train(
        space, db, model_base_model=below, model_checkpoint="checkpoints/second", logging_output_dir="outputs/second",
        training_learning_rate=5e-3, training_save_steps=12, training_early_stopping_patience=0,
    )  # fmt: skip
    assert below in run.inputs
    last = space.path(f"{run.output_dir}/checkpoint-12")
    assert json.loads((last / "adapter_config.json").read_text())["model"] == "outputs/second/base"
    ids = mx.array([[5, 9, 11, 7]])
    handed_over, read_back = (load(path).model(ids) for path in (space.checkpoints / "second", last))
    np.testing.assert_allclose(np.array(handed_over), np.array(read_back), rtol=1e-4, atol=1e-4)
    assert not np.allclose(np.array(read_back), np.array(load(space.path(below)).model(ids)), atol=1e-2)
