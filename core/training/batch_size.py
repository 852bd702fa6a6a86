"""Which batch size: doubled until it is slower or too large; the fastest that fits, and of equals the smallest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from core.store.calibrations import Size

# Rates that differ by less are the same: what else the machine does makes more of a difference.
NOISE = 0.03
# Doublings in a row that may bring nothing before it is called enough: one may be chance.
PATIENCE = 2


@dataclass(frozen=True, slots=True)
class Measured:
    """What a batch size gave. `rate`: pairs a second on usual batches; `peak`: bytes on the longest one; `before`:
    bytes that were taken before any step."""

    rate: float
    peak: int
    before: int
    seconds: float


@dataclass(frozen=True, slots=True)
class TooLarge:
    """It did not get through, and why."""

    why: str
    seconds: float


Measure = Callable[[int], Measured | TooLarge]


def search(measure: Measure, limit: int, most: int, tell: Callable[[Size], None]) -> list[Size]:
    """Try 1, 2, 4, ... until a size is slower than the best, brings nothing twice in a row, or does not fit.

    A size that seems no faster than the best before it is measured a second time, and the faster counts: a machine
    that was busy for a moment must not end the search.

    Args:
        measure: takes a size and tries it.
        limit: bytes that the longest batch may take.
        most: no size above it is tried.
        tell: is told each size when it is done.
    """
    found: list[Size] = []
    measured: list[tuple[int, Measured]] = []
    best = 0.0
    stale = 0

    def add(size: Size) -> None:
        found.append(size)
        tell(size)

    size = 1
    while size <= most:
        expected = expected_peak(measured, size)
        if expected is not None and expected > limit:
            add(Size(size, "TOO LARGE", None, None, 0.0, f"would take {gigabytes(expected)}: not tried"))
            break
        got = measure(size)
        note = ""
        if isinstance(got, Measured) and got.peak <= limit and measured and got.rate <= best * (1 + NOISE):
            again = measure(size)
            if isinstance(again, Measured):
                got = Measured(
                    max(got.rate, again.rate), max(got.peak, again.peak), got.before, got.seconds + again.seconds
                )
                note = "measured twice"
            else:
                got = again
        if isinstance(got, TooLarge):
            add(Size(size, "TOO LARGE", None, None, got.seconds, got.why))
            break
        measured.append((size, got))
        if got.peak > limit:
            add(Size(size, "TOO LARGE", got.rate, got.peak, got.seconds, f"more than {gigabytes(limit)}"))
            break
        add(Size(size, "FITS", got.rate, got.peak, got.seconds, note))
        if got.rate < best * (1 - NOISE):
            break
        stale = 0 if got.rate > best * (1 + NOISE) else stale + 1
        if stale == PATIENCE:
            break
        best = max(best, got.rate)
        size *= 2
    return found


def expected_peak(measured: Sequence[tuple[int, Measured]], size: int) -> int | None:
    """Bytes that a size will take: what a batch takes beside the model grows with it. None before one was measured.

    From the last two where there are two: what does not grow is no part of the slope. A machine that swaps is slow to
    say that a size was too large.
    """
    if not measured:
        return None
    last_size, last = measured[-1]
    if len(measured) == 1:
        # One point says nothing of what grows; half of it is little enough to try a size that may yet fit.
        return last.peak + (last.peak - last.before) * (size - last_size) // (2 * last_size)
    other_size, other = measured[-2]
    return last.peak + max(0, last.peak - other.peak) * (size - last_size) // (last_size - other_size)


def choose(sizes: Sequence[Size]) -> tuple[int | None, str]:
    """The fastest size that fits, or a smaller one that is as fast; and why, in words."""
    fits = [(size.size, size.rate) for size in sizes if size.verdict == "FITS" and size.rate is not None]
    if not fits:
        return None, f"not even one fits: {sizes[0].note}" if sizes else "nothing was measured"
    fastest_size, fastest = max(fits, key=lambda one: one[1])
    chosen, rate = next(one for one in fits if one[1] >= fastest * (1 - NOISE))
    last = sizes[-1]
    words = f"{rate:.3g} pairs/s"
    if chosen != fastest_size:
        words += f", as fast as {fastest_size} and smaller"
    if last.verdict == "TOO LARGE":
        words += f"; {last.size} {'is' if last.rate is None else 'takes'} {_too_large(last)}"
    elif last.rate is not None and last.rate < fastest * (1 - NOISE):
        words += f"; {last.size} gives {last.rate:.3g}"
    return chosen, words


def _too_large(size: Size) -> str:
    return f"too large ({size.note})" if size.rate is None else size.note


def gigabytes(size: int) -> str:
    """Short enough for a table."""
    return f"{size / 1e9:.3g} GB" if size >= 1e9 else f"{size / 1e6:.3g} MB"
