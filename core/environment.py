"""The environment of a run: variables and limits that MLX computes under, who set each, and whether it acts here.

A key of `compute.environment` goes before the shell that the engine was started from, for the configuration is kept
with the run and the shell is that of whoever came first; where both are silent, the default stands.

MLX reads its variables once, when it first needs them. So they are set before this process loads it, and a process
that loaded it with other values has them until its end.
"""

from __future__ import annotations

import importlib.util
import mmap
import os
import sys
from collections.abc import Mapping
from contextlib import closing, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from core.config import DPOConfig, load_config, this_platform
from core.config.environment import Environment
from core.errors import UserError
from core.hardware import versions
from core.store.environments import By, Effect, Setting

# Of variables, by their names.
Values = Mapping[str, str | None]


class Variable(NamedTuple):
    name: str
    key: str
    on: str
    off: str | None
    meaning: str
    at_start: bool = True  # it is read once, by a process that begins


VARIABLES = (
    Variable(
        "MLX_METAL_FAST_SYNCH", "metal_fast_synch", "1", "0",
        "1: CPU and GPU wait for each other by polling; for several machines, and it may lock the GPU",
    ),
    Variable("MLX_METAL_PREALLOCATE", "metal_preallocate", "1", "0", "no version of MLX reads it"),
    Variable(
        "AGX_RELAX_CDM_CTXSTORE_TIMEOUT", "relax_gpu_watchdog", "1", None,
        "1: macOS ends long GPU work less soon while a display is active",
    ),
    Variable(
        "TOKENIZERS_PARALLELISM", "tokenizers_parallelism", "true", "false",
        "tokenizers uses all cores unless it is false", at_start=False,
    ),
)  # fmt: skip
# Told only where somebody set them: they are for looking into defects and take speed.
_OTHERS = {
    "MLX_DISABLE_COMPILE": "nothing is compiled: every step is slower",
    "MLX_MAX_OPS_PER_BUFFER": "how many operations go to the GPU at once; MLX knows the best number for each chip",
    "MLX_MAX_MB_PER_BUFFER": "how much memory they may touch at once; MLX knows the best number for each chip",
}
NAMES = tuple(variable.name for variable in VARIABLES)

WIRED, CACHE, MEMORY = "wired limit", "cache limit", "memory limit"
LIMITS = {
    WIRED: ("wired_limit_gb", "keeps memory resident on the GPU, which is what MLX_METAL_PREALLOCATE promises"),
    CACHE: ("cache_limit_gb", "what MLX keeps to use again; by default as much as its memory limit"),
    MEMORY: ("memory_limit_gb", "a guideline from which on MLX waits; by default its own"),
}


def environment_in(config: Mapping[str, Any]) -> Environment:
    """That of a run's snapshot, which may be of an older program."""
    compute = config.get("compute")
    found = compute.get("environment") if isinstance(compute, dict) else None
    with suppress(ValidationError):
        return Environment.model_validate(found or {})
    return Environment()


def variables(environment: Environment) -> dict[str, str | None]:
    """What a configuration sets of the variables: for processes that are started for a run. None: take it away."""
    found: dict[str, str | None] = {}
    for variable in VARIABLES:
        wanted = getattr(environment, variable.key)
        if wanted is not None:
            found[variable.name] = variable.on if wanted else variable.off
    return found


# This process


class _Process:
    """What this process was started with, and what it had when MLX was loaded."""

    def __init__(self) -> None:
        self.shell: dict[str, str | None] = {name: os.environ.get(name) for name in NAMES}
        self.began: dict[str, str | None] | None = None


@lru_cache(maxsize=1)
def _process() -> _Process:
    return _Process()


def set_variables(environment: Environment) -> list[Setting]:
    """Set them for the run that begins in this process; those that MLX reads once only as long as it is not loaded."""
    process = _process()
    wanted = process.shell | variables(environment)
    loaded = "mlx.core" in sys.modules
    if loaded and process.began is None:
        process.began = {name: os.environ.get(name) for name in NAMES}
    for variable in VARIABLES:
        if not (loaded and variable.at_start):
            _put(variable.name, wanted[variable.name])
    if process.began is None:
        process.began = wanted
    return settings(environment, process.shell, process.began)


def began_otherwise(environment: Environment) -> bool:
    """Whether MLX was loaded here with other variables than this run is to have, and of such as act here."""
    began = _process().began
    return began is not None and any(
        setting.effect == "not yet" for setting in settings(environment, _process().shell, began)
    )


def as_started() -> dict[str, str]:
    """The environment of this process as it was started: what it hands on to its successor."""
    shell = _process().shell
    found = {name: value for name, value in os.environ.items() if name not in shell}
    return found | {name: value for name, value in shell.items() if value is not None}


