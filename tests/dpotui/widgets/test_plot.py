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
from dpotui.widgets.plot import Limit, Line, Look, Plot, Point, draw, point, smoothed
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
