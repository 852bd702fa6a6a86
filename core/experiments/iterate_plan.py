"""What a round of iterations does: the configurations of its runs, made from those that the iterate run began with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from core.config import DPOConfig, EvalConfig, GenerateConfig, IterateConfig, JudgeConfig, load_config, standing
from core.config.load import overridden
from core.errors import UserError
from core.store.iterations import Iteration
from core.text import one_line
from core.workspace import Workspace

# Under this key the snapshot of an iterate run holds those of its files.
FILES = "files"

_KINDS: dict[str, type[Any]] = {
    "dpo": DPOConfig,
    "generate": GenerateConfig,
    "judge": JudgeConfig,
    "evaluate": EvalConfig,
}
# What the evaluation of the start would give by definition: it is compared with itself.
_OF_ITSELF = {"eval.win_rate": 50.0, "eval.win_rate_length_controlled": 50.0, "eval.retention": 100.0}
# Facts of an evaluation that need one of its parts.
_PART_OF = {
    "eval.win_rate": "win_rate", "eval.win_rate_length_controlled": "win_rate",
    "eval.preference_accuracy": "preference", "eval.preference_gap": "preference", "eval.kl_divergence": "final",
    "eval.retention": "benchmarks", "eval.retention_worst": "benchmarks",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Plan:
    """The iterate run's own configuration, and those of its files with its settings in them."""

    config: IterateConfig
    dpo: DPOConfig
    generate: GenerateConfig | None
    judge: JudgeConfig | None
    evaluate: EvalConfig | None

    def snapshot(self) -> dict[str, Any]:
        """All of it as runs.db keeps it."""
        files = {name: getattr(self, name) for name in _KINDS}
        return {
            **self.config.model_dump(mode="json"),
            FILES: {name: one.model_dump(mode="json") for name, one in files.items() if one is not None},
        }


def read_plan(workspace: Workspace, config: IterateConfig) -> Plan:
    """The files that a configuration names, with its settings in them, held against each other.

    Raises:
        UserError: one line for each error, with the file and line, or the setting.
    """
    found: dict[str, Any] = dict.fromkeys(_KINDS)
    problems = []
    for name, path in config.files.items():
        settings = [one.removeprefix(f"{name}.") for one in config.iteration.settings if one.startswith(f"{name}.")]
        try:
            found[name] = load_config(standing(workspace.path(path)), _KINDS[name], settings)
        except UserError as error:
            problems.append(str(error))
    if problems:
        raise UserError("\n".join(problems))
    plan = Plan(config, **found)
    _refuse(plan)
    return plan


def plan_of(snapshot: dict[str, Any], settings: Sequence[str] = ()) -> Plan:
    """The plan that a snapshot holds, with the settings that people gave on the way.

    Raises:
        UserError: a setting is none, or its value is wrong.
    """
    own = {key: value for key, value in snapshot.items() if key != FILES}
    found: dict[str, Any] = dict.fromkeys(_KINDS)
    for name, value in snapshot[FILES].items():
        given = [one.removeprefix(f"{name}.") for one in settings if one.startswith(f"{name}.")]
        found[name] = overridden(_KINDS[name], value, given)
    strange = [one for one in settings if one.partition(".")[0] not in snapshot[FILES] or "=" not in one]
    if strange:
        every = ", ".join(f"{name}.KEY=VALUE" for name in snapshot[FILES])
        raise UserError(f"'{one_line(strange[0], 120)}' is no setting of a round: write it as one of {every}")
    return Plan(IterateConfig.model_validate(own), **found)


def _refuse(plan: Plan) -> None:
    """What would show after a whole round shows now.

    Raises:
        UserError: the score will not be measured; the files do not fit each other.
    """
    fact, evaluation = plan.config.score.fact, plan.evaluate
    if evaluation is not None:
        where = plan.config.steps.evaluate_file
        if evaluation.evaluation.subject != "final":
            raise UserError(f"{where}: evaluation.subject: must be final, or a round's model is not measured")
        part = _PART_OF.get(fact) or (
            "benchmarks" if fact.partition(".")[2] in evaluation.capability_benchmarks else ""
        )
        if fact.startswith("eval.") and part and part not in evaluation.parts:
            raise UserError(f"{where}: evaluation.parts: {part} is not among them, and score.fact {fact} is its")
        preference = evaluation.alignment_evaluation.preference_validation
        if part == "win_rate" and preference.judge is None:
            raise UserError(
                f"{where}: alignment_evaluation.preference_validation.judge: score.fact {fact} waits for one: without a"
                " judge people compare the answers; name one, or another score.fact such as dpo.preference_accuracy"
            )
        if part == "benchmarks" and not evaluation.capability_benchmarks:
            raise UserError(f"{where}: capability_benchmarks: there are none, and score.fact {fact} is of them")


