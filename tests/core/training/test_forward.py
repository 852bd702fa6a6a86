"""Shared prompts and the frozen trunk give the plain way's loss and every gradient, on each architecture."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten
from mlx_lm.models.llama import LlamaModel

from core.config.models import Adapter
from core.data.tokenize import Tokens
from core.models.adapters import add_adapters
from core.models.gradient_checkpointing import gradient_checkpointing
from core.training import forward as forward_module
from core.training.dpo import DPO
from core.training.forward import PairForward, put_together, take_apart, to_numbers
from core.training.losses import PairLoss
from tests.core.models.architectures import VOCABULARY, build
from tests.core.models.test_head import ARCHITECTURES, move_adapters
from tests.core.training.objectives import adapted, dpo

# Those that keep only keys and values; the others must run every sequence for itself.
SHARING = [case for case in ARCHITECTURES if case[0] != "mamba2"]


def long_prompts(count: int = 4, seed: int = 0) -> list[Tokens]:
    """Prompts that differ in length, and short responses: sharing pays."""
    rng = np.random.default_rng(seed)

    def ids(least: int, most: int) -> list[int]:
        return rng.integers(1, VOCABULARY, rng.integers(least, most)).tolist()

    return [Tokens(ids(9, 20), (ids(1, 6), ids(1, 6))) for _ in range(count)]


PAIRS = long_prompts()
EVERY = list(range(len(PAIRS)))


def deep(name: str, changes: dict[str, Any], blocks: int = 4) -> nn.Module:
    if "layer_types" in changes:
        changes = {**changes, "layer_types": changes["layer_types"] * (blocks // 2)}
    return build(name, **{**changes, "num_hidden_layers": blocks})


def loss_and_gradients(objective: DPO, *, hidden: bool = True) -> tuple[float, dict[str, np.ndarray]]:
    (inputs,) = objective.batch(EVERY)
    if not hidden:
        inputs = {key: value for key, value in inputs.items() if "hidden" not in key}
    (loss, _, _), gradients = nn.value_and_grad(objective.model, objective.loss)(inputs)
    return loss.item(), {name: np.array(value) for name, value in tree_flatten(gradients)}


def same(one: tuple[float, dict[str, np.ndarray]], other: tuple[float, dict[str, np.ndarray]]) -> None:
    assert one[0] == pytest.approx(other[0], rel=1e-4)
    assert one[1].keys() == other[1].keys() and one[1]
    for name, value in one[1].items():
        scale = max(float(np.abs(value).max()), 1e-3)
        np.testing.assert_allclose(other[1][name], value, rtol=0, atol=2e-3 * scale, err_msg=name)


@pytest.mark.parametrize("layers", [-1, 2])
@pytest.mark.parametrize(("name", "changes"), SHARING)
def test_shared_prompts_of_adapters(name: str, changes: dict, layers: int) -> None:
    model = deep(name, changes)
    add_adapters(model, Adapter(rank=2, num_layers=layers))
    move_adapters(model)
    pairs = PAIRS if name != "gemma2" else [replace(pair, prompt=pair.prompt[-8:]) for pair in PAIRS]
    shared, plain = dpo(model, pairs), dpo(model, pairs, sharing=False)
    assert shared.forward.why_not_shared == ""
    assert shared.forward.trunk == (2 if layers == 2 else 0)
    assert "prompts" in shared.batch(EVERY)[0] and "prompts" not in plain.batch(EVERY)[0]
    for way in (shared, plain):  # the reference's log-probs too
        way.batch(EVERY)
    np.testing.assert_allclose(np.array(shared.memory["train"]), np.array(plain.memory["train"]), rtol=1e-4)
    expected = loss_and_gradients(plain, hidden=False)
    same(expected, loss_and_gradients(shared))
    same(expected, loss_and_gradients(plain))
    assert all(np.abs(value).max() > 0 for value in expected[1].values())


@pytest.mark.parametrize(("name", "changes"), [SHARING[0], SHARING[6], SHARING[9], SHARING[13]])
def test_shared_prompts_with_every_weight_trained(name: str, changes: dict) -> None:
    model = deep(name, changes, blocks=2)
    model.unfreeze()
    shared, plain = (
        dpo(model, PAIRS, loss=PairLoss(("ipo",))),
        dpo(model, PAIRS, loss=PairLoss(("ipo",)), sharing=False),
    )
    assert shared.forward.trunk == 0
    same(loss_and_gradients(plain), loss_and_gradients(shared))


def test_each_pair_alone_or_in_a_batch() -> None:
    """Padding on the left of prompts, and on the right of responses, changes nothing."""
    model = adapted(num_hidden_layers=3)
    objective = dpo(model, PAIRS)
    together = loss_and_gradients(objective)
    total: dict[str, Any] = {}
    loss = 0.0
    for index in EVERY:
        (value, _, _), gradients = nn.value_and_grad(model, objective.loss)(*objective.batch([index]))
        loss += value.item()
        for name, gradient in tree_flatten(gradients):
            total[name] = total.get(name, 0) + np.array(gradient)
    same((loss, total), together)


def test_a_mamba_runs_every_sequence_for_itself() -> None:
    model = deep("mamba2", {})
    add_adapters(model, Adapter(rank=2, num_layers=2, keys=["mixer.in_proj"]))
    objective = dpo(model, PAIRS)
    assert objective.forward.why_not_shared == "its layers keep more than keys and values"
    assert "prompts" not in objective.batch(EVERY)[0]


class Absolute(LlamaModel):
    """A body that knows where a token stands from what it is given, not from its cache."""

    def __call__(self, ids: mx.array, cache: Any = None, given: Any = None) -> mx.array:
        places = mx.random.normal((ids.shape[1], 32), key=mx.random.key(0))
        return super().__call__(ids, cache, self.embed_tokens(ids) + places)


def test_a_model_that_a_shared_prompt_would_change_is_found_out() -> None:
    model = build("llama")
    model.model.__class__ = Absolute
    found = PairForward(model)
    assert found.why_not_shared.startswith("its hidden states would differ by") and not found.shares


def test_a_model_that_takes_no_mask_for_each_row_shares_prompts_of_one_length() -> None:
    objective = dpo(adapted("gemma2"), PAIRS)
    assert objective.forward.shares
    assert "prompts" in objective.batch([0])[0]
    assert "prompts" not in objective.batch(EVERY)[0]


def test_not_under_gradient_checkpointing() -> None:
    """There a block would not see that its keys came from elsewhere: the gradient of the prompt would be lost."""
    model = adapted(num_hidden_layers=3)
    objective = dpo(model, PAIRS)
    expected = loss_and_gradients(objective)
    with gradient_checkpointing(model, True):
        assert not objective.forward.shares
        same(expected, loss_and_gradients(objective))
    assert objective.forward.shares


@pytest.mark.parametrize(
    ("adapter", "trunk"),
    [
        (Adapter(rank=2, num_layers=1), 3),
        (Adapter(rank=2, num_layers=3), 1),
        (Adapter(rank=2, num_layers=-1), 0),
        (Adapter(rank=2, num_layers=1, keys=["self_attn.q_proj", "lm_head"]), 3),
        (Adapter(rank=2, num_layers=1, keys=["self_attn.q_proj", "model.embed_tokens"]), 0),
    ],
)
def test_where_the_frozen_trunk_ends(adapter: Adapter, trunk: int) -> None:
    model = build("llama", num_hidden_layers=4, tie_word_embeddings=False)
    add_adapters(model, adapter)
    assert PairForward(model).trunk == trunk


def test_no_trunk_where_the_embedding_is_also_the_head_and_trained() -> None:
    model = build("llama", num_hidden_layers=4, tie_word_embeddings=True)
    model.freeze()
    model.layers[3].unfreeze()
    assert PairForward(model).trunk == 3
    model.model.embed_tokens.unfreeze()
    assert PairForward(model).trunk == 0


def test_no_trunk_that_drops() -> None:
    model = build("llama", num_hidden_layers=4)
    model.freeze()
    model.layers[3].unfreeze()
    model.layers[1].dropout = nn.Dropout(0.1)
    assert PairForward(model).trunk == 0


def test_the_trunk_does_not_run_where_its_answer_is_given() -> None:
    model = build("llama", num_hidden_layers=4)
    add_adapters(model, Adapter(rank=2, num_layers=1))
    objective = dpo(model, PAIRS)
    (inputs,) = objective.batch(EVERY)
    expected = objective.loss(inputs)[0].item()
    for block in model.layers[:3]:
        block.mlp.gate_proj.weight = block.mlp.gate_proj.weight * float("nan")
    assert objective.loss(inputs)[0].item() == expected


@pytest.mark.parametrize("dtype", [mx.float32, mx.bfloat16, mx.float16])
@pytest.mark.parametrize("shared", [True, False])
def test_hidden_states_apart_and_together(shared: bool, dtype: mx.Dtype) -> None:
    model = build("llama", num_hidden_layers=4)
    model.set_dtype(dtype)
    add_adapters(model, Adapter(rank=2, num_layers=1))
    found = PairForward(model, sharing=shared)
    batch = found.collate(PAIRS, [2, 0, 1])
    assert (batch.prompts is not None) == shared
    inputs = found.inputs(batch)
    hidden = {key: to_numbers(value) for key, value in found.hidden(inputs).items()}
    parts = take_apart(batch, hidden, PAIRS)
    for pair, (prompt, chosen, rejected) in zip([PAIRS[2], PAIRS[0], PAIRS[1]], parts, strict=True):
        assert len(prompt) == len(pair.prompt) - 1
        assert [len(chosen), len(rejected)] == [len(response) for response in pair.responses]
    again = put_together(batch, parts)
    features = {}
    for name, arrays in (("computed", hidden), ("put together", again)):
        given = {key: forward_module.from_numbers(value, found.dtype) for key, value in arrays.items()}
        real = inputs["positions"][: int(batch.real.sum())]
        features[name] = found.features({**inputs, **given, "positions": real})
    difference = mx.abs(features["computed"] - features["put together"]).max().item()
    # The plain way has a prompt twice, in rows of their own.
    assert difference == 0 if shared else difference < 0.1


@pytest.mark.parametrize("most", [1, 30, 10**6])
def test_pieces_are_the_batch(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    monkeypatch.setattr(forward_module, "PIECE", most)
    model = adapted()
    objective = dpo(model, PAIRS)
    pieces = objective.pieces([3, 1, 0, 2])
    assert sorted(index for piece in pieces for index in piece) == [0, 1, 2, 3]
    assert len(pieces) == {1: 4, 10**6: 1}.get(most, len(pieces))
    # Losses that look at a batch as a whole get it whole.
    for types in (("aot",), ("sigmoid", "sft")):
        whole = dpo(model, PAIRS, loss=PairLoss(types, (1.0,) * len(types)))
        assert whole.pieces([3, 1, 0, 2]) == [[3, 1, 0, 2]]
