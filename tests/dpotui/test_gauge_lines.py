"""The machine's use in words and plots."""

from __future__ import annotations

import math

import pytest

from core.monitor import KEPT, Reading, Sample
from dpotui.gauge_lines import amount, plots, spans
from dpotui.widgets.plot import Look, draw


def _sample(at: float, **values: float) -> Sample:
    readings = {key: Reading(key, value, "%" if key in ("gpu", "cpu") else "B") for key, value in values.items()}
    return Sample(at, readings)


@pytest.mark.parametrize(
    ("reading", "words"),
    [
        (Reading("gpu", 87.4, "%"), "87%"),
        (Reading("battery", 64.0, "%", text="on battery"), "64%, on battery"),
        (Reading("memory", 41.25e9, "B", limit=68.7e9), "41.2 of 68.7 GB"),
        (Reading("swap", 0.0, "B", limit=0.0), "0.0 GB"),
        (Reading("run.memory", 27.9e6, "B", limit=51.5e9), "28 MB"),
        (Reading("gpu.temperature", 71.6, "°C"), "72 °C"),
        (Reading("power", 5.876, "W"), "5.9 W"),
        (Reading("gpu.power", 512.3, "W", limit=700.0), "512 of 700 W"),
        (Reading("fan", 1200.0, "rpm"), "1200 rpm"),
        (Reading("thermal", None, text="none recorded"), "none recorded"),
        (Reading("cpu.temperature", None, reason="no sensor"), "—"),
    ],
)
def test_amounts_have_their_units(reading: Reading, words: str) -> None:
    assert amount(reading) == words


def test_a_line_has_its_source_or_its_reason() -> None:
    def line(reading: Reading) -> str:
        return "".join(text for text, _ in spans(reading, 78))

    assert line(Reading("gpu", None, reason="no nvidia-smi here")).split() == ["GPU", "—", "no", "nvidia-smi", "here"]
    busy = line(Reading("cpu", 50.0, "%", "psutil", limit=100.0, parts=(0.0, 49.0, 100.0)))
    assert "━━━━━━╌╌╌╌╌╌" in busy and "▁▄█" in busy and busy.endswith("psutil")
    assert "▁" not in line(Reading("cpu", 50.0, "%", "psutil", limit=100.0, parts=(0.0,) * 256))


def test_a_time_at_which_nobody_looked_is_a_gap() -> None:
    samples = [_sample(at, cpu=50.0) for at in (1000.0, 1002.0, 1004.0, 1064.0, 1066.0)]
    (plot,) = plots(samples, {})
    assert [math.isnan(point.mean) for point in plot.lines[0].points] == [False, False, False, True, False, False]
    assert plot.lines[0].points[0].x == 0 and plot.lines[0].points[-1].x == pytest.approx(1.1)
    assert plot.end == 2


def test_use_is_drawn_from_nothing_to_all_of_it() -> None:
    samples = [_sample(1000.0 + 2 * index, cpu=98.0 + index % 2) for index in range(30)]
    (plot,) = plots(samples, {})
    text = draw(plot, Look(0.0, False), 60, 12).text()
    assert "100┤" in text and "  0┤" in text and "99" not in text.split("\n", 1)[1]


def test_memory_has_its_limit_in_gigabytes() -> None:
    samples = [_sample(1000.0 + index, memory=40e9, swap=1e9, **{"gpu.memory": 30e9}) for index in range(3)]
    gpu, memory = plots(samples, {"memory": 68.72e9, "gpu.memory": 51.54e9})
    assert [(one.op, one.value) for one in (*gpu.limits, *memory.limits)] == [("≤", 51.5), ("≤", 68.7)]
    assert [line.label for line in memory.lines] == ["memory", "swap"]


def test_what_was_never_read_has_no_plot() -> None:
    sample = Sample(1000.0, {"gpu": Reading("gpu", None, reason="no")})
    assert plots([sample, sample], {}) == [] and plots([], {}) == []


def test_the_axis_stands_still_once_old_samples_are_dropped() -> None:
    samples = [_sample(1_000_000.0 + 2 * index, cpu=5.0) for index in range(KEPT)]
    (one,) = plots(samples, {})
    (two,) = plots([*samples[1:], _sample(samples[-1].time + 2, cpu=5.0)], {})
    assert one.end == two.end and one.lines[0].points[:-1] == two.lines[0].points[: len(one.lines[0].points) - 1]
