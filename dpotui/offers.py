"""What a person can start from an item of a checklist, or where its work is done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from core.checklist import Item
from dpotui.stages import CALIBRATE, COMPARED_IN, FILTERED_IN, RATED_IN, STAGES, VOTED_IN, Action


@dataclass(frozen=True, slots=True)
class Offer:
    """One thing to do about an item: a run to start, or a place to go to.

    `words` follow the key that does it: "starts SFT training".
    """

    words: str
    action: Action | None = None
    mode: str = ""
    stage: int | None = None
    verb: Literal["", "vote", "rate", "low_quality", "decide"] = ""  # what is opened in the screen of the stage
    config: str = ""  # from the workspace
    hint: str = ""  # what else brings it about


def _start(action: Action | None, hint: str = "") -> Offer:
    assert action is not None
    return Offer(f"starts {action.title}", action=action, hint=hint)


def _edit(path: str, hint: str = "") -> Offer:
    return Offer(f"opens {path}", config=path, hint=hint)


_SFT, _DATA, _INIT, _REWARD, _DPO, _EVALUATE = (_start(STAGES[number].action) for number in (1, 2, 3, 4, 5, 7))
_BASELINE = _start(STAGES[1].more[0])
_GENERATE = _start(STAGES[2].more[0])
_VOTE = Offer("opens the voting of stage 2", stage=VOTED_IN, verb="vote")
_COMPARE = Offer("opens the voting of stage 7", stage=COMPARED_IN, verb="vote")
_RATE = Offer("opens the rating of answers in stage 7", stage=RATED_IN, verb="rate")
_ITERATE = _start(STAGES[6].action)
_DECIDE = Offer("opens the decision after an iteration, in stage 6", stage=6, verb="decide")
_FILTER = Offer("opens the filter of pairs in stage 4", stage=FILTERED_IN, verb="low_quality")
_REPORT = Offer("goes to Report", mode="Report")
_RUNS = Offer("goes to Runs", mode="Runs")
_HARDWARE = Offer("goes to Hardware", mode="Hardware")
_BROWSE = Offer("goes to Data", mode="Data")

# By the name of a fact; where that does not stand here, by what it begins with.
_BY_FACT = {
    "sft.config_valid": _edit("configs/sft_config.yaml", "SFT training records whether it is valid"),
    "sft.mmlu": _BASELINE,
    "sft.humaneval": _BASELINE,
    "sft.gsm8k": _BASELINE,
    "sft.domain": _BASELINE,
    "data.strategy": _GENERATE,
    "data.guidelines": _VOTE,
    "data.conflicts": _start(STAGES[2].action, "dpotui data resolve FILE takes conflicts out"),
    "data.decontamination": _start(STAGES[2].action, "dpotui data decontaminate FILE --fix OUT writes a clean copy"),
    "data.validation_share": _start(STAGES[2].action, "dpotui data split FILE makes the two files"),
    "reward.filtered": _FILTER,
    "dpo.config_valid": _edit("configs/dpo_config.yaml", "DPO training records whether it is valid"),
    "dpo.batch_size": _start(CALIBRATE),
    "dpo.environment": Offer(
        "goes to Hardware",
        mode="Hardware",
        hint="compute.environment in configs/dpo_config.yaml sets it, DPO training records what acts",
    ),
    "iteration.config": _edit("configs/iterate_config.yaml", "an iteration records what it starts from"),
    "iteration.weaknesses": _start(STAGES[6].action, "lost comparisons are in stage 7: l"),
    "iteration.decision": _DECIDE,
    "eval.human_score": _RATE,
    "eval.win_rate": _start(STAGES[7].action, "or vote on the answers yourself in stage 7: a"),
}
_BY_PREFIX = {
    "sft": _SFT,
    "data": _DATA,
    "init": _INIT,
    "reward": _REWARD,
    "dpo": _DPO,
    "iteration": _ITERATE,
    "eval": _EVALUATE,
}
# Items of the templates that no fact fills: where the work is done.
_BY_ID = {
    "planning.compute": _HARDWARE,
    "planning.prompts": _BROWSE,
    "planning.benchmarks": _edit("configs/eval_config.yaml"),
    "planning.success": _edit("configs/gates.yaml"),
    "data.annotators": _VOTE,
    "dpo.hardware": _HARDWARE,
    "eval.qualitative": _RATE,
    "eval.success": _REPORT,
    "eval.report": _REPORT,
    "eval.deployment": _REPORT,
}


def offer_of(item: Item) -> Offer | None:
    """What starts from an item; that of its items where all of them say the same."""
    if item.id in _BY_ID:
        return _BY_ID[item.id]
    if item.fact is not None:
        return offer_for(item.fact)
    if item.kind != "item" or not item.children:
        return None
    below = {offer_of(child) for child in item.children}
    return below.pop() if len(below) == 1 else None


def offer_for(fact: str) -> Offer | None:
    """What measures a fact."""
    return _BY_FACT.get(fact) or _BY_PREFIX.get(_prefix(fact))


def reason_of(item: Item) -> str:
    """Why nothing starts from an item that a fact fills; "" where something does, or no fact does."""
    if item.fact is None or offer_of(item) is not None:
        return ""
    return f"nothing here measures {item.fact}: a person or a program of yours records it"


def _prefix(fact: str) -> str:
    return fact.partition(".")[0]
