"""Adapters on quantized weights: gradients, the reference, and what mlx-lm makes of the files."""

from __future__ import annotations

import json
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import mlx_lm
import numpy as np
import pytest
from mlx.utils import tree_flatten, tree_map

from core.config.models import Adapter
from core.engine.client import submit
from core.models.adapters import adapters_off, add_adapters
from core.models.fusing import fuse, plain_layer
from core.models.load import load
from core.store import metrics, runs
from core.training import dpo_run
from core.training.score import score
from tests.core.models.architectures import build
from tests.core.training import tiny
from tests.core.training.objectives import dpo, random_pairs
from tests.core.training.test_resume import execute
from tests.core.training.test_sft_run import quantize

PAIRS = random_pairs(6)
SHAPE = {"hidden_size": 64, "intermediate_size": 128}
WAYS = {
    "4 bit": {"group_size": 32, "bits": 4},
    "8 bit": {"group_size": 32, "bits": 8},
    "3 bit": {"group_size": 32, "bits": 3},
    "mxfp4": {"group_size": 32, "bits": 4, "mode": "mxfp4"},
    "nvfp4": {"group_size": 16, "bits": 4, "mode": "nvfp4"},
    "mxfp8": {"group_size": 32, "bits": 8, "mode": "mxfp8"},
}


def quantized(way: str, name: str = "llama", **shape: int) -> nn.Module:
    model = build(name, spread=0.1, **SHAPE, **shape)
    nn.quantize(model, **WAYS[way])
    return model


def written_out(model: nn.Module) -> nn.Module:
    """The same model with plain weights of the same values."""
    model.update_modules(tree_map(plain_layer, model.leaf_modules(), is_leaf=nn.Module.is_module))
    model.set_dtype(mx.float32)
    return model


def adapted(model: nn.Module, kind: str) -> nn.Module:
    mx.random.seed(0)
    add_adapters(model, Adapter(type=kind, rank=2, alpha=4.0, num_layers=-1))
    for name, value in tree_flatten(model.trainable_parameters()):
        if name.endswith("lora_b"):
            model.load_weights([(name, 0.1 * mx.random.normal(value.shape))], strict=False)
        elif name.endswith(".m"):
            model.load_weights([(name, value * 1.1)], strict=False)
    return model


def loss_and_gradients(model: nn.Module) -> tuple[float, dict[str, np.ndarray]]:
    objective = dpo(model, PAIRS)
    (loss, *_), grads = nn.value_and_grad(model, objective.loss)(*objective.batch(list(range(6))))
    return loss.item(), {name: np.array(value) for name, value in tree_flatten(grads)}


@pytest.mark.parametrize(
    ("way", "kind"), [(way, kind) for way in WAYS for kind in ("lora", "dora") if (way, kind) != ("3 bit", "dora")]
)
def test_gradients_are_those_on_the_same_weights_written_out(way: str, kind: str) -> None:
    loss, found = loss_and_gradients(adapted(quantized(way), kind))
    expected_loss, expected = loss_and_gradients(adapted(written_out(quantized(way)), kind))
    assert loss == pytest.approx(expected_loss, rel=1e-5)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert np.abs(value).max() > 0
        # mlx's 4-bit floats look embeddings up in bfloat16.
        tolerance = 1e-4 if "bit" in way else 3e-2
        np.testing.assert_allclose(found[name], value, atol=tolerance * np.abs(value).max(), err_msg=name)


# Where embeddings are rounded, a token may go to another expert.
@pytest.mark.parametrize("way", [way for way in WAYS if "bit" in way])
def test_experts(way: str) -> None:
    loss, found = loss_and_gradients(adapted(quantized(way, "mixtral"), "lora"))
    expected_loss, expected = loss_and_gradients(adapted(written_out(quantized(way, "mixtral")), "lora"))
    assert any("switch_mlp" in name for name in found)
    assert loss == pytest.approx(expected_loss, rel=1e-5)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=1e-4 * max(np.abs(value).max(), 1e-6), err_msg=name)


@pytest.mark.parametrize("way", list(WAYS))
def test_the_reference_is_the_quantized_model_to_the_bit(way: str) -> None:
    ids = mx.array([[1, 5, 9, 2, 7]])
    base = np.array(quantized(way)(ids))
    model = adapted(quantized(way), "lora")
    assert not np.array_equal(np.array(model(ids)), base)
    with adapters_off(model):
        assert np.array_equal(np.array(model(ids)), base)


@pytest.mark.parametrize("kind", ["lora", "dora"])
@pytest.mark.parametrize("way", ["4 bit", "8 bit"])
def test_a_run_on_a_quantized_model(tmp_path: Path, way: str, kind: str) -> None:
    space, db = tiny.workspace(tmp_path / "w")
    base = space.root / "models" / "tiny"
    quantize(base, **WAYS[way])
    config = tiny.dpo_config(
        adapter_type=kind, adapter_dropout=0.0, training_learning_rate=1e-2, training_max_steps=4,
        training_eval_steps=4, training_save_steps=4, constraints_kl_target=1000.0,
    )  # fmt: skip
    run = submit(space, db, "dpo", config)
    execute(space, db, run.id, dpo_run.run, None)
    kl = metrics.since(db, run.id, "kl_divergence")
    # Exactly: a fresh adapter is the quantized model to the bit.
    assert kl[0].value == 0
    assert kl[-1].value > 1e-3
    margins = metrics.since(db, run.id, "eval_rewards/margins")
    assert (margins[0].value, margins[-1].value > 0) == (0, True)
    folder = space.path(runs.get(db, run.id).output_dir)
    written = json.loads((folder / "adapter_config.json").read_text())
    assert written["fine_tune_type"] == kind
    theirs, tokenizer = mlx_lm.load(str(base), adapter_path=str(folder))
    ids = mx.array([tokenizer.encode("Say red green.")])
    ours = load(base).model
    before = np.array(ours(ids))
    mlx_lm.tuner.utils.load_adapters(ours, str(folder))
    ours.eval()
    after = np.array(theirs(ids))
    np.testing.assert_allclose(np.array(ours(ids)), after, rtol=1e-4, atol=1e-4)
    assert np.abs(after - before).max() > 1e-2
    # Fused without quantization it answers the same.
    fuse(ours, dequantize=True)
    np.testing.assert_allclose(np.array(ours(ids)), after, rtol=1e-3, atol=1e-3)
    # Scored it is what was trained: merged into the quantized weights it would be rounded anew.
    (alone,) = score(folder, None, space.data / "pairs_val.jsonl", batch_size=4)[:1]
    (beside,) = score(base, folder, space.data / "pairs_val.jsonl", batch_size=4)[:1]
    assert alone == beside
