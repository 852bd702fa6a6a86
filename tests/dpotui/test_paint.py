"""What the painter writes makes a real terminal show what was meant, in as few bytes as it takes."""

from __future__ import annotations

import random

import pyte
from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from textual._compositor import LayoutUpdate
from textual.geometry import Region
from textual.strip import Strip

from dpotui.paint import Painter

WIDTH, HEIGHT = 40, 6
CONSOLE = Console(color_system="256", force_terminal=True)
STYLES = [Style.null(), Style.parse("bold red"), Style.parse("white on blue"), Style.parse("italic")]


def update(rows: list[list[tuple[str, Style]]], y: int = 0) -> LayoutUpdate:
    strips = [[Strip([Segment(text, style) for text, style in row]).adjust_cell_length(WIDTH)] for row in rows]
    return LayoutUpdate(strips, Region(0, y, WIDTH, len(rows)))  # type: ignore[arg-type]


def show(screen: pyte.Screen, data: str) -> None:
    pyte.Stream(screen).feed(data)


def plain(text: str) -> list[tuple[str, Style]]:
    return [(text, Style.null())]


def test_only_what_changed_is_written() -> None:
    painter, screen = Painter(), pyte.Screen(WIDTH, HEIGHT)
    show(screen, painter.paint(update([plain("step 411 loss 0.4282 margin 0.112 ex/s")]), CONSOLE))
    assert painter.paint(update([plain("step 411 loss 0.4282 margin 0.112 ex/s")]), CONSOLE) == ""
    data = painter.paint(update([plain("step 412 loss 0.4282 margin 0.113 ex/s")]), CONSOLE)
    assert len(data) < 24
    show(screen, data)
    assert screen.display[0].rstrip() == "step 412 loss 0.4282 margin 0.113 ex/s"


def test_after_forgetting_everything_is_written_again() -> None:
    painter = Painter()
    whole = painter.paint(update([plain("hello")]), CONSOLE)
    painter.forget()
    assert painter.paint(update([plain("hello")]), CONSOLE) == whole


def test_a_style_alone_is_a_change() -> None:
    painter, screen = Painter(), pyte.Screen(WIDTH, HEIGHT)
    show(screen, painter.paint(update([[("FAIL", STYLES[1]), (" gap", STYLES[0])]]), CONSOLE))
    show(screen, painter.paint(update([[("FAIL", STYLES[3]), (" gap", STYLES[0])]]), CONSOLE))
    assert screen.buffer[0][0].italics and not screen.buffer[0][0].bold
    assert not screen.buffer[0][5].italics


def test_random_screens_arrive_as_meant() -> None:
    chance = random.Random(7)
    painter, screen = Painter(), pyte.Screen(WIDTH, HEIGHT)
    alphabet = "ab  ⠿⣿─│漢字●"
    for _ in range(200):
        y = chance.randrange(HEIGHT)
        row = [
            ("".join(chance.choice(alphabet) for _ in range(chance.randrange(1, 9))), chance.choice(STYLES))
            for _ in range(chance.randrange(1, 8))
        ]
        strip = Strip([Segment(text, style) for text, style in row]).crop(0, WIDTH).adjust_cell_length(WIDTH)
        show(screen, painter.paint(LayoutUpdate([[strip]], Region(0, y, WIDTH, 1)), CONSOLE))  # type: ignore[list-item]
        expected, x = {}, 0
        for text, style, _ in strip:
            for character in text:
                expected[x] = (character, bool(style and style.bold), bool(style and style.italic))
                x += 2 if character in "漢字" else 1
        for x, (character, bold, italic) in expected.items():
            cell = screen.buffer[y][x]
            assert (cell.data, cell.bold, cell.italics) == (character, bold, italic)
