"""A run of kind `calibrate`; and before a run that trains: its batch size where it is `auto`, and its memory."""

from __future__ import annotations

from typing import Any

import mlx.core as mx

from core.config import CONFIGS, TrainingConfig
from core.config.models import AUTO
from core.errors import UserError
from core.models.load import resolve
from core.store import facts, runs
from core.store.calibrations import FOR, Size
from core.store.facts import Fact
from core.training.batch_size import gigabytes
from core.training.calibration import Interrupted, TrainingKind, calibrate, settle
from core.training.context import Context
from core.training.control import Stopped
from core.training.forecast import Forecast, forecast, model_of


def run(context: Context) -> None:
    """Measure batch sizes for the configuration of the run, each a row in its log and a point of its metrics."""
    snapshot: dict[str, Any] = dict(context.run.config)
    kind: TrainingKind = snapshot.pop(FOR)
    config = CONFIGS[kind].model_validate(snapshot)
    resolve(context.workspace, model_of(config))  # fetched here, where its progress is seen
    tried = 0

    def tell(size: Size) -> None:
        nonlocal tried
        tried += 1
        context.log(words(size), "info" if size.verdict == "FITS" else "warning")
        if size.rate is not None and size.peak is not None:
            context.metrics(size.size, {"examples_per_second": size.rate, "peak_memory_gb": size.peak / 1e9})

    def before(size: int) -> None:
        context.progress(tried, 0, f"measuring batch size {size}")

    context.progress(0, 0, "loading the model in a child process")
    try:
        found = calibrate(
            context.workspace, context.db, kind, config, run=context.run.id,
            interrupted=context.control.wants_stop, tell=tell, before=before,
        )  # fmt: skip
    except Interrupted:
        context.control.raise_if_stopping()
        raise Stopped(leaving=True) from None
    if found.chosen is None:
        raise UserError(
            f"no batch size fits into {gigabytes(found.limit)} ({found.limit_source}); {found.reason}:"
            " set compute.gradient_checkpointing: true, lower data.max_response_length, or take a smaller model"
        )
    context.log(f"batch size {found.chosen}: {found.reason}")
    context.log("training.batch_size: auto uses it from now on, for this model, adapter and lengths")
    if kind == "dpo":
        together = found.chosen * config.training.gradient_accumulation_steps
        inputs = context.inputs(model_of(config), config.data.train_file)
        measured = f"measured: {found.chosen} pairs at a time, {found.reason}"
        fact = Fact("dpo.batch_size", together, unit="pairs", run=context.run.id, source=measured, inputs=inputs)
        facts.record(context.db, fact)


def settle_batch_size(context: Context, kind: TrainingKind, *, measure: bool = True) -> None:
    """Where the run's configuration says `auto`: find a number, say where it is from, keep it with the run.

    A run that goes on has the number it began with.
    """
    config = CONFIGS[kind].model_validate(context.run.config)
    if config.training.batch_size != AUTO:
        return
    resolve(context.workspace, model_of(config))

    def before(size: int) -> None:
        context.progress(context.run.step, context.run.steps, f"measuring batch size {size}")

    context.log("training.batch_size: auto: looking for what was measured on this machine")
    try:
        size, why = settle(
            context.workspace, context.db, kind, config, run=context.run.id, measure=measure,
            interrupted=context.control.wants_stop, tell=lambda size: context.log(words(size)), before=before,
        )  # fmt: skip
    except Interrupted:
        context.control.raise_if_stopping()
        raise Stopped(leaving=True) from None
    context.log(f"training.batch_size: auto: {size}: {why}")
    snapshot = dict(context.run.config)
    snapshot["training"] = {**snapshot["training"], "batch_size": size}
    runs.update(context.db, context.run.id, config=snapshot)
    context.run = runs.get(context.db, context.run.id)


def foresee_memory(context: Context, kind: TrainingKind) -> Forecast | None:
    """Say in the run's log what memory it is expected to take; None where that is not known."""
    config: TrainingConfig = CONFIGS[kind].model_validate(context.run.config)
    try:
        resolve(context.workspace, model_of(config))
        found = forecast(context.workspace, config)
    except UserError as error:
        context.log(f"memory: no estimate: {error}", "debug")
        return None
    context.log(found.sentence(), "warning" if found.verdict == "TOO LARGE" else "info")
    if found.mend():
        context.log(f"memory: to make it fit: {found.mend()}", "warning")
    return found


def compare_memory(context: Context, found: Forecast | None) -> None:
    """Say what it took in the end."""
    if found is not None:
        taken, estimated = gigabytes(mx.get_peak_memory()), gigabytes(found.estimate.bytes)
        context.log(f"memory: {taken} at its highest, {estimated} were estimated", "debug")


def words(size: Size) -> str:
    """A size that was tried, on one line."""
    said = f"batch size {size.size}: "
    if size.rate is not None and size.peak is not None:
        said += f"{size.rate:.3g} pairs/s, {gigabytes(size.peak)}, "
    return said + size.verdict + (f" ({size.note})" if size.note else "")
