"""A reading: one value of this machine's use with its source, or why it cannot be read."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

# What a gauge is called, in the order in which it is shown.
LABELS = {
    "gpu": "GPU",
    "gpu.memory": "GPU memory",
    "cpu": "CPU",
    "memory": "memory",
    "swap": "swap",
    "engine.memory": "engine",
    "run.memory": "run, peak",
    "gpu.temperature": "GPU temp",
    "cpu.temperature": "CPU temp",
    "gpu.power": "GPU power",
    "cpu.power": "CPU power",
    "power": "power",
    "fan": "fan",
    "thermal": "throttling",
    "battery": "battery",
}


@dataclass(frozen=True, slots=True)
class Reading:
    """One value, or why there is none. `parts` are its shares (a core each); `text` says it where no number does.

    Units are %, B (bytes), °C, W and rpm. `limit` is the most that the value can or should be.
    """

    key: str
    value: float | None
    unit: str = ""
    source: str = ""
    reason: str = ""
    text: str = ""
    limit: float | None = None
    parts: tuple[float, ...] = ()

    @property
    def present(self) -> bool:
        return self.value is not None or bool(self.text)

    @property
    def label(self) -> str:
        """Its name; a machine's second GPU has the number behind it."""
        name, _, number = self.key.partition("#")
        return f"{LABELS.get(name, name)} {number}".strip()


class Source(Protocol):
    """Something that readings are had from, by one thread. It may be closed by another one, and more than once."""

    def read(self) -> Iterable[Reading]: ...

    def close(self) -> None: ...


def absent(key: str, source: str, reason: str) -> Reading:
    return Reading(key, None, source=source, reason=reason)


def within(value: object, low: float, high: float) -> float | None:
    """A number within bounds that it can have; what lies outside of them was not measured."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value) if low <= value <= high else None
