"""Log-probs through the chunked head are those of the model's own logits, with every gradient, on each architecture."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten

from core.config.models import Adapter
from core.models import head as head_module
from core.models.adapters import add_adapters
from core.models.head import Head
from core.models.vocabulary import exact_kl
from tests.core.models.architectures import MISTRAL_WINDOW, VOCABULARY, build

IDS = mx.random.randint(0, VOCABULARY, (3, 11), key=mx.random.key(5))
POSITIONS = mx.array([0, 7, 10, 11, 32, 20])
TARGETS = mx.array([3, 63, 0, 17, 17, 40])
WEIGHTS = mx.array([1.0, -0.5, 2.0, 0.25, 1.0, 3.0])

ARCHITECTURES: list[tuple[str, dict[str, Any]]] = [
    ("llama", {"tie_word_embeddings": True}),
    ("llama", {"tie_word_embeddings": False}),
    ("qwen2", {"tie_word_embeddings": True}),
    ("qwen2", {"tie_word_embeddings": False}),
    ("qwen3", {}),
    ("mistral", {"tie_word_embeddings": False}),
    ("mistral", MISTRAL_WINDOW),
    ("phi3", {}),
    ("gemma", {}),
    ("gemma2", {}),  # caps its logits
    ("gemma3_text", {}),
    ("cohere", {}),  # scales them
    ("granite", {}),
    ("mixtral", {}),
    ("qwen3_moe", {}),
    ("mamba2", {}),
]


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two positions at a time, so that there are chunks."""
    monkeypatch.setattr(head_module, "ENTRIES_CPU", 0)
    monkeypatch.setattr(head_module, "LEAST", 2)


def plain(model: nn.Module) -> mx.array:
    """The definition: a log-softmax over the model's own logits."""
    logits = model(IDS).astype(mx.float32).reshape(-1, VOCABULARY)[POSITIONS]
    logps = logits - mx.logsumexp(logits, axis=-1, keepdims=True)
    return (WEIGHTS * mx.take_along_axis(logps, TARGETS[:, None], axis=-1)[:, 0]).sum()


def compare(model: nn.Module, tolerance: float = 2e-4) -> Head:
    """Value and every gradient of the fused way against the plain one."""
    head = Head(model)

    def fused(model: nn.Module) -> mx.array:
        return (WEIGHTS * head.logps(head.features(IDS, POSITIONS), TARGETS)[0]).sum()

    expected, gradients = nn.value_and_grad(model, plain)(model)
    found, ours = nn.value_and_grad(model, fused)(model)
    assert found.item() == pytest.approx(expected.item(), rel=1e-5, abs=1e-4)
    ours, theirs = dict(tree_flatten(ours)), dict(tree_flatten(gradients))
    assert ours.keys() == theirs.keys() and theirs
    for name, value in theirs.items():
        scale = max(float(mx.abs(value.astype(mx.float32)).max()), 1e-3)
        difference = mx.abs(ours[name].astype(mx.float32) - value.astype(mx.float32)).max()
        assert float(difference) <= tolerance * scale, name
    return head


@pytest.mark.parametrize(("name", "changes"), ARCHITECTURES)
def test_every_weight_trained(name: str, changes: dict) -> None:
    assert compare(build(name, **changes)).split


@pytest.mark.parametrize(("name", "changes"), ARCHITECTURES)
def test_adapters_trained(name: str, changes: dict) -> None:
    model = build(name, **changes)
    add_adapters(model, Adapter(rank=2, num_layers=1))
    move_adapters(model)
    assert compare(model).split


