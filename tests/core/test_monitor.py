"""The machine's use: what each source prints is read, what is not told is absent with its reason, no child is left."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from core import monitor
from core.monitor import Monitor, Reading, sampling
from core.monitor.linux import Rapl, parse_nvidia
from core.monitor.mac import Macmon, parse_ioreg, parse_macmon, parse_pmset
from core.monitor.programs import Printed
from core.monitor.reading import Source, absent
from core.monitor.system import Psutil, engine_memory

# As macmon documents its output, before and since 0.8.
MACMON_OLD = {
    "temp": {"cpu_temp_avg": 43.73614, "gpu_temp_avg": 36.95167},
    "memory": {"ram_total": 25769803776, "ram_usage": 20985479168, "swap_total": 4294967296, "swap_usage": 2602434560},
    "ecpu_usage": [1181, 0.082656614],
    "pcpu_usage": [1974, 0.015181795],
    "gpu_usage": [461, 0.021497859],
    "cpu_power": 0.20486385,
    "gpu_power": 0.017451683,
    "ane_power": 0.0,
    "all_power": 0.22231553,
    "sys_power": 5.876533,
    "ram_power": 0.11635789,
    "gpu_ram_power": 0.0009615385,
}
MACMON_NEW = MACMON_OLD | {
    "timestamp": "2025-02-24T20:38:15.427569+00:00",
    "fans": [{"name": "fan0", "rpm": 999, "max_rpm": 4900}, {"name": "fan1", "rpm": 1200, "max_rpm": 5200}],
    "gpu_freq_mhz": 461,
    "gpu_scaled_ratio": 0.021497859,
    "gpu_active_ratio": 0.09,
}
# In the form in which ioreg prints an accelerator of an Apple chip with -w 0.
IOREG = """\
+-o AGXAcceleratorG16X  <class AGXAcceleratorG16X, id 0x100000a1b, registered, matched, active, busy 0, retain 121>
    {
      "IOClass" = "AGXAcceleratorG16X"
      "IOReportLegend" = ({"IOReportChannels"=((1,2,"Alloc system memory"),(3,4,"In use system memory"))})
      "AGXParameterBufferMaxSize" = 18446744071562067968
      "PerformanceStatistics" = {"In use system memory (driver)"=0,"Alloc system memory"=52967440384,\
"Tiler Utilization %"=10,"recoveryCount"=0,"Renderer Utilization %"=85,"Device Utilization %"=87,\
"In use system memory"=19327352832}
      "model" = "Apple M4 Max"
    }
"""
THERM_QUIET = """\
Note: No thermal warning level has been recorded
Note: No performance warning level has been recorded
Note: No CPU power status has been recorded
"""
THERM_HOT = """\
 - CPU_Scheduler_Limit          = 100
 - CPU_Available_CPUs           = 10
 - CPU_Speed_Limit              = 60
