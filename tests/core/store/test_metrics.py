"""Metrics: what is read is what was written, decimation hides nothing, a resume rewrites."""

from __future__ import annotations

import itertools
import math

from hypothesis import given
from hypothesis import strategies as st
from sqlite_utils import Database

from core.store import metrics, runs, transaction
from core.store.metrics import BIN, Bin, Point
from core.store.schema import migrations


def _database() -> Database:
    db = Database(memory=True)
    migrations.apply(db)
    return db


def _write(db: Database, points: list[tuple[int, float]], name: str = "loss", run: str = "dpo-001") -> None:
    with transaction(db):
        metrics.write(db, [(run, step, name, value, 0.0) for step, value in points])


def _with_run() -> Database:
    db = _database()
    runs.create(db, "dpo", config={})
    return db


def test_tail_and_since_are_in_order(db: Database) -> None:
    runs.create(db, "dpo", config={})
    _write(db, [(step, step / 10) for step in range(0, 50, 5)])
    assert metrics.tail(db, "dpo-001", "loss", 2) == [Point(40, 4.0), Point(45, 4.5)]
    assert metrics.since(db, "dpo-001", "loss", 35) == [Point(40, 4.0), Point(45, 4.5)]
    assert len(metrics.since(db, "dpo-001", "loss")) == 10
    assert metrics.tail(db, "dpo-001", "nothing", 5) == []
    assert metrics.decimated(db, "dpo-001", "nothing", 5) == []
    assert metrics.names(db, "dpo-001") == ["loss"]


def test_not_a_number_is_a_gap_never_a_value(db: Database) -> None:
    runs.create(db, "dpo", config={})
    _write(db, [(1, 1.0), (2, math.nan), (3, math.inf), (4, -math.inf), (5, 3.0)])
    points = metrics.since(db, "dpo-001", "loss")
    assert [point.step for point in points] == [1, 2, 3, 4, 5]
    assert [math.isnan(point.value) for point in points] == [False, True, True, True, False]
    assert metrics.decimated(db, "dpo-001", "loss", 1) == [Bin(1, 5, 1.0, 3.0, 2.0)]
    summary = metrics.summary(db, "dpo-001")["loss"]
    assert (summary.points, summary.first, summary.last, summary.low, summary.high) == (2, 1.0, 3.0, 1.0, 3.0)


def test_a_series_of_nothing_but_nan_is_drawn_as_nothing(db: Database) -> None:
    runs.create(db, "dpo", config={})
    _write(db, [(1, math.nan), (2, math.nan)])
    assert metrics.decimated(db, "dpo-001", "loss", 10) == []
    summary = metrics.summary(db, "dpo-001")["loss"]
    assert summary.points == 0
    assert all(math.isnan(value) for value in (summary.first, summary.last, summary.low, summary.high))


def test_a_resume_rewrites_the_steps_it_repeats(db: Database) -> None:
    runs.create(db, "dpo", config={})
    _write(db, [(step, 100.0) for step in range(2 * BIN)])
    _write(db, [(step, 1.0) for step in range(BIN - 10, 2 * BIN)])
    points = metrics.since(db, "dpo-001", "loss")
    assert len(points) == 2 * BIN
    assert {point.value for point in points[BIN - 10 :]} == {1.0}
    # The second half no longer remembers the old values, nor does the summary count them twice.
    assert metrics.decimated(db, "dpo-001", "loss", 2)[1] == Bin(BIN, 2 * BIN - 1, 1.0, 1.0, 1.0)
    assert metrics.summary(db, "dpo-001")["loss"].points == 2 * BIN


def test_series_do_not_mix(db: Database) -> None:
    for _ in range(2):
        runs.create(db, "dpo", config={})
    _write(db, [(1, 1.0)])
    _write(db, [(1, 2.0)], name="eval_loss")
    _write(db, [(1, 3.0)], run="dpo-002")
    assert metrics.since(db, "dpo-001", "loss") == [Point(1, 1.0)]
    assert metrics.since(db, "dpo-001", "eval_loss") == [Point(1, 2.0)]
    assert metrics.since(db, "dpo-002", "loss") == [Point(1, 3.0)]


