"""Before the first trial: what a sweep will do, in words and numbers, and all that would go wrong in every trial."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.config import DPOConfig, EvalConfig, load_config
from core.config.document import KeyPath
from core.config.load import problems
from core.config.sweep import MOST_TRIALS, TRIALS, SweepConfig
from core.config.sweep_distributions import said
from core.config.sweep_file import Metric, Parameter, SweepFile, read_sweep
from core.config.sweep_keys import WARMUP_RATIO, WARMUP_STEPS, applied, key_of
from core.errors import UserError
from core.experiments.sweep_bands import bands
from core.experiments.sweep_metric import AFTERWARDS, Measure, doubts, measure_of, refuse_target
from core.text import one_line, printable
from core.workspace import Workspace

BASE, EVALUATE = "configs/dpo_config.yaml", "configs/eval_config.yaml"
# Where the file names no metric: by what DPO picks its best checkpoint.
MARGINS = Metric("eval_rewards/margins", "maximize")
# Draws that values are tried in, of the whole range and of each parameter's.
_DRAWS, _PROBES = 64, 33


@dataclass(frozen=True, slots=True)
class Plan:
    """What a sweep will do.

    Attributes:
        keys: of each parameter, by its name.
        notes: what a person should know before, and what is ignored.
        draws: some trials that the configuration takes, as keys and values, to estimate from.
    """

    config: SweepConfig
    file: SweepFile
    metric: Metric
    measure: Measure
    keys: dict[str, str]
    notes: tuple[str, ...]
    draws: tuple[dict[str, Any], ...]

    @property
    def pairs(self) -> tuple[int, int] | None:
        """Pairs that a trial looks at, at least and at most; None where the batch size is measured first."""
        counts = []
        for draw in self.draws:
            training = applied(self.config.base.model_dump(mode="json"), draw)["training"]
            if not isinstance(training["batch_size"], int) or training["batch_tokens"] is not None:
                return None
            counts.append(training["batch_size"] * training["gradient_accumulation_steps"] * training["max_steps"])
        return (min(counts), max(counts)) if counts else None

    @property
    def steps(self) -> tuple[int, int]:
        """Steps of a trial, at least and at most."""
        steps = [int(draw.get("training.max_steps", self.config.base.training.max_steps)) for draw in self.draws]
        return min(steps), max(steps)


def plan_sweep(
    workspace: Workspace,
    path: Path,
    *,
    base: Path | None = None,
    overrides: Sequence[str] = (),
    trials: int | None = None,
    ready: bool = True,
) -> Plan:
    """Read a sweep file and the configuration of its trials.

    Args:
        base: dpo_config.yaml of every trial; default: the workspace's.
        overrides: keys that every trial has otherwise, as `--set` takes them.
        trials: how many at most; without it `run_cap`, else 12, and of a grid all.
        ready: also look for what the evaluation after each trial needs; without it such a plan cannot be started.

    Raises:
        UserError: all that no trial could do, a line each.
    """
    file = read_sweep(path, lambda names: key_of(names)[1], _unknown_metric)
    config = load_config(base or workspace.path(BASE), DPOConfig, overrides)
    wrong: list[tuple[KeyPath, str]] = []
    keys = _keys(file, wrong)
    metric = file.metric or MARGINS
    found = measure_of(metric.name)
    assert isinstance(found, Measure)  # the file would not have been read
    if why := refuse_target(metric, found):
        wrong.append((("metric", "target"), why))
    if file.hyperband is not None and not found.prunable:
        wrong.append((("early_terminate",), _NOTHING_TO_PRUNE.format(found.asked)))
    draws: list[dict[str, Any]] = []
    notes: list[str] = list(file.ignored)
    if not wrong:
        draws = _look(file, keys, config, wrong, notes)
    if wrong:
        lines = [f"{file.where(at)}: {'.'.join(map(str, at))}: {why}" for at, why in sorted(wrong, key=_line(file))]
        raise UserError("\n".join(one_line(line, 600) for line in lines))
    evaluate = _evaluation(workspace, found) if ready else None
    count = _count(file, trials)
    if file.metric is None:
        notes.append(f"no metric is named: trials are compared by {MARGINS.name}, by which DPO picks its checkpoints")
    notes += doubts(metric, found, tuple(keys.values()))
    if file.hyperband is not None:
        notes += _bands(file, config)
    sweep = SweepConfig(
        file=workspace.relative(path), sweep=file.document.value, base=config, trials=count, evaluate=evaluate
    )
    return Plan(sweep, file, metric, found, keys, tuple(notes), tuple(draws))


_NOTHING_TO_PRUNE = (
    "{} is known only when a trial has ended, so nothing could be stopped by it on the way: take a metric of the"
    " evaluations, such as eval_rewards/margins, or leave early_terminate out"
)


def _unknown_metric(name: str) -> str:
    found = measure_of(name)
    return found if isinstance(found, str) else ""


def _line(file: SweepFile) -> Any:
    return lambda problem: file.document.line(problem[0])


def _keys(file: SweepFile, wrong: list[tuple[KeyPath, str]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for parameter in file.parameters:
        key, _ = key_of(parameter.path)
        target = WARMUP_STEPS if key == WARMUP_RATIO else key
        other = next((n for n, k in found.items() if (WARMUP_STEPS if k == WARMUP_RATIO else k) == target), None)
        if other is not None:
            wrong.append((parameter.at, f"sets {target}, as {other} does: keep one"))
        found[parameter.name] = key
    return found


def _look(
    file: SweepFile,
    keys: Mapping[str, str],
    config: DPOConfig,
    wrong: list[tuple[KeyPath, str]],
    notes: list[str],
) -> list[dict[str, Any]]:
    """Try values: those that no draw makes possible are wrong, those that some do not are worth a note.

    Returns:
        Draws of all parameters together that the configuration takes.
    """
    plain = config.model_dump(mode="json")
    rng = random.Random(0)

    def together() -> dict[str, Any]:
        return {keys[p.name]: p.distribution.at(rng.random()) for p in file.parameters}

    some = [together() for _ in range(_DRAWS)]

    def refused(values: Mapping[str, Any]) -> str:
        key = next(iter(values))
        if key == WARMUP_RATIO and not _share(values[key]):
            return f"warmup_ratio: must be a share from 0 to below 1, not {said(values[key])}"
        alone = _sentence(plain, values)
        if not alone:
            return ""
        for draw in some:
            if not _sentence(plain, {**draw, **values}):
                return ""
        return alone

    for parameter in file.parameters:
        _try(parameter, keys[parameter.name], refused, wrong, notes)
    if wrong:
        return []
    taken = [draw for draw in some if not _sentence(plain, draw)]
    if not taken:
        wrong.append((("parameters",), f"no trial would be taken by the configuration: {_sentence(plain, some[0])}"))
    elif len(taken) < len(some):
        first = next(_sentence(plain, draw) for draw in some if draw not in taken)
        share = 1 - len(taken) / len(some)
        notes.append(f"about {share:.0%} of the trials will be refused by the configuration: {first}")
    return taken


def _share(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1


def _try(
    parameter: Parameter,
    key: str,
    refused: Any,
    wrong: list[tuple[KeyPath, str]],
    notes: list[str],
) -> None:
    of = parameter.distribution
    if of.values:
        single = of.kind == "constant"
        for place, value in enumerate(of.values):
            if why := refused({key: value}):
                at = (*parameter.at, "value") if single else (*parameter.at, "values", place)
                wrong.append((at, why))
        return
    found = [refused({key: of.at((place + 0.5) / _PROBES)}) for place in range(_PROBES)]
    no = [why for why in found if why]
    if len(no) == len(found):
        wrong.append((parameter.at, f"every value is refused: {no[0]}"))
    elif no:
        notes.append(f"{parameter.name}: about {len(no) / len(found):.0%} of its values are refused: {no[0]}")


def _sentence(plain: Mapping[str, Any], values: Mapping[str, Any]) -> str:
    """What the configuration says against these values; empty where it takes them."""
    found = problems(DPOConfig, applied(plain, values))
    return "; ".join(f"{'.'.join(map(str, path))}: {why}" for path, why in found)


def _evaluation(workspace: Workspace, measure: Measure) -> EvalConfig | None:
    """The evaluation after each trial: of eval_config.yaml the part that measures the metric."""
    if measure.source != "afterwards":
        return None
    path = workspace.path(EVALUATE)
    part = AFTERWARDS[measure.name]
    try:
        config = load_config(path, EvalConfig, ("evaluation.subject=final", f"evaluation.parts=[{part}]"))
    except UserError as error:
        raise UserError(f"{measure.asked} is measured as {EVALUATE} says, and that cannot be read\n{error}") from None
    if config.alignment_evaluation.preference_validation.judge is None:
        raise UserError(
            f"{printable(str(path))}: alignment_evaluation.preference_validation.judge: is missing, and"
            f" {measure.asked} of each trial needs one that can be asked without a person: name a reward model, a model"
            " or an endpoint there, or take eval_rewards/accuracies as the metric"
        )
    return config


def _count(file: SweepFile, trials: int | None) -> int:
    if trials is not None and not 1 <= trials <= MOST_TRIALS:
        raise UserError(f"--trials: must be a whole number from 1 to {MOST_TRIALS}, not {trials}")
    if trials is not None:
        return trials
    if file.run_cap is not None:
        return min(file.run_cap, MOST_TRIALS)
    if file.method == "grid":
        total = 1
        for parameter in file.parameters:
            total *= len(parameter.distribution.finite(10_000) or ())
        return min(total, MOST_TRIALS)
    return TRIALS


def _bands(file: SweepFile, config: DPOConfig) -> list[str]:
    """What early termination will look at."""
    assert file.hyperband is not None
    training = config.training
    # The last evaluation is the trial's end: nothing is saved by stopping there.
    evaluations = (training.max_steps - 1) // training.eval_steps
    at = [band for band in bands(file.hyperband) if band <= evaluations]
    if not at:
        return [
            f"early_terminate never stops a trial: its first band is evaluation {bands(file.hyperband)[0]}, and a trial"
            f" has {evaluations} before its end; lower training.eval_steps"
        ]
    steps = ", ".join(str(band * training.eval_steps) for band in at)
    return [f"early_terminate looks at step {steps}: only the best {1 / file.hyperband.eta:.0%} of the trials go on"]


def as_document(plan: Plan) -> dict[str, Any]:
    """The plan as `--dry-run --json` prints it."""
    file, config = plan.file, plan.config
    rng = random.Random(config.base.training.seed)
    parameters = []
    for parameter in file.parameters:
        of = parameter.distribution
        bounds = of.bounds
        parameters.append(
            {
                "name": parameter.name,
                "key": WARMUP_STEPS if plan.keys[parameter.name] == WARMUP_RATIO else plan.keys[parameter.name],
                "becomes": "round(warmup_ratio * max_steps)" if plan.keys[parameter.name] == WARMUP_RATIO else None,
                "distribution": of.kind,
                "min": bounds[0] if bounds else None,
                "max": bounds[1] if bounds else None,
                "values": list(of.values) or None,
                "words": of.words(),
                "draws": [of.at(rng.random()) for _ in range(5)],
            }
        )
    return {
        "file": config.file,
        "method": file.method,
        "trials": config.trials,
        "metric": {
            "name": plan.metric.name,
            "goal": plan.metric.goal,
            "target": plan.metric.target,
            "measures": plan.measure.name,
            "means": plan.measure.words(),
        },
        "parameters": parameters,
        "early_terminate": None if file.hyperband is None else {"type": "hyperband", "bands": bands(file.hyperband)},
        "steps_per_trial": list(plan.steps),
        "pairs_per_trial": list(plan.pairs) if plan.pairs else None,
        "kl_limit": config.base.constraints.kl_target,
        "evaluation_after_each_trial": None if config.evaluate is None else list(config.evaluate.parts),
        "notes": list(plan.notes),
    }
