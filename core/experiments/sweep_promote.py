"""The values of a trial written into a configuration: comments kept, the reference and the folders its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.config import DPOConfig, load_config
from core.config.edit import rewritten
from core.config.keys import key_order
from core.config.source import read_source, save
from core.config.sweep_keys import WARMUP_RATIO, WARMUP_STEPS, put, value_at, warmup_steps
from core.errors import UserError
from core.experiments.sweep_standing import Standing
from core.store.trials import Trial


@dataclass(frozen=True, slots=True)
class Change:
    """One key; `before` is what the file came to, its defaults counted."""

    key: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class Promotion:
    """`text` is what the file becomes; empty `changes`: it has these values already."""

    path: Path
    trial: Trial
    changes: tuple[Change, ...]
    text: str
    notes: tuple[str, ...]


def chosen(of: Standing, number: int | None) -> Trial:
    """The trial to promote: that one, else the best.

    Raises:
        UserError: there is none, or it did not finish.
    """
    if number is None:
        if of.best is None:
            raise UserError(f"{of.sweep.id} has no trial with a value yet: 'dpotui sweep show {of.sweep.id}'")
        return of.best
    found = next((trial for trial in of.trials if trial.number == number), None)
    if found is None:
        there = f"trials 1 to {len(of.trials)}" if of.trials else "no trial yet"
        raise UserError(f"--trial: {of.sweep.id} has {there}, not {number}")
    if found.state != "complete":
        why = f": {found.reason}" if found.reason else ""
        raise UserError(f"trial {number} of {of.sweep.id} is {found.state}, so it showed nothing to promote{why}")
    return found


def promotion(of: Standing, trial: Trial, path: Path) -> Promotion:
    """What writing a trial's values into a file would change.

    Raises:
        UserError: the file cannot be read, or does not take the values.
    """
    source = read_source(path)
    config = load_config(path, DPOConfig)
    plain = config.model_dump(mode="json")
    wanted = _copy(source.document.value)
    changes = []
    for key, value in _values(of, trial, plain).items():
        before = value_at(plain, key)
        if before != value:
            changes.append(Change(key, before, value))
            put(wanted, key, value)
    name = source.document.name
    text = rewritten(source.text, wanted, name, lambda at: key_order(DPOConfig, at))
    return Promotion(path, trial, tuple(changes), text, tuple(_notes(of, trial, plain)))


def _values(of: Standing, trial: Trial, plain: dict[str, Any]) -> dict[str, Any]:
    """The trial's keys; a warmup that was drawn as a share is that share of the steps that this file has."""
    found = dict(trial.keys)
    ratio = next((v for n, v in trial.parameters.items() if n.rsplit(".", 1)[-1] == WARMUP_RATIO), None)
    if ratio is not None:
        found[WARMUP_STEPS] = warmup_steps(ratio, found.get("training.max_steps", plain["training"]["max_steps"]))
    return found


def write(found: Promotion) -> None:
    """
    Raises:
        UserError: another program changed the file, or it cannot be written.
    """
    source = read_source(found.path)
    try:
        DPOConfig.model_validate(_parsed(found.text, source.document.name))
    except ValueError as error:
        first = str(error).splitlines()
        raise UserError(f"{source.document.name} would not be taken with these values: {first[-1]}") from error
    if found.changes:
        save(source, found.text)


def _parsed(text: str, name: str) -> dict[str, Any]:
    from core.config.document import parse

    return parse(text, name).value


def _copy(value: Any) -> Any:
    return {key: _copy(item) for key, item in value.items()} if isinstance(value, dict) else value


def _notes(of: Standing, trial: Trial, plain: dict[str, Any]) -> list[str]:
    """What the values do not carry over."""
    found = []
    base = of.config.base.model_dump(mode="json")
    others = [
        f"{key} is {value_at(plain, key)} here and was {value_at(base, key)} in the sweep"
        for key in ("training.max_steps", "training.gradient_accumulation_steps", "training.batch_size",
                    "training.beta", "training.learning_rate", "data.train_file", "model.reference_model",
                    "adapter.rank")
        if key not in trial.keys and value_at(plain, key) != value_at(base, key)
    ]  # fmt: skip
    if others:
        found.append("other than in the trial: " + "; ".join(others))
    if trial.kl is not None and not of.within(trial):
        found.append(f"trial {trial.number} has KL {trial.kl:.3g}, beyond the limit {of.kl_limit:g}: its gate fails")
    found.append("the facts of a trial stay its own: the next DPO run with this file measures for the gates")
    return found
