"""The line to the person: a terminal that may stall, hang up or be taken away, and must be left as it was found."""

from __future__ import annotations

import asyncio
import os
import selectors
import signal
import threading
import time
from codecs import getincrementaldecoder
from collections.abc import Callable
from contextvars import copy_context
from typing import Any, Literal, NamedTuple

from textual._xterm_parser import XTermParser
from textual.drivers.linux_driver import LinuxDriver
from textual.events import Resize
from textual.geometry import Size

# Writes that may wait for the line (a frame is up to three). Behind a stalled one nothing is worth keeping: it would be
# out of date when it arrives.
_WAITING = 12

# How long leaving may take before the process goes by force, so that a hang-up never leaves one behind.
_GRACE = 3.0


# A write that took longer than this (seconds) makes a line slow, and one that lasts longer makes it stalled.
_SLOW, _STALLED = 0.5, 3.0
# How long a slow write is remembered: nobody could see it while it lasted.
_REMEMBERED = 20.0


class Link(NamedTuple):
    """How the line to the person's terminal does; `seconds`: how long a frame took to get through, or has waited."""

    state: Literal["ok", "slow", "stalled"] = "ok"
    seconds: float = 0.0


class Output:
    """Writes to the terminal from a thread of its own, so that a stalled line never stops the program.

    Control sequences are always kept; whether a frame is worth writing is asked first with `ready`.
    """

    def __init__(self, fileno: int, on_drained: Callable[[], None], on_gone: Callable[[], None]) -> None:
        self._fileno = fileno
        self._on_drained, self._on_gone = on_drained, on_gone
        self._waiting: list[str] = []
        self._wake = threading.Condition()
        self._closing = False
        self._refused = False
        self._gone = False
        self._writing: float | None = None  # since when
        self._worst = 0.0, 0.0  # the slowest of the writes that are remembered: how long it took, and when it ended
        self._thread = threading.Thread(target=self._work, name="terminal-output", daemon=True)
        self._thread.start()

    def write(self, text: str) -> None:
        with self._wake:
            if not self._gone:
                self._waiting.append(text)
                self._wake.notify()

    def ready(self) -> bool:
        """Whether a frame would be written soon. After a refusal `on_drained` is called when the line moves again."""
        with self._wake:
            self._refused = self._refused or len(self._waiting) > _WAITING
            return not self._refused

    def link(self) -> Link:
        now = time.monotonic()
        writing = self._writing
        took, ended = self._worst
        waited = now - writing if writing is not None else 0.0
        if waited >= _STALLED:
            return Link("stalled", waited)
        if took < _SLOW or now - ended > _REMEMBERED:
            took = 0.0
        worst = max(waited, took)
        return Link("slow", worst) if worst >= _SLOW else Link()

    def close(self, timeout: float = 1.0) -> None:
        """Write what is left, but wait for a stalled line no longer than `timeout`."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join(timeout)

    def _work(self) -> None:
        while True:
            with self._wake:
                drained = self._refused and not self._waiting
                if drained:
                    self._refused = False
            if drained:
                self._on_drained()
            with self._wake:
                while not self._waiting and not self._closing:
                    self._wake.wait()
                if not self._waiting:
                    return
                data = "".join(self._waiting).encode("utf-8", "replace")
                self._waiting.clear()
            began = self._writing = time.monotonic()
            try:
                while data:
                    data = data[os.write(self._fileno, data) :]
                self._written(began)
            except OSError:
                with self._wake:
                    self._gone = True
                    self._waiting.clear()
                self._on_gone()
                return

    def _written(self, began: float) -> None:
        now = time.monotonic()
        self._writing = None
        took, ended = self._worst
        if now - began >= took or now - ended > _REMEMBERED:
            self._worst = now - began, now


class TerminalDriver(LinuxDriver):
    """Textual's driver for Linux and macOS with the behaviour that a remote line asks for."""

    _output: Output | None = None
    _stopped = False

    def _sigtstp_application(self, *_: Any) -> None:
        self._stopped = True
        super()._sigtstp_application()

    def _sigcont_application(self, *_: Any) -> None:
        # The kernel sends CONT after HUP too; starting the input a second time would read every key twice.
        if self._stopped:
            self._stopped = False
            super()._sigcont_application()

    def _get_terminal_size(self) -> tuple[int, int]:
        """Of the terminal itself: an exported COLUMNS is of the shell's start, and would hold through every resize."""
        try:
            width, height = os.get_terminal_size(self.fileno)
        except OSError:
            width = height = 0
        # A serial line knows no size.
        return (width, height) if width and height else super()._get_terminal_size()

    def write(self, data: str) -> None:
        assert self._output is not None, "the driver must be in application mode"
        self._output.write(data)

    def ready(self) -> bool:
        return self._output is None or self._output.ready()

    def link(self) -> Link:
        return self._output.link() if self._output is not None else Link()

    def start_application_mode(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._remember_context()
        resumed = self._output is not None
        assert self._file is not None
        # A suspension closes what it writes with.
        self._output = Output(
            self._file.fileno(),
            on_drained=lambda: self._tell("repaint_all"),
            on_gone=lambda: self._tell("hang_up"),
        )
        if resumed:
            # The shell has written over what stood here.
            self._tell("repaint_all")
        super().start_application_mode()  # type: ignore[no-untyped-call]
        # The stock handler may be interrupted by the next signal after it asked for the size: then the older of two
        # sizes is told last, and stays.
        self._loop.add_signal_handler(signal.SIGWINCH, self._resized)

    def _resized(self) -> None:
        if not self._in_band_window_resize:
            size = Size(*self._get_terminal_size())
            self.send_message(Resize(size, size))

    def close(self) -> None:
        super().close()
        if self._output is not None:
            self._output.close()

    def _remember_context(self) -> None:
        with self._app._context():
            self._context = copy_context()

    def _tell(self, what: str) -> None:
        """Call a method of the app from any thread, if its loop still runs.

        In the app's own context: a timer that is set without it dies at its first tick, and the app with it in the end.
        """
        method = getattr(self._app, what, None)
        if method is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(method, context=self._context)

    def run_input_thread(self) -> None:
        """Read keys until asked to end, or until the terminal is gone.

        The stock loop spins on a terminal that hung up: it reads as ready for ever and gives nothing.
        """
        parser = XTermParser(self._debug)
        decode = getincrementaldecoder("utf-8")("replace").decode
        with selectors.SelectSelector() as selector:
            selector.register(self.fileno, selectors.EVENT_READ)
            while not self.exit_event.is_set():
                if selector.select(0.1):
                    try:
                        data = os.read(self.fileno, 4096)
                    except OSError:
                        data = b""
                    if not data:
                        self._tell("hang_up")
                        return
                    for event in parser.feed(decode(data)):
                        self.process_message(event)
                for event in parser.tick():
                    self.process_message(event)


def leave_on_signals(leave: Callable[[int], None], *, at_once: bool) -> None:
    """Let HUP, TERM and INT end the app in order: the terminal is restored, the exit code is 128 and the signal.

    Args:
        leave: called with the exit code in the running loop.
        at_once: end the process by force when leaving takes longer than a few seconds. Not where this process trains:
            there the checkpoint comes first.
    """
    loop = asyncio.get_running_loop()

    def obey(number: int) -> None:
        if at_once:
            watch = threading.Timer(_GRACE, os._exit, [128 + number])
            watch.daemon = True
            watch.start()
        leave(128 + number)

    for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, obey, number)
