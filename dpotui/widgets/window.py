"""Which part of the x axis is seen: all of it, a part that follows its end, or a part that stands still."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

# The shortest part that is shown.
_LEAST = 10.0
# A part that follows the end moves in jumps of this share of itself: between two of them only new cells change.
_JUMP = 0.2
_PAN = 0.25


@dataclass(frozen=True, slots=True)
class Window:
    """`width` in steps, 0 for all; `right` where it ends, None while it follows the newest step."""

    width: float = 0.0
    right: float | None = None

    def seen(self, newest: float) -> tuple[float, float] | None:
        """Its ends; None for all."""
        if not self.width:
            return None
        right = self.right
        if right is None:
            jump = self.width * _JUMP
            right = max(self.width, math.ceil(newest / jump) * jump)
        return right - self.width, right

    def to_read(self, newest: float) -> tuple[int, int | None] | None:
        """The steps whose points are wanted: half a window more on either side, for smoothing and for moving."""
        seen = self.seen(newest)
        if seen is None:
            return None
        margin = self.width / 2
        return max(0, math.floor(seen[0] - margin)), None if self.right is None else math.ceil(seen[1] + margin)

    def zoomed(self, factor: float, whole: float, newest: float, around: float | None) -> Window:
        """Wider or narrower by a factor; a step that is given stays where it stands."""
        start, end = self.seen(newest) or (0.0, whole)
        width = max(_LEAST, (end - start) * factor)
        if width >= whole:
            return Window()
        if around is None or not start <= around <= end:
            return replace(self, width=width)
        share = (end - around) / (end - start)
        return Window(width, self._right(around + width * share, width, newest))

    def panned(self, by: int, newest: float) -> Window:
        """Moved by a quarter of itself; at the newest step it follows again."""
        seen = self.seen(newest)
        if seen is None:
            return self
        return replace(self, right=self._right(seen[1] + by * self.width * _PAN, self.width, newest))

    def reaching(self, x: float, newest: float) -> Window:
        """Moved so that a step is seen."""
        seen = self.seen(newest)
        if seen is None or seen[0] <= x <= seen[1]:
            return self
        return replace(self, right=self._right(x + self.width * (0.75 if x < seen[0] else 0.25), self.width, newest))

    @staticmethod
    def _right(right: float, width: float, newest: float) -> float | None:
        right = max(width, right)
        return None if right >= newest + width * _JUMP else right
