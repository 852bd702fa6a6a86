"""Lines of text cut to a width in cells, at words where that goes."""

from __future__ import annotations

from itertools import pairwise

from rich._wrap import divide_line

from core.text import printable


def wrap(text: str, width: int) -> list[str]:
    found: list[str] = []
    for paragraph in printable(text).expandtabs(4).split("\n"):
        cuts = [0, *divide_line(paragraph, max(2, width), fold=True), len(paragraph)]
        found += [paragraph[start:stop].rstrip() for start, stop in pairwise(cuts)]
    return found
