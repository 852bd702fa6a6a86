"""Zooming keeps what one looks at in its place, panning ends where the newest step is, following moves in jumps."""

from __future__ import annotations

import pytest

from dpotui.widgets.window import Window


def test_all_is_seen_until_it_is_zoomed() -> None:
    assert Window().seen(500) is None
    assert Window().to_read(500) is None
    assert Window().panned(-1, 500) == Window()


def test_zooming_in_follows_the_end_and_zooming_out_sees_all_again() -> None:
    window = Window().zoomed(0.5, 1000, 980, None)
    assert (window.width, window.right) == (500, None)
    start, end = window.seen(980) or (0, 0)
    assert end >= 980
    assert end - start == 500
    assert window.zoomed(2, 1000, 980, None) == Window()


def test_following_moves_in_jumps() -> None:
    window = Window(100.0)
    seen = [window.seen(newest) for newest in range(1000, 1100)]
    assert len(set(seen)) <= 6
    assert all(
        ends is not None and ends[0] < newest <= ends[1] for newest, ends in zip(range(1000, 1100), seen, strict=True)
    )


def test_the_step_under_the_cursor_stays_where_it_stands() -> None:
    window = Window(400.0, 600.0).zoomed(0.5, 1000, 900, 300.0)
    start, end = window.seen(900) or (0, 0)
    assert (300 - start) / (end - start) == pytest.approx((300 - 200) / 400)


def test_there_is_a_closest_look() -> None:
    window = Window()
    for _ in range(40):
        window = window.zoomed(0.5, 1_000_000, 1_000_000, 7.0)
    assert window.width == 10


def test_panning_ends_at_the_first_step_and_at_the_newest() -> None:
    window = Window(100.0)
    for _ in range(60):
        window = window.panned(-1, 1000)
    assert window.seen(1000) == (0, 100)
    for _ in range(60):
        window = window.panned(1, 1000)
    assert window.right is None


def test_half_a_window_more_is_read_on_either_side() -> None:
    assert Window(100.0, 300.0).to_read(1000) == (150, 350)
    assert Window(100.0).to_read(1000) == (850, None)
    assert Window(100.0, 100.0).to_read(1000)[0] == 0  # type: ignore[index]


def test_a_step_outside_is_brought_into_view() -> None:
    window = Window(100.0, 300.0)
    assert window.reaching(250, 1000) == window
    for x in (10.0, 190.0, 310.0, 990.0):
        start, end = window.reaching(x, 1000).seen(1000) or (0, 0)
        assert start <= x <= end
