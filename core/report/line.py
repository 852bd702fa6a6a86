"""A line of a written report, with the figures that stand in it."""

from __future__ import annotations

from typing import NamedTuple

from core.report.document import Figure


class Written(NamedTuple):
    text: str  # without its end
    figures: tuple[Figure, ...] = ()
