"""Charts: round numbers beside the axis that hold all of the curve, whatever its size."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from hypothesis import given, settings
from hypothesis import strategies as st

from core.report.document import Bin, Chart, Figure, Line
from core.report.svg import HEIGHT, WIDTH, draw

FIGURE = Figure(("curve",), "x", "x")
VALUES = st.lists(
    st.floats(allow_nan=False, allow_infinity=False) | st.floats(-10, 10) | st.just(0.0), min_size=1, max_size=30
)


def chart(values: list[float], *, log: bool = False, limit: float | None = None) -> Chart:
    bins = tuple(Bin(step, step, value, value, value) for step, value in enumerate(values))
    line = Line("loss", bins, *[FIGURE] * 7)
    return Chart("loss", (line,), limit, "nats", log)


def drawn(one: Chart) -> ElementTree.Element:
    return ElementTree.fromstring("".join(line.text for line in draw(one)))


def ticks(one: Chart) -> list[str]:
    beside = [
        each for each in drawn(one).iter("text") if each.get("text-anchor") == "end" and float(each.get("x", 0)) < 60
    ]
    return [each.text or "" for each in beside]


def test_ticks_are_round_and_hold_the_curve() -> None:
    assert ticks(chart([0.1364, 0.6931])) == ["0", "0.2", "0.4", "0.6", "0.8"]
    assert ticks(chart([8.528, 0.186])) == ["0", "5", "10"]
    assert ticks(chart([1.303, 5052.0], log=True)) == ["1", "10", "100", "1000", "10000"]
    assert ticks(chart([0.02, 0.05], limit=0.1))[-1] == "0.1"


def test_few_points_are_shown_as_points() -> None:
    assert len(list(drawn(chart([1.0, 2.0, 3.0])).iter("circle"))) == 3
    assert not list(drawn(chart([float(step) for step in range(40)])).iter("circle"))
    assert "nats, log scale" in [each.text for each in drawn(chart([1.0, 500.0], log=True)).iter("text")]


@settings(max_examples=150, deadline=None)
@given(VALUES)
def test_nothing_leaves_the_frame(values: list[float]) -> None:
    for line in drawn(chart(values)).iter("polyline"):
        for x, y in (map(float, pair.split(",")) for pair in (line.get("points") or "").split()):
            assert 0 <= x <= WIDTH and 0 <= y <= HEIGHT
    assert 2 <= len(ticks(chart(values))) <= 8
    assert not re.search(r"nan|inf", "".join(line.text for line in draw(chart(values))))
