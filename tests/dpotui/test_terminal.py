"""A terminal that stalls or goes away never stops the program."""

from __future__ import annotations

import asyncio
import os
import threading
import time

import pytest
from textual.app import App

from dpotui import terminal
from dpotui.terminal import Link, Output, TerminalDriver


class Calls:
    def __init__(self) -> None:
        self.drained, self.gone = threading.Event(), threading.Event()


@pytest.fixture
def calls() -> Calls:
    return Calls()


def test_all_is_written_in_order(calls: Calls) -> None:
    read, write = os.pipe()
    output = Output(write, calls.drained.set, calls.gone.set)
    for index in range(200):
        output.write(f"{index},")
    output.close()
    assert os.read(read, 65536).decode() == "".join(f"{index}," for index in range(200))
    os.close(read)
    os.close(write)


def test_a_stalled_line_refuses_frames_and_asks_for_a_repaint_when_it_moves(calls: Calls) -> None:
    read, write = os.pipe()
    output = Output(write, calls.drained.set, calls.gone.set)
    began = time.monotonic()
    refused = False
    for _ in range(2000):
        if output.ready():
            output.write("x" * 4096)  # a pipe holds 64 kB
        else:
            refused = True
    assert refused
    assert time.monotonic() - began < 10
    assert not calls.drained.is_set()
    while not calls.drained.wait(0.01):
        os.read(read, 65536)
    assert output.ready()
    output.close()
    os.close(read)
    os.close(write)


def test_leaving_does_not_wait_for_a_stalled_line(calls: Calls) -> None:
    read, write = os.pipe()
    output = Output(write, calls.drained.set, calls.gone.set)
    output.write("x" * 1_000_000)
    began = time.monotonic()
    output.close(timeout=0.2)
    assert time.monotonic() - began < 10
    os.close(read)  # the thread ends with EPIPE
    assert calls.gone.wait(2)
    os.close(write)


def test_a_terminal_that_is_gone_is_told_once_and_swallows_the_rest(calls: Calls) -> None:
    read, write = os.pipe()
    os.close(read)
    output = Output(write, calls.drained.set, calls.gone.set)
    output.write("hello")
    assert calls.gone.wait(2)
    for _ in range(100):
        output.write("more")
    output.close()
    os.close(write)


def test_the_line_is_told_of(calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "_SLOW", 0.05)
    monkeypatch.setattr(terminal, "_STALLED", 0.2)
    read, write = os.pipe()
    output = Output(write, calls.drained.set, calls.gone.set)
    output.write("x")
    time.sleep(0.1)
    assert output.link() == Link()
    output.write("x" * 100_000)  # a pipe holds 64 kB
    time.sleep(0.3)
    assert output.link().state == "stalled"
    assert output.link().seconds >= 0.2
    os.read(read, 65536)
    os.read(read, 65536)
    output.close()
    # What nobody could see while it lasted is said for a while.
    assert output.link().state == "slow"
    assert output.link().seconds >= 0.25
    monkeypatch.setattr(terminal, "_REMEMBERED", 0.0)
    assert output.link() == Link()
    os.close(read)
    os.close(write)


async def test_what_a_thread_tells_runs_in_the_context_of_the_app() -> None:
    """A timer that is set outside of it dies at its first tick, and leaves a traceback when the app ends."""

    class Ticking(App[None]):
        ticked = 0

        def repaint_all(self) -> None:
            self.set_timer(0.01, self.tick)

        def tick(self) -> None:
            self.ticked += 1

    async with Ticking().run_test() as pilot:
        driver = TerminalDriver.__new__(TerminalDriver)
        driver._app, driver._loop, driver._context = pilot.app, asyncio.get_running_loop(), None
        driver._remember_context()
        thread = threading.Thread(target=driver._tell, args=("repaint_all",))
        thread.start()
        thread.join()
        for _ in range(100):
            await asyncio.sleep(0.01)
            if pilot.app.ticked:
                break
        assert pilot.app.ticked == 1
