"""A program in a pseudo-terminal, and what it costs: bytes, processor time, seconds until it paints and answers."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable
from typing import Any

import psutil

from tests.e2e.terminal import Terminal


class Client:
    """One program on one screen."""

    def __init__(self, command: tuple[str, ...], columns: int, rows: int, env: dict[str, str] | None = None) -> None:
        self.began = time.perf_counter()
        self.terminal = Terminal(command=command, columns=columns, rows=rows, env=env)

    def first_paint(self, words: str) -> float:
        """Seconds from the start of the process until the screen holds these words."""
        terminal = self.terminal
        while words not in terminal.words:
            assert time.perf_counter() - self.began < 60, f"never: {words}\n{terminal.words}"
            if select.select([terminal.master], [], [], 0.05)[0]:
                data = os.read(terminal.master, 65536)
                terminal.received += data
                terminal._stream.feed(data)
        return time.perf_counter() - self.began

    def watched(self, seconds: float) -> tuple[float, float]:
        """Bytes a second, and the share of a core in per cent, while nobody does anything."""
        before, began = self._processor(), time.perf_counter()
        count = self._drain(seconds)
        taken = time.perf_counter() - began
        return count / taken, 100 * (self._processor() - before) / taken

    def answers(self, keys: tuple[str, ...], number: int) -> list[float]:
        """Milliseconds from each key to the first byte of an answer.

        A key is pressed when nothing has come for a while, so that it is its own answer that comes and not what the
        program writes twice a second anyway.
        """
        taken = []
        for index in range(number):
            self._drain_until_quiet()
            began = time.perf_counter()
            self.terminal.press(keys[index % len(keys)])
            assert select.select([self.terminal.master], [], [], 5)[0], f"no answer\n{self.terminal.words}"
            taken.append(1000 * (time.perf_counter() - began))
            time.sleep(0.02)
        return taken

    def leave(self) -> None:
        self.terminal.close()

    def _drain(self, seconds: float) -> int:
        """Read and count, without looking: a terminal emulator in Python would be most of the measurement."""
        count, end = 0, time.perf_counter() + seconds
        while (left := end - time.perf_counter()) > 0:
            if select.select([self.terminal.master], [], [], left)[0]:
                count += len(os.read(self.terminal.master, 65536))
        return count

    def _drain_until_quiet(self) -> None:
        while select.select([self.terminal.master], [], [], 0.06)[0]:
            os.read(self.terminal.master, 65536)

    def _processor(self) -> float:
        process = psutil.Process(self.terminal.pid)
        return sum(self._times(one) for one in [process, *process.children(recursive=True)])

    @staticmethod
    def _times(process: psutil.Process) -> float:
        times: Any = process.cpu_times()
        return float(times.user + times.system)


def until(what: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "the writer did not begin"
        time.sleep(0.1)
