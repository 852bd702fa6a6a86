"""What is drawn is what was measured: extremes stay, gaps stay gaps, limits stand where they are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from dpotui.say import number
from dpotui.widgets.canvas import Frame
from dpotui.widgets.plot import Limit, Line, Look, Plot, Point, View, draw, point, readings, smoothed
from dpotui.widgets.scale import axis_end

RAW = Look(smoothing=0)


def plot(values: Sequence[float], *, end: float = 0, limits: tuple[Limit, ...] = (), log: bool = False) -> Plot:
    return Plot("loss", (Line("", [point(x, value) for x, value in enumerate(values)]),), limits, end, log)


def dots(frame: Frame, role: str = "line0") -> set[tuple[int, int]]:
    """The dots of a role, as (column, row)."""
    bits = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
    found = set()
    for y in range(frame.height):
        for x in range(frame.width):
            code = ord(frame.characters[y][x]) - 0x2800
            if frame.roles[y][x] == role and 0 <= code < 256:
                for half in range(2):
                    found |= {(2 * x + half, 4 * y + dot) for dot in range(4) if code & bits[half][dot]}
    return found


def test_a_rising_line_rises_without_a_hole() -> None:
    frame = draw(plot([x / 10 for x in range(11)], end=10), RAW, 40, 12)
    found = dots(frame)
    columns = sorted({x for x, _ in found})
    assert columns == list(range(columns[0], columns[-1] + 1))
    highest = {x: min(y for cx, y in found if cx == x) for x in columns}
    assert all(highest[a] >= highest[b] for a, b in pairwise(columns))
    assert highest[columns[0]] - highest[columns[-1]] > 4 * 8


def test_one_spike_among_ten_thousand_is_drawn() -> None:
    values = [0.5] * 10_000
    values[6789] = 9.0
    frame = draw(plot(values), RAW, 60, 12)
    top = min(y for _, y in dots(frame))
    assert top <= 4 + 4 * 2
    assert sum(y < 4 * 8 for _, y in dots(frame)) < 200  # a spike, not a block


def test_nan_is_a_gap() -> None:
    values = [1.0] * 40 + [math.nan] * 20 + [1.0] * 40
    columns = {x for x, _ in dots(draw(plot(values, end=99), RAW, 60, 10))}
    missing = [x for x in range(min(columns), max(columns)) if x not in columns]
    assert len(missing) >= 15
    assert missing == list(range(missing[0], missing[-1] + 1))


def test_limits_are_labelled_lines() -> None:
    frame = draw(plot([0.01 * x for x in range(12)], limits=(Limit("≤", 0.1),)), RAW, 40, 12)
    (row,) = [y for y in range(1, 11) if "╌╌" in "".join(frame.characters[y])]
    assert "".join(frame.characters[row]).split("┤")[0].strip() == "0.1"
    assert frame.text().splitlines()[0].endswith("≤0.1")


def test_a_far_limit_does_not_flatten_the_line() -> None:
    frame = draw(plot([1e-4 * (1 + x % 3) for x in range(30)], limits=(Limit("≤", 0.1),)), RAW, 40, 12)
    assert len({y for _, y in dots(frame)}) > 20
    assert "╌╌" not in frame.text()
    assert "≤0.1" in frame.text()


def test_smoothing_leaves_the_raw_line_dim_behind() -> None:
    noisy = plot([0.5 + (0.2 if x % 2 else -0.2) for x in range(300)])
    smooth = draw(noisy, Look(smoothing=0.9), 60, 12)
    assert dots(smooth, "raw")
    rows = {y for x, y in dots(smooth, "line0") if x > 40}  # it begins at the first value
    assert max(rows) - min(rows) < 12
    assert not dots(draw(noisy, Look(smoothing=0.9, raw=False), 60, 12), "raw")


def test_a_logarithmic_axis_shows_decades() -> None:
    frame = draw(plot([10.0**-x for x in range(5)]), Look(smoothing=0, log=True), 40, 14)
    assert "log" in frame.text().splitlines()[0]
    assert "1┤" in frame.text()
    assert "0.0100┤" in frame.text() or "0.0010┤" in frame.text() or "1.0e-4┤" in frame.text()
    # What is not positive has no logarithm: the line is drawn as it is.
    assert dots(draw(plot([0.0, -1.0, -2.0]), Look(smoothing=0, log=True), 40, 14))


def test_several_runs_are_told_apart() -> None:
    lines = tuple(Line(f"run {i}", [point(x, x + i * 5.0) for x in range(20)]) for i in range(3))
    frame = draw(Plot("loss", lines), RAW, 60, 16)
    assert all(dots(frame, f"line{i}") for i in range(3))
    assert "run 0 19" in frame.text().splitlines()[0]
    assert "run 1 24" in frame.text().splitlines()[0]


def test_evaluations_are_marked() -> None:
    frame = draw(Plot("kl", (Line("exact", [point(x, 0.01 * x) for x in range(6)], False, "o"),)), Look(), 50, 12)
    assert "".join(map("".join, frame.characters[1:-1])).count("o") == 6


def test_nothing_measured_says_so() -> None:
    for values in ([], [math.nan, math.nan]):
        assert "no values yet" in draw(plot(values), Look(), 40, 8).text()


floats = st.floats(allow_nan=True, allow_infinity=True, width=64)


@given(
    values=st.lists(floats, max_size=40),
    width=st.integers(0, 90),
    height=st.integers(0, 20),
    smoothing=st.sampled_from([0.0, 0.9]),
    log=st.booleans(),
    limit=st.one_of(st.none(), st.floats(-1e9, 1e9)),
)
def test_any_numbers_fit_their_frame(
    values: list[float], width: int, height: int, smoothing: float, log: bool, limit: float | None
) -> None:
    limits = (Limit("≤", limit),) if limit is not None else ()
    frame = draw(plot(values, limits=limits), Look(smoothing, True, log), width, height)
    assert len(frame.characters) == height
    for y in range(height):
        text = "".join(frame.characters[y])
        assert len(frame.characters[y]) == width
        assert cell_len(text) == width
        assert "".join(piece for piece, _ in frame.spans(y)) == text


@pytest.mark.parametrize("width", range(12, 20))
def test_a_label_as_wide_as_the_frame_leaves_the_title(width: int) -> None:
    frame = draw(plot([0.5, 0.6], limits=(Limit("≤", -123456789.5e-20),)), RAW, width, 5)
    assert frame.text().startswith("loss")


@pytest.mark.parametrize("values", [[9.999999999999347e307], [1.7e308, -1.7e308], [5e-324], [1e-308, 1e308]])
@pytest.mark.parametrize("log", [True, False])
def test_the_ends_of_float_are_drawn(values: list[float], log: bool) -> None:
    assert draw(plot(values), Look(0.5, True, log), 40, 8).text()


def test_hostile_titles_keep_the_grid() -> None:
    frame = draw(Plot("漢字\u202e", (Line("x", [Point(0, 0, 1, 0.5)]),)), Look(), 40, 8)
    assert all(cell_len("".join(row)) == 40 for row in frame.characters)


def test_the_axis_grows_in_jumps() -> None:
    ends = [axis_end(step, 1000) for step in range(1, 1001)]
    assert all(end >= step for step, end in enumerate(ends, 1))
    assert len(set(ends)) < 25
    assert ends[-1] == 1000
    assert axis_end(2_000_000) >= 2_000_000


def test_smoothed_is_exact_for_a_constant_and_skips_nan() -> None:
    assert smoothed([2.0] * 5, 0.9) == pytest.approx([2.0] * 5)
    found = smoothed([1.0, math.nan, 1.0], 0.5)
    assert math.isnan(found[1])
    assert found[2] == pytest.approx(1.0)
    # By hand: 0.5·(0.5·0) + ... corrected: m1 = 1, m2 = (0.5·1·0.5 + 0.5·3) / 0.75
    assert smoothed([1.0, 3.0], 0.5)[1] == pytest.approx(1.75 / 0.75)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"), (1.0, "1"), (0.0812345, "0.0812"), (0.1004, "0.100"), (12.345, "12.35"), (-0.5, "-0.500"),
        (1204.0, "1204"), (123456.0, "123k"), (2.5e6, "2.50M"), (1e-6, "1.0e-6"), (math.nan, "nan"),
        (-math.inf, "-inf"), (3e12, "3.0e12"),
    ],
)  # fmt: skip
def test_numbers_are_short(value: float, text: str) -> None:
    assert number(value) == text


def test_a_window_shows_its_part_alone_and_the_axis_fits_it() -> None:
    whole = plot([100.0] * 50 + [1 + x / 100 for x in range(50)], end=99)
    frame = draw(whole, RAW, 60, 14, View((60, 90)))
    labels = [line.split("┤")[0] for line in frame.text().splitlines() if "┤" in line]
    assert max(map(float, labels)) < 2  # not 100
    bottom = frame.text().splitlines()[-1]
    assert "60" in bottom and "80" in bottom and "└0" not in bottom
    columns = {x for x, _ in dots(frame)}
    assert len(columns) > 2 * (60 - frame.left) - 6  # the line enters at one edge and leaves at the other
    assert draw(whole, RAW, 60, 14, View((200, 300))).text().count("no values here") == 1


def test_a_window_between_two_points_shows_the_line_that_joins_them() -> None:
    sparse = Plot("kl", (Line("exact", [point(0, 0.0), point(100, 1.0)], False, "o"),), end=100)
    frame = draw(sparse, Look(), 60, 12, View((40, 60)))
    found = dots(frame)
    assert found
    assert "o" not in "".join(map("".join, frame.characters[1:-1]))  # nothing was measured here
    assert frame.axis is not None
    (reading,) = readings(sparse, Look(), frame.axis, 49.0)
    assert (reading.first, reading.mean) == (0, 0.0)  # the nearest that was measured


def test_the_cursor_reads_all_that_is_drawn_in_its_column() -> None:
    long = plot([float(x % 7) for x in range(10_000)])
    frame = draw(long, Look(smoothing=0), 60, 12, View(cursor=5000))
    assert (
        sum(
            row[frame.left + frame.width // 2 - 8 : frame.left + frame.width // 2 + 8].count("┊")
            for row in frame.characters
        )
        == 0
    )  # the line of values covers the cursor here
    assert frame.axis is not None
    (reading,) = readings(long, Look(smoothing=0), frame.axis, 5000)
    assert reading.first <= 5000 <= reading.last
    inside = [float(x % 7) for x in range(int(reading.first), int(reading.last) + 1)]
    assert (reading.low, reading.high) == (min(inside), max(inside))
    assert reading.mean == pytest.approx(sum(inside) / len(inside))


def test_the_mean_of_ranges_counts_their_steps() -> None:
    ranges = [Point(4.5, 0, 2, 1.0, 10), Point(10, 5, 5, 5.0, 1), Point(100, 0, 0, 0.0, 1)]
    frame = draw(Plot("loss", (Line("", ranges),), end=1000), RAW, 40, 10)
    assert frame.axis is not None
    (reading,) = readings(Plot("loss", (Line("", ranges),), end=1000), RAW, frame.axis, 7.0)
    assert (reading.first, reading.last) == (0, 10)
    assert reading.mean == pytest.approx(15 / 11)


def test_the_title_says_the_values_at_the_cursor() -> None:
    rising = plot([float(x) for x in range(100)], end=99)
    assert "loss 99" in draw(rising, RAW, 60, 12).text().splitlines()[0]
    assert "loss 20" in draw(rising, RAW, 60, 12, View(cursor=20)).text().splitlines()[0]
    assert any("┊" in row for row in draw(rising, RAW, 60, 12, View(cursor=20)).text().splitlines()[1:])


def test_other_runs_are_told_apart_without_colour() -> None:
    level = [[point(x, float(i)) for x in range(200)] for i in range(4)]
    lines = [Line("", level[0]), *(Line(f"dpo-{i}", level[i], tag="abc"[i - 1], dash=i) for i in (1, 2, 3))]
    frame = draw(Plot("loss", tuple(lines)), RAW, 70, 20)
    title = frame.text().splitlines()[0]
    assert all(f" {tag} dpo-{i} {i}" in title for i, tag in ((1, "a"), (2, "b"), (3, "c")))
    field = ["".join(row[frame.left :]) for row in frame.characters[1:-1]]
    for tag in "abc":  # each ends in its letter
        assert sum(tag in row for row in field) == 1
    columns = [{x for x, _ in dots(frame, f"line{i}")} for i in range(4)]
    assert len(columns[0]) > len(columns[1]) > len(columns[2])
    assert len({len(found) for found in columns}) == 4


def test_every_terminal_has_the_characters_of_ascii() -> None:
    mine = Line("", [point(x, 0.001 * x) for x in range(80)])
    other = Line("b", [point(x, 0.05) for x in range(80)], tag="a", dash=1)
    both = Plot("kl", (mine, other), (Limit("≤", 0.06),), 80)
    text = draw(both, Look(), 60, 14, View(cursor=30), ascii=True).text()
    assert text.isascii()
    assert "*" in text and "+" in text and "<=0.06" in text and "a b 0.05" in text
    assert any(":" in line for line in text.splitlines()[1:])


@given(
    values=st.lists(floats, max_size=40),
    start=st.integers(-5, 60),
    width=st.integers(1, 60),
    cursor=st.one_of(st.none(), st.integers(-10, 80)),
    size=st.tuples(st.integers(0, 70), st.integers(0, 16)),
    ascii=st.booleans(),
)
def test_any_window_and_cursor_fit_their_frame(
    values: list[float], start: int, width: int, cursor: int | None, size: tuple[int, int], ascii: bool
) -> None:
    frame = draw(plot(values), Look(), *size, View((start, start + width), cursor), ascii=ascii)
    assert all(len(row) == size[0] and cell_len("".join(row)) == size[0] for row in frame.characters)
    if frame.axis is not None and cursor is not None:
        for reading in readings(plot(values), Look(), frame.axis, cursor):
            assert reading.first <= reading.last


def test_labels_of_a_narrow_window_far_along_are_told_apart() -> None:
    frame = draw(plot([1.0] * 10), RAW, 80, 8, View((1_234_560, 1_234_580)))
    assert "no values here" in frame.text()
    far = Plot("loss", (Line("", [point(1_234_560 + x, 1.0) for x in range(20)]),))
    labels = draw(far, RAW, 80, 8, View((1_234_560, 1_234_580))).text().splitlines()[-1].replace("─", " ").split()
    numbers = [label.lstrip("└") for label in labels]
    assert len(set(numbers)) == len(numbers) >= 3
    assert "1234565" in numbers