@pytest.mark.parametrize(("name", "changes"), ARCHITECTURES)
def test_logits_and_log_probs_without_gradient(name: str, changes: dict) -> None:
    model = build(name, **changes)
    head = Head(model)
    features = head.features(IDS, POSITIONS)
    expected = model(IDS).reshape(-1, VOCABULARY)[POSITIONS]
    np.testing.assert_allclose(np.array(head.logits(features)), np.array(expected), rtol=1e-5, atol=1e-5)
    logps, squares = head.measure(features, TARGETS)
    naive = np.array(expected - mx.logsumexp(expected, axis=-1, keepdims=True))
    np.testing.assert_allclose(np.array(logps), naive[np.arange(6), np.array(TARGETS)], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(np.array(squares), np.log(np.exp(2 * naive).sum(-1)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("tied", [True, False])
def test_quantized(bits: int, tied: bool) -> None:
    model = build("llama", hidden_size=64, intermediate_size=64, head_dim=16, tie_word_embeddings=tied)
    nn.quantize(model, group_size=32, bits=bits)
    add_adapters(model, Adapter(rank=2, num_layers=1))
    move_adapters(model)
    assert compare(model).split


def test_an_adapter_on_the_head() -> None:
    model = build("llama", tie_word_embeddings=False)
    add_adapters(model, Adapter(rank=2, keys=["lm_head"]))
    move_adapters(model)
    compare(model)


def test_an_adapter_on_a_tied_embedding() -> None:
    model = build("llama", tie_word_embeddings=True)
    add_adapters(model, Adapter(rank=2, keys=["model.embed_tokens"]))
    move_adapters(model)
    compare(model)


def test_a_bias() -> None:
    model = build("llama", tie_word_embeddings=False)
    model.lm_head = nn.Linear(32, VOCABULARY, bias=True)
    compare(model)


def test_half_precision() -> None:
    model = build("llama")
    model.set_dtype(mx.bfloat16)
    head = compare(model, tolerance=0.1)
    assert head.logits(head.features(IDS, POSITIONS)).dtype == mx.float32
    assert head.logps(head.features(IDS, POSITIONS), TARGETS)[0].dtype == mx.float32


def test_compiled_as_eager() -> None:
    model = build("gemma2")
    add_adapters(model, Adapter(rank=2, num_layers=1))
    move_adapters(model)
    head = Head(model)

    def fused(model: nn.Module) -> mx.array:
        return (WEIGHTS * head.logps(head.features(IDS, POSITIONS), TARGETS)[0]).sum()

    gradients = nn.value_and_grad(model, fused)
    eager, of_eager = gradients(model)
    compiled, of_compiled = mx.compile(lambda: gradients(model), inputs=model.state)()
    assert compiled.item() == pytest.approx(eager.item(), rel=1e-5)
    for (name, a), (_, b) in zip(tree_flatten(of_eager), tree_flatten(of_compiled), strict=True):
        np.testing.assert_allclose(np.array(a), np.array(b), rtol=1e-3, atol=1e-4, err_msg=name)


def test_kl_in_chunks_is_that_of_the_logits() -> None:
    policy, reference = build("gemma2"), build("gemma2", seed=1)
    ours, theirs = Head(policy), Head(reference)
    a, b = ours.features(IDS, POSITIONS), theirs.features(IDS, POSITIONS)
    expected = exact_kl(ours.logits(a), ours.logits(b))
    np.testing.assert_allclose(np.array(ours.kl(a, b)), np.array(expected), rtol=1e-5)
    assert not np.array(ours.kl(a, a)).any()


class Wrapped(nn.Module):
    """A model whose body lies deeper, as those with a vision tower."""

    def __init__(self) -> None:
        super().__init__()
        self.language_model = build("llama")

    @property
    def layers(self) -> list[nn.Module]:
        return self.language_model.layers

    def __call__(self, ids: mx.array) -> mx.array:
        return self.language_model(ids)


class Bodyless(nn.Module):
    """A model without blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.lm_head = nn.Linear(4, VOCABULARY)
        self.embedding = nn.Embedding(VOCABULARY, 4)

    def __call__(self, ids: mx.array) -> mx.array:
        return self.lm_head(self.embedding(ids))


class Sequel(Wrapped):
    """A model that does more with its features than its head does: they cannot be taken apart."""

    def __call__(self, ids: mx.array) -> mx.array:
        return self.language_model(ids) + self.language_model.model.embed_tokens(ids).sum(-1, keepdims=True)


def test_a_body_that_lies_deeper() -> None:
    assert compare(Wrapped()).split


@pytest.mark.parametrize("model", [Bodyless(), Sequel()])
def test_whole_where_there_is_no_such_body(model: nn.Module) -> None:
    head = compare(model)
    assert not head.split
    assert head.features(IDS, POSITIONS).shape == (6, VOCABULARY)


@pytest.mark.parametrize("training", [True, False])
def test_looking_for_the_head_leaves_the_model_as_it_was(training: bool) -> None:
    model = build("llama")
    model.train(training)
    classes = [type(module) for _, module in model.named_modules()]
    Head(model)
    assert model.training is training
    assert [type(module) for _, module in model.named_modules()] == classes


def move_adapters(model: nn.Module) -> None:
    """A fresh adapter changes nothing: give it weights."""
    keys = iter(mx.random.split(mx.random.key(9), 1000))
    moved = [
        (k, 0.1 * mx.random.normal(v.shape, key=next(keys))) for k, v in tree_flatten(model.trainable_parameters())
    ]
    model.load_weights(moved, strict=False)
