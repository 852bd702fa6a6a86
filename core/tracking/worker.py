"""`python -m core.tracking.worker TRACKER`: the process that loads a tracker's package and does what it is told.

A line of JSON for each call on standard input, a line for each answer on the standard output that it began with. What
the package prints goes to standard error, of which the feeder keeps the end. When the feeder is gone the worker ends,
also out of a call that hangs.
"""

from __future__ import annotations

import importlib
import json
import math
import os
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any

from core.tracking.secrets import scrub
from core.tracking.tracker import (
    Final,
    Row,
    Tracker,
    options_from,
    subject_from,
    summary_from,
)

TRACKERS = {
    "wandb": "core.tracking.to_wandb:WandbTracker",
    "mlflow": "core.tracking.to_mlflow:MlflowTracker",
    "tensorboard": "core.tracking.to_tensorboard:TensorBoardTracker",
}

# Nothing of this machine or of how the packages are used is told to anybody on the way.
_ENVIRONMENT = {
    "WANDB_SILENT": "true",
    "WANDB_CONSOLE": "off",
    "WANDB_DISABLE_GIT": "true",
    "WANDB_DISABLE_CODE": "true",
    "WANDB_ERROR_REPORTING": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "GIT_PYTHON_REFRESH": "quiet",
}
# What a person may have set otherwise: a server that does not answer is tried again by the feeder.
_USUAL = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}

# How long a call may go on when nobody waits for it any more.
_ORPHANED = 20.0


def load(name: str) -> Tracker:
    module, _, attribute = TRACKERS[name].partition(":")
    found: Tracker = getattr(importlib.import_module(module), attribute)()
    return found


def serve(name: str) -> None:
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # a package that prints must not answer
    os.umask(0o077)
    os.environ.update(_ENVIRONMENT)
    for variable, value in _USUAL.items():
        os.environ.setdefault(variable, value)
    threading.Thread(target=_leave_with, args=(os.getppid(),), daemon=True).start()
    tracker: Tracker | None = None
    for line in sys.stdin:
        message = json.loads(line)
        try:
            if tracker is None:
                tracker = load(name)
            answer = {"ok": True, **_call(tracker, message)}
        except Exception as error:
            final = isinstance(error, Final | ImportError)
            words = str(error).strip() or type(error).__name__
            answer = {"ok": False, "final": final, "error": scrub(words if final else f"{_kind(error)}{words}")}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _call(tracker: Tracker, message: Mapping[str, Any]) -> dict[str, Any]:
    match message["call"]:
        case "open":
            subject, options = subject_from(message["subject"]), options_from(message["options"])
            return tracker.open(subject, options, message["key"])._asdict()
        case "describe":
            tracker.describe(subject_from(message["subject"]))
        case "send":
            tracker.send([Row(step, at, _finite(values)) for step, at, values in message["rows"]])
        case "summarize":
            tracker.summarize(summary_from(message["summary"]))
        case "close":
            tracker.close(message["state"])
    return {}


def _finite(values: Mapping[str, float | None]) -> dict[str, float]:
    """JSON knows no NaN."""
    return {name: math.nan if value is None else value for name, value in values.items()}


def _kind(error: Exception) -> str:
    name = type(error).__name__
    return "" if name in str(error) else f"{name}: "


def _leave_with(feeder: int) -> None:
    while os.getppid() == feeder:
        time.sleep(1)
    time.sleep(_ORPHANED)
    os._exit(1)


if __name__ == "__main__":
    serve(sys.argv[1])
