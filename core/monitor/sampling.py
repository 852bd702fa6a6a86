"""Samples: all readings of a moment, taken in a thread while somebody looks, and kept as long as the program runs."""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from core.monitor.linux import ASKED, Rapl, parse_nvidia
from core.monitor.mac import Macmon, parse_ioreg, parse_pmset
from core.monitor.programs import Printed, found
from core.monitor.reading import LABELS, Reading, Source, absent
from core.monitor.system import Psutil

INTERVAL = 2.0
# Two hours of them.
KEPT = 3600
# Until the first sample: what tells the use since it was asked last needs a while to tell of.
_FIRST = 0.3
# A driver that hangs can keep even a killed program: the thread is left behind then.
_END = 2.0
# macmon needs a second until its first line.
_ONCE_PATIENCE = 3.0


@dataclass(frozen=True, slots=True)
class Sample:
    """The readings of one moment by their keys: those that are there, and those that are not with why."""

    time: float
    readings: Mapping[str, Reading] = field(default_factory=dict)

    def value(self, key: str) -> float | None:
        reading = self.readings.get(key)
        return reading.value if reading is not None else None

    def shown(self) -> list[Reading]:
        """In the order of LABELS; those of a machine's further GPUs behind those of its first."""
        order = {key: place for place, key in enumerate(LABELS)}
        return sorted(self.readings.values(), key=lambda one: (order.get(one.key.partition("#")[0], 99), one.key))


def sources(interval: float) -> list[Source]:
    """Those that there are here, the best first: of two readings of a value the first that is there counts."""
    here: list[Source] = []
    if sys.platform == "darwin":
        if macmon := found("macmon"):
            here.append(Macmon(macmon, interval))
        ioreg = (found("ioreg") or "ioreg", "-r", "-d", "1", "-w", "0", "-c", "IOAccelerator")
        here.append(Printed("ioreg", ioreg, parse_ioreg, ("gpu", "gpu.memory")))
        pmset = (found("pmset") or "pmset", "-g", "therm")
        here.append(Printed("pmset", pmset, lambda text: [parse_pmset(text)], ("thermal",), every=5))
    else:
        if smi := found("nvidia-smi"):
            command = (smi, f"--query-gpu={ASKED}", "--format=csv,noheader,nounits")
            here.append(Printed("nvidia-smi", command, parse_nvidia, ("gpu", "gpu.memory")))
        here.append(Rapl())
    here.append(Psutil())
    return here


def _unread() -> list[Reading]:
    """Why a value is not there of which no source of this machine speaks."""
    if sys.platform == "darwin":
        why = "'brew install macmon' reads it, without root"
        keys = ("gpu.temperature", "cpu.temperature", "gpu.power", "cpu.power", "power")
        return [absent(key, "", why) for key in keys]
    return [absent(key, "", "no nvidia-smi here") for key in ("gpu", "gpu.memory")]


def take(here: Iterable[Source], now: float) -> Sample:
    """Ask every source; a value that one does not have may be another's."""
    readings: dict[str, Reading] = {}
    for reading in [*(reading for source in here for reading in source.read()), *_unread()]:
        known = readings.get(reading.key)
        if known is None or (reading.present and not known.present):
            readings[reading.key] = reading
    return Sample(now, readings)


def once(make: Callable[[float], list[Source]] = sources) -> Sample:
    """A single sample, for a script. Takes a third of a second, with macmon up to three."""
    here = make(_FIRST)
    try:
        time.sleep(_FIRST)
        deadline = time.monotonic() + _ONCE_PATIENCE
        while any(isinstance(one, Macmon) and one.waiting for one in here) and time.monotonic() < deadline:
            time.sleep(0.1)
        return take(here, time.time())
    finally:
        for source in here:
            source.close()


class Monitor:
    """Samples every two seconds between `start` and `stop`, and keeps them over pauses.

    The sources live in the thread that asks them, which closes them.
    """

    def __init__(
        self,
        make: Callable[[float], list[Source]] = sources,
        clock: Callable[[], float] = time.time,
        interval: float = INTERVAL,
    ) -> None:
        self._make, self._clock, self._interval = make, clock, interval
        self._samples: deque[Sample] = deque(maxlen=KEPT)
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._here: list[Source] = []
        self._end = threading.Event()

    @property
    def samples(self) -> Sequence[Sample]:
        """All that are kept, oldest first."""
        with self._lock:
            return tuple(self._samples)

    @property
    def running(self) -> bool:
        return bool(self._threads) and not self._end.is_set()

    def start(self, tell: Callable[[], object], more: Callable[[], Iterable[Reading]] = tuple) -> None:
        """Sample from now on; nothing changes where that is already so.

        Args:
            tell: called from the thread after every sample.
            more: further readings, asked for in the thread.
        """
        if self.running:
            return
        self._end = threading.Event()
        arguments = (self._end, tell, more)
        thread = threading.Thread(target=self._work, args=arguments, name="monitor", daemon=True)
        self._threads = [*(one for one in self._threads if one.is_alive()), thread]
        thread.start()

    def stop(self, *, wait: bool = True) -> None:
        """Take no more samples. `wait`: until every source is closed."""
        self._end.set()
        if wait:
            for source in self._here:
                source.close()  # nobody waits for a program that hangs
            for thread in self._threads:
                thread.join(_END)

    def _work(self, end: threading.Event, tell: Callable[[], object], more: Callable[[], Iterable[Reading]]) -> None:
        here = self._here = self._make(self._interval)
        try:
            wait = min(_FIRST, self._interval)
            while not end.wait(wait):
                began = time.monotonic()
                sample = take([*here, _More(more)], self._clock())
                if end.is_set():
                    return
                with self._lock:
                    self._samples.append(sample)
                tell()
                wait = max(0.05, self._interval - (time.monotonic() - began))
        finally:
            for source in here:
                source.close()


@dataclass(frozen=True, slots=True)
class _More:
    read: Callable[[], Iterable[Reading]]

    def close(self) -> None:
        pass
