"""A report as lines of the terminal, for a width: tables as columns where they fit, else a row as a few lines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from rich.cells import cell_len

from core.report.document import Block, Bullets, Cell, Charts, Paragraph, Report, Table, plain, row, table
from dpotui.roles import Span
from dpotui.wrap import wrap

_MARKS = {"good": "✓ ", "bad": "✗ ", "warn": "⚠ ", "": ""}
_GAP = "  "
# What the widest column, whose words wrap, needs at least to be read beside the others.
_LEAST = 24
_WIDEST = 44  # of any other column


@dataclass(slots=True)
class Laid:
    """Rows of spans; `sections` are (title, row) and `text` is what a search looks through."""

    rows: list[list[Span]] = field(default_factory=list)
    sections: list[tuple[str, int]] = field(default_factory=list)

    def text(self, row: int) -> str:
        return "".join(text for text, _ in self.rows[row])


def lay_out(report: Report, width: int) -> Laid:
    laid = Laid()
    laid.rows += [[(line, "title")] for line in wrap(report.title, width)]
    laid.rows.append([])
    for block in report.lead:
        laid.rows += _block(block, width)
    for section in report.sections:
        laid.rows.append([])
        laid.sections.append((section.title, len(laid.rows)))
        laid.rows.append([("━━ ", "accent"), (section.title, "title"), (" ", "")])
        laid.rows.append([])
        for block in section.blocks:
            laid.rows += _block(block, width)
    return laid


def _block(block: Block, width: int) -> Iterator[list[Span]]:
    if isinstance(block, Paragraph):
        words = _MARKS[block.mood] + plain(block.text)
        for line in wrap(words, width):
            yield [(line, block.mood or "")]
    elif isinstance(block, Bullets):
        for item in block.items:
            for index, line in enumerate(wrap(plain(item), width - 2)):
                yield [("· " if index == 0 else "  ", "dim"), (line, "")]
    elif isinstance(block, Table):
        yield from _table(block, width)
        yield []
    else:
        yield from _table(_courses(block), width, block.title)
        yield []


def _courses(block: Charts) -> Table:
    head = ("metric", "course", "points", "first", "last", "lowest", "highest")
    rows = [
        row(line.name, line.spark, line.points, line.first, line.last, line.low, line.high)
        for chart in block.charts
        for line in chart.lines
    ]
    return table(head, rows, (2, 3, 4, 5, 6))


def _table(block: Table, width: int, title: str = "") -> Iterator[list[Span]]:
    if title:
        yield [(title, "title")]
    # A column that nothing stands in is left out.
    kept = [
        index
        for index in range(len(block.head))
        if not block.rows or any(plain(cells[index]).strip("— ") for cells in block.rows) or index == 0
    ]
    natural = [
        max(cell_len(block.head[index]), *(cell_len(plain(cells[index])) for cells in block.rows), 1)
        if block.rows
        else cell_len(block.head[index])
        for index in kept
    ]
    flexible = natural.index(max(natural))
    others = [wide for index, wide in enumerate(natural) if index != flexible]
    room = width - sum(others) - len(_GAP) * len(others)
    if all(each <= _WIDEST for each in others) and room >= min(natural[flexible], _LEAST):
        natural[flexible] = min(natural[flexible], room)
        yield from _columns(block, kept, natural, flexible)
    else:
        yield from _records(block, kept, width)


def _columns(block: Table, kept: list[int], widths: list[int], flexible: int) -> Iterator[list[Span]]:
    names = [
        block.head[index].rjust(wide) if index in block.numbers else block.head[index].ljust(wide)
        for index, wide in zip(kept, widths, strict=True)
    ]
    yield [(_GAP.join(names).rstrip(), "dim")]
    indent = " " * (sum(widths[:flexible]) + len(_GAP) * flexible)
    for cells in block.rows:
        lines = wrap(plain(cells[kept[flexible]]), widths[flexible]) or [""]
        spans: list[Span] = []
        for place, (index, wide) in enumerate(zip(kept, widths, strict=True)):
            whole = place != flexible or len(lines) == 1
            shown = _spans(cells[index]) if whole else [(lines[0], "")]
            pad = " " * (wide - sum(cell_len(text) for text, _ in shown))
            spans += [(pad, ""), *shown] if index in block.numbers else [*shown, (pad, "")]
            spans.append((_GAP, ""))
        yield spans
        for line in lines[1:]:
            yield [(indent, ""), (line, "")]


def _records(block: Table, kept: list[int], width: int) -> Iterator[list[Span]]:
    """Each row as its first cell and, below it, what the other columns say of it."""
    for cells in block.rows:
        first, *others = kept
        for line in wrap(plain(cells[first]), width):
            yield [(line, "title")]
        line_spans: list[Span] = []
        used = 0
        for index in others:
            words = plain(cells[index])
            if not words.strip("— "):
                continue
            label = f"{block.head[index]} " if block.head[index] else ""
            need = cell_len(label) + cell_len(words) + 3
            if used and used + need > width:
                yield [("  ", ""), *line_spans]
                line_spans, used = [], 0
            if need > width - 2:
                for number, line in enumerate(wrap(f"{label}{words}", width - 4)):
                    yield [("  " if number == 0 else "    ", ""), (line, "dim")]
                continue
            line_spans += [("   " if used else "", ""), (label, "dim"), *_spans(cells[index])]
            used += need
        if line_spans:
            yield [("  ", ""), *line_spans]


def _spans(cell: Cell) -> list[Span]:
    return [(part, "") if isinstance(part, str) else (part.shown, part.mood) for part in cell]
