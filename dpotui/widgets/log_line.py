"""A line of log in rows of a screen: when, what kind, its words, with what is sought marked in them."""

from __future__ import annotations

import re
import time

from core.store.log import Line
from core.text import ELLIPSIS, one_line, printable
from dpotui.roles import Span

ROLES = {"debug": "dim", "info": "", "warning": "warn", "error": "bad"}
_WORDS = {"debug": "", "info": "", "warning": "WARNING ", "error": "ERROR "}
# What is looked at of one text.
LONGEST = 20_000
# Texts of more rows than this are folded to the first and the last, which says what a traceback comes to.
_MOST = 4
_FOLDED = -1
# From this width on the date stands before the time.
_DATED = 100


def parts(line: Line) -> list[int]:
    """The rows of a line that are shown, by their number in its text."""
    rows = line.text[:LONGEST].rstrip().count("\n") + 1
    return [0, _FOLDED, rows - 1] if rows > _MOST else list(range(rows))


def row(line: Line, part: int, width: int, pattern: re.Pattern[str] | None) -> list[Span]:
    """One of those rows."""
    role = ROLES[line.level]
    clock = "%m-%d %H:%M:%S" if width >= _DATED else "%H:%M:%S"
    head = f" {time.strftime(clock, time.localtime(line.time))} "
    rows = printable(line.text[:LONGEST]).rstrip().split("\n")
    if part == _FOLDED:
        hidden = rows[1:-1]
        spans: list[Span] = [(" " * len(head), ""), (f"… {len(hidden)} more rows, enter shows them", "faint")]
        if pattern is not None and any(map(pattern.search, hidden)):
            spans += [("  ", ""), (" found in them ", "hit")]
        return spans
    text = rows[part] if part < len(rows) else ""
    if part:
        indent = min(len(text) - len(text.lstrip()), width // 2)
        return [(" " * (len(head) + indent), ""), *_marked(text.lstrip(), width - len(head) - indent, role, pattern)]
    word = _WORDS[line.level]
    return [(head, "dim"), (word, role), *_marked(text, width - len(head) - len(word), role, pattern)]


def _marked(text: str, width: int, role: str, pattern: re.Pattern[str] | None) -> list[Span]:
    """A text cut to a width; the cut leaves the first hit in view."""
    found = pattern.search(text) if pattern is not None else None
    if found is not None and found.end() > width - 1:
        text = ELLIPSIS + text[max(0, found.start() - width // 3) :]
    text = one_line(text, width)
    if pattern is None:
        return [(text, role)]
    spans: list[Span] = []
    at = 0
    for hit in pattern.finditer(text):
        spans += [(text[at : hit.start()], role), (hit[0], "hit")]
        at = hit.end()
    return [*spans, (text[at:], role)]
