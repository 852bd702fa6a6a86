"""The real program in a pseudo-terminal, read by a terminal emulator."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyte


class Terminal:
    """A program in a pty of its own session; what it writes is shown on a `pyte` screen and counted."""

    def __init__(
        self,
        *arguments: str,
        columns: int = 80,
        rows: int = 24,
        env: dict[str, str] | None = None,
        command: tuple[str, ...] = (sys.executable, "-m", "dpotui"),
    ) -> None:
        self.screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self.screen)
        self.received = bytearray()
        self.status: int | None = None
        # Kept open here, so that the terminal's settings can be read after the program has left it.
        self.master, self.slave = pty.openpty()
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.settings = termios.tcgetattr(self.slave)
        self.pid = os.fork()
        if self.pid == 0:
            os.setsid()
            fcntl.ioctl(self.slave, termios.TIOCSCTTY, 0)
            for number in (0, 1, 2):
                os.dup2(self.slave, number)
            os.closerange(3, 64)
            values = {key: value for key, value in os.environ.items() if key not in ("SSH_CONNECTION", "NO_COLOR")}
            values.update({"TERM": "xterm-256color", "PYTHONDONTWRITEBYTECODE": "", **(env or {})})
            os.execvpe(command[0], [*command, *arguments], values)

    def read(self, seconds: float) -> int:
        """Read for a while; returns how many bytes came."""
        before, until = len(self.received), time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if not select.select([self.master], [], [], left)[0]:
                break
            try:
                data = os.read(self.master, 65536)
            except OSError:
                break
            if not data:
                break
            self.received += data
            self._stream.feed(data)
        return len(self.received) - before

    def resize(self, columns: int, rows: int) -> None:
        """As the person's terminal does: the size first, then the signal that the kernel sends for it."""
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        os.kill(self.pid, signal.SIGWINCH)
        self.screen.resize(rows, columns)

    def press(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    @property
    def words(self) -> str:
        return "\n".join(row.rstrip() for row in self.screen.display)

    def until(self, what: str | Callable[[], Any], seconds: float = 20.0) -> None:
        """Read until the screen holds some words, or something is so."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if (what in self.words) if isinstance(what, str) else what():
                return
            self.read(0.05)
        raise AssertionError(f"never: {what}\n{self.words}")

    def wait(self, seconds: float = 10.0) -> int:
        """Wait for the program to leave; its exit code, or minus the signal."""
        end = time.monotonic() + seconds
        while self.status is None and time.monotonic() < end:
            self.read(0.02)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
        assert self.status is not None, f"it did not leave\n{self.words}"
        self.read(0.05)
        return self.status

    @property
    def restored(self) -> bool:
        """Whether the terminal is as the program found it: settings, screen, cursor, mouse."""
        data = bytes(self.received)
        modes = {b"?1049": False, b"?25": True, b"?1000": False, b"?1003": False, b"?2004": False, b"?1004": False}
        for mode, wanted in modes.items():
            on, off = data.rfind(b"\x1b[" + mode + b"h"), data.rfind(b"\x1b[" + mode + b"l")
            if (on > off) != wanted and max(on, off) >= 0:
                return False
        return termios.tcgetattr(self.slave) == self.settings

    def close(self) -> None:
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        for number in (self.master, self.slave):
            try:
                os.close(number)
            except OSError:
                continue


def open_in(workspace: Path, **options: Any) -> Terminal:
    return Terminal(str(workspace), **options)
