"""Which run of a stage is in hand, and which others are drawn beside it."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType

from core.store.runs import LIVE, Run
from dpotui import past
from dpotui.live import Closer, Snapshot
from dpotui.screens.mode import ModeScreen
from dpotui.screens.pick_run import Picked, PickRun
from dpotui.stages import STAGES
from dpotui.widgets.charts import Charts

# How many of the runs before the one in hand are drawn beside it, in the order of the key.
_BESIDE = (0, 1, 3)


class ChoosesRuns(ModeScreen):
    """A mode in which one run of a stage is in hand: the live or newest one until another is asked for."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left_curly_bracket", "other_run(-1)", "Older run", show=False, key_display="{", id="stage.older-run",
                tooltip="Take the run before this one in hand"),
        Binding("right_curly_bracket", "other_run(1)", "Newer run", show=False, key_display="}", id="stage.newer-run",
                tooltip="Take the run after this one in hand"),
        Binding("P", "pick_run", "Pick run", show=False, id="stage.pick-run",
                tooltip="Pick among all runs of the stage: in hand, or drawn beside it"),
        Binding("v", "beside", "Past runs", show=False, id="stage.beside",
                tooltip="Draw past runs beside this one: none, the last, the last three"),
    ]  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self._wanted: Run | None = None  # a run that was asked for; else the live or newest of the stage
        self._count = 0  # of past runs beside it
        self._picked: tuple[str, ...] = ()  # runs that were picked to be beside it
        self._past: tuple[str, int, tuple[str, ...]] = "", 0, ()  # the run and the count that they were found for

    @property
    def stage_in_hand(self) -> int:
        raise NotImplementedError

    def run_in_hand(self) -> Run | None:
        snapshot = self.bench.snapshot
        if snapshot is None:
            return None
        stage = self.stage_in_hand
        if self._wanted is not None and self._wanted.stage == stage:
            now = snapshot.run(self._wanted.id) or self._wanted
            if not _gives_way(self._wanted, now, snapshot.live):
                return now
            self._wanted = None
        return snapshot.latest(STAGES[stage].kinds, stage)

    def run_watched(self, snapshot: Snapshot) -> str | None:
        run = self.run_in_hand()
        return run.id if run else None

    def closer(self) -> Closer:
        run = self.run_in_hand()
        return Closer(self.beside(run) if run else (), self.query_one(Charts).wanted)

    def beside(self, run: Run) -> tuple[str, ...]:
        """The runs that are drawn beside this one."""
        if self._picked:
            return tuple(run_id for run_id in self._picked if run_id != run.id)
        if (run.id, self._count) != self._past[:2]:
            found = past.before(self.bench.db, run, self._count) if self._count else ()
            self._past = run.id, self._count, found
        return self._past[2]

    def action_other_run(self, by: int) -> None:
        run = self.run_in_hand()
        other = past.neighbour(self.bench.db, run, by) if run is not None else None
        if other is not None:
            self._wanted = other
            self.refresh_all()
        elif run is not None:
            self.bench.say(f"{run.id} is the {'first' if by < 0 else 'newest'} run of this stage", "warning")

    def action_beside(self) -> None:
        run = self.run_in_hand()
        if run is None:
            return
        self._count = 0 if self._picked else _BESIDE[(_BESIDE.index(self._count) + 1) % len(_BESIDE)]
        self._picked = ()
        beside = self.beside(run)
        if self._count and not beside:
            self._count = 0
            self.bench.say(f"there is no {run.kind} run before {run.id}: P picks among all", "warning")
        else:
            self.bench.say(f"{run.id} beside {', '.join(beside)}" if beside else f"{run.id} by itself")
        self.refresh_all()

    def action_pick_run(self) -> None:
        snapshot, run = self.bench.snapshot, self.run_in_hand()
        if snapshot is None:
            return

        def picked(found: Picked | None) -> None:
            if found is None:
                return
            if found.run is not None:
                self.take_in_hand(found.run)
            self._picked = found.beside
            self.refresh_all()

        beside = self._picked
        self.app.push_screen(
            PickRun(self.bench.workspace, self.stage_in_hand, snapshot.time, run.id if run else None, beside), picked
        )

    def take_in_hand(self, run_id: str) -> None:
        from core.store import runs

        self._wanted = runs.get(self.bench.db, run_id)


def _gives_way(taken: Run, now: Run, live: Run | None) -> bool:
    """Whoever took a run in hand that was on, or was to be, watches what trains: when it has ended the next one
    takes its place. One that was picked when it had ended stays."""
    if taken.state not in (*LIVE, "queued") or now.state in (*LIVE, "queued"):
        return False
    return live is not None and live.id != now.id and live.stage == now.stage
