"""What Linux tells: nvidia-smi of its GPUs, and the energy that the processor counts."""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Callable
from pathlib import Path

from core.monitor.reading import Reading, absent, within
from core.text import one_line

ASKED = "index,name,utilization.gpu,memory.used,memory.total,temperature.gpu,power.draw,power.limit"


def parse_nvidia(text: str) -> list[Reading]:
    """`nvidia-smi --query-gpu=… --format=csv,noheader,nounits`: MiB, °C and W, a line a GPU."""
    readings: list[Reading] = []
    for row in csv.reader(text.splitlines(), skipinitialspace=True):
        if len(row) != 8 or not row[0].strip().isdecimal():
            continue
        number = "" if not readings else f"#{row[0].strip()}"
        use, memory, total, heat, power, most = (_cell(cell) for cell in row[2:])
        source = f"nvidia-smi, {one_line(row[1].strip(), 40)}"

        def reading(
            key: str,
            value: float | None,
            unit: str,
            limit: float | None,
            number: str = number,
            source: str = source,
        ) -> Reading:
            why = "" if value is not None else "nvidia-smi: not told by this GPU"
            return Reading(f"{key}{number}", value, unit, source, why, limit=limit)

        readings += [
            reading("gpu", within(use, 0, 100), "%", 100.0),
            reading("gpu.memory", memory * 2**20 if memory is not None else None, "B", total and total * 2**20),
            reading("gpu.temperature", within(heat, -40, 150), "°C", None),
            reading("gpu.power", within(power, 0, 10_000), "W", most),
        ]
    return readings or [absent("gpu", "nvidia-smi", "nvidia-smi lists no GPU")]


def _cell(cell: str) -> float | None:
    """A number, or None for [N/A] and its like."""
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None


class Rapl:
    """The power of the processor from the energy that Linux counts for each package."""

    def __init__(self, root: Path = Path("/sys/class/powercap"), clock: Callable[[], float] = time.monotonic) -> None:
        self._root, self._clock = root, clock
        self._before: tuple[float, dict[Path, int]] | None = None
        self.read()  # it counts from here on

    def read(self) -> list[Reading]:
        packages = [path for path in sorted(self._root.glob("intel-rapl:*")) if path.name.count(":") == 1]
        if not packages:
            return [absent("cpu.power", "/sys", "no energy counters in /sys/class/powercap")]
        try:
            counted = {path: int((path / "energy_uj").read_text()) for path in packages}
        except PermissionError:
            return [absent("cpu.power", "/sys", "only root may read /sys/class/powercap")]
        except (OSError, ValueError):
            return [absent("cpu.power", "/sys", "the energy counters cannot be read")]
        now, before = self._clock(), self._before
        self._before = now, counted
        if before is None or now <= before[0] or before[1].keys() != counted.keys():
            return [absent("cpu.power", "/sys", "is counted from now on")]
        used = 0.0
        for path, value in counted.items():
            used += value - before[1][path]
            if value < before[1][path]:  # the counter began anew
                used += _whole(path / "max_energy_range_uj")
        watts = within(used / 1e6 / (now - before[0]), 0, 10_000)
        return [Reading("cpu.power", watts, "W", "/sys/class/powercap", "" if watts is not None else "began anew")]

    def close(self) -> None:
        pass


def _whole(path: Path) -> int:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return 0