class Names(NamedTuple):
    """Where the files of a round lie, from the workspace."""

    folder: str

    @property
    def candidates(self) -> str:
        return f"{self.folder}/candidates.jsonl"

    @property
    def fresh(self) -> str:
        return f"{self.folder}/fresh_pairs.jsonl"

    @property
    def pairs(self) -> str:
        return f"{self.folder}/pairs.jsonl"


def names(output_dir: str, number: int) -> Names:
    return Names(f"{output_dir}/iteration-{number}")


def start(plan: Plan, run: str) -> Iteration:
    """Round 0: the model that the first round starts from. Its score is known where it is so by definition."""
    model = plan.dpo.model
    score = None
    if plan.evaluate is not None and plan.evaluate.model.baseline == model.policy_model:
        score = _OF_ITSELF.get(plan.config.score.fact)
    return Iteration(
        run, 0, model.policy_model, model.reference_model, plan.dpo.data.train_file, model=model.policy_model,
        score=score, low=score, high=score, unit="%" if score is not None else "",
        why="" if score is None else "by definition: it is compared with itself",
    )  # fmt: skip


def following(plan: Plan, before: Iteration, number: int, output_dir: str) -> Iteration:
    """What round `number` starts from, when it goes on from the model of `before`."""
    assert before.model is not None
    data = names(output_dir, number).pairs if plan.config.data.on_policy else plan.dpo.data.train_file
    first = plan.config.iteration.reference == "first"
    reference = plan.dpo.model.reference_model if first else before.model
    # The very first round starts where its configuration has it: from what its reference need not be.
    if before.number == 0:
        reference = plan.dpo.model.reference_model
    return Iteration(before.run, number, before.model, reference, data)


def generate_config(plan: Plan, at: Iteration, output_dir: str) -> GenerateConfig:
    """The policy answers. The seed is the round's own: the same would give the same answers to some prompts."""
    assert plan.generate is not None
    base, place = plan.generate, names(output_dir, at.number)
    return base.model_copy(
        update={
            "model": base.model.model_copy(update={"base_model": at.policy}),
            "data": base.data.model_copy(update={"output_file": place.candidates}),
            "generation": base.generation.model_copy(update={"seed": _seed(base.generation.seed, at.number)}),
            "logging": base.logging.model_copy(update={"output_dir": f"{place.folder}/generate"}),
        }
    )


def judge_config(plan: Plan, at: Iteration, output_dir: str) -> JudgeConfig:
    assert plan.judge is not None
    base, place = plan.judge, names(output_dir, at.number)
    return base.model_copy(
        update={
            "data": base.data.model_copy(update={"input_file": place.candidates, "output_file": place.fresh}),
            "logging": base.logging.model_copy(update={"output_dir": f"{place.folder}/judge"}),
        }
    )


def dpo_config(plan: Plan, at: Iteration, output_dir: str) -> DPOConfig:
    """DPO of a round: from its policy, held to its reference, on its pairs, in an order of its own."""
    base, place = plan.dpo, names(output_dir, at.number)
    return base.model_copy(
        update={
            "model": base.model.model_copy(update={"policy_model": at.policy, "reference_model": at.reference}),
            "data": base.data.model_copy(update={"train_file": at.train_file}),
            "training": base.training.model_copy(update={"seed": _seed(base.training.seed, at.number)}),
            "logging": base.logging.model_copy(update={"output_dir": f"{place.folder}/dpo"}),
        }
    )


def evaluate_config(plan: Plan, model: str, number: int, output_dir: str) -> EvalConfig:
    """The evaluation of a round's model. Its KL is that from the first reference: the way of all rounds together."""
    assert plan.evaluate is not None
    base, place = plan.evaluate, names(output_dir, number)
    reference = base.model.reference or plan.dpo.model.reference_model
    return base.model_copy(
        update={
            "model": base.model.model_copy(update={"final": model, "reference": reference}),
            "logging": base.logging.model_copy(update={"output_dir": f"{place.folder}/evaluation"}),
        }
    )


def _seed(seed: int, number: int) -> int:
    return (seed + number - 1) % 2**32
