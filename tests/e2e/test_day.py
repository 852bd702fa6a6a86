"""The day of a person, in the real program with a real engine: init, config, SFT, tick, generate, vote, DPO; the line
drops; come back; gates, report, leave. On a small terminal, as over a phone's line."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from core.engine import client
from core.store import engines, facts, open_store, runs, votes
from core.workspace import Workspace, open_workspace
from tests.e2e.terminal import Terminal

Opener = Callable[..., Terminal]

# A run of the day takes seconds; the machine that tests may be busy with others.
PATIENCE = 120.0


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "my day"


@pytest.fixture
def start(root: Path) -> Iterator[Opener]:
    opened: list[Terminal] = []

    def starter(*arguments: str, **options: Any) -> Terminal:
        opened.append(Terminal(*arguments, **options))
        return opened[-1]

    yield starter
    for terminal in opened:
        terminal.close()
    if (root / "runs.db").exists():
        _end_engine(open_workspace(root))


def _end_engine(workspace: Workspace) -> None:
    with closing(open_store(workspace.database)) as db:
        engine = engines.latest(db)
    if engine is not None and client.engine_alive(workspace):
        with suppress(ProcessLookupError):
            os.kill(engine.pid, signal.SIGTERM)
        until = time.monotonic() + 20
        while client.engine_alive(workspace) and time.monotonic() < until:
            time.sleep(0.05)


def _state(root: Path, run: str) -> tuple[str, int]:
    with closing(open_store(root / "runs.db")) as db:
        found = runs.get(db, run)
    return found.state, found.step


def _start_run(terminal: Terminal, keys: str, title: str, changed: str) -> None:
    """What `g` offers, with some keys changed."""
    terminal.press(keys)
    terminal.until(f"Start: {title}")
    terminal.press(changed)
    terminal.until(changed.split()[-1][-20:])
    terminal.press("\r")
    terminal.until(lambda: "Start:" not in terminal.words)


def _ends(terminal: Terminal, root: Path, run: str) -> None:
    terminal.until(lambda: _state(root, run)[0] in ("finished", "failed"), PATIENCE)
    assert _state(root, run)[0] == "finished", terminal.words
    terminal.until(lambda: f"{run} finished" in terminal.words)


def _find(terminal: Terminal, words: str | None) -> None:
    """Narrow the tree to some words, or to nothing in particular."""
    terminal.press("/")
    terminal.until("find ")
    if words is None:
        terminal.press("\x1b")
        terminal.until(lambda: " find " not in terminal.words)
        return
    terminal.press("\x15" + words)
    terminal.until(words)
    terminal.press("\r")
    terminal.until(lambda: " find " not in terminal.words)


def _gone(terminal: Terminal) -> None:
    """The client ends with its line."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        pid, status = os.waitpid(terminal.pid, os.WNOHANG)
        if pid:
            terminal.status = os.waitstatus_to_exitcode(status)
            assert terminal.status == 128 + signal.SIGHUP
            return
        time.sleep(0.05)
    raise AssertionError("it did not notice that its line is gone")


def _file(terminal: Terminal) -> str:
    """The file in hand, in a list of files."""
    found = re.search(r"│ › (\S+)", terminal.words)
    return found[1] if found is not None else ""


def _next_file(terminal: Terminal) -> None:
    before = _file(terminal)
    terminal.press("\x1b[B")
    terminal.until(lambda: _file(terminal) != before)


@pytest.mark.slow
def test_a_day(root: Path, start: Opener) -> None:
    made = start("init", str(root), "--demo")
    assert made.wait(30) == 0
    assert f"next: dpotui demo '{root}'" in " ".join(made.words.split()).replace("- ", "-") or "next:" in made.words

    terminal = start(str(root))
    terminal.until("A first look")
    # The configuration is changed in its form, and SFT started from there.
    terminal.press("6")
    terminal.until("sft_config.yaml  sft")
    terminal.press("\r")
    terminal.until("learning_rate")
    _find(terminal, "max_steps")
    terminal.until("max_steps      500")
    terminal.press("\r")
    terminal.until("esc Cancel")
    terminal.press("\x15200\r")
    terminal.until("1 changed, not written")
    terminal.press("w")
    terminal.until("written: configs/sft_config.yaml")
    assert "  max_steps: 200\n" in (root / "configs/sft_config.yaml").read_text()
    _start_run(terminal, "g", "SFT training", "training.eval_steps=100")
    terminal.until("sft-001")
    _ends(terminal, root, "sft-001")

    # The checklist knows by itself that it ended; another item is ticked by hand.
    terminal.press("1")
    _find(terminal, "SFT training completed")
    terminal.until("[x] SFT training completed")
    _find(terminal, "Base model selected")
    terminal.press("o")
    terminal.until("[ ] Base model selected")
    terminal.press(" ")
    terminal.until("[x] Base model selected")
    _find(terminal, None)

    # Responses to some prompts.
    terminal.press("2")
    terminal.until("1 SFT preparation")
    terminal.press("]")
    terminal.until("vote, blind")
    terminal.press("g")
    terminal.until("Start: check of the pairs")
    terminal.press("\x14")
    terminal.until("Start: generation of responses")
    terminal.press("\r")
    terminal.until(lambda: "Start:" not in terminal.words)
    _ends(terminal, root, "generate-001")

    # Three votes on pairs, of which one cannot say which is the chosen one.
    terminal.press("a")
    terminal.until("Vote, blind")
    terminal.until("preference_pairs_train.jsonl")
    while _file(terminal) != "preference_pairs_train.jsonl":
        _next_file(terminal)
    terminal.press("\r")
    terminal.until(" 0 of ")
    for done, key in ((1, "a"), (2, "b"), (3, "t")):
        terminal.press(key)
        terminal.until(f" {done} of ")
    terminal.press("q")
    terminal.until("vote, blind")

    # DPO; in the middle of it the line drops.
    terminal.press("]]]")
    terminal.until("start DPO training")
    _start_run(terminal, "g", "DPO training", "training.max_steps=160 training.eval_steps=80")
    terminal.until(lambda: _state(root, "dpo-001")[1] >= 10, PATIENCE)
    terminal.until("dpo-001 ●")
    os.close(terminal.slave)
    os.close(terminal.master)
    _gone(terminal)
    at = _state(root, "dpo-001")
    assert at[0] == "running"

    # It went on; whoever comes back finds it in front.
    terminal = start(str(root), columns=200, rows=60)
    terminal.until("dpo-001", 30)
    terminal.until(lambda: re.search(r"dpo-001 ● .*\d+/160", terminal.words) or "dpo-001 finished" in terminal.words)
    assert "5 DPO optimization" in terminal.words
    _ends(terminal, root, "dpo-001")
    with closing(open_store(root / "runs.db")) as db:
        assert _state(root, "dpo-001")[1] > at[1]
        ended = facts.of_run(db, "dpo-001")
        assert ended["dpo.finished"].value == 1.0
        assert len(votes.of_file(db, "data/preference_pairs_train.jsonl")) == 3

    # What the gates say is what the command line says.
    terminal.press("3")
    kl = ended["dpo.kl_divergence"].value
    assert kl is not None
    verdict = "PASS" if kl <= 0.1 else "FAIL"
    terminal.until(lambda: re.search(rf"{verdict} +KL", terminal.words))
    terminal.press("8")
    terminal.until("Evaluation report")
    terminal.press("w")
    terminal.until("report.md")
    terminal.press("q")
    assert terminal.wait() == 0
    assert terminal.restored
