"""A session of votes as a person has it: 20 pairs at 80x24 in the real program, left, come back to, read in runs.db."""

from __future__ import annotations

import json
import os
import random
import shlex
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from core.data.comparisons import comparison_key
from core.data.messages import text_key
from core.store import facts, open_store, votes
from core.store.votes import Vote
from core.workspace import Workspace
from tests.dpotui import scene
from tests.e2e.terminal import Terminal

Opener = Callable[..., Terminal]
FILE = "data/preference_pairs.jsonl"
_WORDS = ["leaf", "water", "cup", "kettle", "steam", "minute", "spoon", "honey", "lemon", "milk", "sugar", "morning"]


def _rows() -> list[dict[str, str]]:
    chance = random.Random(4)
    rows = []
    for number in range(20):
        words = [chance.choice(_WORDS) for _ in range(60)]
        better = " ".join(words)
        words[30] = "petrol"
        rows.append({"prompt": f"Question {number}: what is tea?", "chosen": f"{better}.", "rejected": " ".join(words)})
    return rows


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made, db = scene.workspace(tmp_path)
    db.close()
    (made.root / FILE).write_text("".join(json.dumps(row) + "\n" for row in _rows()))
    return made


@pytest.fixture
def start(workspace: Workspace) -> Iterator[Opener]:
    opened: list[Terminal] = []

    def starter(*arguments: str, **options: Any) -> Terminal:
        place = ("-w", str(workspace.root))
        opened.append(Terminal("annotate", "vote", str(workspace.root / FILE), *place, *arguments, **options))
        return opened[-1]

    yield starter
    for terminal in opened:
        terminal.close()


def _cast(workspace: Workspace) -> list[Vote]:
    with closing(open_store(workspace.database)) as db:
        return votes.of_file(db, FILE)


def _question(terminal: Terminal) -> int:
    """Which pair is on screen."""
    line = next(line for line in terminal.words.splitlines() if "Question " in line)
    return int(line.split("Question ")[1].split(":")[0])


def _side_of_the_better(terminal: Terminal) -> str:
    """The response without petrol in it, as a person would find it: read one, flip, read the other."""
    shown_at_a = "petrol" in terminal.words
    terminal.press(" ")
    terminal.until(lambda: "▌B▐" in terminal.words)
    assert ("petrol" in terminal.words) != shown_at_a
    return "b" if shown_at_a else "a"


def _vote(terminal: Terminal, key: str, done: int) -> None:
    terminal.press(key)
    terminal.until(f"{done} of 20")


def test_a_session_of_twenty_pairs(workspace: Workspace, start: Opener) -> None:
    terminal = start()
    terminal.until("Who votes?")
    terminal.press("ana\r")  # typing replaces the user's own name
    terminal.until("0 of 20")
    seen = []
    for done in range(1, 9):
        seen.append(_question(terminal))
        terminal.press("4")
        _vote(terminal, _side_of_the_better(terminal), done)
    # Two are taken back and voted on otherwise.
    for back, done in ((2, 7), (1, 6)):
        terminal.press("u")
        terminal.until(f"{done} of 20")
        assert _question(terminal) == seen[-3 + back]
    _vote(terminal, "t", 7)
    terminal.press("nboth name petrol?\r")
    terminal.until("note both name petrol?")
    _vote(terminal, "x", 8)
    next_question = _question(terminal)
    assert "chosen" not in terminal.words
    assert "rejected" not in terminal.words.replace("both rejected", "")
    terminal.press("q")
    assert terminal.wait() == 0
    assert terminal.restored
    words = " ".join(bytes(terminal.received).decode().split())
    assert f"come back with: dpotui annotate vote {shlex.quote(str(workspace.root / FILE))}" in words
    assert "saved: 8 votes of ana; on the file there are 8 by 1 person on 8 pairs" in words

    cast = _cast(workspace)
    assert [vote.line for vote in cast] == [question + 1 for question in seen]
    rows = _rows()
    for vote in cast[:6]:
        row = rows[(vote.line or 0) - 1]
        assert vote.key == comparison_key(row["prompt"], row["chosen"], row["rejected"])
        first_is_better = text_key(row["chosen"]) < text_key(row["rejected"])
        assert vote.choice == ("first" if first_is_better else "second")
        assert (vote.confidence, vote.who, vote.seed) == (4, "ana", 42)
    assert {vote.side for vote in cast} == {"A", "B"}
    assert [vote.choice for vote in cast[6:]] == ["tie", "reject"]
    assert cast[7].note == "both name petrol?"

    # It goes on where one left, with a line that drops in between: every vote is there.
    terminal = start("--annotator", "ana")
    terminal.until("8 of 20")
    assert _question(terminal) == next_question
    _vote(terminal, "s", 9)
    for done in range(10, 15):
        _vote(terminal, "a", done)
    os.kill(terminal.pid, signal.SIGKILL)
    assert terminal.wait() == -signal.SIGKILL
    assert len(_cast(workspace)) == 14

    terminal = start("--annotator", "ana")
    terminal.until("14 of 20")
    for done in range(15, 21):
        _vote(terminal, "b", done)
    terminal.until("Done: all 20 have an answer of ana.")
    terminal.press("r")
    terminal.until("19 of 20")
    assert _question(terminal) == next_question
    terminal.press("a")
    terminal.until("Done: all 20 have an answer of ana.")
    terminal.press("q")
    assert terminal.wait() == 0
    assert len(_cast(workspace)) == 20
    with closing(open_store(workspace.database)) as db:
        assert facts.latest(db)["data.votes"].value == 20.0


def test_a_key_is_answered_at_once_and_with_few_bytes(workspace: Workspace, start: Opener) -> None:
    big = " ".join(_WORDS[n % 12] for n in range(160_000))
    row = {"prompt": "Question 20: long?", "chosen": f"{big} this end", "rejected": f"{big} other end"}
    (workspace.root / FILE).write_text(json.dumps(row) + "\n")
    terminal = start("--annotator", "ana")
    terminal.until("q Back")
    terminal.until("to 0 %")
    before = len(terminal.received)
    # The best of several tries: others may use the machine too.
    for keys in (((" ", "▌B▐"), (" ", "▌A▐")), (("]", "─ end"), ("\x1b[H", "to 0 %")), (("3", "○ 3"), ("2", "○ 2"))):
        assert min(_answered(terminal, key, what) for key, what in keys * 3) < 0.25  # 0.02 on an idle machine
    assert len(terminal.received) - before < 20_000
    terminal.read(1)
    assert terminal.read(2) == 0  # nothing happens: nothing is sent


def _answered(terminal: Terminal, key: str, what: str) -> float:
    """Seconds until the screen shows what a key asks for."""
    begun = time.monotonic()
    terminal.press(key)
    terminal.until(what, 10)
    return time.monotonic() - begun


def test_no_colour_and_a_wide_screen(workspace: Workspace, start: Opener) -> None:
    terminal = start("--annotator", "ana", columns=200, rows=60, env={"NO_COLOR": "1"})
    terminal.until(lambda: "▌A▐" in terminal.words and "▌B▐" in terminal.words)

    def underlined() -> str:
        return "".join(cell.data for row in terminal.screen.buffer.values() for cell in row.values() if cell.underscore)

    # A frame may come in pieces.
    terminal.until(lambda: "petrol" in underlined())


def test_without_a_terminal_it_says_so(workspace: Workspace, start: Opener) -> None:
    terminal = start(env={"TERM": "dumb"})
    assert terminal.wait() == 2
    assert "TERM is 'dumb': voting needs a terminal" in " ".join(terminal.words.split())
