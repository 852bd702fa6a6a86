"""How long a run will still take, from how it went in the last minutes."""

from __future__ import annotations

from collections import deque

from core.store.runs import Run

_WINDOW = 180.0


class Pace:
    """Remembers when the live run stood at which step."""

    def __init__(self) -> None:
        self._run: tuple[str, float | None] = ("", None)
        self._seen: deque[tuple[float, int]] = deque()

    def eta(self, run: Run | None, now: float) -> float | None:
        """Seconds until the last step; None when that cannot be said yet, or nothing moves."""
        if run is None or run.state != "running" or run.steps <= 0:
            self._run = ("", None)
            self._seen.clear()
            return None
        # A resumed run starts anew: the pause in between is no work.
        if self._run != (run.id, run.started) or (self._seen and run.step < self._seen[-1][1]):
            self._run = (run.id, run.started)
            self._seen.clear()
        if not self._seen or run.step != self._seen[-1][1]:
            self._seen.append((now, run.step))
        while len(self._seen) > 2 and now - self._seen[0][0] > _WINDOW:
            self._seen.popleft()
        (since, first), (until, last) = self._seen[0], self._seen[-1]
        if last > first and until - since >= 2:
            return (run.steps - last) * (until - since) / (last - first)
        # Just attached: from the whole run so far.
        if run.started is not None and run.step > 0 and now > run.started:
            return (run.steps - run.step) * (now - run.started) / run.step
        return None
