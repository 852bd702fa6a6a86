"""Gradient norms put in order: layers and kinds by name, shares of the whole, what is no number first."""

from __future__ import annotations

import math

import pytest

from dpotui.gradients import short, table

NORMS = {
    "model.embed_tokens": 0.5,
    "model.layers.0.self_attn.q_proj": 3.0,
    "model.layers.0.mlp.up_proj": 4.0,
    "model.layers.1.self_attn.q_proj": 12.0,
    "model.layers.1.mlp.up_proj": 0.0,
    "lm_head": 1.0,
}


def test_layers_and_kinds() -> None:
    found = table(NORMS)
    assert found.kinds == ("self_attn.q_proj", "mlp.up_proj")
    assert [(m.layer, m.kind) for m in found.modules][:2] == [(None, "embed_tokens"), (0, "self_attn.q_proj")]
    rows = found.layers("layer")
    assert [(row.layer, row.kind, row.norm) for row, _ in rows] == [
        (None, "embed_tokens", 0.5), (0, "layer 0", 5.0), (1, "layer 1", 12.0), (None, "lm_head", 1.0),
    ]  # fmt: skip
    assert set(rows[1][1]) == set(found.kinds)
    assert [row.norm for row, _ in found.layers("norm")] == [12.0, 5.0, 1.0, 0.5]
    assert [m.norm for m in found.ordered("norm")] == sorted(NORMS.values(), reverse=True)


def test_shares_are_of_the_squared_norm() -> None:
    found = table(NORMS)
    assert found.total == pytest.approx(math.hypot(*NORMS.values()))
    assert sum(m.share or 0.0 for m in found.modules) == pytest.approx(1.0)
    assert found.modules[3].share == pytest.approx(144 / found.total**2)
    assert sum(row.share or 0.0 for row, _ in found.layers("layer")) == pytest.approx(1.0)


def test_beside_an_earlier_step() -> None:
    found = table(NORMS, {name: norm / 2 for name, norm in NORMS.items() if name != "lm_head"})
    assert [m.times for m in found.modules] == [2.0, 2.0, 2.0, 2.0, None, None]
    assert [row.times for row, _ in found.layers("layer")] == [2.0, 2.0, 2.0, None]


def test_what_is_no_number_comes_first_and_leaves_no_shares() -> None:
    found = table({**NORMS, "model.layers.1.mlp.up_proj": math.nan})
    assert [m.name for m in found.lost] == ["model.layers.1.mlp.up_proj"]
    assert found.ordered("norm")[0].lost
    assert found.layers("norm")[0][0].layer == 1
    assert all(m.share is None for m in found.modules)


@pytest.mark.parametrize(
    ("name", "layer", "kind"),
    [
        ("transformer.h.11.attn.c_attn", 11, "attn.c_attn"),
        ("language_model.model.layers.3.mlp.switch_mlp.up_proj", 3, "mlp.switch_mlp.up_proj"),
        ("model.norm", None, "norm"),
        ("score", None, "score"),
        ("model.layers.2", None, "layers.2"),
    ],
)
def test_names(name: str, layer: int | None, kind: str) -> None:
    (module,) = table({name: 1.0}).modules
    assert (module.layer, module.kind) == (layer, kind)


def test_short_names_stay_different() -> None:
    assert short(("self_attn.q_proj", "a.dense", "b.dense")) == {
        "self_attn.q_proj": "q_proj", "a.dense": "a.dense", "b.dense": "b.dense",
    }  # fmt: skip


def test_nothing_measured_is_a_table_too() -> None:
    found = table({})
    assert (found.total, found.modules, found.layers("layer")) == (0.0, (), [])
    assert table({"a": 0.0}).modules[0].share is None
