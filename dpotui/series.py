"""Metrics of a run as a chart needs them: read on from where the last look ended, thinned out when they grow long."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from core.store import Database, metrics
from core.store.runs import Run
from dpotui.widgets.plot import Point, point

Series = Sequence[Point]

# Above this many points a series is read as ranges with their extremes. More than any screen has columns of dots.
LONGEST = 800
_RANGES = 400


class Recorder:
    """The series of one run."""

    def __init__(self) -> None:
        self.run: str | None = None
        self._started: float | None = None
        self._step = 0
        self._series: dict[str, list[Point]] = {}
        self._last: dict[str, int] = {}  # the step that was read last

    def read(self, db: Database, run: Run) -> Mapping[str, Series]:
        """All series of the run up to now."""
        # A run that was resumed may have gone back to its checkpoint and computed steps again.
        if run.id != self.run or run.started != self._started or run.step < self._step:
            self._series, self._last = {}, {}
        self.run, self._started, self._step = run.id, run.started, run.step
        for name in metrics.names(db, run.id):
            self._read_on(db, run.id, name)
        return {name: tuple(points) for name, points in self._series.items()}

    def _read_on(self, db: Database, run: str, name: str) -> None:
        if name not in self._last:
            # The first look at a long series must not read all of it.
            tail = metrics.tail(db, run, name, LONGEST + 1)
            if len(tail) > LONGEST:
                self._thin(db, run, name, tail[-1].step)
                return
            new = tail
        else:
            new = metrics.since(db, run, name, self._last[name])
        if not new:
            return
        points = self._series.setdefault(name, [])
        points.extend(point(p.step, p.value) for p in new)
        self._last[name] = new[-1].step
        if len(points) > LONGEST:
            self._thin(db, run, name, new[-1].step)

    def _thin(self, db: Database, run: str, name: str, last: int) -> None:
        ranges = metrics.decimated(db, run, name, _RANGES)
        self._series[name] = [Point((b.first + min(b.last, last)) / 2, b.low, b.high, b.mean) for b in ranges]
        self._last[name] = last
