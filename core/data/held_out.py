"""What a workspace knows of a reward model and a file: was it trained on it, is it held out, how often is it right."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from core.errors import UserError
from core.intervals import wilson
from core.store import Database, files, runs
from core.text import printable
from core.workspace import Workspace

METRICS = "training_metrics.json"
_LARGEST = 1 << 20


@dataclass(frozen=True, slots=True)
class Known:
    """Of a file under a reward model.

    Attributes:
        role: what the file is: "validation" where something is measured on it, "train" where the model learned from it.
        why: who says so.
        accuracy: share of held-out pairs on which the model is right, with its interval and their number.
    """

    role: Literal["train", "validation"] | None
    why: str
    accuracy: tuple[float, float, float, int] | None


def known(db: Database, workspace: Workspace, model: Path, path: Path) -> Known:
    """By the run that made the model, and by the configurations of the workspace."""
    noted = _json(model / METRICS)
    accuracy = _accuracy(noted)
    relative = workspace.relative(path.expanduser().absolute())
    now = files.sha256(db, workspace, relative)
    role: Literal["train", "validation"]
    if isinstance(noted.get("run"), str):
        try:
            run = runs.get(db, noted["run"])
        except UserError:
            run = None
        if run is not None:
            for role, key in (("validation", "validation_file"), ("train", "train_file")):
                name = (run.config.get("data") or {}).get(key)
                if not isinstance(name, str):
                    continue
                there = workspace.relative(Path(name))
                if there == relative or (now is not None and run.inputs.get(there) == now):
                    done = "measured its model on it" if role == "validation" else "trained its model on it"
                    return Known(role, f"{run.id} {done}", accuracy)
    for config in _configs(workspace):
        data = config[1].get("data")
        named = data.get("validation_file") if isinstance(data, dict) else None
        if isinstance(named, str) and workspace.relative(Path(named)) == relative:
            return Known("validation", f"{printable(config[0])} names it as its validation_file", accuracy)
    return Known(None, "", accuracy)


def _accuracy(noted: dict[str, Any]) -> tuple[float, float, float, int] | None:
    share, pairs = noted.get("validation_accuracy"), noted.get("validation_pairs")
    if not isinstance(share, int | float) or not isinstance(pairs, int) or pairs < 1 or not 0 <= share <= 1:
        return None
    return float(share), *wilson(share * pairs, pairs), pairs


def _configs(workspace: Workspace) -> Iterator[tuple[str, dict[str, Any]]]:
    """The YAML files of the workspace that can be read; what is wrong with the others is no matter here."""
    for path in sorted(workspace.configs.glob("*.y*ml")):
        try:
            if path.stat().st_size > _LARGEST:
                continue
            document = yaml.safe_load(path.read_text("utf-8"))
        except (OSError, ValueError, RecursionError, yaml.YAMLError):
            continue
        if isinstance(document, dict):
            yield path.name, document


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes()) if path.stat().st_size <= _LARGEST else None
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
