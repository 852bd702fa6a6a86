"""Text with marked ranges, wrapped to a width: rows of spans in which the marks are where they were in the text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, pairwise

from rich._wrap import divide_line

from dpotui.roles import Span

Mark = tuple[int, int, str]  # from, to, role

# Occurrences of what was sought that are marked in one text.
_HITS = 500


def flow(text: str, marks: Sequence[Mark], width: int, role: str = "") -> Iterator[list[Span]]:
    """The rows of a text that is clean already (`core.text.printable`, tabs expanded).

    Args:
        marks: in order, none over another.
        role: of what is not marked.
    """
    start = 0
    following = iter(marks)
    mark = next(following, None)
    for paragraph in text.split("\n"):
        cuts = [0, *divide_line(paragraph, max(2, width), fold=True), len(paragraph)]
        for left, right in pairwise(cuts):
            row: list[Span] = []
            at, stop = start + left, start + right
            while mark is not None and mark[1] <= at:
                mark = next(following, None)
            while mark is not None and mark[0] < stop:
                if mark[0] > at:
                    row.append((text[at : mark[0]], role))
                    at = mark[0]
                row.append((text[at : min(stop, mark[1])], mark[2]))
                at = min(stop, mark[1])
                if mark[1] > stop:
                    break
                mark = next(following, None)
            if at < stop:
                row.append((text[at:stop], role))
            # The blank at which a row was cut would stand outside the width.
            while row and not (words := row[-1][0].rstrip(" ")):
                row.pop()
            if row:
                row[-1] = (words, row[-1][1])
            yield row
        start += len(paragraph) + 1


def of_spans(spans: Iterable[Span], width: int) -> Iterator[list[Span]]:
    """Spans that follow one another as rows of this width."""
    text, marks = "", []
    for words, role in spans:
        if role:
            marks.append((len(text), len(text) + len(words), role))
        text += words
    return flow(text, marks, width)


def found(text: str, words: str) -> list[tuple[int, int]]:
    """Where the words that were sought stand in a text."""
    if not words:
        return []
    return [hit.span() for hit in islice(re.finditer(re.escape(words), text, re.IGNORECASE), _HITS)]


def marked(differs: Sequence[tuple[int, int]], hits: Sequence[tuple[int, int]]) -> list[Mark]:
    """Differences, and over them what was sought, as marks that do not overlap."""
    marks: list[Mark] = [(start, stop, "hit") for start, stop in hits]
    if not hits:
        return [(start, stop, "differs") for start, stop in differs]
    following = list(hits)
    index = 0
    for start, stop in differs:
        at = start
        while index < len(following) and following[index][1] <= at:
            index += 1
        over = index
        while at < stop:
            if over >= len(following) or following[over][0] >= stop:
                marks.append((at, stop, "differs"))
                break
            if following[over][0] > at:
                marks.append((at, following[over][0], "differs"))
            at = max(at, following[over][1])
            over += 1
    return sorted(marks)
