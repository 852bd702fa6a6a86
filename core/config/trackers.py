"""Trackers that a run can be told to: their names, the packages they need, and addresses that hold no secret."""

from __future__ import annotations

import importlib.util
import re
from typing import Literal, get_args
from urllib.parse import urlsplit

TrackerName = Literal["wandb", "mlflow", "tensorboard"]
TRACKERS: tuple[TrackerName, ...] = get_args(TrackerName)

# What has to be there to import; all of it comes with the extra of the tracker's name.
_MODULES: dict[str, tuple[str, ...]] = {
    "wandb": ("wandb",),
    "mlflow": ("mlflow", "sqlalchemy", "alembic"),
    "tensorboard": ("tensorboardX",),
}

_KEY = re.compile(r"\b(?:[0-9a-f]{40}|wandb_v\d+_\w{20,}|dapi[0-9a-f]{32})\b")


def installed(tracker: str) -> bool:
    """Whether its packages are there; none of them is loaded for it."""
    return all(importlib.util.find_spec(module) is not None for module in _MODULES[tracker])


def install_line(tracker: str) -> str:
    return f"pip install 'dpotui[{tracker}]'"


def secret_in(text: str) -> str:
    """What is wrong with a text of the section `logging` that is or holds a secret; none of it is said again."""
    try:
        parts = urlsplit(text)
        named = parts.username is not None or parts.password is not None
    except ValueError:
        named = False
    if named:
        return "holds a name or password: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD instead"
    if _KEY.search(text):
        return (
            "looks like a key, which every snapshot of a run would keep: set it in the environment (docs/trackers.md)"
        )
    return ""
