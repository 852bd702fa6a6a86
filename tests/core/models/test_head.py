"""Logits of chosen positions: the model's own, whether it can be split into body and head or not."""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from core.config.models import Adapter
from core.models.adapters import add_adapters
from core.models.head import Logits
from tests.core.models.architectures import VOCABULARY, build

IDS = mx.random.randint(0, VOCABULARY, (3, 11), key=mx.random.key(5))
POSITIONS = mx.array([0, 7, 10, 11, 32, 20])

SPLIT = [
    ("llama", {"tie_word_embeddings": True}),
    ("llama", {"tie_word_embeddings": False}),
    ("qwen2", {"tie_word_embeddings": True}),
    ("qwen2", {"tie_word_embeddings": False}),
    ("qwen3", {"tie_word_embeddings": True}),
    ("mistral", {"tie_word_embeddings": False}),
    ("phi3", {"tie_word_embeddings": False}),
    ("gemma", {}),
]
WHOLE = [
    ("gemma2", {}),  # caps its logits
    ("cohere", {}),  # scales them
    ("granite", {}),
]


def expected(model: nn.Module) -> np.ndarray:
    return np.array(model(IDS).astype(mx.float32)).reshape(-1, VOCABULARY)[np.array(POSITIONS)]


@pytest.mark.parametrize(("name", "changes"), SPLIT)
def test_split_where_nothing_comes_after_the_head(name: str, changes: dict) -> None:
    model = build(name, **changes)
    logits = Logits(model)
    assert logits.split
    assert logits.features(IDS, POSITIONS).shape == (6, 32)
    np.testing.assert_allclose(np.array(logits(IDS, POSITIONS)), expected(model), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("spread", [0.3, 0.003])
@pytest.mark.parametrize(("name", "changes"), WHOLE)
def test_whole_where_the_model_does_more(name: str, changes: dict, spread: float) -> None:
    # With small weights a cap changes the logits by less than a rounded comparison sees.
    model = build(name, spread=spread, **changes)
    logits = Logits(model)
    assert not logits.split
    assert logits.features(IDS, POSITIONS).shape == (6, VOCABULARY)
    assert np.array_equal(np.array(logits(IDS, POSITIONS)), expected(model))


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
    """A model whose `model` cannot be called on token ids."""

    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Linear(4, 4)
        self.lm_head = nn.Linear(4, VOCABULARY)
        self.embedding = nn.Embedding(VOCABULARY, 4)

    def __call__(self, ids: mx.array) -> mx.array:
        return self.lm_head(self.embedding(ids))


@pytest.mark.parametrize("model", [Wrapped(), Bodyless()])
def test_whole_where_there_is_no_such_body(model: nn.Module) -> None:
    logits = Logits(model)
    assert not logits.split
    assert np.array_equal(np.array(logits(IDS, POSITIONS)), expected(model))


def test_half_precision_comes_out_in_float32() -> None:
    model = build("llama")
    model.set_dtype(mx.bfloat16)
    logits = Logits(model)
    assert logits.split
    assert logits(IDS, POSITIONS).dtype == mx.float32


@pytest.mark.parametrize("training", [True, False])
def test_looking_for_the_head_leaves_the_model_as_it_was(training: bool) -> None:
    model = build("llama")
    model.train(training)
    Logits(model)
    assert model.training is training


def test_an_adapter_on_the_head_is_in_the_logits() -> None:
    model = build("llama", tie_word_embeddings=False)
    logits = Logits(model)
    add_adapters(model, Adapter(rank=2, keys=["lm_head"]))
    model.lm_head.lora_b = mx.ones_like(model.lm_head.lora_b)
    np.testing.assert_allclose(np.array(logits(IDS, POSITIONS)), expected(model), rtol=1e-5, atol=1e-5)
