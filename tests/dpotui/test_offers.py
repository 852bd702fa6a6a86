"""Every item that a fact fills says what starts it, or why nothing does."""

from __future__ import annotations

import pytest

from core.checklist import Item, load_tree
from core.workspace import Workspace, templates
from dpotui.offers import offer_of, reason_of
from dpotui.screens.stage import StageScreen
from dpotui.stages import EVERY_ACTION
from dpotui.widgets.status import MODES


def _items() -> list[Item]:
    # The templates lie as they do in a workspace.
    roots = load_tree(Workspace(templates().parent))
    return [item for root in roots for item in root.walk()]


ITEMS = _items()


def item(item_id: str) -> Item:
    return next(each for each in ITEMS if each.id == item_id)


@pytest.mark.parametrize("each", [item for item in ITEMS if item.facts], ids=lambda item: item.id)
def test_every_item_with_a_fact_has_an_offer_or_a_named_reason(each: Item) -> None:
    offer = offer_of(each)
    assert (offer is None) == bool(reason_of(each))
    if offer is None:
        assert not reason_of(each).startswith("nothing here measures")


@pytest.mark.parametrize("each", [item for item in ITEMS if offer_of(item)], ids=lambda item: item.id)
def test_an_offer_leads_to_something_that_is_there(each: Item) -> None:
    offer = offer_of(each)
    assert offer is not None
    ways = [offer.action is not None, bool(offer.mode), offer.stage is not None, bool(offer.config)]
    assert sum(ways) == 1
    assert offer.action is None or offer.action in EVERY_ACTION
    assert not offer.mode or offer.mode in MODES.values()
    assert not offer.verb or hasattr(StageScreen, f"action_{offer.verb}")
    assert not offer.config or (templates() / offer.config.removeprefix("configs/")).is_file()
    assert offer.words.split()[0] in ("starts", "opens", "goes")


@pytest.mark.parametrize(
    ("item_id", "kind"),
    [
        ("sft.finished", "sft"), ("sft.mmlu", "evaluate"), ("data.pairs", "data_check"), ("data.strategy", "generate"),
        ("init.kl_divergence", "init_check"), ("reward.train_accuracy", "reward"), ("dpo.gates.kl_divergence", "dpo"),
        ("dpo.batch_size", "calibrate"), ("eval.retention", "evaluate"), ("iteration.finished", "iterate"),
    ],
)  # fmt: skip
def test_a_run_that_measures_an_item_is_offered(item_id: str, kind: str) -> None:
    offer = offer_of(item(item_id))
    assert offer is not None
    assert offer.action is not None
    assert offer.action.kind == kind


def test_the_baseline_is_evaluated_for_stage_1_and_the_final_model_for_stage_7() -> None:
    for item_id, subject in (("sft.mmlu", "evaluation.subject=baseline"), ("eval.mmlu", "")):
        offer = offer_of(item(item_id))
        assert offer is not None
        assert offer.action is not None
        assert offer.action.overrides == subject


def test_a_heading_offers_what_all_below_it_do() -> None:
    offer = offer_of(item("sft.baseline"))
    assert offer is not None
    assert offer.action is not None
    assert offer.action.kind == "evaluate"
    assert offer_of(item("dpo.performance")) is None


def test_decontamination_names_the_command_that_cleans() -> None:
    offer = offer_of(item("data.decontamination"))
    assert offer is not None
    assert "dpotui data decontaminate" in offer.hint


def test_a_fact_that_nobody_knows_says_so() -> None:
    own = Item("mine", "Latency", "item", None, "configs/checklists/9-mine.md", 3, facts=("latency.p99",))
    assert offer_of(own) is None
    assert "latency.p99" in reason_of(own)
