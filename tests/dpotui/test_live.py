"""The picture of the workspace: made anew only when something changed, cheap for long runs, honest about time left."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.store import Database, commands, facts, metrics, runs, transaction
from core.store.facts import Fact
from core.workspace import Workspace
from dpotui.live import Reader
from dpotui.pace import Pace
from dpotui.series import LONGEST, Recorder
from tests.dpotui import scene


class Clock:
    def __init__(self) -> None:
        self.now = scene.NOW

    def __call__(self) -> float:
        return self.now


class Place:
    def __init__(self, workspace: Workspace, db: Database) -> None:
        self.workspace, self.db, self.clock, self.alive = workspace, db, Clock(), True
        self.reader = Reader(workspace, self.clock, lambda *_: self.alive)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    workspace, db = scene.workspace(tmp_path)
    made = Place(workspace, db)
    yield made
    made.reader.close()
    db.close()


def test_nothing_new_is_no_picture(place: Place) -> None:
    first = place.reader.look(None)
    assert first is not None
    assert first.judged
    assert place.reader.look(None) is None
    place.clock.now += 10
    assert place.reader.look(None) is None  # looked outside too, and found nothing
    runs.create(place.db, "dpo", config={})
    second = place.reader.look(None)
    assert second is not None
    assert second.live is not None
    assert second.live.id == "dpo-001"
    assert first.runs == ()


def test_a_file_that_changed_is_seen_though_runs_db_did_not(place: Place) -> None:
    place.reader.look(None)
    path = place.workspace.checklists / "0-planning.md"
    path.write_text(path.read_text() + "- [ ] One more <!-- id: plan.more -->\n")
    place.clock.now += 3
    new = place.reader.look(None)
    assert new is not None
    assert "plan.more" in new.states


def test_an_engine_that_dies_is_seen(place: Place) -> None:
    first = place.reader.look(None)
    assert first is not None
    assert first.engine.alive
    place.alive = False
    place.clock.now += 3
    second = place.reader.look(None)
    assert second is not None
    assert second.engine.known and not second.engine.alive


def test_facts_turn_items_and_gates(place: Place) -> None:
    place.reader.look(None)
    facts.record(place.db, Fact("dpo.kl_divergence", 0.1004))
    new = place.reader.look(None)
    assert new is not None
    assert new.states["dpo.gates.kl"].verdict == "FAIL"
    assert {r.gate.name: r.verdict for r in new.gates}["kl"] == "FAIL"


def test_the_watched_run_carries_metrics_log_and_answers(place: Place) -> None:
    run = scene.busy(place.db)
    new = place.reader.look(run)
    assert new is not None
    assert new.watched is not None
    assert [len(new.watched.series[name]) for name in ("loss", "eval_loss")] == [412, 8]
    assert new.watched.log[-1].text.startswith("pair 118")
    assert new.key_facts[run] == "kl 0.1004 gap 0.212"
    number = commands.send(place.db, run, "pause", "ana")
    commands.answer(place.db, number, "paused")
    new = place.reader.look(run)
    assert new is not None
    assert new.watched is not None
    assert new.watched.commands[0].answer == "paused"


def write(db: Database, run: str, first: int, last: int, value: float = 1.0) -> None:
    with transaction(db):
        metrics.write(db, ((run, step, "loss", value, 0.0) for step in range(first, last)))


def test_series_are_read_on_and_thinned_without_hiding_a_peak(place: Place) -> None:
    run = runs.create(place.db, "dpo", config={})
    recorder = Recorder()
    write(place.db, run.id, 0, 100)
    assert len(recorder.read(place.db, run)["loss"]) == 100
    write(place.db, run.id, 100, 5000)
    write(place.db, run.id, 4321, 4322, 9.0)
    points = recorder.read(place.db, run)["loss"]
    assert len(points) <= LONGEST
    assert max(p.high for p in points) == 9.0
    assert points[-1].x <= 4999
    write(place.db, run.id, 5000, 5010, 2.0)
    assert [p.mean for p in recorder.read(place.db, run)["loss"][-10:]] == [2.0] * 10
    # A client that comes late sees the same shape.
    assert max(p.high for p in Recorder().read(place.db, run)["loss"]) == 9.0


def test_steps_computed_again_after_a_resume_replace_the_old_ones(place: Place) -> None:
    run = runs.create(place.db, "dpo", config={})
    recorder = Recorder()
    write(place.db, run.id, 0, 50)
    runs.update(place.db, run.id, step=50)
    recorder.read(place.db, runs.get(place.db, run.id))
    write(place.db, run.id, 40, 45, 7.0)
    runs.update(place.db, run.id, step=44)
    points = recorder.read(place.db, runs.get(place.db, run.id))["loss"]
    assert [p.mean for p in points[40:45]] == [7.0] * 5
    assert len(points) == 50


def test_a_long_series_is_no_pause(place: Place) -> None:
    run = runs.create(place.db, "dpo", config={})
    with transaction(place.db):
        place.db.execute("INSERT INTO series (run, name) VALUES (?, 'loss')", [run.id])
        place.db.execute(
            "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 199999)"
            " INSERT INTO metrics (series, step, value, time) SELECT 1, i, 1.0, 0 FROM n"
        )
        place.db.execute(
            "INSERT INTO metric_bins (series, bin, low, high, total, finite)"
            " SELECT 1, step / 512, min(value), max(value), total(value), count(value) FROM metrics GROUP BY step / 512"
        )
    recorder = Recorder()
    began = time.perf_counter()
    recorder.read(place.db, run)
    assert time.perf_counter() - began < 0.3
    began = time.perf_counter()
    recorder.read(place.db, run)
    assert time.perf_counter() - began < 0.05


def test_pace_counts_what_was_seen_and_forgets_pauses(place: Place) -> None:
    pace = Pace()
    run = runs.create(place.db, "dpo", config={}, steps=100)
    assert pace.eta(run, 0.0) is None  # queued

    def at(step: int, now: float, state: str = "running") -> float | None:
        runs.update(place.db, run.id, step=step, state=state, started=0.0)
        return pace.eta(runs.get(place.db, run.id), now)

    assert at(10, 20.0) == pytest.approx(180)  # from its whole life: 2 s a step
    assert at(20, 30.0) == pytest.approx(80)  # as seen: 1 s a step
    assert at(20, 40.0, "paused") is None
    assert at(20, 1000.0) is not None
    assert at(30, 1010.0) == pytest.approx(70)
    assert pace.eta(None, 1011.0) is None


def test_charts_and_log_need_not_wait_for_results(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int | None] = []
    monkeypatch.setattr("dpotui.live.read_results", lambda db, workspace, stage, run: asked.append(stage) or ())
    run = scene.add_run(place.db, "reward", state="finished", step=40, steps=40)
    ahead = place.reader.look(run, stage=4, results=False)
    assert ahead is not None
    assert ahead.watched is not None
    assert (ahead.watched.run.id, ahead.results, asked) == (run, None, [])
    after = place.reader.look(run, stage=4)
    assert after is not None
    assert after.results is not None
    assert (after.results.stage, asked) == (4, [4])
    assert place.reader.look(run, stage=4) is None
