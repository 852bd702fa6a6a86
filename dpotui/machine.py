"""The machine as a card: chip, cores, memory, what a run may take of it, and the variables that matter for speed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from dpotui.widgets.card import BLANK, Entry

if TYPE_CHECKING:
    from core.hardware import Hardware, MemoryLimit
    from core.store.environments import Setting


class Machine(NamedTuple):
    """What does not change while one looks.

    `limits` are the most that readings should come to, by their keys; `known` the workflow's batch sizes by chip.
    """

    entries: list[Entry]
    chip: str = ""
    limits: Mapping[str, float] = {}
    known: Mapping[str, int] = {}


def read_machine(folder: Path, engine: int | None = None) -> Machine:
    """The machine as it is now; asks the GPU what it recommends, which may take a moment.

    Args:
        folder: whose disk is meant.
        engine: the process of the engine, whose environment is what counts.
    """
    from core import hardware

    here = hardware.look(folder)
    limit = hardware.memory_limit("gpu" if here.accelerator else "cpu")
    limits = {"memory": float(here.memory)}
    if here.accelerator:
        limits |= {"gpu.memory": float(limit.bytes), "run.memory": float(limit.bytes)}
    entries = [*_machine(here, limit), BLANK, *_environment(folder, engine)]
    return Machine(entries, here.chip, limits, hardware.STARTING_POINTS)


def _machine(here: Hardware, limit: MemoryLimit) -> list[Entry]:
    from core import blas, hardware

    versions = hardware.versions()
    known = hardware.STARTING_POINTS.get(here.chip)
    others = ", ".join(f"{chip} {size}" for chip, size in hardware.STARTING_POINTS.items())
    fast = f" ({here.performance_cores} fast)" if here.performance_cores else ""
    where = {"metal": "the GPU (Metal)", "cuda": "the GPU (CUDA)", None: "the CPU"}[here.accelerator]
    entries = [
        Entry("", here.chip, "title"),
        Entry("system", here.system),
        Entry("cores", f"{here.cores}{fast}"),
        Entry("memory", f"{here.memory / 1e9:.1f} GB, {here.memory_available / 1e9:.1f} free"),
        Entry("for a run", f"{limit.bytes / 1e9:.1f} GB: {limit.source}"),
    ]
    if here.accelerator == "metal":
        wired = "sudo sysctl iogpu.wired_limit_mb=N lets Metal take N MB, until the next start of the Mac"
        entries.append(Entry("", wired, "dim"))
    entries += [
        Entry("disk", f"{here.disk_free / 1e9:.0f} GB free"),
        Entry("computes", f"on {where}, mlx {versions['mlx']}, mlx-lm {versions['mlx-lm']}"),
        Entry("start with", f"{known} pairs" if known else f"no batch size is known for this chip ({others})"),
    ]
    if here.system.startswith("macOS"):
        return entries
    if here.openblas:
        entries.append(Entry("BLAS", f"{here.openblas}, loaded ahead of the one in MLX's wheels, which is slow"))
    else:
        slow = f"the one in MLX's wheels, about twenty times slower than OpenBLAS: {blas.INSTALL}"
        entries.append(Entry("BLAS", slow, "" if here.accelerator else "warn"))
    return entries


def _environment(folder: Path, engine: int | None) -> list[Entry]:
    """As a run would have it now, and where the last one had something else, that."""
    from core import environment, hardware

    entries = [Entry("", "Environment of a run", "title")]
    of_engine = hardware.environment_of(engine) if engine is not None else None
    here = environment.planned(environment.configured(folder), os.environ)
    now = here if of_engine is None else environment.planned(environment.configured(folder), of_engine)
    mine = {one.name: one for one in here}
    run, before = _last(folder)
    for one in now:
        entries.append(Entry("", f"{one.name}  {_set(one)}"))
        other = mine.get(one.name)
        if other is not None and other.value != one.value:
            # It took over the environment of whoever started it.
            entries.append(Entry("", f"in your shell: {_set(other)}; the engine's is what counts", "warn"))
        entries.append(Entry("", f"{one.effect}: {one.why}" if one.effect else one.why, "dim"))
        had = before.get(one.name)
        if had is not None and (had.effect == "not yet" or _differ(had, one)):
            entries.append(Entry("", f"in {run}: {_set(had)}{f', {had.effect}' if had.effect else ''}", "warn"))
    return entries


def _differ(had: Setting, now: Setting) -> bool:
    """What a limit comes to is known only once MLX was asked."""
    return had.by != now.by or (had.value != now.value and now.by != "default")


def _last(folder: Path) -> tuple[str, dict[str, Setting]]:
    from core.errors import UserError
    from core.store import environments, open_store
    from core.workspace import open_workspace

    try:
        database = open_workspace(folder).database
        with closing(open_store(database)) as db:
            run, found = environments.latest(db) or ("", [])
    except UserError:
        return "", {}
    return run, {one.name: one for one in found}


def _set(one: Setting) -> str:
    if one.value is None:
        return "not set"
    return f"{one.value or 'empty'} ({one.by})"
