"""Metrics of a run as a chart needs them: read on from where the last look ended, thinned out when they grow long."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from core.store import Database, metrics
from core.store.runs import Run
from dpotui.widgets.plot import Point, point

Series = Sequence[Point]
Window = tuple[int, int | None]  # the first step and the last; None: up to the newest

# Above this many points a series is read as ranges with their extremes. More than any screen has columns of dots.
LONGEST = 800
_RANGES = 400


class Recorder:
    """The series of one run, whole or in a window of steps."""

    def __init__(self, window: Window | None = None) -> None:
        self.run: str | None = None
        self.window = window
        self._started: float | None = None
        self._step = 0
        self._series: dict[str, list[Point]] = {}
        self._shown: dict[str, Series] = {}  # the same as they were handed out
        self._last: dict[str, int] = {}  # the step that was read last

    def read(self, db: Database, run: Run) -> Mapping[str, Series]:
        """All series of the run up to now."""
        # A run that was resumed may have gone back to its checkpoint and computed steps again.
        if run.id != self.run or run.started != self._started or run.step < self._step:
            self._series, self._shown, self._last = {}, {}, {}
        self.run, self._started, self._step = run.id, run.started, run.step
        for name in metrics.names(db, run.id):
            if self._read_on(db, run.id, name):
                self._shown[name] = tuple(self._series[name])
        return dict(self._shown)

    def _read_on(self, db: Database, run: str, name: str) -> bool:
        """Whether there is something new."""
        first, last = self.window or (None, None)
        known = self._last.get(name)
        if last is not None and known is not None and known >= last:
            return False
        if known is None and first is None:
            # The first look at a long series must not read all of it.
            new = metrics.tail(db, run, name, LONGEST + 1)
        elif known is None and first is not None:
            new = metrics.since(db, run, name, first - 1, last=last, limit=LONGEST + 1)
        else:
            new = metrics.since(db, run, name, known or 0, last=last)
        if not new:
            return False
        points = self._series.setdefault(name, [])
        points.extend([point(step, value) for step, value in new])
        self._last[name] = new[-1].step
        if len(points) > LONGEST:
            self._thin(db, run, name)
        return True

    def _thin(self, db: Database, run: str, name: str) -> None:
        first, last = self.window or (None, None)
        reached = metrics.reached(db, run, name, last)
        assert reached is not None
        points = []
        for found in metrics.decimated(db, run, name, _RANGES, first=first, last=reached):
            end = min(found.last, reached)
            middle, wide = (found.first + end) / 2, max(1, end - found.first + 1)
            points.append(Point(middle, found.low, found.high, found.mean, wide))
        self._series[name], self._last[name] = points, reached
