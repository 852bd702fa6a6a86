"""What the painter writes makes a real terminal show what was meant, in as few bytes as it takes."""

from __future__ import annotations

import random
import re

import pyte
from rich.cells import get_character_cell_size
from rich.color import ColorSystem
from rich.segment import Segment
from rich.style import Style
from textual._compositor import LayoutUpdate
from textual.geometry import Region
from textual.strip import Strip

from dpotui.paint import _SIMPLE, Painter
from dpotui.widgets.plot import Line, Look, Plot, draw, point
from dpotui.widgets.scale import axis_end

WIDTH, HEIGHT = 40, 6
STYLES = [
    Style.null(), Style.parse("bold red"), Style.parse("white on color(19)"), Style.parse("italic"),
    Style.parse("reverse green"), Style.parse("underline"), Style.parse("bold #102030 on #405060"),
    Style.parse("strike color(200)"), Style.parse("on #405060"),
]  # fmt: skip


def update(rows: list[list[tuple[str, Style]]], y: int = 0) -> LayoutUpdate:
    strips = [[Strip([Segment(text, style) for text, style in row]).adjust_cell_length(WIDTH)] for row in rows]
    return LayoutUpdate(strips, Region(0, y, WIDTH, len(rows)))  # type: ignore[arg-type]


def show(screen: pyte.Screen, data: str) -> None:
    pyte.Stream(screen).feed(data)


def plain(text: str) -> list[tuple[str, Style]]:
    return [(text, Style.null())]


def test_only_what_changed_is_written() -> None:
    painter, screen = Painter(ColorSystem.EIGHT_BIT), pyte.Screen(WIDTH, HEIGHT)
    show(screen, painter.paint(update([plain("step 411 loss 0.4282 margin 0.112 ex/s")])))
    assert painter.paint(update([plain("step 411 loss 0.4282 margin 0.112 ex/s")])) == ""
    data = painter.paint(update([plain("step 412 loss 0.4282 margin 0.113 ex/s")]))
    assert len(data) < 24
    show(screen, data)
    assert screen.display[0].rstrip() == "step 412 loss 0.4282 margin 0.113 ex/s"


def test_after_forgetting_everything_is_written_again() -> None:
    painter = Painter(ColorSystem.EIGHT_BIT)
    whole = painter.paint(update([plain("hello")]))
    painter.forget()
    assert painter.paint(update([plain("hello")])) == whole


def test_a_style_alone_is_a_change() -> None:
    painter, screen = Painter(ColorSystem.EIGHT_BIT), pyte.Screen(WIDTH, HEIGHT)
    show(screen, painter.paint(update([[("FAIL", STYLES[1]), (" gap", STYLES[0])]])))
    show(screen, painter.paint(update([[("FAIL", STYLES[3]), (" gap", STYLES[0])]])))
    assert screen.buffer[0][0].italics and not screen.buffer[0][0].bold
    assert not screen.buffer[0][5].italics


def seen(cell: pyte.screens.Char) -> tuple[object, ...]:
    """What a person sees of a cell: of a blank its ground, and lines through it."""
    drawn = (cell.data, cell.bg, cell.reverse, cell.underscore, cell.strikethrough)
    return drawn if cell.data == " " and not any(drawn[2:]) else (*drawn, cell.fg, cell.bold, cell.italics)


def test_of_a_style_only_what_changes_is_written() -> None:
    painter = Painter(ColorSystem.EIGHT_BIT)
    ground = Style.parse("on color(16)")
    line, raw = Style.parse("color(110)") + ground, Style.parse("color(242)") + ground
    blank = Style.parse("color(188)") + ground
    painter.paint(update([[(" " * WIDTH, blank)]]))
    row = [("⡇", raw), (" ", blank), ("⡇", raw), (" ", blank), ("⡇", line), (" " * (WIDTH - 5), blank)]
    assert painter.paint(update([row])) == "\x1b[1;1H\x1b[38;5;242;48;5;16m⡇ ⡇ \x1b[38;5;110m⡇\x1b[0m"


