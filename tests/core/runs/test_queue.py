"""The queue in a person's order: places, times, reasons; and moments to come as people type them."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import UserError
from core.runs import queue
from core.runs.moments import later
from core.store import Database, open_store, runs

NOON = datetime.datetime(2026, 11, 21, 12, 0).timestamp()


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    db = open_store(tmp_path / "runs.db", create=True)
    yield db
    db.close()


def queued(db: Database, count: int = 4) -> list[str]:
    return [runs.create(db, "dpo", config={}).id for _ in range(count)]


def order(db: Database) -> list[str]:
    return [each.run.id for each in queue.listing(db)]


def test_runs_are_moved_by_one_to_the_ends_and_before_another(db: Database) -> None:
    a, b, c, d = queued(db)
    assert queue.move(db, c, "first") == 1
    assert order(db) == [c, a, b, d]
    assert queue.move(db, a, "down") == 3
    assert order(db) == [c, b, a, d]
    assert queue.move(db, d, "up") == 3
    assert queue.move(db, c, "last") == 4
    assert order(db) == [b, d, a, c]
    assert queue.move(db, c, "up", before=b) == 1
    assert order(db) == [c, b, d, a]
    assert queue.move(db, c, "up") == 1
    # Who comes later comes behind all of them, and the next one is started first.
    e = runs.create(db, "sft", config={}).id
    assert order(db) == [c, b, d, a, e]
    assert runs.ready(db)[0].id == c


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.sampled_from(["first", "last", "up", "down"])), max_size=12))
def test_any_moves_keep_every_run_once(moves) -> None:
    from sqlite_utils import Database as Memory

    from core.store.schema import migrations

    db = Memory(memory=True)
    migrations.apply(db)
    ids = queued(db, 5)
    wanted = list(ids)
    for number, way in moves:
        run = ids[number]
        at = wanted.index(run)
        wanted.remove(run)
        to = {"first": 0, "last": 4, "up": max(0, at - 1), "down": min(4, at + 1)}[way]
        wanted.insert(to, run)
        assert queue.move(db, run, way) == to + 1
    assert order(db) == wanted


def test_each_says_what_it_waits_for(db: Database) -> None:
    a, b, c, d = queued(db)
    child = runs.create(db, "evaluate", config={}, parent=d).id
    queue.put_off(db, b, "22:00", NOON)
    runs.update(db, c, phase=f"{queue.HELD}takes about 9.0 GB, 2.0 GB are free beside ollama (7) 30.1 GB")
    found = {each.run.id: each.why for each in queue.listing(db, NOON)}
    assert found == {
        a: "next",
        b: "not before 22:00",
        c: "held: takes about 9.0 GB, 2.0 GB are free beside ollama (7) 30.1 GB",
        d: f"after {c}",
        child: f"waits for {d}, which is queued",
    }
    runs.update(db, a, state="running")
    assert {each.run.id: each.why for each in queue.listing(db, NOON)}[d] == f"waits for {a} to end"


def test_a_run_that_is_put_off_lets_others_go_ahead_and_is_started_by_a_word(db: Database) -> None:
    a, b = queued(db, 2)
    assert queue.put_off(db, a, "+2h") > 0
    assert runs.ready(db)[0].id == b
    assert [run.id for run in runs.coming(db)] == [a, b]
    queue.force(db, a)
    assert (runs.ready(db)[0].id, runs.get(db, a).forced, runs.get(db, a).not_before) == (a, 1, None)
    assert queue.put_off(db, a, "now") is None


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (lambda db, run: queue.move(db, "dpo-009", "up"), "no run 'dpo-009'"),
        (lambda db, run: queue.move(db, run, "up", before=run), "cannot go ahead of itself"),
        (lambda db, run: queue.put_off(db, run, "yesterday"), "'yesterday' is no time to come: 22:00, tomorrow 6:30"),
        (lambda db, run: queue.force(db, "dpo-001"), "dpo-001 is finished: only a run that waits in the queue"),
        (lambda db, run: queue.move(db, "dpo-003", "up"), "a part of iterate-001, which starts it itself"),
    ],
)
def test_what_has_no_place_in_it_says_so(db: Database, act, words: str) -> None:
    done, run = queued(db, 2)
    runs.update(db, done, state="finished")
    whole = runs.create(db, "iterate", config={})
    runs.create(db, "dpo", config={}, part_of=whole.id, part="iteration 1 dpo")
    with pytest.raises(UserError, match=words):
        act(db, run)


@pytest.mark.parametrize(
    ("text", "hours"),
    [
        ("now", 0), ("+2h", 2), ("90m", 1.5), ("13:30", 1.5), ("11:00", 23), ("today 12:01", 1 / 60),
        ("tomorrow 6:00", 18), ("2026-11-22T12:00", 24), ("2026-11-22", 12),
    ],
)  # fmt: skip
def test_moments_to_come(text: str, hours: float) -> None:
    assert later(text, NOON) == pytest.approx(NOON + hours * 3600)


@pytest.mark.parametrize("text", ["", "soon", "25:00", "today 11:00", "2026-11-20", "12:60", "-2h", "99999999999w"])
def test_no_moments_to_come(text: str) -> None:
    assert later(text, NOON) is None


@given(st.text(max_size=20))
def test_any_text_is_a_moment_to_come_or_none(text: str) -> None:
    found = later(text, NOON)
    assert found is None or found >= NOON
