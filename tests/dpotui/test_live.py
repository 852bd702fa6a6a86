"""The picture of the workspace: made anew only when something changed, cheap for long runs, honest about time left."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.store import Database, commands, facts, files, metrics, open_store, runs, transaction
from core.store.facts import Fact
from core.workspace import Workspace
from dpotui import stamps
from dpotui.live import Closer, Reader
from dpotui.pace import Pace
from dpotui.series import LONGEST, Recorder
from tests.dpotui import scene
from tests.timing import least


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
    recorder.read(place.db, run)
    assert least(lambda: Recorder().read(place.db, run), 3) < 0.3
    assert least(lambda: recorder.read(place.db, run)) < 0.05


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


def test_a_window_is_read_in_detail_and_other_runs_beside(place: Place) -> None:
    run, other = (runs.create(place.db, "dpo", config={}) for _ in range(2))
    write(place.db, run.id, 0, 20_000)
    write(place.db, run.id, 15_003, 15_004, 7.0)
    write(place.db, other.id, 0, 500, 3.0)
    runs.update(place.db, other.id, state="finished", ended=scene.NOW)
    closer = Closer((other.id, "dpo-999"), (15_000, 15_100))
    new = place.reader.look(run.id, closer=closer)
    assert new is not None
    assert new.watched is not None
    assert len(new.watched.series["loss"]) <= LONGEST
    assert [(each.id, len(series["loss"])) for each, series in new.watched.beside] == [(other.id, 500)]
    assert new.watched.detail is not None
    points = new.watched.detail.series[run.id]["loss"]
    assert [p.x for p in points] == list(range(15_000, 15_101))  # every step by itself
    assert points[3].mean == 7.0
    assert new.watched.detail.series[other.id].get("loss", ()) == ()
    # Another window is read anew; without one there is none.
    wider = place.reader.look(run.id, closer=Closer((), (10_000, None)))
    assert wider is not None and wider.watched is not None and wider.watched.detail is not None
    ranges = wider.watched.detail.series[run.id]["loss"]
    assert len(ranges) <= LONGEST and max(p.high for p in ranges) == 7.0
    write(place.db, run.id, 20_000, 20_004, 2.0)
    on = place.reader.look(run.id, closer=Closer((), (10_000, None)))
    assert on is not None and on.watched is not None and on.watched.detail is not None
    assert [p.mean for p in on.watched.detail.series[run.id]["loss"][-4:]] == [2.0] * 4
    plain = place.reader.look(run.id)
    assert plain is not None and plain.watched is not None
    assert (plain.watched.detail, plain.watched.beside) == (None, ())


def test_a_window_on_two_million_steps_is_no_pause(place: Place) -> None:
    run = runs.create(place.db, "dpo", config={})
    place.db.execute("INSERT INTO series (run, name) VALUES (?, 'loss')", [run.id])
    # The middle alone lies in the table; the rows of ranges stand for all of it.
    with transaction(place.db):
        for start in (0, 1_000_000, 1_999_000):
            place.db.execute(
                "WITH RECURSIVE n(i) AS (SELECT ?1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1 + 999)"
                " INSERT INTO metrics (series, step, value, time) SELECT 1, i, i, 0 FROM n",
                [start],
            )
        place.db.execute(
            "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 3905)"
            " INSERT INTO metric_bins (series, bin, low, high, total, finite) SELECT 1, i, 0, 1, 256, 512 FROM n"
        )
    began = time.process_time()
    place.reader.look(run.id, closer=Closer((), (1_000_200, 1_000_240)), judge=False)
    new = place.reader.look(run.id, closer=Closer((), (1_000_000, 1_000_900)), judge=False)
    assert time.process_time() - began < 1.0
    assert new is not None and new.watched is not None and new.watched.detail is not None
    points = new.watched.detail.series[run.id]["loss"]
    assert len(points) <= LONGEST
    assert sum(p.wide for p in points) == 901


def test_what_did_not_change_is_not_judged_again(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    from core import checklist, gates

    asked: list[str] = []
    for module, name in ((checklist, "states"), (gates, "load_gates"), (gates, "evaluate")):
        real = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *a, _r=real, _n=name, **k: asked.append(_n) or _r(*a, **k))
    for folder in (place.workspace.configs, place.workspace.checklists):
        for path in (folder, *folder.iterdir()):
            os.utime(path)
    monkeypatch.setattr(stamps, "SETTLED_NS", 0)
    place.reader.look(None)
    assert asked == ["states", "load_gates", "evaluate"]
    for _ in range(5):
        place.clock.now += 3
        place.reader.look(None)
    assert len(asked) == 3
    facts.record(place.db, Fact("dpo.kl_divergence", 0.2))
    place.clock.now += 0.5
    place.reader.look(None)
    assert asked[3:] == ["states", "evaluate"]
    path = place.workspace.configs / "gates.yaml"
    path.write_text(path.read_text().replace("0.1}", "0.3}"))
    place.clock.now += 3
    new = place.reader.look(None)
    assert asked[5:] == ["states", "load_gates", "evaluate"]
    assert new is not None
    assert {r.gate.name: r.verdict for r in new.gates}["kl"] == "PASS"


def test_a_file_that_a_fact_rests_on_is_looked_at(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stamps, "SETTLED_NS", 0)
    data = place.workspace.root / "data" / "pairs.jsonl"
    data.parent.mkdir(exist_ok=True)
    data.write_text("{}\n")
    inputs = files.fingerprints(place.db, place.workspace, "data/pairs.jsonl")
    facts.record(place.db, Fact("dpo.kl_divergence", 0.05, inputs=inputs))
    new = place.reader.look(None)
    assert new is not None
    assert new.states["dpo.gates.kl"].verdict == "PASS"
    data.write_text('{"other": 1}\n')
    place.clock.now += 3
    new = place.reader.look(None)
    assert new is not None
    assert new.states["dpo.gates.kl"].verdict == "STALE"


def test_a_tick_of_another_client_is_in_the_next_picture(place: Place) -> None:
    from core.checklist import by_id, load_tree, tick

    place.reader.look(None)
    other = open_store(place.workspace.database)
    item = by_id(load_tree(place.workspace))["plan.base"]
    tick(other, item, "ben")
    other.close()
    new = place.reader.look(None)
    assert new is not None
    assert new.states["plan.base"].state == "done"


def test_a_run_that_did_not_change_is_the_same_object(place: Place) -> None:
    scene.busy(place.db)
    first = place.reader.look(None)
    runs.update(place.db, "dpo-002", step=413)
    second = place.reader.look(None)
    assert first is not None and second is not None
    assert [a is b for a, b in zip(first.runs, second.runs, strict=True)] == [False, True, True]
    assert second.runs[0].step == 413


def test_the_work_stands_where_a_run_came_to_no_good_end(tmp_path: Path) -> None:
    workspace, db = scene.workspace(tmp_path)
    reader = Reader(workspace, lambda: scene.NOW, lambda w, d: False)

    def stage() -> int | None:
        found = reader.look(None)
        assert found is not None
        return found.stage

    assert stage() == 0
    run = scene.add_run(db, "dpo", state="failed", error="loss is NaN")
    assert stage() == 5
    runs.update(db, run, state="finished")
    assert stage() == 0
    reader.close()
