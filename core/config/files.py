"""The configuration files of a workspace, and of which kind each is."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.config.document import read
from core.config.kinds import RUN_CONFIGS
from core.errors import UserError
from core.workspace import Workspace, templates

# Files beside the configurations that steer runs and can be read as text.
_OTHERS = ("*.md", "*.py", "benchmarks/*.yaml")


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """`kind` is one of RUN_CONFIGS, or None where the file is no configuration of a run."""

    path: Path
    name: str  # from configs/
    kind: str | None


def configurations(workspace: Workspace) -> list[ConfigFile]:
    """All files in configs/: those of runs first, in the order of the workflow."""
    folder = workspace.configs
    known = [ConfigFile(path, path.name, kind_of_file(path)) for path in sorted(folder.glob("*.yaml"))]
    order = list(RUN_CONFIGS)
    known.sort(key=lambda file: order.index(file.kind) if file.kind else len(order))
    others = [path for pattern in _OTHERS for path in sorted(folder.glob(pattern))]
    return known + [ConfigFile(path, str(path.relative_to(folder)), None) for path in others]


def kind_of_file(path: Path) -> str | None:
    """Which kind a file is: by its name, such as dpo_lowlr.yaml, else by its sections."""
    if path.suffix not in (".yaml", ".yml"):
        return None
    for kind in RUN_CONFIGS:
        if re.match(rf"{kind}(?![A-Za-z])", path.name):
            return kind
    try:
        return _by_sections(read(path).value)
    except UserError:
        return None


def is_sweep(path: Path) -> bool:
    """Whether a file is W&B's sweep file, by its name: it has a form of its own."""
    return path.suffix in (".yaml", ".yml") and re.match(r"sweep(?![A-Za-z])", path.name) is not None


def _by_sections(value: dict[str, Any]) -> str | None:
    for key, kind in (
        ("judges", "judge"),
        ("alignment_evaluation", "eval"),
        ("generation", "generate"),
        ("iteration", "iterate"),
    ):
        if key in value:
            return kind
    model, training = value.get("model"), value.get("training")
    if not isinstance(model, dict) or not isinstance(training, dict):
        return None
    if "policy_model" in model:
        return "dpo"
    reward = {"margin", "margin_scale", "scored_pairs", "center_rewards_coefficient"}
    return "reward" if reward & training.keys() else "sft"


def template_of(kind: str) -> Path:
    """The file that a new workspace has of a kind."""
    return templates() / f"{kind}_config.yaml"