def test_the_cursor_moves_on_where_that_is_shorter_and_stands_anew_behind_wide_characters() -> None:
    painter, screen = Painter(ColorSystem.EIGHT_BIT), pyte.Screen(WIDTH, HEIGHT)
    show(screen, painter.paint(update([plain("0.1  0.2        0.3"), plain("漢  0.2        0.3")])))
    data = painter.paint(update([plain("0.4  0.5        0.6"), plain("字  0.5        0.6")]))
    assert data == "\x1b[1;3H4  0.5\x1b[10C6\x1b[2;1H字\x1b[7G5\x1b[18G6"
    show(screen, data)
    assert [row.rstrip() for row in screen.display[:2]] == ["0.4  0.5        0.6", "字  0.5        0.6"]


def test_random_screens_arrive_as_meant() -> None:
    chance = random.Random(7)
    painter, screen = Painter(ColorSystem.EIGHT_BIT), pyte.Screen(WIDTH, HEIGHT)
    alphabet = "ab  ⠿⣿─│漢字●"
    for _ in range(200):
        y = chance.randrange(HEIGHT)
        row = [
            ("".join(chance.choice(alphabet) for _ in range(chance.randrange(1, 9))), chance.choice(STYLES))
            for _ in range(chance.randrange(1, 8))
        ]
        strip = Strip([Segment(text, style) for text, style in row]).crop(0, WIDTH).adjust_cell_length(WIDTH)
        show(screen, painter.paint(LayoutUpdate([[strip]], Region(0, y, WIDTH, 1))))
        x = 0
        for text, style, _ in strip:
            for character in text:
                alone = pyte.Screen(WIDTH, 1)
                show(alone, (style or Style.null()).render(character, color_system=ColorSystem.EIGHT_BIT))
                assert seen(screen.buffer[y][x]) == seen(alone.buffer[0][0])
                x += 2 if character in "漢字" else 1


def test_without_colours_what_is_chosen_is_reversed() -> None:
    painter, screen = Painter(None), pyte.Screen(WIDTH, HEIGHT)
    chosen = Style.parse("bold #ffffff on #4a4a4a")
    data = painter.paint(update([[("FAIL", Style.parse("bold red on #121212")), ("[x] ", chosen), ("gap", STYLES[0])]]))
    assert "[1m" in data and not re.search(r"[34]8;|[;\[](3|4|9|10)\d", data.split("H", 1)[1])
    show(screen, data)
    row = screen.buffer[0]
    assert [(row[x].bold, row[x].reverse) for x in (0, 4, 8)] == [(True, False), (True, True), (False, False)]


def test_in_ascii_lines_are_drawn_otherwise_and_letters_are_not() -> None:
    painter, screen = Painter(ascii=True), pyte.Screen(WIDTH, HEIGHT)
    show(screen, painter.paint(update([plain("╭─ loss ≤0.1 ─╮ 漢字 β")])))
    assert "".join(screen.display[0]).split() == ["+-", "loss", "<0.1", "-+", "漢字", "b"]


def test_what_counts_as_plain_takes_one_cell_in_any_terminal() -> None:
    for character in filter(_SIMPLE.fullmatch, map(chr, range(0x20000))):
        assert character.isprintable() and get_character_cell_size(character) == 1, hex(ord(character))


def test_the_first_half_minute_of_a_chart_stays_small_on_the_line() -> None:
    chance, points = random.Random(3), []
    painter, size = Painter(ColorSystem.EIGHT_BIT), 0
    ground = Style.parse("color(188) on color(16)")
    looks = {"raw": "color(242)", "line0": "color(110)", "axis": "color(247)", "title": "bold"}
    for second in range(30):
        points += [point(10 * second + step, 0.69 + chance.gauss(0, 0.03)) for step in range(1, 11)]
        plot = Plot("loss", (Line("", points),), end=axis_end(points[-1].x))
        frame = draw(plot, Look(), 78, 18)
        rows = [[(text, ground + Style.parse(looks.get(role, ""))) for text, role in frame.spans(y)] for y in range(18)]
        strips = [[Strip([Segment(text, style) for text, style in row])] for row in rows]
        size += len(painter.paint(LayoutUpdate(strips, Region(0, 0, 78, 18))).encode())  # type: ignore[arg-type]
    assert size < 30 * 1000
