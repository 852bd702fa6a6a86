"""A report as Markdown: GitHub's tables, curves as rows of blocks. Foreign text is escaped or stands in a code span."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import groupby

from core.report.document import Bullets, Cell, Charts, Figure, Paragraph, Report, Table
from core.report.line import Written

_MARKS = {"good": "✓ ", "bad": "✗ ", "warn": "⚠ ", "": ""}
# Words in which no reader of Markdown finds more than these marks to interpret.
_PLAIN = re.compile(r"(?:[ ,;:%()/'\"?=≥≤≈…—–·↳→✓⚠+.<>&_*\[\]#{}~|$-]|[^\W_])*")
_MARKUP = re.compile(r"([<>&_*\[\]#{}~|$])")
# What some would read as an address or replace by other characters.
_TEMPTING = re.compile(r"//|\bwww|\w\.[^\W\d]|[^\W\d]\.\w|--|\b\d+\.\d+\.\d+|::|\((?:c|r|tm|p)\)|\.\.", re.IGNORECASE)
_TICKS = re.compile(r"`+")
# Punctuation around words, none of which means anything beside a code span.
_EDGES = re.compile(r"(\(?)(.+?)([,;:)]*)", re.DOTALL)


def escape(text: str) -> str:
    """Foreign text in a line of Markdown, also within a cell of a table: with its marks escaped, and words that would
    still be taken for something in code spans."""
    words = text.strip()
    if not words:
        return text
    before, after = text[: len(text) - len(text.lstrip())], text[len(text.rstrip()) :]
    # Nothing that tempts a reader of Markdown holds a space: words that are plain one by one are so together.
    parts: list[str] = []
    for plain, run in groupby(words.split(" "), _is_plain):
        together = " ".join(run)
        parts.append(_MARKUP.sub(r"\\\1", together) if plain else _span(together))
    return before + " ".join(parts) + after


def _is_plain(words: str) -> bool:
    return _PLAIN.fullmatch(words) is not None and _TEMPTING.search(words) is None


def _span(words: str) -> str:
    """A code span; what ends or begins a sentence around it stays outside."""
    edges = _EDGES.fullmatch(words)
    lead, words, end = edges.groups() if edges else ("", words, "")
    fence = "`" * (max((len(ticks) for ticks in _TICKS.findall(words)), default=0) + 1)
    # A bar would end the cell, and before one a backslash would be taken for its escape.
    inside = words.replace("\\", "⧵").replace("|", "│")
    edge = " " if "`" in (inside[0], inside[-1]) else ""
    return f"{lead}{fence}{edge}{inside}{edge}{fence}{end}"


def _join(parts: Iterable[str]) -> str:
    """Parts of a line. Two code spans side by side would be read as one."""
    line = ""
    for part in parts:
        line += f" {part}" if line.endswith("`") and part.startswith("`") else part
    return line


def shown(figure: Figure) -> str:
    """A figure as it stands in a line."""
    return escape(figure.shown)


def render(report: Report) -> Iterator[Written]:
    yield Written("# " + _heading(report.title))
    yield Written("")
    for block in report.lead:
        yield from _block(block)
    for section in report.sections:
        yield Written("## " + _heading(section.title))
        yield Written("")
        for block in section.blocks:
            yield from _block(block)


def _heading(text: str) -> str:
    # A row of # at the end of a heading would close it.
    return escape(text)


def _cell(text: Cell) -> str:
    return _join(escape(part) if isinstance(part, str) else shown(part) for part in text).strip()


def _figures(*cells: Cell) -> tuple[Figure, ...]:
    return tuple(part for text in cells for part in text if isinstance(part, Figure))


def _block(block: Paragraph | Bullets | Table | Charts) -> Iterator[Written]:
    if isinstance(block, Paragraph):
        # What begins a line could be read as a list or a heading.
        yield Written(_begin(_MARKS[block.mood] + _cell(block.text)), _figures(block.text))
    elif isinstance(block, Bullets):
        for item in block.items:
            yield Written("- " + _begin(_cell(item)), _figures(item))
    elif isinstance(block, Table):
        yield from _table(block)
    else:
        yield from _charts(block)
    yield Written("")


def _begin(line: str) -> str:
    """A line that no list, heading or quotation begins with."""
    return re.sub(r"^([-+=>]|\d+(?=[.)]))", lambda found: _escaped_start(found[1]), line)


def _escaped_start(start: str) -> str:
    return f"&#{ord(start[0])};{start[1:]}" if start[0].isdigit() else f"\\{start}"


def _table(block: Table) -> Iterator[Written]:
    yield Written("| " + " | ".join(escape(name) or " " for name in block.head) + " |")
    rule = ["---:" if index in block.numbers else "---" for index in range(len(block.head))]
    yield Written("| " + " | ".join(rule) + " |")
    for cells in block.rows:
        yield Written("| " + " | ".join(_cell(each) or " " for each in cells) + " |", _figures(*cells))


def _charts(block: Charts) -> Iterator[Written]:
    yield Written(_begin(escape(block.title)))
    yield Written("")
    yield Written("| metric | course | points | first | last | lowest | highest |")
    yield Written("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    for chart in block.charts:
        for line in chart.lines:
            figures = (line.spark, line.points, line.first, line.last, line.low, line.high)
            cells = " | ".join(shown(each) for each in figures)
            yield Written(f"| {escape(line.name)} | {cells} |", figures)
