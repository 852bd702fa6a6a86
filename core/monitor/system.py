"""What psutil reads on every system: processor, memory, swap, sensors, and the memory of the engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psutil

from core.monitor.reading import Reading, absent, within

# psutil's names of sensors that sit in or on the processor, the best first.
_OF_THE_CPU = ("coretemp", "k10temp", "zenpower", "cpu_thermal", "cpu-thermal", "soc_thermal", "acpitz")


class Psutil:
    """Processor, memory, swap, and what else psutil reads on this system."""

    def __init__(self) -> None:
        # It tells the use since it was asked last; by thread.
        psutil.cpu_percent(percpu=True)

    def read(self) -> list[Reading]:
        cores = tuple(psutil.cpu_percent(percpu=True))
        memory = psutil.virtual_memory()
        readings = [
            Reading("cpu", sum(cores) / max(1, len(cores)), "%", "psutil", limit=100.0, parts=cores),
            Reading("memory", float(memory.total - memory.available), "B", "psutil", limit=float(memory.total)),
            *self._temperature(),
        ]
        try:
            swap = psutil.swap_memory()
            readings.append(Reading("swap", float(swap.used), "B", "psutil", limit=float(swap.total)))
        except (OSError, RuntimeError):
            readings.append(absent("swap", "psutil", "psutil cannot read it here"))
        return readings + self._battery()

    def _temperature(self) -> list[Reading]:
        """Nothing where psutil has no such function: macOS tells it to others."""
        ask: Callable[[], dict[str, list[Any]]] | None = getattr(psutil, "sensors_temperatures", None)
        if ask is None:
            return []
        try:
            found = ask()
        except (OSError, RuntimeError, ValueError):
            found = {}
        for name in _OF_THE_CPU:
            heats = [within(sensor.current, 1, 150) for sensor in found.get(name, ())]
            measured = [heat for heat in heats if heat is not None]
            if measured:
                return [Reading("cpu.temperature", max(measured), "°C", f"psutil, {name}")]
        return [absent("cpu.temperature", "psutil", "the system shows no sensor of the processor")]

    def _battery(self) -> list[Reading]:
        """Nothing where there is none: most machines that train have no battery."""
        ask: Callable[[], Any] | None = getattr(psutil, "sensors_battery", None)
        try:
            found = ask() if ask is not None else None
        except (OSError, RuntimeError, ValueError):
            found = None
        if found is None:
            return []
        words = "on battery" if found.power_plugged is False else "on mains" if found.power_plugged else ""
        return [Reading("battery", within(found.percent, 0, 100), "%", "psutil", text=words)]

    def close(self) -> None:
        pass


def engine_memory(pid: int, started: float) -> Reading:
    """What the engine and its children hold in memory (RSS). `started`: when the engine of this number began."""
    try:
        process = psutil.Process(pid)
        # A number is given to another process once its own is gone.
        if process.create_time() > started + 1:
            return absent("engine.memory", "psutil", "the engine has ended")
        held = process.memory_info().rss
        for child in process.children(recursive=True):
            try:
                held += child.memory_info().rss
            except psutil.NoSuchProcess:
                continue
    except psutil.NoSuchProcess:
        return absent("engine.memory", "psutil", "the engine has ended")
    except (psutil.Error, OSError):
        return absent("engine.memory", "psutil", "not told by this system")
    return Reading("engine.memory", float(held), "B", f"psutil, RSS of process {pid}")
