"""The terminal as a person meets it: opened, ticked, left; and a line that stalls, drops or is taken away."""

from __future__ import annotations

import os
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from core.engine.lock import engine_lock
from core.store import metrics, open_store, runs, ticks, transaction
from core.workspace import Workspace
from tests.dpotui import scene
from tests.e2e.terminal import Terminal

Opener = Callable[..., Terminal]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made, db = scene.workspace(tmp_path)
    db.close()
    return made


@pytest.fixture
def start() -> Iterator[Opener]:
    opened: list[Terminal] = []

    def starter(*arguments: str, **options: Any) -> Terminal:
        opened.append(Terminal(*arguments, **options))
        return opened[-1]

    yield starter
    for terminal in opened:
        terminal.close()


@pytest.fixture
def training(workspace: Workspace) -> Iterator[Callable[[], None]]:
    """A run that trains: an engine's lock is held here, and each call writes the ten steps of a second."""
    with closing(open_store(workspace.database)) as db, engine_lock(workspace.engine_lock):
        run = runs.create(db, "dpo", config=scene.CONFIG, steps=1000)
        runs.update(db, run.id, state="running", phase="training", started=time.time())
        step = 0

        def second() -> None:
            nonlocal step
            with transaction(db):
                for _ in range(10):
                    step += 1
                    values = {"loss": 0.69 - step / 3000, "rewards/margins": step / 2000, "rewards/accuracies": 0.8}
                    metrics.write(db, ((run.id, step, name, value, 0.0) for name, value in values.items()))
                db.execute("UPDATE runs SET step = ? WHERE id = ?", [step, run.id])

        yield second


def test_open_tick_leave(workspace: Workspace, start: Opener) -> None:
    terminal = start(str(workspace.root))
    terminal.until("Base model selected")
    assert "1 Plan" in terminal.words
    terminal.press("\x1b[B ")
    terminal.until("[x] Base model selected")
    with closing(open_store(workspace.database)) as db:
        assert ticks.get(db, "plan.base").ticked is True
    terminal.press("q")
    assert terminal.wait() == 0
    assert terminal.restored
    assert f"come back with: dpotui {shlex.quote(str(workspace.root))}" in terminal.words.replace("\n", "")


def test_leaving_says_that_the_run_goes_on(workspace: Workspace, start: Opener, training: Callable[[], None]) -> None:
    training()
    terminal = start(str(workspace.root))
    terminal.until("dpo-001 ● training 10/1000")
    terminal.press("q")
    assert terminal.wait() == 0
    assert "dpo-001 goes on (running, step 10/1000)" in terminal.words
    with closing(open_store(workspace.database)) as db:
        assert runs.get(db, "dpo-001").state == "running"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_restore_the_terminal(workspace: Workspace, start: Opener, number: signal.Signals) -> None:
    terminal = start(str(workspace.root))
    terminal.until("Base model selected")
    os.kill(terminal.pid, number)
    assert terminal.wait() == 128 + number
    assert terminal.restored


def test_a_line_that_drops_leaves_no_process_behind(workspace: Workspace, start: Opener) -> None:
    terminal = start(str(workspace.root))
    terminal.until("Base model selected")
    os.close(terminal.slave)
    os.close(terminal.master)  # the kernel sends HUP and CONT, and every read and write fails from now on
    end = time.monotonic() + 6
    status = None
    while status is None and time.monotonic() < end:
        pid, found = os.waitpid(terminal.pid, os.WNOHANG)
        status = os.waitstatus_to_exitcode(found) if pid else None
        time.sleep(0.02)
    terminal.status = status
    assert status == 128 + signal.SIGHUP


def test_cont_without_tstp_is_no_second_input(workspace: Workspace, start: Opener) -> None:
    terminal = start(str(workspace.root))
    terminal.until("Base model selected")
    os.kill(terminal.pid, signal.SIGCONT)
    terminal.read(0.3)
    terminal.press("\x1b[B ")
    terminal.until("[x] Base model selected")
    terminal.read(0.5)
    assert "[x] Base model selected" in terminal.words  # a second reader would have taken it back
    terminal.press("q")
    assert terminal.wait() == 0


def test_stopped_and_brought_back(workspace: Workspace, start: Opener) -> None:
    """`kill -TSTP` and `fg`: the shell gets its terminal back, then the program a whole screen, and each key once."""
    terminal = start(str(workspace.root))
    terminal.until("Base model selected")
    os.kill(terminal.pid, signal.SIGTSTP)
    terminal.until(lambda: os.waitpid(terminal.pid, os.WNOHANG | os.WUNTRACED)[0])
    terminal.read(0.2)
    assert terminal.restored
    terminal.screen.reset()
    os.kill(terminal.pid, signal.SIGCONT)
    terminal.until("Base model selected")
    assert "1 Plan" in terminal.words and "? Keys" in terminal.words
    terminal.press("\x1b[B ")
    terminal.until("[x] Base model selected")
    os.kill(terminal.pid, signal.SIGTERM)
    assert terminal.wait() == 128 + signal.SIGTERM
    assert terminal.restored


