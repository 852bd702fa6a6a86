"""Which batch size is chosen from what was measured: slower, no faster, too large, expected too large, noisy."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.store.calibrations import Size
from core.training.batch_size import NOISE, Measured, TooLarge, choose, expected_peak, gigabytes, search

GB = 10**9
MODEL = 4 * GB  # before any step


class Machine:
    """Gives the rates of a table, and takes a gigabyte a pair."""

    def __init__(self, rates: dict[int, float | list[float]], *, dies_at: int = 10**9, a_pair: int = GB) -> None:
        self.rates = {size: list(rate) if isinstance(rate, list) else rate for size, rate in rates.items()}
        self.dies_at, self.a_pair = dies_at, a_pair
        self.asked: list[int] = []

    def __call__(self, size: int) -> Measured | TooLarge:
        self.asked.append(size)
        if size >= self.dies_at:
            return TooLarge("ended the process (SIGABRT)", 1.0)
        rate = self.rates[size]
        if isinstance(rate, list):
            rate = rate.pop(0) if len(rate) > 1 else rate[0]
        return Measured(rate, MODEL + size * self.a_pair, MODEL, 1.0)


def tried(machine: Machine, limit: int = 1000 * GB, most: int = 1024) -> list[Size]:
    told: list[Size] = []
    found = search(machine, limit, most, told.append)
    assert told == found
    return found


def test_it_doubles_until_a_size_is_slower() -> None:
    machine = Machine({1: 10, 2: 18, 4: 30, 8: 24})
    sizes = tried(machine)
    assert [size.size for size in sizes] == [1, 2, 4, 8]
    assert machine.asked == [1, 2, 4, 8, 8]  # what is slower is measured again
    assert choose(sizes) == (4, "30 pairs/s; 8 gives 24")


def test_it_ends_where_nothing_is_gained_twice() -> None:
    sizes = tried(Machine({1: 10, 2: 20, 4: 20.1, 8: 20.2, 16: 99}))
    assert [size.size for size in sizes] == [1, 2, 4, 8]
    chosen, why = choose(sizes)
    assert chosen == 2  # as fast, and half of the memory
    assert why == "20 pairs/s, as fast as 8 and smaller"


def test_one_doubling_without_gain_may_be_chance() -> None:
    assert choose(tried(Machine({1: 10, 2: 10.1, 4: 20, 8: 40, 16: 41, 32: 41})))[0] == 8


def test_a_busy_moment_does_not_end_it() -> None:
    machine = Machine({1: 10, 2: [4, 19], 4: 30, 8: [12, 40], 16: 41, 32: 41})
    sizes = tried(machine)
    assert choose(sizes)[0] == 8
    assert [size.note for size in sizes] == [
        "",
        "measured twice",
        "",
        "measured twice",
        "measured twice",
        "measured twice",
    ]


def test_a_child_that_dies_ends_it() -> None:
    sizes = tried(Machine({1: 10, 2: 20, 4: 40}, dies_at=8))
    assert (sizes[-1].size, sizes[-1].verdict, sizes[-1].rate) == (8, "TOO LARGE", None)
    assert choose(sizes) == (4, "40 pairs/s; 8 is too large (ended the process (SIGABRT))")


def test_a_child_that_dies_when_asked_again_ends_it() -> None:
    class Unlucky(Machine):
        def __call__(self, size: int) -> Measured | TooLarge:
            return TooLarge("ended", 1.0) if size in self.asked else super().__call__(size)

    sizes = tried(Unlucky({1: 10, 2: 8}))
    assert [size.verdict for size in sizes] == ["FITS", "TOO LARGE"]


def test_beyond_the_limit_is_too_large_however_fast() -> None:
    # 4 + 8 GB pass the limit, and are expected to: it is not even tried.
    machine = Machine({1: 10, 2: 20, 4: 40, 8: 80})
    sizes = tried(machine, limit=9 * GB)
    assert [size.verdict for size in sizes] == ["FITS", "FITS", "FITS", "TOO LARGE"]
    assert machine.asked == [1, 2, 4]
    assert sizes[-1].note == "would take 12 GB: not tried"
    assert choose(sizes)[0] == 4

    # Measured to be beyond it, where it was not expected.
    def jumps(size: int) -> Measured:
        return Measured(10.0 * size, MODEL + (0 if size < 4 else 20 * GB), MODEL, 1.0)

    sizes = search(jumps, 9 * GB, 64, lambda size: None)
    assert [(size.size, size.verdict) for size in sizes] == [(1, "FITS"), (2, "FITS"), (4, "TOO LARGE")]
    assert choose(sizes) == (2, "20 pairs/s; 4 takes more than 9 GB")


@pytest.mark.parametrize("limit", [MODEL, MODEL + GB - 1])
def test_where_not_one_pair_fits_nothing_is_chosen(limit: int) -> None:
    sizes = tried(Machine({1: 10}), limit=limit)
    chosen, why = choose(sizes)
    assert chosen is None
    assert "not even one fits" in why
    assert choose(tried(Machine({}, dies_at=1)))[0] is None
    assert choose([]) == (None, "nothing was measured")


def test_no_size_beyond_the_rows() -> None:
    assert [size.size for size in tried(Machine({1: 1, 2: 2, 4: 4}), most=5)] == [1, 2, 4]
    assert [size.size for size in tried(Machine({1: 1}), most=1)] == [1]


def test_the_very_limit_fits() -> None:
    sizes = tried(Machine({1: 1, 2: 2, 4: 4}), limit=MODEL + 2 * GB)
    assert [size.verdict for size in sizes] == ["FITS", "FITS", "TOO LARGE"]


def test_what_a_size_will_take() -> None:
    assert expected_peak([], 1) is None
    one = (1, Measured(1.0, 6 * GB, 4 * GB, 1.0))
    assert expected_peak([one], 2) == 7 * GB  # half of what it would be if all of it grew
    two = (2, Measured(1.0, 7 * GB, 4 * GB, 1.0))
    assert expected_peak([one, two], 4) == 9 * GB
    shrunk = (2, Measured(1.0, 5 * GB, 4 * GB, 1.0))
    assert expected_peak([one, shrunk], 4) == 5 * GB


@given(best=st.integers(0, 7), top=st.floats(0.5, 500), noise=st.floats(0, NOISE / 4), seed=st.integers(0, 10**6))
def test_a_noisy_machine_loses_little(best: int, top: float, noise: float, seed: int) -> None:
    """Rates that rise by half at each doubling up to the best size and fall after it, each off by chance."""
    chance = random.Random(seed)
    true = {2**i: top * (1.5 ** (i - best) if i <= best else 0.8 ** (i - best)) for i in range(12)}

    def noisy(size: int) -> Measured:
        return Measured(true[size] * (1 + chance.uniform(-noise, noise)), MODEL, MODEL, 1.0)

    chosen, _ = choose(search(noisy, 1000 * GB, 1024, lambda size: None))
    assert chosen == 2**best


@given(
    rates=st.lists(st.floats(0.1, 1000), min_size=1, max_size=11),
    limit=st.integers(GB, 3000 * GB),
    dies=st.integers(0, 11),
)
def test_whatever_a_machine_gives_the_choice_was_measured_and_fits(rates: list[float], limit: int, dies: int) -> None:
    table = {2**i: rates[min(i, len(rates) - 1)] for i in range(12)}
    sizes = tried(Machine(table, dies_at=2**dies), limit=limit)
    chosen, why = choose(sizes)
    fits = {size.size: size.rate for size in sizes if size.verdict == "FITS"}
    assert [size.size for size in sizes] == [2**i for i in range(len(sizes))]
    assert all(size.verdict == "FITS" for size in sizes[:-1])
    assert why
    if chosen is None:
        assert not fits
    else:
        assert fits[chosen] >= max(fits.values()) * (1 - NOISE)
        assert MODEL + chosen * GB <= limit
        assert chosen < 2**dies


def test_gigabytes_are_short() -> None:
    assert [gigabytes(n) for n in (0, 950_000, 5 * 10**8, 12_345_678_901)] == ["0 MB", "0.95 MB", "500 MB", "12.3 GB"]
