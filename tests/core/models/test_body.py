"""A body run in two parts is the body, to the bit."""

from __future__ import annotations

import mlx.core as mx
import pytest

from core.models.body import Body
from tests.core.models.architectures import VOCABULARY, build
from tests.core.models.test_head import ARCHITECTURES

IDS = mx.random.randint(0, VOCABULARY, (2, 13), key=mx.random.key(5))


@pytest.mark.parametrize("at", [1, 2, 3])
@pytest.mark.parametrize(("name", "changes"), ARCHITECTURES)
def test_two_parts(name: str, changes: dict, at: int) -> None:
    if "layer_types" in changes:
        changes = {**changes, "layer_types": changes["layer_types"] * 2}
    model = build(name, **{**changes, "num_hidden_layers": 4})
    body = Body(model)
    assert body.divisible(at)
    hidden = body.before(at, IDS)
    mx.eval(hidden)
    assert mx.array_equal(body(IDS, hidden=hidden, start=at), body(IDS))


def test_the_second_part_does_not_read_the_first() -> None:
    model = build("llama", num_hidden_layers=4)
    body = Body(model)
    hidden, expected = body.before(2, IDS), body(IDS)
    mx.eval(hidden, expected)
    for block in model.layers[:2]:
        block.mlp.gate_proj.weight = block.mlp.gate_proj.weight * float("nan")
    model.model.embed_tokens.weight = model.model.embed_tokens.weight * float("nan")
    assert mx.array_equal(body(IDS, hidden=hidden, start=2), expected)


def test_the_first_part_does_not_read_the_second() -> None:
    model = build("llama", num_hidden_layers=4)
    body = Body(model)
    expected = body.before(2, IDS)
    mx.eval(expected)
    for block in model.layers[2:]:
        block.mlp.gate_proj.weight = block.mlp.gate_proj.weight * float("nan")
    assert mx.array_equal(body.before(2, IDS), expected)


def test_blocks_are_what_they_were_also_after_an_error() -> None:
    model = build("llama", num_hidden_layers=4)
    body = Body(model)
    classes = [type(block) for block in model.layers]
    with pytest.raises(ValueError):
        body(mx.zeros((1, 3), mx.int32), hidden=mx.zeros((1, 3, 7)), start=2)
    assert [type(block) for block in model.layers] == classes
    assert body.divisible(2)


@pytest.mark.parametrize("at", [0, 2, 5])
def test_there_must_be_two_parts(at: int) -> None:
    assert not Body(build("llama")).divisible(at)
