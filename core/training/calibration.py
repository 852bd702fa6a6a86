"""The batch size of a run by measurement: what is remembered of this machine, else measured now in a child process."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

from core import hardware
from core.config import DPOConfig, TrainingConfig, plan_for
from core.config import plan as compute_plan
from core.data.lengths import Lengths
from core.errors import UserError
from core.model_folder import find_folder, read_shape
from core.store import Database, calibrations, files
from core.store.calibrations import Calibration, Size
from core.training.batch_size import Measured, TooLarge, choose, search
from core.training.forecast import lengths_of, model_of, starting_point
from core.workspace import Workspace

TrainingKind = Literal["sft", "reward", "dpo"]

# No size above is tried; what a batch could still gain there is nothing.
MOST = 1024
# How long one size may take before it counts as too large (seconds): a machine that swaps does not come back.
PATIENCE = 900.0
# How often it is looked whether somebody wants it to end.
LOOK = 0.2


class Interrupted(Exception):
    """Somebody wanted the measuring to end."""


class Child:
    """A process that holds the model and tries sizes. When it dies over a size, that size was too large."""

    def __init__(
        self, workspace: Workspace, kind: TrainingKind, config: TrainingConfig, interrupted: Callable[[], bool]
    ) -> None:
        self._interrupted = interrupted
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  closed with the child
        self._rest = b""
        self._process = subprocess.Popen(
            command(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            cwd=workspace.root,
        )
        request = {"workspace": str(workspace.root), "kind": kind, "config": config.model_dump(mode="json")}
        self._write(json.dumps(request))

    def rows(self) -> int:
        """Wait until the model is there; how many rows it has to learn from.

        Raises:
            UserError: it cannot be loaded, or not even the model fits.
        """
        told = self._answer()
        if told is None:
            raise UserError(f"the model and its data could not be loaded to measure batch sizes: {self._death()}")
        return int(told["ready"])

    def measure(self, size: int) -> Measured | TooLarge:
        started = time.monotonic()
        self._write(str(size))
        told = self._answer()
        seconds = time.monotonic() - started
        if told is None:
            if self._process.returncode is None:
                return TooLarge(f"no answer in {PATIENCE:.0f} s", seconds)
            if self._process.returncode >= 0:
                raise UserError(f"measuring batch size {size} failed: {self._last_words()}")
            return TooLarge(self._death(), seconds)
        if "too_large" in told:
            return TooLarge(str(told["too_large"]), seconds)
        return Measured(float(told["rate"]), int(told["peak"]), int(told["before"]), float(told["seconds"]))

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()
        self._errors.close()

    def _write(self, line: str) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{line}\n".encode())
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # the answer that does not come says so

    def _answer(self) -> dict[str, Any] | None:
        """The next line it says; None when it died, or does not answer any more."""
        assert self._process.stdout is not None
        deadline = time.monotonic() + PATIENCE
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._rest:
                if self._interrupted():
                    raise Interrupted
                if time.monotonic() > deadline:
                    return None
                if not selector.select(LOOK):
                    continue
                read = os.read(self._process.stdout.fileno(), 65536)
                if not read:
                    self._process.wait()
                    return None
                self._rest += read
        line, self._rest = self._rest.split(b"\n", 1)
        told: dict[str, Any] = json.loads(line)
        if "error" in told:
            raise UserError(str(told["error"]))
        return told

    def _death(self) -> str:
        number = -(self._process.returncode or 0)
        if number <= 0:
            return self._last_words()
        try:
            name = signal.Signals(number).name
        except ValueError:
            name = f"signal {number}"
        return f"ended the process ({name})"

    def _last_words(self) -> str:
        self._errors.seek(0)
        lines = self._errors.read()[-4000:].decode("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else f"it ended with status {self._process.returncode}"


def command() -> list[str]:
    """How the child is started."""
    # -P: a folder 'core' in the workspace must not be taken for the program.
    return [sys.executable, "-P", "-m", "core.training.probe"]


@contextmanager
def _child(
    workspace: Workspace, kind: TrainingKind, config: TrainingConfig, interrupted: Callable[[], bool]
) -> Iterator[Child]:
    child = Child(workspace, kind, config, interrupted)
    try:
        yield child
    finally:
        child.close()


def subject_of(
    db: Database, workspace: Workspace, kind: TrainingKind, config: TrainingConfig, lengths: Lengths
) -> dict[str, Any]:
    """All that the best batch size depends on: this machine, this program, the model, what is trained, the lengths."""
    names = (
        (config.model.policy_model, config.model.reference_model)
        if isinstance(config, DPOConfig)
        else (config.model.base_model,)
    )
    versions = hardware.versions()
    here = hardware.look(workspace.root)
    planned = plan_for(config)
    return {
        "chip": here.chip,
        "cores": here.cores,
        "memory": here.memory,
        "device": planned.device,
        "precision": planned.dtype,
        "blas": here.openblas,
        "versions": {name: versions[name] for name in ("dpotui", "mlx", "mlx-lm")},
        "kind": kind,
        "models": [files.sha256(db, workspace, name) or name for name in names],
        "adapter": config.adapter.model_dump(mode="json", exclude={"alpha", "scale"}),
        "optimizer": config.optimization.optimizer,
        "gradient_checkpointing": planned.gradient_checkpointing,
        "accumulated": config.training.gradient_accumulation_steps > 1,
        # A few rows more or less change nothing.
        "lengths": [
            -(-length // 16) * 16 for length in (lengths.prompt, lengths.response, lengths.longest, lengths.usual)
        ],
        "limits": [config.data.max_prompt_length, config.data.max_response_length],
    }


def calibrate(
    workspace: Workspace,
    db: Database,
    kind: TrainingKind,
    config: TrainingConfig,
    *,
    run: str | None,
    interrupted: Callable[[], bool],
    tell: Callable[[Size], None],
    before: Callable[[int], None] = lambda size: None,
) -> Calibration:
    """Measure batch sizes in a child process and remember what they gave.

    Args:
        run: the run that does it.
        interrupted: asked all the time; when it says so the child is ended.
        tell: is told each size when it is done.
        before: is told each size before it is tried.

    Raises:
        UserError: model or data cannot be loaded.
        Interrupted: as asked.
    """
    limit = hardware.memory_limit(compute_plan(config.compute).device)
    subject = subject_of(db, workspace, kind, config, lengths_of(workspace, config))
    made = calibrations.begin(
        db, run=run, kind=kind, chip=subject["chip"], subject=subject, limit=limit.bytes, limit_source=limit.source
    )

    def keep(size: Size) -> None:
        calibrations.add(db, made, size)
        tell(size)

    try:
        with _child(workspace, kind, config, interrupted) as child:
            rows = child.rows()

            def measure(size: int) -> Measured | TooLarge:
                before(size)
                return child.measure(size)

            sizes = search(measure, limit.bytes, min(MOST, rows), keep)
    except Interrupted:
        calibrations.finish(db, made, None, "interrupted")
        raise
    except UserError as error:
        calibrations.finish(db, made, None, str(error))
        raise
    chosen, why = choose(sizes)
    calibrations.finish(db, made, chosen, why)
    return calibrations.get(db, made)


def settle(
    workspace: Workspace,
    db: Database,
    kind: TrainingKind,
    config: TrainingConfig,
    *,
    run: str | None,
    interrupted: Callable[[], bool],
    tell: Callable[[Size], None],
    before: Callable[[int], None],
    measure: bool = True,
) -> tuple[int, str]:
    """A number for `batch_size: auto`, and where it is from: remembered, else measured now, else a starting point.

    Args:
        measure: without it nothing is measured now.

    Raises:
        Interrupted: as asked.
    """
    limit = hardware.memory_limit(compute_plan(config.compute).device)
    subject = subject_of(db, workspace, kind, config, lengths_of(workspace, config))
    known = calibrations.remembered(db, subject)
    # Other programs may have left less memory than there was then.
    if known is not None and known.best is not None and (known.best.peak or 0) <= limit.bytes:
        day = time.strftime("%Y-%m-%d", time.localtime(known.started))
        return known.best.size, f"measured on this machine on {day}: {known.reason}"
    why = "nothing was measured"
    if measure:
        try:
            found = calibrate(workspace, db, kind, config, run=run, interrupted=interrupted, tell=tell, before=before)
        except UserError as error:
            why = f"measuring did not work: {error}"
        else:
            if found.chosen is not None:
                return found.chosen, f"measured now: {found.reason}"
            why = found.reason
    folder = find_folder(workspace, model_of(config))
    if folder is None:
        return 1, why
    lengths = lengths_of(workspace, config)
    size, source = starting_point(read_shape(folder), config, lengths, limit, subject["chip"])
    return size, f"{source} ({why})"
