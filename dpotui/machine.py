"""The machine as a card: chip, cores, memory, what a run may take of it, and the variables that matter for speed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from dpotui.widgets.card import BLANK, Entry

if TYPE_CHECKING:
    from core.hardware import Hardware, MemoryLimit


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
    entries = [*_machine(here, limit), BLANK, *_environment(here, engine)]
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


def _environment(here: Hardware, engine: int | None) -> list[Entry]:
    from core import hardware

    entries = [Entry("", "Environment", "title")]
    if here.accelerator != "metal":
        entries.append(Entry("", "These are read where MLX computes on Metal: here they change nothing.", "dim"))
    of_engine = hardware.environment_of(engine) if engine is not None else None
    for name, value, effect in hardware.environment():
        entries.append(Entry("", f"{name}  {_set(value)}"))
        if of_engine is not None and of_engine.get(name) != value:
            # It took over the environment of whoever started it.
            entries.append(Entry("", f"in the engine: {_set(of_engine.get(name))}, which is what counts", "warn"))
        entries.append(Entry("", effect, "dim"))
    return entries


def _set(value: str | None) -> str:
    return "not set" if value is None else value or "empty"
