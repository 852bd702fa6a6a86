"""Recomputing changes memory and time, nothing else, and stays with the model it was asked for."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten

from core.models.gradient_checkpointing import _Dropout, gradient_checkpointing
from core.models.head import Head
from core.models.vocabulary import log_sum_exp
from tests.core.models.architectures import VOCABULARY, build
from tests.core.training.objectives import adapted

IDS = mx.random.randint(0, VOCABULARY, (2, 9), key=mx.random.key(0))


def loss_of(model: nn.Module) -> mx.array:
    logits = model(IDS)
    return (mx.logsumexp(logits, axis=-1) - logits[..., 3]).sum()


def gradients(model: nn.Module, enabled: bool) -> tuple[float, dict[str, np.ndarray]]:
    model.train()
    with gradient_checkpointing(model, enabled):
        mx.random.seed(5)
        value, grads = nn.value_and_grad(model, lambda: loss_of(model))()
        mx.eval(value, grads)
    return value.item(), {name: np.array(g) for name, g in tree_flatten(grads)}


@pytest.mark.parametrize("name", ["llama", "qwen3", "phi3"])
@pytest.mark.parametrize("kind", ["lora", "full"])
def test_same_loss_and_gradients(name: str, kind: str) -> None:
    def model() -> nn.Module:
        return build(name) if kind == "full" else adapted(name)

    value, grads = gradients(model(), True)
    expected, expected_grads = gradients(model(), False)
    assert value == pytest.approx(expected, rel=1e-6)
    assert grads.keys() == expected_grads.keys()
    for key, theirs in expected_grads.items():
        np.testing.assert_allclose(grads[key], theirs, rtol=1e-4, atol=1e-5 * max(1.0, np.abs(theirs).max()))
    assert any(np.abs(theirs).max() > 0 for theirs in expected_grads.values())


def test_with_dropout_the_gradient_is_that_of_the_loss() -> None:
    # Recomputed with another mask it would point elsewhere. Held against differences along the gradient itself.
    model = adapted(dropout=0.5)
    _, grads = gradients(model, True)
    size = np.sqrt(sum((g.astype(np.float64) ** 2).sum() for g in grads.values()))
    start = {name: np.array(value) for name, value in tree_flatten(model.trainable_parameters())}

    def loss_at(distance: float) -> float:
        moved = {name: mx.array(start[name] + distance * grads[name] / size) for name in grads}
        model.load_weights(list(moved.items()), strict=False)
        with gradient_checkpointing(model, True):
            mx.random.seed(5)
            return loss_of(model).item()

    step = 1e-3
    assert (loss_at(step) - loss_at(-step)) / (2 * step) == pytest.approx(size, rel=0.01)


def test_dropout_draws_its_masks_as_without() -> None:
    model = adapted(dropout=0.5)
    model.train()
    with gradient_checkpointing(model, True):
        mx.random.seed(5)
        first, second = loss_of(model).item(), loss_of(model).item()
        mx.random.seed(5)
        again = loss_of(model).item()
        model.eval()
        without = loss_of(model).item()
    assert first != second
    assert first == again
    assert without == loss_of(adapted(dropout=0.0)).item()
    model.train()
    # Afterwards, too.
    assert loss_of(model).item() != loss_of(model).item()


def test_a_mask_keeps_its_share_and_its_scale() -> None:
    model = Counting()
    model.layers[0].dropout = nn.Dropout(0.25)
    model.layers[0].linear.weight, model.layers[0].linear.bias = mx.eye(4), mx.zeros(4)
    model.train()
    with gradient_checkpointing(model, True):
        out = np.array(model(mx.ones((5000, 4))))
    assert set(np.unique(out.round(5))) == {0.0, np.float32(1.33333)}
    assert out.mean() == pytest.approx(1.0, abs=0.02)


class Counting(nn.Module):
    """A model of one block that counts how often it is computed."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = [CountingBlock()]

    def __call__(self, x: mx.array) -> mx.array:
        return self.layers[0](x)


class CountingBlock(nn.Module):
    calls = 0

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.dropout = nn.Dropout(0.0)

    def __call__(self, x: mx.array) -> mx.array:
        CountingBlock.calls += 1
        return self.dropout(self.linear(x))