_values = st.floats(width=32) | st.sampled_from([math.nan, math.inf, -math.inf])
_series = st.dictionaries(st.integers(0, 6000) | st.integers(0, 40), _values, min_size=1, max_size=80)


def _naive(points: dict[int, float], first: int, last: int) -> Bin | None:
    inside = [value for step, value in points.items() if first <= step <= last and math.isfinite(value)]
    return Bin(first, last, min(inside), max(inside), math.fsum(inside) / len(inside)) if inside else None


@given(points=_series, bins=st.integers(1, 300))
def test_decimation_agrees_with_the_naive_one(points: dict[int, float], bins: int) -> None:
    db = _with_run()
    _write(db, list(points.items()))
    found = metrics.decimated(db, "dpo-001", "loss", bins)
    assert len(found) <= bins + 1
    for before, after in itertools.pairwise(found):
        assert before.last < after.first
    for bin_ in found:
        naive = _naive(points, bin_.first, bin_.last)
        assert naive is not None
        assert (bin_.low, bin_.high) == (naive.low, naive.high)
        assert math.isclose(bin_.mean, naive.mean, rel_tol=1e-6, abs_tol=1e-3 * max(abs(naive.low), abs(naive.high)))
    finite = {step for step, value in points.items() if math.isfinite(value)}
    # Nothing is hidden: every finite point lies in a range.
    assert finite == {step for step in finite if any(b.first <= step <= b.last for b in found)}


@given(batches=st.lists(_series, min_size=1, max_size=4))
def test_bins_agree_with_the_points_after_any_rewriting(batches: list[dict[int, float]]) -> None:
    db = _with_run()
    truth: dict[int, float] = {}
    for batch in batches:
        _write(db, list(batch.items()))
        truth |= batch
    finite = [value for value in truth.values() if math.isfinite(value)]
    summary = metrics.summary(db, "dpo-001")["loss"]
    assert summary.points == len(finite)
    assert summary.last_step == max(truth)
    if finite:
        assert (summary.low, summary.high) == (min(finite), max(finite))


@given(
    points=st.dictionaries(st.integers(0, 400), st.floats(-1e6, 1e6), min_size=1, max_size=60),
    first=st.integers(0, 400),
    length=st.integers(0, 400),
    bins=st.integers(1, 30),
)
def test_a_window_agrees_with_the_whole(points: dict[int, float], first: int, length: int, bins: int) -> None:
    db = _with_run()
    _write(db, sorted(points.items()))
    last = first + length
    inside = {step: value for step, value in points.items() if first <= step <= last}
    assert dict(metrics.since(db, "dpo-001", "loss", first - 1, last=last)) == inside
    assert metrics.reached(db, "dpo-001", "loss", last) == max((step for step in points if step <= last), default=None)
    found = metrics.decimated(db, "dpo-001", "loss", bins, first=first, last=last)
    assert len(found) <= bins
    assert bool(found) == bool(inside)
    if inside:
        assert (min(b.low for b in found), max(b.high for b in found)) == (min(inside.values()), max(inside.values()))
        assert all(any(b.first <= step <= b.last for b in found) for step in inside)


def test_a_wide_window_hides_nothing_of_what_is_in_it(db: Database) -> None:
    runs.create(db, "dpo", config={})
    _write(db, [(step, float(step == 70_000)) for step in range(0, 100_000, 7)] + [(70_000, 9.0)])
    found = metrics.decimated(db, "dpo-001", "loss", 100, first=20_000, last=90_000)
    assert len(found) <= 101
    assert max(b.high for b in found) == 9.0
    assert found[0].first <= 20_000
    assert found[-1].last >= 89_000
    assert len(metrics.since(db, "dpo-001", "loss", 20_000, limit=5)) == 5
