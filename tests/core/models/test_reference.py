"""The reference answers as the model did before training, to the bit, and leaves no trace in the policy."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np
import pytest
from mlx.utils import tree_flatten, tree_map

from core.config.models import Adapter
from core.errors import UserError
from core.models.adapters import adapters_off, add_adapters
from core.models.load import load
from core.models.reference import AdapterOff, WeightsFromDisk
from tests.core.models.folders import IDS, write_folder


def logits(model: nn.Module) -> np.ndarray:
    return np.array(model(IDS))


def train(model: nn.Module, steps: int = 3) -> None:
    """Move the trainable weights, with dropout drawing its masks."""

    def loss(ids: mx.array) -> mx.array:
        out = model(ids)
        return (mx.logsumexp(out, axis=-1) - out[..., 3]).mean()

    model.train()
    optimizer = optim.Adam(learning_rate=0.05)
    for _ in range(steps):
        grads = nn.value_and_grad(model, loss)(IDS)[1]
        optimizer.update(model, tree_map(lambda g: g, grads))
        mx.eval(model.parameters())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "base")


def parameters(model: nn.Module) -> dict[str, np.ndarray]:
    return {name: np.array(value) for name, value in tree_flatten(model.parameters())}


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_adapter_off_is_the_base_model(tmp_path: Path, tied: bool, dropout: float) -> None:
    folder = write_folder(tmp_path / "base", tie_word_embeddings=tied)
    base = logits(load(folder).model)
    policy = load(folder).model
    mx.random.seed(0)
    add_adapters(policy, Adapter(rank=2, dropout=dropout, num_layers=-1))
    assert np.array_equal(logits(policy.eval()), base)  # B = 0
    train(policy)
    before = parameters(policy)
    # In training mode, where dropout would draw.
    assert policy.training
    reference = AdapterOff(policy)
    for context in (reference.on, reference.head_on):
        with context():
            assert np.array_equal(logits(policy), base)
            assert not policy.training
        assert policy.training
    assert not np.array_equal(logits(policy.eval()), base)
    for name, value in parameters(policy).items():
        assert np.array_equal(value, before[name]), name


def test_adapters_come_back_after_an_exception(folder: Path) -> None:
    policy = load(folder).model
    add_adapters(policy, Adapter(rank=2, num_layers=-1))
    train(policy)
    policy.eval()
    own = logits(policy)
    with pytest.raises(RuntimeError), adapters_off(policy):
        raise RuntimeError
    assert np.array_equal(logits(policy), own)


@pytest.mark.parametrize("kind", ["full", "lora"])
def test_weights_from_disk_are_the_base_model(folder: Path, kind: str) -> None:
    base = logits(load(folder).model)
    policy = load(folder).model
    if kind == "lora":
        add_adapters(policy, Adapter(rank=2, dropout=0.5, num_layers=-1))
    else:
        policy.unfreeze()
    train(policy)
    before, own = parameters(policy), logits(policy.eval())
    policy.train()
    reference = WeightsFromDisk(policy, folder, None, False)
    for _ in range(2):
        with reference.on():
            assert np.array_equal(logits(policy), base)
        for name, value in parameters(policy).items():
            assert np.array_equal(value, before[name]), name
    assert policy.training
    assert np.array_equal(logits(policy.eval()), own)
    with pytest.raises(RuntimeError), reference.on():
        raise RuntimeError
    assert np.array_equal(logits(policy), own)


@pytest.mark.parametrize("tied", [True, False])
def test_head_of_the_reference(tmp_path: Path, tied: bool) -> None:
    folder = write_folder(tmp_path / "base", tie_word_embeddings=tied)
    policy = load(folder).model
    policy.unfreeze()
    train(policy)

    def head(hidden: mx.array) -> np.ndarray:
        return np.array(policy.model.embed_tokens.as_linear(hidden) if tied else policy.lm_head(hidden))

    reference = WeightsFromDisk(policy, folder, None, False)
    with reference.on():
        hidden = policy.model(IDS)
        expected = head(hidden)
    own = head(hidden)
    shutil.rmtree(folder)  # it is kept once read: asked for at every evaluation
    with pytest.raises(UserError), reference.head_on():
        pass
    write_folder(folder, tie_word_embeddings=tied)
    for _ in range(2):
        with reference.head_on():
            assert np.array_equal(head(hidden), expected)
        shutil.rmtree(folder, ignore_errors=True)
    assert not np.array_equal(own, expected)
    assert np.array_equal(head(hidden), own)


def test_a_policy_of_other_weights_with_an_adapter(tmp_path: Path) -> None:
    reference_folder, policy_folder = write_folder(tmp_path / "a", seed=0), write_folder(tmp_path / "b", seed=1)
    reference_logits, policy_logits = (logits(load(f).model) for f in (reference_folder, policy_folder))
    policy = load(policy_folder).model
    add_adapters(policy, Adapter(rank=2, num_layers=1))
    assert np.array_equal(logits(policy.eval()), policy_logits)
    train(policy)
    with WeightsFromDisk(policy, reference_folder, None, False).on():
        assert np.array_equal(logits(policy), reference_logits)
    with adapters_off(policy):
        assert np.array_equal(logits(policy), policy_logits)


def test_the_reference_takes_the_type_of_the_policy(folder: Path) -> None:
    policy = load(folder, dtype=mx.bfloat16).model
    policy.unfreeze()
    expected = logits_half(policy)
    with WeightsFromDisk(policy, folder, mx.bfloat16, False).on():
        assert {str(value.dtype) for _, value in tree_flatten(policy.parameters())} == {"mlx.core.bfloat16"}
        assert np.array_equal(logits_half(policy), expected)


def logits_half(model: nn.Module) -> np.ndarray:
    return np.array(model(IDS).astype(mx.float32))


def test_a_reference_of_another_shape_is_refused(tmp_path: Path) -> None:
    policy = load(write_folder(tmp_path / "a")).model
    policy.unfreeze()
    own = parameters(policy)
    for changes in ({"num_hidden_layers": 3}, {"intermediate_size": 24}, {"attention_bias": True}):
        other = write_folder(tmp_path / json.dumps(changes).strip("{}").replace('"', ""), **changes)
        reference = WeightsFromDisk(policy, other, None, False)
        with pytest.raises(UserError, match="has other weights than the policy"), reference.on():
            pass
        with pytest.raises(UserError, match="has other weights than the policy"), reference.head_on():
            pass
    for name, value in parameters(policy).items():
        assert np.array_equal(value, own[name])