def _put(name: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value


# What it comes to


def settings(environment: Environment, shell: Values, began: Values | None = None) -> list[Setting]:
    """The variables as a run has them.

    Args:
        shell: what the process that executes it was started with.
        began: what it had when it loaded MLX; None where a run now would be the first.
    """
    wanted = variables(environment)
    found = []
    for variable in VARIABLES:
        by: By = "configuration" if variable.name in wanted else "default"
        value = wanted.get(variable.name)
        if by == "default" and shell.get(variable.name) is not None:
            by, value = "shell", shell[variable.name]
        key = f"compute.environment.{variable.key}"
        had = value if began is None else began.get(variable.name)
        effect, why = _effect(variable, value, by, had)
        found.append(Setting(variable.name, key, value, by, effect, why))
    for name, meaning in _OTHERS.items():
        if shell.get(name) is not None:
            acts = read_by_mlx(name)
            why = meaning if acts else _not_here(name)
            found.append(Setting(name, "", shell[name], "shell", "effective" if acts else "without effect", why))
    return found


def _effect(variable: Variable, value: str | None, by: By, had: str | None) -> tuple[Effect | None, str]:
    name, mlx = variable.name, versions()["mlx"]
    asked = by != "default"
    if not variable.at_start:
        return ("effective" if asked else None), "tokenizers reads it at every call" if asked else variable.meaning
    if name == "MLX_METAL_PREALLOCATE" and not read_by_mlx(name):
        why = f"has no effect in MLX {mlx}: no version reads it; {LIMITS[WIRED][0]} does what it promises"
        return ("without effect" if asked else None), why
    differs = had != value and {had, value} != {None, "0"}
    if not asked and not differs:
        return None, variable.meaning
    if not on_metal():
        return ("without effect" if asked else None), f"MLX has no Metal here, which {name} is for"
    if name.startswith("MLX_") and not read_by_mlx(name):
        return ("without effect" if asked else None), _not_here(name)
    if differs:
        return "not yet", f"MLX began in the engine with {_said(had)}: from the engine's next start"
    if not name.startswith("MLX_"):
        return "not told", "set before Metal began; Apple's driver reads it and does not say so"
    caution = "; it may lock the GPU until the Mac is restarted" if value == variable.on else ""
    return "effective", f"set before MLX {mlx} began, whose library reads it{caution}"


def _said(value: str | None) -> str:
    return "none" if value is None else value


def _not_here(name: str) -> str:
    return f"the library of MLX {versions()['mlx']} on this machine does not have the name"


def on_metal() -> bool:
    return this_platform().accelerator == "metal"


@lru_cache(maxsize=32)
def read_by_mlx(name: str) -> bool:
    """Whether the installed library of MLX has the name of this variable in it, as it must to ask for it."""
    spec = importlib.util.find_spec("mlx")
    for place in spec.submodule_search_locations or () if spec else ():
        for library in Path(place).glob("lib/libmlx.*"):
            with suppress(OSError, ValueError), library.open("rb") as file:
                content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
                with closing(content):
                    if content.find(name.encode() + b"\0") >= 0:
                        return True
    return False


# Limits, and all of them together


def planned(environment: Environment, shell: Mapping[str, str]) -> list[Setting]:
    """As a run has them that is the first of an engine which began with this shell."""
    device = "gpu" if this_platform().accelerator else "cpu"
    known = {name: shell.get(name) for name in (*NAMES, *_OTHERS)}
    return [*settings(environment, known), *(limit_planned(name, environment, device) for name in LIMITS)]


def configured(root: Path) -> Environment:
    """That of the workspace's DPO configuration; nothing set where it cannot be read."""
    with suppress(UserError, OSError):
        return load_config(root / "configs" / "dpo_config.yaml", DPOConfig, ()).compute.environment
    return Environment()


def limit_planned(name: str, environment: Environment, device: str) -> Setting:
    """A limit as a run now would set it, before MLX was asked."""
    key, meaning = LIMITS[name]
    wanted: float | None = getattr(environment, key)
    path = f"compute.environment.{key}"
    if wanted is None:
        if name == WIRED and device == "gpu" and on_metal():
            return Setting(name, path, "what Metal recommends", "default", None, meaning)
        return Setting(name, path, None, "default", None, meaning)
    if name == WIRED and not (device == "gpu" and on_metal()):
        return Setting(name, path, gigabytes(wanted), "configuration", "without effect", "no Metal computes here")
    return Setting(name, path, gigabytes(wanted), "configuration", None, f"set when a run begins; {meaning}")


def gigabytes(number: float) -> str:
    return f"{number:g} GB"


# In short


def summary(found: list[Setting]) -> tuple[float | None, str, str]:
    """A yes/no for the checklist, its text, and where it is from.

    Yes where something was asked for, and all that can act here does; no where some of it does not yet; nothing where
    nothing was asked for, or nothing can act on this machine.
    """
    told = [one for one in found if one.asked or one.value is not None or one.effect == "not yet"]
    text = ", ".join(map(_short, told))
    acting = [one for one in told if one.effect in ("effective", "not told")]
    waiting = [one for one in told if one.effect == "not yet"]
    if waiting:
        return 0.0, text, f"{waiting[0].name}: {waiting[0].why}"
    if acting and any(one.asked for one in told):
        return 1.0, text, "compute.environment and the engine's shell, as the run had them"
    why = "; ".join(f"{one.name}: {one.why}" for one in told if one.asked)
    return None, text, why or "compute.environment sets nothing, nor did the engine's shell"


def _short(one: Setting) -> str:
    name = one.name.removeprefix("MLX_METAL_").removeprefix("AGX_").removesuffix("_CDM_CTXSTORE_TIMEOUT")
    value = f" {one.value}" if one.name in LIMITS or one.value not in ("1", None) else " set"
    match one.effect:
        case "without effect" if one.name.startswith("MLX_"):
            return f"{name} without effect in MLX {versions()['mlx']}"
        case "without effect":
            return f"{name} without effect"
        case "not yet":
            return f"{name} from the engine's next start"
    return f"{name}{value}"
