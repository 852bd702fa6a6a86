"""The poll of runs.db: a thread looks twice a second and hands over one immutable picture of the workspace."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from core.errors import UserError
from core.store import Database, calibrations, engines, gradients, log, metrics, open_store, runs, samples, tracked
from core.store import commands as command_store
from core.store import facts as fact_store
from core.store.calibrations import Calibration
from core.store.commands import Command
from core.store.facts import Fact
from core.store.log import Line
from core.store.runs import Run
from core.store.tracked import Tracked
from core.workspace import Workspace
from dpotui import past
from dpotui.judging import Judged, Judging
from dpotui.pace import Pace
from dpotui.recent import Recent
from dpotui.results import Block
from dpotui.results import read as read_results
from dpotui.series import Recorder, Series, Window

if TYPE_CHECKING:
    from core.checklist import Item, ItemState
    from core.gates import GateResult

INTERVAL = 0.5
# How often what does not pass through runs.db is looked at: engines that died, files and configurations that changed.
_OUTSIDE = 2.0
# Runs in the picture; older ones are paged by the list that shows them.
RUNS = 200
LOG_LINES = 500
# Calibrations in the picture.
CALIBRATIONS = 12


@dataclass(frozen=True, slots=True)
class Engine:
    """Whether something would execute a run now."""

    known: bool = False  # it was looked for
    alive: bool = False
    heartbeat: float = 0.0  # seconds since its last sign of life
    hosting: str = ""


@dataclass(frozen=True, slots=True)
class Closer:
    """What is wanted of a run beyond its own series."""

    beside: tuple[str, ...] = ()  # runs whose series are wanted, too
    window: Window | None = None  # steps that are wanted in detail


@dataclass(frozen=True, slots=True)
class Detail:
    """Series in a window of steps, by run."""

    window: Window
    series: Mapping[str, Mapping[str, Series]]


@dataclass(frozen=True, slots=True)
class Watched:
    """All that is shown of one run."""

    run: Run
    series: Mapping[str, Series] = field(default_factory=dict)
    beside: tuple[tuple[Run, Mapping[str, Series]], ...] = ()  # other runs that are drawn with it
    detail: Detail | None = None
    log: tuple[Line, ...] = ()
    commands: tuple[Command, ...] = ()  # newest first
    facts: Mapping[str, Fact] = field(default_factory=dict)
    sampled: tuple[int, ...] = ()  # steps at which the policy wrote samples
    gradients: tuple[int, ...] = ()  # steps whose gradients were measured by module
    trackers: tuple[Tracked, ...] = ()  # whom it is told to


@dataclass(frozen=True, slots=True)
class Results:
    """What is special to the stage that is looked at, with this run of it in hand."""

    stage: int
    run: str | None
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """How the workspace stands. Never changed; a newer one takes its place."""

    workspace: Workspace
    time: float
    runs: tuple[Run, ...] = ()  # newest first
    total_runs: int = 0
    live: Run | None = None  # what is executed now, or waits for it
    eta: float | None = None  # seconds
    guard: tuple[str, int, int] | None = None  # the live run, when its KL guard last spoke and how often it had acted
    engine: Engine = field(default_factory=Engine)
    roots: tuple[Item, ...] = ()
    states: Mapping[str, ItemState] = field(default_factory=dict)
    gates: tuple[GateResult, ...] = ()
    problem: str | None = None  # what keeps checklists or gates from being read
    judged: bool = False  # checklists and gates were looked at
    watched: Watched | None = None
    calibrations: tuple[Calibration, ...] = ()  # newest first
    results: Results | None = None
    newest: Mapping[int, Run] = field(default_factory=dict)  # of stages that have none among `runs`

    @property
    def stage(self) -> int | None:
        """Where the work stands: the stage of the live run, or of the newest one where that came to no good end; else
        the first one with something left to do."""
        if self.live is not None:
            # The evaluation of a sweep's trial is the sweep's.
            return (self.run(self.live.part_of) or self.live).stage
        if self.runs and self.runs[0].state in runs.RESUMABLE:
            return self.runs[0].stage
        left = (root for root in self.roots if root.stage is not None and self.states[root.id].state != "done")
        return next((root.stage for root in left), None)

    def run(self, run_id: str | None) -> Run | None:
        known = next((run for run in self.runs if run.id == run_id), None)
        if known is None and self.watched is not None and self.watched.run.id == run_id:
            return self.watched.run  # one that is older than those of the picture
        return known

    def latest(self, kinds: tuple[str, ...], stage: int | None = None) -> Run | None:
        """The live run of these kinds (and of a stage), else the newest."""
        of_kind = [
            run for run in self.runs if run.kind in kinds and stage in (None, run.stage) and run.archived is None
        ]
        older = self.newest.get(stage) if stage is not None else None
        return next((run for run in of_kind if run.state in runs.LIVE), of_kind[0] if of_kind else older)


Clock = Callable[[], float]
Probe = Callable[[Workspace, Database], bool]


def probe_engine(workspace: Workspace, db: Database) -> bool:
    """Whether an engine lives; runs whose engine is gone are marked interrupted."""
    from core.engine import client

    client.reap(workspace, db)
    return client.engine_alive(workspace)


# Changes whenever something was added to what results are read from, or taken back there.
_RESULTS = (
    "SELECT (SELECT max(id) FROM facts), (SELECT max(id) FROM benchmarks), (SELECT max(id) FROM artifacts),"
    " (SELECT max(id) FROM decisions), (SELECT max(id) FROM ratings), (SELECT sum(undone) FROM ratings),"
    " (SELECT max(id) FROM votes), (SELECT sum(undone) FROM votes), (SELECT count(*) FROM runs),"
    " (SELECT max(id) FROM iteration_decisions), (SELECT count(*) FROM trials), (SELECT max(ended) FROM trials)"
)


def _with(picture: Snapshot, found: Judged, *, judged: bool) -> Snapshot:
    return replace(
        picture, roots=found.roots, states=found.states, gates=found.gates, problem=found.problem, judged=judged
    )


class Reader:
    """Builds snapshots; used by one thread, which owns its connection.

    What is expensive is looked at only when what it depends on changed.
    """

    def __init__(self, workspace: Workspace, clock: Clock = time.time, probe: Probe = probe_engine) -> None:
        self._workspace, self._clock, self._probe = workspace, clock, probe
        self._db = open_store(workspace.database)
        self._version = -1
        self._outside = -_OUTSIDE
        self._judging = Judging(self._db, workspace, clock)
        self._recent = Recent(self._db, RUNS)
        self._stage: int | None = None
        self._results_key: tuple[object, ...] = ()
        self._results_wait = False  # they were left for the next picture
        self._pace = Pace()
        self._recorder = Recorder()
        self._closer = Closer()
        self._beside: dict[str, tuple[Run, Recorder, Mapping[str, Series]]] = {}
        self._detail: dict[str, Recorder] = {}
        self._newest_key: tuple[object, ...] = ()
        self._log: list[Line] = []
        self._last = Snapshot(workspace, clock())

    def close(self) -> None:
        self._db.close()

    def look(
        self,
        watch: str | None,
        *,
        stage: int | None = None,
        closer: Closer = Closer(),
        judge: bool = True,
        results: bool = True,
    ) -> Snapshot | None:
        """The newest picture, or None when nothing changed since the last one.

        Args:
            watch: the run whose metrics and log are wanted.
            stage: the one whose results are wanted.
            closer: what of that run is wanted beyond its own series.
            judge: look at gates and the engine too. The first picture does without, to be there at once.
            results: read those of the stage, too. Where they are read for the first time that takes a second, for
                which charts and log need not wait: such a picture does without, and the next one has them.
        """
        now = self._clock()
        outside = judge and not 0 <= now - self._outside < _OUTSIDE
        engine = self._engine(now) if outside else self._last.engine
        version = self._db.execute("PRAGMA data_version").fetchone()[0]
        watched = self._last.watched.run.id if self._last.watched else None
        looked_at = (version, watch, stage, engine, closer)
        stands = looked_at == (self._version, watched, self._stage, self._last.engine, self._closer)
        stands = stands and not (results and self._results_wait)
        if stands and not outside and (self._last.judged or not judge):
            return None
        new = self._last
        if not stands:
            if version != self._version:
                new = self._runs(new, now)
            self._version, self._stage, self._closer = version, stage, closer
            new = replace(new, engine=engine, watched=self._watch(watch, closer))
            self._results_wait = not results and stage is not None
            new = replace(new, results=self._results(new, stage, watch) if results else new.results)
        if judge:
            new = _with(new, self._judging.look(outside=outside), judged=True)
        elif not new.roots:
            new = _with(new, self._judging.checklists(), judged=False)
        if outside:
            self._outside = now
        # Ages on screen are told anew once a minute.
        if new == self._last and now - self._last.time < 60:
            return None
        self._last = replace(new, time=now)
        return self._last

    def _engine(self, now: float) -> Engine:
        alive = self._probe(self._workspace, self._db)
        last = engines.latest(self._db)
        if not alive or last is None:
            return Engine(True, alive)
        # In steps of its own interval: a heartbeat that comes is no news.
        silent = max(0.0, now - last.heartbeat)
        return Engine(True, True, 0.0 if silent < 15 else float(round(silent / 5) * 5), last.hosting)

    def _runs(self, last: Snapshot, now: float) -> Snapshot:
        found = self._recent.read()
        total = self._db.execute("SELECT count(*) FROM runs").fetchone()[0]
        live = next((run for run in found if run.state in runs.LIVE), None)
        live = live or next(iter(runs.listing(self._db, states=runs.LIVE, limit=1)), None)
        live = live or next((run for run in reversed(found) if run.state == "queued"), None)
        eta = self._pace.eta(live, now)
        acted = metrics.tail(self._db, live.id, "kl_guard_actions", 1) if live is not None else []
        guard = (live.id, acted[0].step, int(acted[0].value)) if live is not None and acted else None
        measured = tuple(calibrations.listing(self._db, CALIBRATIONS))
        new = replace(last, runs=found, total_runs=total, live=live, eta=eta, guard=guard, calibrations=measured)
        return replace(new, newest=self._newest(new))

    def _newest(self, new: Snapshot) -> Mapping[int, Run]:
        """The newest runs of stages that have none in the picture: looked for again where runs came or went."""
        if new.total_runs <= len(new.runs):
            return {}
        key = (new.total_runs, tuple((run.id, run.archived) for run in new.runs))
        if key == self._newest_key:
            return new.newest
        self._newest_key = key
        there = {run.stage for run in new.runs if run.archived is None}
        found = {stage: past.newest(self._db, stage) for stage in past.STAGES if stage not in there}
        return {stage: run for stage, run in found.items() if run is not None}

    def _watch(self, watch: str | None, closer: Closer) -> Watched | None:
        if watch is None:
            return None
        try:
            run = runs.get(self._db, watch)
        except UserError:
            return None
        if self._recorder.run != watch:
            self._log = []
        after = self._log[-1].id if self._log else 0
        self._log = [*self._log, *log.lines(self._db, watch, after=after, limit=LOG_LINES)][-LOG_LINES:]
        return Watched(
            run,
            self._recorder.read(self._db, run),
            self._others(closer.beside),
            self._closely(closer, run),
            tuple(self._log),
            tuple(command_store.of_run(self._db, watch, limit=5)),
            fact_store.of_run(self._db, watch),
            tuple(samples.steps(self._db, watch)),
            tuple(gradients.steps(self._db, watch)),
            tuple(tracked.of_run(self._db, watch)),
        )

    def _others(self, beside: tuple[str, ...]) -> tuple[tuple[Run, Mapping[str, Series]], ...]:
        """The series of other runs; those of a run that ended stand."""
        known, self._beside = self._beside, {}
        for run_id in beside:
            try:
                run = runs.get(self._db, run_id)
            except UserError:
                continue
            before, recorder, series = known.get(run_id, (None, Recorder(), {}))
            if before is None or before != run or run.ended is None:
                series = recorder.read(self._db, run)
            self._beside[run_id] = run, recorder, series
        return tuple((run, series) for run, _, series in self._beside.values())

    def _closely(self, closer: Closer, run: Run) -> Detail | None:
        """The window in detail, of the run in hand and of those beside it."""
        if closer.window is None:
            self._detail = {}
            return None
        of = {run.id: run} | {run_id: other for run_id, (other, _, _) in self._beside.items()}
        known, self._detail = self._detail, {}
        found = {}
        for run_id, other in of.items():
            recorder = known.get(run_id)
            if recorder is None or recorder.window != closer.window:
                recorder = Recorder(closer.window)
            self._detail[run_id] = recorder
            found[run_id] = recorder.read(self._db, other)
        return Detail(closer.window, found)

    def _results(self, new: Snapshot, stage: int | None, watch: str | None) -> Results | None:
        """Read again only when something was measured, judged or written since: metrics of a step are no news here."""
        if stage is None:
            return None
        run = new.watched.run if new.watched is not None else new.run(watch)
        counts = tuple(self._db.execute(_RESULTS).fetchone())
        key = (stage, watch, run.state if run is not None else None, counts)
        if key != self._results_key or self._last.results is None:
            self._results_key = key
            return Results(stage, watch, read_results(self._db, self._workspace, stage, run))
        return self._last.results


class Poller:
    """The thread that looks. A plain one: it must not be cancelled half-way through a read, and ends by an event."""

    def __init__(
        self,
        workspace: Workspace,
        deliver: Callable[[Snapshot], None],
        fail: Callable[[BaseException], None],
        clock: Clock = time.time,
        probe: Probe = probe_engine,
    ) -> None:
        self._workspace, self._clock, self._probe = workspace, clock, probe
        self._deliver, self._fail = deliver, fail
        self._watched: tuple[str | None, int | None] = None, None
        self._closer = Closer()
        self._wake, self._end = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._work, name="runs-db", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._end.set()
        self._wake.set()
        self._thread.join(2.0)

    def watch(self, run_id: str | None, stage: int | None = None, closer: Closer = Closer()) -> None:
        """Choose the run whose metrics and log the snapshots carry, what of it beyond, and the stage whose results."""
        if (run_id, stage, closer) != (*self._watched, self._closer):
            self._watched, self._closer = (run_id, stage), closer
            self._wake.set()

    def nudge(self) -> None:
        """Look now: this client wrote something."""
        self._wake.set()

    def _work(self) -> None:
        try:
            reader = Reader(self._workspace, self._clock, self._probe)
            first = True
            shown: tuple[str | None, int | None] = None, None
            while not self._end.is_set():
                run_id, stage = watched = self._watched
                # What was just chosen is shown at once, and its results when they are read.
                ahead = first or (watched != shown and stage is not None)
                snapshot = reader.look(run_id, stage=stage, closer=self._closer, judge=not first, results=not ahead)
                shown = watched
                if snapshot is not None:
                    self._deliver(snapshot)
                if not ahead:
                    self._wake.wait(INTERVAL)
                    self._wake.clear()
                first = False
            reader.close()
        except BaseException as error:  # shown by the app: a client that stopped looking must not look alive
            self._fail(error)
