"""What macOS tells: macmon (GPU, power, temperatures), ioreg (the GPU and its memory), pmset (throttling)."""

from __future__ import annotations

import json
import re
import subprocess
import threading
import time
from typing import Any

from core.monitor.programs import reason_of
from core.monitor.reading import Reading, absent, within


def parse_macmon(line: str) -> list[Reading]:
    """A line of `macmon pipe`, of its versions up to 0.7 and since 0.8, which name what they measure otherwise."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        return [absent("gpu", "macmon", "its line is not JSON")]
    readings = [_macmon_gpu(found)]
    temperatures = found.get("temp")
    temperatures = temperatures if isinstance(temperatures, dict) else {}
    for key, name in (("gpu.temperature", "gpu_temp_avg"), ("cpu.temperature", "cpu_temp_avg")):
        # It writes 0 where no sensor answered.
        value = within(temperatures.get(name), 1, 150)
        readings.append(Reading(key, value, "°C", "macmon", "" if value is not None else "no sensor answered macmon"))
    for key, name in (("gpu.power", "gpu_power"), ("cpu.power", "cpu_power"), ("power", "sys_power")):
        value = within(found.get(name), 0, 10_000)
        # A Mac that does not tell the power of all of it gives 0, which no running machine draws.
        value = None if key == "power" and not value else value
        readings.append(Reading(key, value, "W", "macmon", "" if value is not None else "this Mac does not tell it"))
    fans = found.get("fans")
    named = [fan for fan in fans if isinstance(fan, dict)] if isinstance(fans, list) else []
    speeds = [within(fan.get("rpm"), 0, 50_000) for fan in named]
    turning = [speed for speed in speeds if speed is not None]
    if turning:
        readings.append(Reading("fan", max(turning), "rpm", "macmon", parts=tuple(turning)))
    return readings


def _macmon_gpu(found: dict[str, Any]) -> Reading:
    old = found.get("gpu_usage")
    candidates = (
        (found.get("gpu_active_ratio"), "macmon"),
        (found.get("gpu_scaled_ratio"), "macmon, scaled by its frequency"),
        (old[1] if isinstance(old, list) and len(old) == 2 else None, "macmon, scaled by its frequency"),
    )
    for value, source in candidates:
        share = within(value, 0, 1.001)
        if share is not None:
            return Reading("gpu", min(100.0, 100 * share), "%", source, limit=100.0)
    return absent("gpu", "macmon", "its line has no use of the GPU")


_STATISTICS = re.compile(r'"PerformanceStatistics"\s*=\s*\{(.*)\}')


def parse_ioreg(text: str) -> list[Reading]:
    """`ioreg -r -d 1 -w 0 -c IOAccelerator`: the first accelerator that tells its use."""
    for line in text.splitlines():
        statistics = _STATISTICS.search(line)
        if statistics is None:
            continue
        # The names are whole ones: "In use system memory (driver)" is another value.
        values = {name: int(value) for name, value in re.findall(r'"([^"]+)"\s*=\s*(\d{1,19})(?!\d)', statistics[1])}
        use = next(
            (
                within(values[name], 0, 100)
                for name in ("Device Utilization %", "GPU Activity(%)", "Renderer Utilization %")
                if name in values
            ),
            None,
        )
        memory = within(values.get("In use system memory"), 0, 2**53)
        if use is None and memory is None:
            continue
        return [
            Reading("gpu", use, "%", "ioreg", "" if use is not None else "ioreg does not tell it", limit=100.0),
            Reading("gpu.memory", memory, "B", "ioreg", "" if memory is not None else "ioreg does not tell it"),
        ]
    why = "no accelerator tells its use in ioreg"
    return [absent("gpu", "ioreg", why), absent("gpu.memory", "ioreg", why)]


def parse_pmset(text: str) -> Reading:
    """`pmset -g therm`: whether macOS slows the processor down because it is hot."""
    limits = {name: int(value) for name, value in re.findall(r"(\w+)\s*=\s*(\d{1,5})", text)}
    speed = limits.get("CPU_Speed_Limit")
    level = limits.get("ThermalWarningLevel", limits.get("thermal_warning_level"))
    if speed is not None and speed < 100:
        return Reading("thermal", None, source="pmset", text=f"the processor is held at {speed}% of its speed")
    if level:
        return Reading("thermal", None, source="pmset", text=f"thermal warning level {level}")
    if speed is not None or "No thermal warning level has been recorded" in text:
        return Reading("thermal", None, source="pmset", text="none recorded")
    return absent("thermal", "pmset", "pmset does not tell it")


class Macmon:
    """`macmon pipe` as a child for as long as its readings are wanted. It ends with its pipe if this process dies."""

    def __init__(self, program: str, interval: float) -> None:
        self._newest: str | None = None
        self._at = 0.0  # when it said that
        self._silence = 3 * interval + 1  # after which that is of another time
        self._process: subprocess.Popen[bytes] | None = None
        self._why = "macmon said nothing yet"
        try:
            self._process = subprocess.Popen(
                [program, "pipe", "-i", str(int(interval * 1000))],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        except OSError as error:
            self._why = f"macmon does not start: {reason_of(error)}"
            return
        threading.Thread(target=self._listen, args=(self._process,), name="macmon", daemon=True).start()

    def _listen(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self._newest, self._at = line.decode("utf-8", "replace"), time.monotonic()
        self._newest, self._why = None, f"macmon ended with status {process.wait()}"

    @property
    def waiting(self) -> bool:
        """Whether it runs and has not said anything yet."""
        return self._process is not None and self._process.poll() is None and self._newest is None

    def read(self) -> list[Reading]:
        line, silent = self._newest, time.monotonic() - self._at
        if line is not None and silent <= self._silence:
            return parse_macmon(line)
        why = self._why if line is None else f"macmon said nothing for {silent:.0f} s"
        keys = ("gpu", "gpu.temperature", "cpu.temperature", "gpu.power", "cpu.power", "power")
        return [absent(key, "macmon", why) for key in keys]

    def close(self) -> None:
        process = self._process
        if process is None:
            return
        process.terminate()
        try:
            process.wait(1.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