@pytest.mark.parametrize(("enabled", "calls"), [(False, 1), (True, 2)])
def test_the_block_is_computed_again_in_the_backward_pass(enabled: bool, calls: int) -> None:
    model = Counting()
    CountingBlock.calls = 0
    with gradient_checkpointing(model, enabled):
        _, grads = nn.value_and_grad(model, lambda x: mx.square(model(x)).sum())(mx.ones((2, 4)))
        mx.eval(grads)
    assert CountingBlock.calls == calls


def test_other_models_of_the_class_are_untouched() -> None:
    model, other = build("llama"), build("llama")
    block = type(model.layers[0])
    call = block.__call__
    with gradient_checkpointing(model, True):
        assert type(model.layers[0]) is not block
        assert isinstance(model.layers[0], block)
        assert type(other.layers[0]) is block
        assert block.__call__ is call
    assert [type(layer) for layer in model.layers] == [block] * 2


def test_the_class_comes_back_after_an_exception() -> None:
    model = build("llama")
    block = type(model.layers[0])
    with pytest.raises(RuntimeError), gradient_checkpointing(model, True):
        raise RuntimeError
    assert [type(layer) for layer in model.layers] == [block] * 2


def test_entering_twice_does_not_stack() -> None:
    model = build("llama")
    with gradient_checkpointing(model, True):
        first = type(model.layers[0])
    with gradient_checkpointing(model, True):
        # The same class again, so that what was compiled for it is found.
        assert type(model.layers[0]) is first


def test_off_is_off() -> None:
    model = build("llama")
    block = type(model.layers[0])
    with gradient_checkpointing(model, False):
        assert type(model.layers[0]) is block


def test_the_weights_are_arrays_afterwards() -> None:
    model = adapted()
    before = {name: np.array(value) for name, value in tree_flatten(model.parameters())}
    gradients(model, True)
    for name, value in tree_flatten(model.parameters()):
        assert np.array_equal(np.array(value), before[name]), name
    assert not any(isinstance(module, _Dropout) for module in model.modules())


def _peak(*, enabled: bool) -> tuple[int, Any]:
    """Bytes of one gradient through body and head, beyond what was there before, and the gradient."""
    model = adapted("llama", hidden_size=64, intermediate_size=256, num_hidden_layers=8, max_position_embeddings=512)
    head = Head(model)
    ids = mx.random.randint(1, VOCABULARY, (4, 128), key=mx.random.key(1))
    positions, targets = mx.arange(512), mx.random.randint(1, VOCABULARY, (512,), key=mx.random.key(2))
    mx.eval(ids, positions, targets)
    model.train()

    def loss(ids: mx.array) -> mx.array:
        return -head.logps(head.features(ids, positions), targets)[0].mean()

    with gradient_checkpointing(model, enabled):
        before = mx.get_active_memory()
        mx.reset_peak_memory()
        found = nn.value_and_grad(model, loss)(ids)
        mx.eval(found)
        return mx.get_peak_memory() - before, found


def test_it_takes_less_memory_and_gives_the_same() -> None:
    (with_all, plain), (with_few, recomputed) = _peak(enabled=False), _peak(enabled=True)
    assert with_few < 0.4 * with_all
    assert float(plain[0]) == pytest.approx(float(recomputed[0]), rel=1e-6)
    for (name, one), (_, other) in zip(tree_flatten(plain[1]), tree_flatten(recomputed[1]), strict=True):
        assert mx.allclose(one, other, rtol=1e-3, atol=1e-6), name


def test_log_sum_exp_is_exact_over_a_large_vocabulary() -> None:
    logits = 3 * mx.random.normal((4, 49_152), key=mx.random.key(0))
    exact = np.log(np.exp(np.array(logits, np.float64)).sum(axis=-1, keepdims=True))
    assert np.abs(np.array(log_sum_exp(logits)) - exact).max() < 3e-6
    for size in (1, 255, 256, 257):
        part = logits[:, :size]
        exact = np.log(np.exp(np.array(part, np.float64)).sum(axis=-1, keepdims=True))
        assert np.abs(np.array(log_sum_exp(part)) - exact).max() < 3e-6