@pytest.mark.parametrize("dialog", [False, True])
def test_a_storm_of_sizes(workspace: Workspace, start: Opener, dialog: bool) -> None:
    """A window that is dragged: whatever sizes it had, the last one is filled, and the terminal shows nothing else."""
    terminal = start(str(workspace.root))
    terminal.until("any key goes on")
    if dialog:
        terminal.press("?")
        terminal.until("Details  ")  # what is behind the names of the keys
        terminal.until("Take the newest change back")

    def shown() -> list[str]:
        first, *rows = terminal.words.splitlines()
        return [first[:30], *rows]  # the first ends in how the line does, which dragging makes slow

    wanted = shown()
    for seed in range(3):
        chance = random.Random(seed)
        for _ in range(40):
            terminal.resize(chance.randrange(1, 250), chance.randrange(1, 70))
            terminal.read(0.01)
        terminal.resize(100, 30)
        terminal.read(0.1 * seed)
        terminal.screen.reset()
        terminal.resize(80, 24)
        terminal.until(lambda: shown() == wanted)
    terminal.press("\x1b")
    terminal.until(lambda: "│" not in terminal.words)
    terminal.press("q")
    assert terminal.wait() == 0
    assert terminal.restored


def test_the_size_is_the_terminals_own(workspace: Workspace, start: Opener) -> None:
    """An exported COLUMNS was true once, in another window."""
    terminal = start(str(workspace.root), columns=120, rows=40, env={"COLUMNS": "80", "LINES": "24"})
    terminal.until(lambda: "q Leave" in terminal.words.splitlines()[-1])
    assert terminal.words.splitlines()[0].rstrip().endswith("link ok")
    assert len(terminal.words.splitlines()[0]) > 100
    terminal.resize(80, 24)
    terminal.until(lambda: len(terminal.words.splitlines()[0]) <= 80 and "q Leave" in terminal.words)


def test_two_clients_see_each_other(workspace: Workspace, start: Opener) -> None:
    one, two = start(str(workspace.root)), start(str(workspace.root), columns=200, rows=60)
    for terminal in (one, two):
        terminal.until("Base model selected")
        terminal.read(1)
    one.press("\x1b[B ")
    one.until("[x] Base model selected")
    began = time.monotonic()
    two.until("[x] Base model selected", 5)
    assert time.monotonic() - began < 4  # half a second as a rule; other programs may have the machine
    os.kill(one.pid, signal.SIGKILL)
    assert one.wait() == -signal.SIGKILL
    two.press("\x1b[B ")
    two.until("[ ] Base model selected")
    two.press("q")
    assert two.wait() == 0
    assert two.restored


@pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")
def test_detached_and_attached_again(workspace: Workspace, start: Opener, tmp_path: Path) -> None:
    """In tmux: the line drops, another terminal attaches, a second one looks on, and the server is killed."""
    tmux = ("tmux", "-S", str(tmp_path / "socket"), "-f", "/dev/null")
    command = "exec " + shlex.join([sys.executable, "-m", "dpotui", str(workspace.root)])
    first = start("new-session", "-s", "a", command, command=tmux)
    try:
        first.until("Base model selected")
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
        again = start("attach", "-t", "a", command=tmux)
        again.until("Base model selected")
        beside = start("attach", "-t", "a", command=tmux, columns=120, rows=40)
        beside.until("Base model selected")
        beside.press("3")
        again.until("Capability Retention")
        beside.press("\x02d")
        assert beside.wait() == 0
        again.press("1")
        again.until("Base model selected")
    finally:
        subprocess.run([*tmux, "kill-server"], check=False)
    again.wait()
    assert again.restored


def test_a_stalled_line_costs_nothing(workspace: Workspace, start: Opener, training: Callable[[], None]) -> None:
    """Nothing is read for a while; then the screen is whole and new, and old frames do not come first."""
    training()
    terminal = start(str(workspace.root), columns=200, rows=60)
    terminal.until(" 10/1000 1%")
    terminal.press("2")
    terminal.until("loss")
    for index in range(40):
        training()
        # Changing modes repaints everything: far more than a pty holds.
        os.write(terminal.master, b"12"[index % 2 : index % 2 + 1])
        time.sleep(0.1)
    os.write(terminal.master, b"2")
    terminal.until("41%", 5)
    assert len(terminal.received) < 400_000
    terminal.until("DPO training started", 5)
    terminal.press("q")
    assert terminal.wait() == 0, terminal.received[-4000:].decode("utf-8", "replace")
    assert terminal.restored


