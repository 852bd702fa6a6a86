"""Whatever a text contains, what reaches the terminal moves nothing, and every row is as wide as it was meant to be."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import pytest
from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual._compositor import LayoutUpdate
from textual.app import App, ComposeResult
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget
from textual.widgets import Input, Static

from core.text import one_line, printable
from dpotui import theme
from dpotui.paint import Painter
from dpotui.roles import Span
from dpotui.widgets import plot
from dpotui.widgets.card import Card, Entry
from dpotui.widgets.lines import Lines
from dpotui.widgets.table import Column, Row, Table
from tests.dpotui.hostile import POISON, check_painted, texts

WIDTH = 40
TEXTS = [*POISON.values(), *texts(11, 400)]


def row_of(painter: Painter, text: str) -> str:
    strip = Strip([Segment("ab", Style.parse("bold")), Segment(text, Style.parse("red"))]).adjust_cell_length(WIDTH)
    return painter.paint(LayoutUpdate([[strip]], Region(0, 0, WIDTH, 1)))


@pytest.mark.parametrize("ascii", [False, True])
def test_nothing_gets_past_the_painter(ascii: bool) -> None:
    for text in TEXTS:
        painter = Painter(ascii=ascii)
        assert check_painted(row_of(painter, text), WIDTH, 1) > 0
        assert len(painter._rows[0]) == WIDTH, ascii_of(text)


def test_what_stood_there_before_does_not_matter() -> None:
    """Only differences are written: of two hostile rows after each other, too."""
    painter = Painter()
    for text in TEXTS:
        check_painted(row_of(painter, text), WIDTH, 1)
        assert len(painter._rows[0]) == WIDTH
        assert row_of(painter, text) == ""


def ascii_of(text: str) -> str:
    return ascii(text[:80])


class Hostile(Lines):
    def __init__(self, texts: Sequence[str]) -> None:
        super().__init__()
        self._texts = texts

    def row(self, y: int, width: int) -> Sequence[Span]:
        return [(self._texts[y % len(self._texts)], "bad"), (" end", "")]


class Shown(App[None]):
    """Some widgets; all that they draw is taken down as it would be written."""

    CSS = "Screen { layout: vertical; } Screen > * { height: 1fr; border: round white; }"

    def __init__(self, *widgets: Widget) -> None:
        super().__init__()
        self.widgets = widgets

    def compose(self) -> ComposeResult:
        yield from self.widgets

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return theme.DEFAULTS

    def check(self) -> None:
        width, height = self.size
        strips = self.screen._compositor.render_strips()
        for strip in strips:
            assert strip.cell_length == width
        update = LayoutUpdate([[strip] for strip in strips], Region(0, 0, width, height))
        painter = Painter()
        check_painted(painter.paint(update), width, height)
        assert [len(row) for row in painter._rows.values()] == [width] * height


@pytest.mark.parametrize("size", [(80, 24), (200, 60), (7, 9)])
async def test_widgets(size: tuple[int, int]) -> None:
    some = texts(5, 40) + list(POISON.values())
    lines = Hostile(some)
    table = Table((Column("name"), Column("value", 12, "right")), "nothing")
    card = Card()
    shown = Shown(lines, table, card)
    async with shown.run_test(size=size) as pilot:
        table.fill([Row(str(n), ((text, ""), (text, "warn"))) for n, text in enumerate(some)])
        for begin in range(0, len(some), 8):
            part = some[begin : begin + 8]
            card.fill([Entry(text, text, "dim", code=bool(n % 2)) for n, text in enumerate(part)], part[0])
            lines.scroll_rows(begin)
            for widget in (lines, table, card):
                widget.border_title, widget.border_subtitle = part[0], part[-1]
            table.action_page(1)
            await pilot.pause()
            shown.check()


async def test_a_title_in_a_border_is_text() -> None:
    """Textual reads markup there: a name with a bracket would end the program, or be a link."""
    lines = Hostile(["x"])
    shown = Shown(lines)
    async with shown.run_test(size=(80, 6)) as pilot:
        lines.border_title = "[/] [bold]a[/bold] [@click=app.quit]b"
        await pilot.pause()
        assert "[/] [bold]a[/bold] [@click=app.quit]b" in shown.screen._compositor.render_strips()[0].text


async def test_widgets_that_are_not_ours() -> None:
    field, static = Input(), Static(markup=False)
    shown = Shown(field, static)
    async with shown.run_test(size=(60, 12)) as pilot:
        for text in TEXTS[:200]:
            field.value = text[:200]
            static.update(printable(text[:200]))
            shown.notify(printable(text[:200]), markup=False, timeout=0.01)
            await pilot.pause()
            shown.check()


def test_a_plot_with_hostile_names() -> None:
    points = [plot.point(x, x * x) for x in range(9)]
    for text in TEXTS:
        lines = (plot.Line(text, points), plot.Line(text, points))
        frame = plot.draw(plot.Plot(text, lines, (plot.Limit("≤", 3.0),)), plot.Look(), 60, 12)
        for row in (list(frame.spans(y)) for y in range(12)):
            assert sum(cell_len(part) for part, _ in row) <= 60, ascii_of(text)


def test_text_of_one_line_is_at_most_as_wide() -> None:
    for text in TEXTS:
        for width in (1, 2, 3, 17, 80):
            line = one_line(text, width)
            assert not {unicodedata.category(c) for c in line} & {"Cc", "Cs", "Zl", "Zp"}, ascii_of(text)
            assert cell_len(line) <= width, ascii_of(text)


def test_a_line_of_a_megabyte_costs_what_is_seen_of_it() -> None:
    painter = Painter()
    huge = "\x1b[31m漢" * 200_000
    data = row_of(painter, one_line(huge, WIDTH))
    assert len(data) < 400
    check_painted(data, WIDTH, 1)
