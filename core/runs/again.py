"""A run once more: its configuration file as it is now, and the keys that make it the run's own configuration."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from core.errors import UserError
from core.runs.fields import flattened
from core.store import calibrations
from core.store.runs import Run
from core.workspace import Workspace

# The configuration that a kind of run reads, where it has another name.
_READS = {"data_check": "dpo", "init_check": "dpo", "evaluate": "eval"}
_PLAIN = re.compile(r"[A-Za-z_./][\w./\-]*")
_WORDS = ("true", "false", "null", "yes", "no", "on", "off", "none")


@dataclass(frozen=True, slots=True)
class Again:
    """`overrides` are `key=value` each, as `--set` takes them; `left`: keys that they cannot make the run's own."""

    config: str  # from the workspace
    kind: str  # of configuration
    overrides: tuple[str, ...]
    left: tuple[str, ...] = ()
    gone: str = ""  # the file of the run, where another one takes its place


def again(workspace: Workspace, run: Run) -> Again:
    """
    Raises:
        UserError: runs of this kind read no configuration, or there is no file to begin from, or it has errors.
    """
    from core.config import RUN_CONFIGS, keys, load_config, standing

    kind = str(run.config.get(calibrations.FOR, "dpo")) if run.kind == "calibrate" else _READS.get(run.kind, run.kind)
    if kind not in RUN_CONFIGS:
        raise UserError(f"{run.id} is a run of kind {run.kind}: it is not started from a configuration of its own")
    path, gone = run.config_path or "", ""
    if not path or not standing(workspace.path(path)).is_file():
        path, gone = f"configs/{kind}_config.yaml", path
    file = workspace.path(path)
    now = flattened(load_config(file, RUN_CONFIGS[kind]).model_dump(mode="json"))
    # A snapshot may hold more than its configuration: for what it calibrates, the files that an iteration read.
    known = RUN_CONFIGS[kind].model_fields
    then = flattened({key: value for key, value in run.config.items() if key in known})
    differing = {key: value for key, value in then.items() if key not in now or now[key] != value}
    overrides = [override(key, value) for key, value in differing.items()]
    kept, left = _accepted(workspace, path, kind, overrides)
    # A key that the file has and the run had not cannot be taken out by an override; at its default it says nothing.
    usual = {key.path: key.default for key in keys(RUN_CONFIGS[kind])}
    left += [key for key, value in now.items() if key not in then and value not in (None, [], {}, usual.get(key))]
    return Again(path, kind, tuple(kept), tuple(left), gone)


def override(key: str, value: Any) -> str:
    """`key=value` as `--set` reads it back."""
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.casefold() not in _WORDS:
        return f"{key}={value}"
    return f"{key}={_yaml(value)}"


def _yaml(value: Any) -> str:
    """JSON is YAML, but for a float without a point: 1e-06 is text there."""
    if isinstance(value, list):
        return f"[{', '.join(_yaml(item) for item in value)}]"
    text = json.dumps(value, ensure_ascii=False)
    return text.replace("e", ".0e", 1) if isinstance(value, float) and "e" in text and "." not in text else text


def _accepted(workspace: Workspace, path: str, kind: str, overrides: list[str]) -> tuple[list[str], list[str]]:
    """Those overrides that the configuration takes, and the keys of those that it refuses."""
    from core.config import RUN_CONFIGS, load_config

    try:
        load_config(workspace.path(path), RUN_CONFIGS[kind], overrides)
    except UserError:
        pass
    else:
        return overrides, []
    kept: list[str] = []
    left = []
    for each in overrides:
        try:
            load_config(workspace.path(path), RUN_CONFIGS[kind], [*kept, each])
        except UserError:
            left.append(each.partition("=")[0])
        else:
            kept.append(each)
    return kept, left
