"""An item is found by what a person would type."""

from __future__ import annotations

import pytest

from core.checklist import Item, find, load_tree
from core.errors import UserError
from core.workspace import Workspace, templates


@pytest.fixture(scope="module")
def roots() -> list[Item]:
    return load_tree(Workspace(templates().parent))


@pytest.mark.parametrize(
    ("meant", "found"),
    [
        ("dpo.gates.kl_divergence", "dpo.gates.kl_divergence"),
        ("dpo", "dpo"),
        ("5", "dpo"),
        ("0", "planning"),
        ("gates.kl_divergence", "dpo.gates.kl_divergence"),
        ("throughput", "dpo.metrics.throughput"),
        ("base model sel", "planning.base_model"),
        ("STAGE 7", "eval"),
        ("kl divergence:", "dpo.gates.kl_divergence"),
        ("gates.kl", "dpo.gates.kl_divergence"),
    ],
)
def test_found(roots: list[Item], meant: str, found: str) -> None:
    assert find(roots, meant).id == found


def test_several_are_listed(roots: list[Item]) -> None:
    with pytest.raises(UserError) as caught:
        find(roots, "mmlu")
    assert str(caught.value) == (
        "'mmlu' means several items: sft.mmlu (MMLU score: _____), eval.mmlu (MMLU: _____ (baseline: _____))"
    )
    with pytest.raises(UserError, match=r"and \d+ more"):
        find(roots, "data.")


def test_none_names_the_nearest(roots: list[Item]) -> None:
    with pytest.raises(UserError, match=r"no item 'sft\.mlu': did you mean sft\.mmlu"):
        find(roots, "sft.mlu")
    with pytest.raises(UserError, match=r"no item '␛\[2J': 'dpotui checklist show --ids' lists them"):
        find(roots, "\x1b[2J")
    with pytest.raises(UserError, match="name an item"):
        find(roots, "  ")
