"""Which data file a run has to do with: what it wrote, or else what it reads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.workspace import Workspace

# Keys of the section `data`, what is worth seeing first.
_KEYS = ("output_file", "train_file", "prompts_file", "input_file", "validation_file")


def data_files(config: Mapping[str, Any]) -> list[str]:
    """The data files that a configuration names, as it names them."""
    data = config.get("data")
    found = [data.get(key) for key in _KEYS] if isinstance(data, Mapping) else []
    return [name for name in found if isinstance(name, str) and name]


def data_file(workspace: Workspace, config: Mapping[str, Any]) -> Path | None:
    """The first of them that is there."""
    paths = (workspace.path(name) for name in data_files(config))
    return next((path for path in paths if path.is_file()), None)
