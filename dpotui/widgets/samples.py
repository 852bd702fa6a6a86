"""What the policy writes to the same prompts as it learns, beside what the reference writes."""

from __future__ import annotations

from collections.abc import Sequence

from core.store.samples import Sample
from dpotui.roles import Span
from dpotui.widgets.lines import Lines


class Samples(Lines, can_focus=True):
    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._policy: tuple[Sample, ...] = ()
        self._reference: tuple[Sample, ...] = ()
        self._empty = ""

    def fill(self, run: str | None, steps: Sequence[int], empty: str) -> None:
        """Show the samples of a run, which has them at these steps; `empty` is said where there is none."""
        self._empty = empty
        self.show(0)

    def row(self, y: int, width: int) -> Sequence[Span]:
        return self.message(self._empty, y, width)
