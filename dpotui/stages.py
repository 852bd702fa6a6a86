"""The stages of the workflow and what can be started from each of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ConfigKind = Literal["sft", "reward", "dpo", "generate", "judge", "eval", "iterate", "sweep"]


@dataclass(frozen=True, slots=True)
class Action:
    """A run that can be started: its kind, what a person calls it, and the configuration it is usually started with."""

    kind: Literal[
        "sft",
        "data_check",
        "generate",
        "judge",
        "init_check",
        "reward",
        "dpo",
        "evaluate",
        "calibrate",
        "iterate",
        "sweep",
    ]
    title: str
    config: str  # from the workspace
    model: ConfigKind
    overrides: str = ""  # keys that make it this action


@dataclass(frozen=True, slots=True)
class Stage:
    number: int
    title: str
    short: str  # where eight of them stand beside each other
    kinds: tuple[str, ...] = ()  # runs that belong to it
    action: Action | None = None
    more: tuple[Action, ...] = ()  # what else can be started here
    hint: str = ""  # what to do here when nothing can be started


_SIGN = "Nothing runs from here: space ticks, v fills a value, n notes why."


STAGES = (
    Stage(0, "Planning", "Planning", hint=_SIGN),
    Stage(
        1,
        "SFT preparation",
        "SFT",
        ("sft", "evaluate"),
        Action("sft", "SFT training", "configs/sft_config.yaml", "sft"),
        more=(
            Action(
                "evaluate",
                "evaluation of the baseline",
                "configs/eval_config.yaml",
                "eval",
                "evaluation.subject=baseline",
            ),
        ),
    ),
    Stage(
        2,
        "Preference data",
        "Data",
        ("data_check", "generate", "judge"),
        Action("data_check", "check of the pairs", "configs/dpo_config.yaml", "dpo"),
        more=(
            Action("generate", "generation of responses", "configs/generate_config.yaml", "generate"),
            Action("judge", "judging of responses", "configs/judge_config.yaml", "judge"),
        ),
    ),
    Stage(
        3,
        "Model initialization",
        "Start",
        ("init_check",),
        Action("init_check", "check of policy and reference", "configs/dpo_config.yaml", "dpo"),
    ),
    Stage(
        4,
        "Preference modeling",
        "Reward",
        ("reward",),
        Action("reward", "reward model training", "configs/reward_config.yaml", "reward"),
    ),
    Stage(
        5,
        "DPO optimization",
        "DPO",
        ("dpo", "sweep"),
        Action("dpo", "DPO training", "configs/dpo_config.yaml", "dpo"),
        more=(Action("sweep", "a sweep over hyperparameters", "configs/sweep_config.yaml", "sweep"),),
    ),
    Stage(
        6,
        "Iterative training",
        "Iterations",
        ("iterate",),
        Action("iterate", "iterations", "configs/iterate_config.yaml", "iterate"),
    ),
    Stage(
        7,
        "Evaluation and monitoring",
        "Evaluation",
        ("evaluate",),
        Action("evaluate", "evaluation of the final model", "configs/eval_config.yaml", "eval"),
    ),
)

# Kinds of run that train.
TRAINED = ("sft", "reward", "dpo")
# The stages whose runs sample what they write at their evaluations.
SAMPLED_IN = (1, 5)
# The stage whose model filters pairs.
FILTERED_IN = 4
# The stage in which people vote.
VOTED_IN = 2
# The stage in which they vote on the answers of an evaluation.
COMPARED_IN = 7
# The stage in which people decide what follows an iteration.
DECIDED_IN = 6
# The stage in which people rate answers.
RATED_IN = 7

# Of no stage: the machine's.
CALIBRATE = Action("calibrate", "measuring of batch sizes", "configs/dpo_config.yaml", "dpo")

EVERY_ACTION: tuple[Action, ...] = (
    *(action for stage in STAGES if stage.action for action in (stage.action, *stage.more)),
    CALIBRATE,
)
# The one that a kind of run is usually started by.
ACTIONS: dict[str, Action] = {action.kind: action for action in EVERY_ACTION}
