"""What a sweep's metric means here: which numbers there are, where each comes from, and what it does not tell."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Literal

from core.config.sweep_file import Metric

# As DPO's loss reports them, by TRL's names.
_OF_PAIRS = (
    "loss", "rewards/chosen", "rewards/rejected", "rewards/accuracies", "rewards/margins", "logps/chosen",
    "logps/rejected",
)  # fmt: skip
# Of each evaluation, on the validation pairs.
EVALUATED = (*(f"eval_{name}" for name in _OF_PAIRS), "eval_preference_accuracy", "kl_divergence")
# Of training steps, in the mean since the last report.
TRAINED = (*_OF_PAIRS, "grad_norm", "examples_per_second", "tokens_per_second", "peak_memory_gb")
# Facts of a DPO run that are measures.
FACTS = (
    "dpo.kl_divergence", "dpo.preference_gap", "dpo.preference_accuracy", "dpo.throughput",
)  # fmt: skip
WIN_RATE = "eval.win_rate"
# Facts that an evaluation of the trial's model measures, and by which part.
AFTERWARDS = {WIN_RATE: "win_rate", "eval.win_rate_length_controlled": "win_rate"}

# Of which more is better; of the others less is.
_MORE = (
    "rewards/accuracies", "rewards/margins", "rewards/chosen", "examples_per_second", "tokens_per_second",
    "preference_gap", "preference_accuracy", "throughput", "win_rate",
)  # fmt: skip
# Rewards are β (log π - log π_ref): of two trials the one with the larger β has the larger ones by itself.
_BY_BETA = ("rewards/margins", "rewards/chosen", "rewards/rejected", "preference_gap")
_PERCENT = (*AFTERWARDS, "dpo.preference_accuracy")

Source = Literal["evaluation", "training", "fact", "afterwards"]


@dataclass(frozen=True, slots=True)
class Measure:
    """One number of a trial.

    Attributes:
        asked: as the file names it.
        name: as it is called here.
        source: evaluation: measured on the way, and what is handed over counts. training: the last report. fact: of the
            finished trial. afterwards: of an evaluation run that follows it.
    """

    asked: str
    name: str
    source: Source

    @property
    def prunable(self) -> bool:
        """Whether it is known on the way."""
        return self.source == "evaluation"

    @property
    def unit(self) -> str:
        return "%" if self.name in _PERCENT else ""

    def words(self) -> str:
        """What it means, in a sentence."""
        match self.source:
            case "evaluation":
                what = f"{self.name} of the checkpoint that the trial hands over, measured on the validation pairs"
            case "training":
                what = f"{self.name} of the last report of training"
            case "fact":
                what = f"the fact {self.name} of the finished trial"
            case "afterwards":
                what = f"the fact {self.name} of an evaluation after each trial: its answers against the baseline's"
        return f"{self.asked}: {what}" + (", in percent" if self.unit else "")


def measure_of(asked: str) -> Measure | str:
    """The number that a file names, or in a sentence what there is."""
    name = asked.strip()
    for prefix in ("validation/", "val/", "eval/", "val_", "valid/"):
        if name.startswith(prefix):
            name = f"eval_{name.removeprefix(prefix)}"
    if name.startswith("eval_"):
        rest = name.removeprefix("eval_")
        # What is measured in evaluations without the prefix of TRL, and what only one afterwards measures.
        name = rest if rest in EVALUATED else f"eval.{rest}" if f"eval.{rest}" in AFTERWARDS else name
    if name == "win_rate":
        name = WIN_RATE
    if name.startswith(("train/", "train_")):
        name = name[len("train/") :]
    if name in EVALUATED:
        return Measure(asked, name, "evaluation")
    if name in FACTS:
        return Measure(asked, name, "fact")
    if name in AFTERWARDS:
        return Measure(asked, name, "afterwards")
    if name in TRAINED:
        return Measure(asked, name, "training")
    known = (*EVALUATED, *FACTS, *AFTERWARDS, *TRAINED)
    shown = {each.rsplit("/", 1)[-1].removeprefix("eval_"): each for each in reversed(known)}
    last = name.rsplit("/", 1)[-1].removeprefix("eval_")
    near = difflib.get_close_matches(name, known, 1) or [
        shown[each] for each in difflib.get_close_matches(last, list(shown), 1)
    ]
    meant = f": did you mean {near[0]}?" if near else ""
    return (
        f"no trial logs '{asked}'{meant} there are {', '.join((*EVALUATED, *FACTS, 'validation/win_rate'))}, and"
        f" of training {', '.join(f'train/{each}' for each in TRAINED)}"
    )


def doubts(metric: Metric, measure: Measure, keys: tuple[str, ...]) -> list[str]:
    """What a person should know before trials are compared by it."""
    found = []
    more = any(measure.name.endswith(name) for name in _MORE)
    if measure.name != "kl_divergence" and more != (metric.goal == "maximize") and "logps" not in measure.name:
        better = "maximize" if more else "minimize"
        why = "the goal is minimize where the file names none" if not metric.given else f"the goal is {metric.goal}"
        found.append(f"{measure.asked}: {why}, and {'more' if more else 'less'} of it is better: set goal: {better}")
    if any(measure.name.endswith(name) for name in _BY_BETA) and "training.beta" in keys:
        found.append(
            f"{measure.asked} grows with training.beta by itself (rewards are β times a difference of log-probs):"
            " eval_rewards/accuracies can be compared between trials of different beta"
        )
    if measure.name.endswith("loss") and {"training.beta", "training.loss_type"} & set(keys):
        found.append(
            f"{measure.asked} is measured with each trial's own beta and loss: eval_rewards/accuracies is the same"
            " measure for all"
        )
    return found


def refuse_target(metric: Metric, measure: Measure) -> str:
    """Why a target makes no sense; empty where it does."""
    if metric.target is not None and measure.unit == "%" and 0 < metric.target <= 1:
        return (
            f"{measure.asked} is in percent here: {metric.target:g} is {metric.target:g} %, write"
            f" {100 * metric.target:g}"
        )
    return ""