"""
# Fields as nvidia-smi prints them with csv,noheader,nounits; a MIG slice does not tell its use.
NVIDIA = """\
0, NVIDIA H200, 97, 61440, 143771, 64, 512.31, 700.00
1, NVIDIA H200, [N/A], 0, 143771, 31, [Not Supported], 700.00
"""


# A first line cannot name a program in a folder with blanks: the shell reads its second line, Python passes over it.
_PYTHON = f"#!/bin/sh\n'''exec' '{sys.executable}' \"$0\" \"$@\"\n' '''\n"


def _by_key(readings: Iterable[Reading]) -> dict[str, Reading]:
    return {reading.key: reading for reading in readings}


@pytest.mark.parametrize(
    ("line", "use", "source"),
    [(MACMON_OLD, 2.1497859, "macmon, scaled by its frequency"), (MACMON_NEW, 9.0, "macmon")],
    ids=["0.7", "0.8"],
)
def test_macmon_of_both_kinds(line: dict[str, object], use: float, source: str) -> None:
    found = _by_key(parse_macmon(json.dumps(line)))
    assert found["gpu"].value == pytest.approx(use) and found["gpu"].source == source
    assert found["gpu.temperature"].value == 36.95167
    assert found["cpu.temperature"].value == 43.73614
    assert (found["gpu.power"].value, found["power"].value) == (0.017451683, 5.876533)
    assert ("fan" in found) == ("fans" in line)
    if "fan" in found:
        assert (found["fan"].value, found["fan"].parts) == (1200, (999, 1200))


@pytest.mark.parametrize(
    "line",
    ["", "null", "[1]", "{}", '{"temp": 3, "gpu_usage": [1], "fans": {}}', "[" * 9000, '{"gpu_active_ratio": 17}'],
)
def test_what_macmon_does_not_say_is_absent(line: str) -> None:
    for reading in parse_macmon(line):
        assert not reading.present and reading.reason


def test_a_sensor_that_gives_nought_did_not_answer() -> None:
    told = MACMON_OLD | {"temp": {"cpu_temp_avg": 0.0, "gpu_temp_avg": 36.0}, "sys_power": 0.0}
    found = _by_key(parse_macmon(json.dumps(told)))
    assert found["cpu.temperature"].value is None and "no sensor" in found["cpu.temperature"].reason
    assert found["power"].value is None
    assert found["gpu.temperature"].value == 36.0


def test_ioreg_takes_whole_names() -> None:
    found = _by_key(parse_ioreg(IOREG))
    assert (found["gpu"].value, found["gpu"].limit) == (87.0, 100.0)
    assert found["gpu.memory"].value == 19_327_352_832


@pytest.mark.parametrize(
    "text",
    [
        "",
        '"IOReportLegend" = ({"IOReportChannels"=((1,2,"In use system memory"))})',
        '"PerformanceStatistics" = {}',
        '"PerformanceStatistics" = {"Device Utilization %"=101}',
        '"PerformanceStatistics" = {"In use system memory (driver)"=5}',
    ],
)
def test_ioreg_without_a_use_is_absent(text: str) -> None:
    assert [(one.key, one.present) for one in parse_ioreg(text)] == [("gpu", False), ("gpu.memory", False)]


def test_throttling_is_said_in_words() -> None:
    assert parse_pmset(THERM_QUIET).text == "none recorded"
    assert parse_pmset(THERM_HOT).text == "the processor is held at 60% of its speed"
    assert parse_pmset(THERM_HOT.replace("60", "100")).text == "none recorded"
    assert not parse_pmset("").present


def test_every_nvidia_gpu_has_its_own_readings() -> None:
    found = _by_key(parse_nvidia(NVIDIA))
    assert (found["gpu"].value, found["gpu#1"].value) == (97.0, None)
    assert found["gpu#1"].reason and found["gpu#1"].label == "GPU 1"
    assert (found["gpu.memory"].value, found["gpu.memory"].limit) == (61440 * 2**20, 143771 * 2**20)
    assert (found["gpu.power"].value, found["gpu.power"].limit) == (512.31, 700.0)
    assert found["gpu.power"].source == "nvidia-smi, NVIDIA H200"
    assert not found["gpu.power#1"].present


@pytest.mark.parametrize("text", ["", "No devices were found\n", "0, NVIDIA\n", "x, y, 1, 2, 3, 4, 5, 6\n"])
def test_no_nvidia_gpu_is_absent(text: str) -> None:
    assert [one.present for one in parse_nvidia(text)] == [False]


def _counters(root: Path, *energies: int) -> None:
    for number, energy in enumerate(energies):
        folder = root / f"intel-rapl:{number}"
        folder.mkdir(exist_ok=True)
        (folder / "energy_uj").write_text(f"{energy}\n")
        (folder / "max_energy_range_uj").write_text("1000000000\n")
        (root / f"intel-rapl:{number}:0").mkdir(exist_ok=True)  # a part of it, which is not counted twice


def test_power_is_energy_by_time(tmp_path: Path) -> None:
    moments = iter([10.0, 12.0, 14.0])
    _counters(tmp_path, 500_000_000, 990_000_000)
    source = Rapl(tmp_path, lambda: next(moments))
    _counters(tmp_path, 590_000_000, 20_000_000)  # the second one began anew: 30 J
    (reading,) = source.read()
    assert reading.value == pytest.approx((90 + 30) / 2)
    (tmp_path / "intel-rapl:1" / "energy_uj").unlink()
    assert not source.read()[0].present
    assert "no energy counters" in Rapl(tmp_path / "none").read()[0].reason


def test_this_machine_is_read() -> None:
    found = _by_key(Psutil().read())
    assert found["memory"].value == pytest.approx(
        psutil.virtual_memory().total - psutil.virtual_memory().available, rel=0.5
    )
    assert len(found["cpu"].parts) == psutil.cpu_count()
    for reading in found.values():
        assert reading.present or reading.reason


def test_sensors_of_the_processor_and_of_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    def sensors(**named: list[float]) -> Callable[[], dict[str, list[SimpleNamespace]]]:
        return lambda: {name: [SimpleNamespace(current=heat) for heat in heats] for name, heats in named.items()}

    for told, value in (
        (sensors(nvme=[70.0], coretemp=[51.0, 64.0]), 64.0),
        (sensors(nvme=[70.0]), None),
        (sensors(coretemp=[-273.0, 0.0]), None),
    ):
        monkeypatch.setattr(psutil, "sensors_temperatures", told, raising=False)
        assert _by_key(Psutil().read())["cpu.temperature"].value == value
    monkeypatch.delattr(psutil, "sensors_temperatures", raising=False)
    assert "cpu.temperature" not in _by_key(Psutil().read())  # who can tell it says so


def test_the_engine_is_the_process_that_it_was() -> None:
    began = psutil.Process().create_time()
    held = engine_memory(os.getpid(), began)
    assert held.value is not None and held.value >= 10_000_000 and str(os.getpid()) in held.source
    # The number is another process's by now.
    assert engine_memory(os.getpid(), began - 100).reason == "the engine has ended"
    assert engine_memory(2**22 + 7, time.time()).reason == "the engine has ended"


# Programs


def _program(folder: Path, body: str) -> str:
    path = folder / "macmon"
    path.write_text(_PYTHON + f"import json, sys, time\n{body}\n")
    path.chmod(0o700)
    return str(path)


def _until(what: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_macmon_is_a_child_only_as_long_as_it_is_wanted(tmp_path: Path) -> None:
    body = f"assert sys.argv[1:] == ['pipe', '-i', '2000']\nprint({json.dumps(json.dumps(MACMON_NEW))}, flush=True)"
    source = Macmon(_program(tmp_path, f"{body}\ntime.sleep(60)"), 2.0)
    assert source.waiting and "nothing yet" in source.read()[0].reason
    _until(lambda: not source.waiting)
    assert _by_key(source.read())["gpu"].value == 9.0
    source._at -= 60  # what it said is of another time
    assert not any(one.present for one in source.read()) and "nothing for 60 s" in source.read()[0].reason
    child = source._process
    assert child is not None and child.poll() is None
    source.close()
    assert child.poll() is not None and not psutil.pid_exists(child.pid)


def test_a_macmon_that_fails_is_a_reason(tmp_path: Path) -> None:
    source = Macmon(_program(tmp_path, "sys.exit(3)"), 2.0)
    _until(lambda: "status 3" in source.read()[0].reason)
    source.close()
    assert "does not start" in Macmon(str(tmp_path / "none"), 2.0).read()[0].reason


def test_a_program_that_fails_or_is_missing_is_a_reason() -> None:
    for command, words in (
        ((sys.executable, "-c", "import sys; sys.exit('no GPU\\x1b[31m')"), "asked: no GPU"),
        (("/nonexistent/program",), "No such file"),
    ):
        source = Printed("asked", command, lambda text: [], ("gpu", "gpu.memory"))
        found = source.read()
        assert [one.key for one in found] == ["gpu", "gpu.memory"]
        assert all(words in one.reason and "\x1b" not in one.reason for one in found)


def test_a_slow_answer_is_asked_for_seldom() -> None:
    read: list[str] = []
    program = (sys.executable, "-c", "print('x')")

    def parse(text: str) -> list[Reading]:
        read.append(text)
        return [Reading("thermal", None, text="none recorded")]

    source = Printed("p", program, parse, ("thermal",), every=3)
    assert all(source.read()[0].present for _ in range(4))
    assert len(read) == 2


# Samples


class _Counting:
    def __init__(self, *readings: Reading) -> None:
        self.readings, self.asked, self.closed = readings, 0, False

    def read(self) -> tuple[Reading, ...]:
        self.asked += 1
        return self.readings

    def close(self) -> None:
        self.closed = True


def test_of_two_sources_the_first_that_has_it_counts() -> None:
    best = _Counting(absent("gpu", "macmon", "nothing yet"), Reading("cpu", 1.0, "%", "a"))
    other = _Counting(Reading("gpu", 5.0, "%", "ioreg"), Reading("cpu", 2.0, "%", "b"))
    sample = sampling.take([best, other], 7.0)
    assert (sample.value("gpu"), sample.value("cpu"), sample.value("swap")) == (5.0, 1.0, None)
    assert [one.key for one in sample.shown()][:2] == ["gpu", "gpu.memory"]


def test_samples_are_taken_while_somebody_looks_and_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[_Counting] = []

    def make(interval: float) -> list[Source]:
        made.append(_Counting(Reading("cpu", 1.0, "%")))
        return [made[-1]]

    clock = iter(range(1000))
    watched = Monitor(make, lambda: float(next(clock)), interval=0.01)
    told = threading.Event()
    watched.start(told.set, lambda: [Reading("engine.memory", 3.0, "B")])
    watched.start(told.set)  # it is on already
    _until(lambda: len(watched.samples) >= 3)
    watched.stop()
    assert told.is_set() and len(made) == 1 and made[0].closed
    assert watched.samples[0].value("engine.memory") == 3.0
    before = len(watched.samples)
    time.sleep(0.05)
    assert len(watched.samples) == before
    watched.start(told.set)
    _until(lambda: len(watched.samples) > before)
    watched.stop()
    assert len(made) == 2 and made[1].closed
    assert [one.time for one in watched.samples] == sorted(one.time for one in watched.samples)
    assert not [one for one in threading.enumerate() if one.name == "monitor"]


def _machine(folder: Path, monkeypatch: pytest.MonkeyPatch, platform: str, **programs: str) -> None:
    """Programs that print this and end, on a machine of this kind; macmon goes on."""
    for name, text in programs.items():
        path = folder / name.replace("_", "-")
        wait = "time.sleep(60)" if name == "macmon" else ""
        path.write_text(_PYTHON + f"import time\nprint({text!r}, flush=True)\n{wait}\n")
        path.chmod(0o700)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(sampling, "sys", SimpleNamespace(platform=platform))


def test_a_mac_with_macmon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _machine(tmp_path, monkeypatch, "darwin", macmon=json.dumps(MACMON_NEW), ioreg=IOREG, pmset=THERM_HOT)
    sample = monitor.once()
    shown = {one.key: (one.value, one.source) for one in sample.shown() if one.present}
    assert shown["gpu"] == (9.0, "macmon")
    assert shown["gpu.memory"] == (19_327_352_832.0, "ioreg")
    assert shown["power"] == (5.876533, "macmon")
    assert sample.readings["thermal"].text == "the processor is held at 60% of its speed"
    assert shown["memory"][1] == "psutil"
    assert not [one for one in psutil.Process().children(recursive=True) if "macmon" in " ".join(one.cmdline())]


def test_a_mac_without_macmon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _machine(tmp_path, monkeypatch, "darwin", ioreg=IOREG, pmset=THERM_QUIET)
    monkeypatch.setattr(sampling, "found", lambda name: None if name == "macmon" else str(tmp_path / name))
    monkeypatch.delattr(psutil, "sensors_temperatures", raising=False)
    sample = monitor.once()
    assert (sample.value("gpu"), sample.readings["gpu"].source) == (87.0, "ioreg")
    for key in ("gpu.temperature", "cpu.temperature", "gpu.power", "cpu.power", "power"):
        assert "brew install macmon" in sample.readings[key].reason


def test_a_linux_machine_with_nvidia_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _machine(tmp_path, monkeypatch, "linux", nvidia_smi=NVIDIA)
    sample = monitor.once()
    assert sample.value("gpu") == 97.0 and sample.readings["gpu#1"].reason
    labels = [one.label for one in sample.shown()]
    assert labels[:4] == ["GPU", "GPU 1", "GPU memory", "GPU memory 1"]


def test_a_program_that_hangs_is_not_waited_for_at_the_end() -> None:
    hanging = Printed("nvidia-smi", (sys.executable, "-c", "import time; time.sleep(60)"), parse_nvidia, ("gpu",))
    watched = Monitor(lambda interval: [hanging], interval=0.01)
    watched.start(lambda: None)
    _until(lambda: hanging._process is not None)
    child = hanging._process
    began = time.monotonic()
    watched.stop()
    assert time.monotonic() - began < 3
    assert child is not None and child.poll() is not None


def test_a_single_sample_closes_what_it_opened() -> None:
    source = _Counting(Reading("cpu", 1.0, "%"))
    assert sampling.once(lambda interval: [source]).value("cpu") == 1.0
    assert source.closed
    found = monitor.once()
    assert found.value("memory") and abs(found.time - time.time()) < 60