@pytest.mark.slow
def test_bytes_on_the_line(workspace: Workspace, start: Opener, training: Callable[[], None]) -> None:
    training()
    terminal = start(str(workspace.root))
    terminal.until("training 10/1000")
    terminal.press("2")
    terminal.until("margin")
    terminal.press("\t")
    terminal.until("0.69")
    terminal.read(1)
    total = 0
    for _ in range(6):
        training()
        total += terminal.read(1)
    assert total / 6 <= 2000, f"{total / 6:.0f} bytes a second while training"
    terminal.read(3)
    assert terminal.read(3) == 0  # nothing happens: nothing is sent


def test_a_folder_that_is_no_workspace_is_asked_about(tmp_path: Path, start: Opener) -> None:
    folder = tmp_path / "mine"
    terminal = start(str(folder))
    terminal.until("Make one there")
    terminal.press("\r")
    assert terminal.wait() == 0
    assert not folder.exists()
    terminal = start(str(folder))
    terminal.until("Make one there")
    terminal.press("y\r")
    terminal.until("1 Plan")
    assert (folder / "runs.db").is_file()
    terminal.press("q")
    assert terminal.wait() == 0


def test_a_dumb_terminal_gets_plain_text(workspace: Workspace, start: Opener) -> None:
    terminal = start(str(workspace.root), env={"TERM": "dumb"})
    assert terminal.wait() == 2
    assert b"\x1b" not in terminal.received
    assert "Pre-DPO Planning" in terminal.words
    assert "TERM is 'dumb': the workbench needs a terminal" in terminal.words


def test_no_colour_still_has_words(workspace: Workspace, start: Opener) -> None:
    with closing(open_store(workspace.database)) as db:
        scene.busy(db)
        runs.update(db, "dpo-002", state="finished")
    terminal = start(str(workspace.root), env={"NO_COLOR": "1"})
    terminal.until("stage")
    terminal.until("Base model selected")
    terminal.press("3")
    terminal.until("Capability Retention")
    assert "PASS" in terminal.words
    # Greys alone: in the 256-colour palette, 16, 231 and 232-255; in 24 bits, three equal parts.
    for row in terminal.screen.buffer.values():
        for cell in row.values():
            for colour in (cell.fg, cell.bg):
                assert colour == "default" or len({colour[0:2], colour[2:4], colour[4:6]}) == 1, colour


def test_ascii_is_all_that_is_drawn(workspace: Workspace, start: Opener) -> None:
    with closing(open_store(workspace.database)) as db:
        scene.busy(db)
    terminal = start(str(workspace.root), "--ascii")
    terminal.until("? Keys")
    for key in "12345678":
        terminal.press(key)
        terminal.read(0.2)
        for _ in range(4):
            terminal.press("\t")
            terminal.read(0.15)
    terminal.press("?")
    terminal.read(0.5)
    terminal.press("\x1bq")
    terminal.read(0.5)
    assert bytes(terminal.received).isascii(), {c for c in bytes(terminal.received).decode() if not c.isascii()}


@pytest.mark.parametrize(
    ("term", "colours"),
    [
        ("xterm-256color", rb"38;5;\d+"),
        ("screen", rb"\x1b\[(?:\d+;)*3\d[;m]"),  # eight colours of the terminal's own
        ("linux", rb"\x1b\[(?:\d+;)*3\d[;m]"),
        ("vt100", rb"\x1b\[(?:\d+;)*7m"),
    ],
)
def test_terminals(workspace: Workspace, start: Opener, term: str, colours: bytes) -> None:
    terminal = start(str(workspace.root), env={"TERM": term, "COLORTERM": ""})
    terminal.until("Base model selected")
    terminal.press("q")
    assert terminal.wait() == 0
    assert terminal.restored
    sent = bytes(terminal.received)
    assert re.search(colours, sent)
    if term != "xterm-256color":
        assert not re.search(rb"38;[25];", sent)
    if term == "vt100":
        assert not re.search(rb"\x1b\[[\d;]*(?:[34]\d|9\d|10\d)[;m]", sent)
    assert (term in ("linux", "vt100")) == sent.partition(b"come back")[0].isascii()


def test_over_ssh_no_mouse_is_asked_for(workspace: Workspace, start: Opener) -> None:
    terminal = start(str(workspace.root), env={"SSH_CONNECTION": "192.0.2.1 50000 192.0.2.2 22"})
    terminal.until("Base model selected")
    terminal.press("q")
    assert terminal.wait() == 0
    assert not re.search(rb"\x1b\[\?100[0-36]h|\x1b\]52;", bytes(terminal.received))


def test_a_run_that_is_on_is_what_opens(workspace: Workspace, start: Opener, training: Callable[[], None]) -> None:
    training()
    terminal = start(str(workspace.root))
    terminal.until("dpo-001")
    terminal.until("margin")
    assert "2 Stage" in terminal.words and "5 DPO optimization" in terminal.words
