"""Voting on screen: blind, one response at a time or both, every key, from the stage and from the command line."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from textual import events
from textual.pilot import Pilot

from core.data.votes_order import drawn_side, gather
from core.store import facts, runs, votes
from dpotui.app import Workbench
from dpotui.screens.opinion import card_of
from dpotui.screens.vote import SEED, VoteScreen, Voting
from dpotui.screens.vote_start import VoteStart
from tests.dpotui import scene
from tests.dpotui.screens.conftest import Scene

_CHAT = [
    {"role": "system", "content": "You are terse."},
    {"role": "user", "content": "What is tea?"},
    {"role": "assistant", "content": "A drink of leaves."},
    {"role": "user", "content": "Which one should I buy for my aunt, who drinks little of it?"},
]
_LONG = "\n".join(f"Step {n}: pour water number {n} over the leaves and wait." for n in range(1, 41))
ROWS: list[dict[str, Any]] = [
    {
        "prompt": _CHAT,
        "chosen": "A mild green tea, such as Sencha. It keeps for a year and needs no milk at all.",
        "rejected": "A strong black tea, such as Assam. It keeps for a year and needs some milk at all times.",
        "chosen_score": 0.875,
        "rejected_score": 0.125,
    },
    {"prompt": "How is tea made?", "chosen": _LONG, "rejected": _LONG.replace("number 30", "number thirty")},
    {
        "prompt": "Name \x1b[31mone\x07 [bold]tea[/bold] \u202e",
        "chosen": "\x1b]0;x\x07[red]Assam[/red]",
        "rejected": "No",
    },
    {"prompt": "\n".join(f"line {n}" for n in range(30)), "chosen": "Assam", "rejected": "Darjeeling"},
]
KINDS = {"chat": 0, "long": 1, "hostile": 2}


@pytest.fixture
def file(empty: Scene) -> Path:
    path = empty.workspace.data / "preference_pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


class Clock:
    """Ten seconds between two looks."""

    def __init__(self) -> None:
        self.now = scene.NOW

    def __call__(self) -> float:
        self.now += 10
        return self.now


def drawn_side_of(file: Path, who: str) -> str:
    """Where the shorter response of the first row stands for a person."""
    with closing(gather(file, seed=SEED)) as ballots:
        first = ballots.read(0)
        side = drawn_side(SEED, who, first.key)
    shorter = len(str(first.first)) < len(str(first.second))
    return side if shorter else "AB"[side == "A"]


def bench(empty: Scene, voting: Voting) -> Workbench:
    def opening(app: Workbench) -> None:
        app.push_screen(VoteScreen(voting, leaves_program=True, clock=Clock()))

    return Workbench(empty.workspace, clock=lambda: scene.NOW, probe=lambda w, db: True, who="ana", opening=opening)


def screen(app: Workbench) -> VoteScreen:
    assert isinstance(app.screen, VoteScreen)
    return app.screen


async def begun(pilot: Pilot[None]) -> VoteScreen:
    app = pilot.app
    assert isinstance(app, Workbench)
    await scene.until(pilot, lambda: isinstance(app.screen, VoteScreen) and app.screen.session is not None)
    await pilot.pause()
    return screen(app)


async def turn_to(pilot: Pilot[None], row: int) -> None:
    """Skip until the comparison of a row of the file is in hand."""
    session = (await begun(pilot)).session
    assert session is not None
    while session.ballot is not None and session.ballot.comparison.line != row + 1:
        await pilot.press("s")
    assert session.ballot is not None
    await pilot.pause()


@pytest.mark.parametrize(
    ("kind", "size"),
    [("chat", (80, 24)), ("chat", (200, 60)), ("long", (80, 24)), ("hostile", (80, 24))],
    ids=["chat-narrow", "chat-wide", "long-narrow", "hostile-narrow"],
)
def test_how_it_looks(empty: Scene, file: Path, snap_compare: Any, kind: str, size: tuple[int, int]) -> None:
    async def run_before(pilot: Pilot[None]) -> None:
        await turn_to(pilot, KINDS[kind])

    app = bench(empty, Voting(file, "ana"))
    assert snap_compare(app, terminal_size=size, run_before=run_before)


def test_how_the_end_looks(empty: Scene, file: Path, snap_compare: Any) -> None:
    async def run_before(pilot: Pilot[None]) -> None:
        await begun(pilot)
        await pilot.press("4", "a", "b", "s", "t")
        await pilot.pause()

    assert snap_compare(bench(empty, Voting(file, "ana")), terminal_size=(80, 24), run_before=run_before)


def test_how_the_dialog_looks(empty: Scene, file: Path, snap_compare: Any) -> None:
    (empty.workspace.data / "[red]odd\x1b.jsonl").write_text("{}\n")

    async def run_before(pilot: Pilot[None]) -> None:
        await scene.settled(pilot)
        await pilot.press("2", "right_square_bracket", "right_square_bracket", "a")
        await pilot.pause()

    assert snap_compare(scene.bench(empty.workspace), terminal_size=(80, 24), run_before=run_before)


async def test_it_is_blind(empty: Scene, file: Path) -> None:
    app = bench(empty, Voting(file, "ana"))
    async with app.run_test(size=(200, 60)) as pilot:
        await turn_to(pilot, 0)
        shown = scene.words(app)
        for word in ("chosen", "rejected", "0.875", "0.125", "score"):
            assert word not in shown
        assert "Sencha" in shown
        assert "Assam" in shown


async def test_every_key_is_stored_as_it_was_meant(empty: Scene, file: Path) -> None:
    app = bench(empty, Voting(file, "ana", seed=5))
    async with app.run_test(size=(80, 24)) as pilot:
        session = (await begun(pilot)).session
        assert session is not None
        meant = []
        for key, letter in (("a", "A"), ("b", "B"), ("t", "tie"), ("x", "reject")):
            assert session.ballot is not None
            meant.append((session.ballot.comparison.key, letter))
            await pilot.press("3", key)
        cast = votes.of_file(empty.db, "data/preference_pairs.jsonl")
        assert [(vote.key, vote.letter) for vote in cast] == meant
        assert {(vote.who, vote.seed, vote.confidence) for vote in cast} == {("ana", 5, 3)}
        assert "Done: all 4 have an answer of ana" in scene.words(app)
        await pilot.press("a", "5", "n")  # nothing is in hand
        assert len(votes.of_file(empty.db, "data/preference_pairs.jsonl")) == 4
        await pilot.press("u", "u")
        await pilot.pause()
        assert len(votes.of_file(empty.db, "data/preference_pairs.jsonl")) == 2
        assert session.ballot is not None
        assert session.ballot.comparison.key == meant[2][0]
        assert "●●●○○ 3" in scene.words(app)


async def test_confidence_is_of_the_pair_on_screen_and_can_be_taken_back(empty: Scene, file: Path) -> None:
    app = bench(empty, Voting(file, "ana"))
    async with app.run_test(size=(80, 24)) as pilot:
        await begun(pilot)
        await pilot.press("2", "5")
        assert "●●●●● 5" in scene.words(app)
        await pilot.press("5")
        await pilot.pause()
        assert "○○○○○ –" in scene.words(app)
        await pilot.press("4", "a")
        await pilot.pause()
        assert "○○○○○ –" in scene.words(app)  # the next pair begins without
        assert "saved: A better, sure 4" in scene.words(app)


async def test_one_key_flips_and_differences_are_underlined(empty: Scene, file: Path) -> None:
    app = bench(empty, Voting(file, "ana"))
    async with app.run_test(size=(80, 24)) as pilot:
        await turn_to(pilot, 0)
        ballot = screen(app).session.ballot  # type: ignore[union-attr]
        assert ballot is not None
        for key, text in (("space", ballot.b), ("tab", ballot.a)):
            await pilot.press(key)
            await pilot.pause()
            assert " ".join(str(text[0]["content"]).split()) in scene.prose(app)  # type: ignore[index]
        underlined = [
            segment.text
            for strip in app.screen._compositor.render_strips()
            for segment in strip
            if segment.style is not None and segment.style.underline
        ]
        word = "Sencha" if "Sencha" in str(ballot.a) else "Assam"
        assert any(word in text for text in underlined)
        assert not any("It keeps for a year" in text for text in underlined)
        await pilot.press("d")
        await pilot.pause()
        assert "d underlines" in scene.words(app)


async def test_a_long_response_is_read_by_keys_and_the_next_difference_is_one_away(empty: Scene, file: Path) -> None:
    app = bench(empty, Voting(file, "ana"))
    async with app.run_test(size=(80, 24)) as pilot:
        await turn_to(pilot, 1)
        assert "Step 1:" in scene.words(app)
        assert "Step 40:" not in scene.words(app)
        await pilot.press("j", "j", "pagedown")
        await pilot.pause()
        assert "Step 2:" not in scene.words(app)
        await pilot.press("end")
        await pilot.pause()
        assert "Step 40:" in scene.words(app)
        await pilot.press("home", "right_square_bracket")
        await pilot.pause()
        assert "Step 30:" in scene.words(app)
        await pilot.press("home", "k", "up", "pageup")
        await pilot.pause()
        assert "Step 1:" in scene.words(app)


@pytest.mark.parametrize("size", [(80, 24), (200, 24)], ids=["one", "both"])
async def test_what_only_the_other_response_has_is_one_key_away(
    empty: Scene, file: Path, size: tuple[int, int]
) -> None:
    longer = _LONG.replace("Step 30:", "And now, at long last, Step 30:")
    file.write_text(json.dumps({"prompt": "How?", "chosen": _LONG, "rejected": longer}) + "\n")
    app = bench(
        empty, Voting(file, next(who for who in ("ana", "ben", "cas", "dan") if drawn_side_of(file, who) == "A"))
    )
    async with app.run_test(size=size) as pilot:
        await begun(pilot)
        assert "at long last" not in scene.words(app)
        await pilot.press("right_square_bracket")
        await pilot.pause()
        assert "And now, at long last, Step 30:" in scene.words(app)


async def test_the_prompt_unfolds(empty: Scene, file: Path) -> None:
    app = bench(empty, Voting(file, "ana"))
    async with app.run_test(size=(80, 24)) as pilot:
        await turn_to(pilot, 3)
        assert "p shows all of it" in scene.words(app)
        assert "line 9" not in scene.words(app)
        await pilot.press("p")
        await pilot.pause()
        assert "line 19" in scene.words(app)
        await pilot.press("pagedown")
        await pilot.pause()
        assert "line 29" in scene.words(app)
        await pilot.press("p")
        await pilot.pause()
        ballot = screen(app).session.ballot  # type: ignore[union-attr]
        assert ballot is not None
        assert f"\n {ballot.a}\n" in scene.words(app)


async def test_notes_take_letters_and_do_not_vote(empty: Scene, file: Path) -> None:
    app = bench(empty, Voting(file, "ana"))
    async with app.run_test(size=(80, 24)) as pilot:
        await begun(pilot)
        await pilot.press("n", *"abtxsu", "enter")
        await pilot.pause()
        assert votes.of_file(empty.db, "data/preference_pairs.jsonl") == []
        assert "note abtxsu" in scene.words(app)
        await pilot.press("n", "q", "escape", "b")
        (vote,) = votes.of_file(empty.db, "data/preference_pairs.jsonl")
        assert (vote.note, vote.letter) == ("abtxsu", "B")


async def test_a_burst_of_keys_is_answered_in_its_order(empty: Scene, file: Path) -> None:
    """Over a slow line a note and what follows it come at once; none of its letters is a vote."""
    app = bench(empty, Voting(file, "ana"))
    async with app.run_test(size=(80, 24)) as pilot:
        await begun(pilot)
        for key in ["4", "a", "n", *"bats", "backspace", "enter", "b", "g", "x", "t"]:
            app.post_message(events.Key(key, key if len(key) == 1 else None))
        await scene.until(pilot, lambda: "What to prefer" in scene.words(app))
        first, second = votes.of_file(empty.db, "data/preference_pairs.jsonl")
        assert (first.letter, first.confidence, first.note) == ("A", 4, "")
        assert (second.letter, second.note) == ("B", "bat")


async def test_guidelines_are_one_key_away(empty: Scene, file: Path) -> None:
    app = bench(empty, Voting(file, "ana"))
    async with app.run_test(size=(80, 24)) as pilot:
        await begun(pilot)
        await pilot.press("g")
        await pilot.pause()
        assert "What to prefer" in scene.words(app)
        await pilot.press("g")
        await pilot.press("question_mark")
        await pilot.pause()
        assert "Reject both: a bad pair" in scene.prose(app)
        await pilot.press("escape")
        (empty.workspace.configs / "annotation_guidelines.md").unlink()
        await pilot.press("g")
        await pilot.pause()
        assert "cannot be read" in scene.words(app)


async def test_the_name_is_asked_once(empty: Scene, file: Path) -> None:
    app = bench(empty, Voting(file))
    async with app.run_test(size=(80, 24)) as pilot:
        await scene.until(pilot, lambda: "Who votes?" in scene.words(app))
        assert "ana" in scene.words(app)  # the user's own name stands there
        await pilot.press(*"ben", "enter")  # typing replaces it
        session = (await begun(pilot)).session
        assert session is not None
        assert session.who == "ben"
        await pilot.press("a")
        assert [vote.who for vote in votes.of_file(empty.db, "data/preference_pairs.jsonl")] == ["ben"]


async def test_a_burst_of_keys_in_the_name_is_taken_in_its_order(empty: Scene, file: Path) -> None:
    """Over a slow line they come at once, and what was typed before must not be taken back after."""
    app = bench(empty, Voting(file))
    async with app.run_test(size=(80, 24)) as pilot:
        await scene.until(pilot, lambda: "Who votes?" in scene.words(app))
        for key in [*"cas", "backspace", "backspace", *"arla", "enter"]:
            app.post_message(events.Key(key, key if len(key) == 1 else None))
        session = (await begun(pilot)).session
        assert session is not None
        assert session.who == "carla"


async def test_from_the_stage_one_goes_to_its_data(empty: Scene, file: Path) -> None:
    config = {"data": {"output_file": "data/none.jsonl", "input_file": "data/preference_pairs.jsonl"}}
    runs.create(empty.db, "judge", config=config, config_path="configs/judge_config.yaml", seed=1)
    app = scene.bench(empty.workspace)
    async with app.run_test(size=(80, 24)) as pilot:
        await scene.settled(pilot)
        await app.open_stage(2)
        await scene.settled(pilot)
        await pilot.press("d")
        await scene.until(pilot, lambda: "data/preference_pairs.jsonl  4 pairs" in scene.words(app))


async def test_data_that_is_not_there_yet_is_named(empty: Scene) -> None:
    app = scene.bench(empty.workspace)
    async with app.run_test(size=(80, 24)) as pilot:
        await scene.settled(pilot)
        await pilot.press("2", "d")  # of a stage without runs: nothing
        assert app.current_mode == "Stage"
        await app.open_stage(2)
        await scene.settled(pilot)
        await pilot.press("d")
        await scene.until(pilot, lambda: scene.told(app) == ["data/preference_pairs_train.jsonl is not there yet"])
        assert app.current_mode == "Data"


async def test_a_file_that_cannot_be_read_is_said(empty: Scene, file: Path) -> None:
    app = bench(empty, Voting(file.with_name("none.jsonl"), "ana"))
    async with app.run_test(size=(80, 24)) as pilot:
        await scene.until(pilot, lambda: "does not exist" in scene.prose(app))
        await pilot.press("a", "u", "q")
        await pilot.pause()
    assert app.return_code == 0


async def test_what_cannot_be_saved_is_said_and_stays_in_hand(empty: Scene, file: Path) -> None:
    app = bench(empty, Voting(file, "ana"))
    async with app.run_test(size=(80, 24)) as pilot:
        session = (await begun(pilot)).session
        assert session is not None
        before = session.ballot
        empty.db.execute("CREATE TRIGGER full BEFORE INSERT ON votes BEGIN SELECT RAISE(FAIL, 'disk is full'); END")
        empty.db.conn.commit()
        await pilot.press("a")
        assert scene.told(app) == ["not saved: disk is full"]
        assert (session.ballot, session.done, session.last) == (before, 0, None)


async def test_from_the_stage_to_the_votes_and_the_facts(empty: Scene, file: Path) -> None:
    (empty.workspace.data / "other.jsonl").write_text(json.dumps(ROWS[3]) + "\n")
    app = scene.bench(empty.workspace)
    async with app.run_test(size=(80, 24)) as pilot:
        await scene.settled(pilot)
        await pilot.press("2")
        await scene.settled(pilot)
        await pilot.press("a")  # of another stage: nothing
        assert not isinstance(app.screen, VoteStart)
        await (await app.open_stage(2)).wait_for_refresh()
        await scene.settled(pilot)
        assert "a vote, blind   d data" in scene.words(app)
        await pilot.press("a", "down")
        await pilot.pause()
        assert "preference_pairs.jsonl" in scene.words(app)
        await pilot.press("tab", "x", "enter")
        await pilot.pause()
        assert "how many must be a whole number from 1, not 'x'" in scene.prose(app)
        await pilot.press("backspace", "1", "enter")
        session = (await begun(pilot)).session
        assert session is not None
        assert (session.file, session.total, session.who) == ("data/other.jsonl", 1, "ana")
        await pilot.press("a", "q")
        await scene.until(pilot, lambda: "data.votes" in facts.latest(empty.db))
        assert not isinstance(app.screen, VoteScreen)
    assert facts.latest(empty.db)["data.votes"].value == 1.0
    assert facts.latest(empty.db)["data.guidelines"].value == 0.0


def test_guidelines_as_a_card() -> None:
    entries = card_of("# Title\n<!-- hidden -->\n\nOne\ntwo.\n- item\n  goes on\n- other\n")
    assert [(entry.text, entry.role) for entry in entries] == [
        ("Title", "title"),
        ("", ""),
        ("One two.", ""),
        ("• item goes on", ""),
        ("• other", ""),
    ]
