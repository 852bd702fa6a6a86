"""Whole groups dealt into parts whose sizes come as close to what was asked for as whole groups allow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence


def closest(sizes: Mapping[int, int], order: Sequence[int], target: int, leave: int = 1) -> list[int]:
    """Groups that together are as near to `target` as any choice of groups is; one at least, and not all of them.

    Groups are taken as they come in `order` as long as they fit, so that a shuffled order gives a random part. Only
    where that misses and another choice does not, some of the last ones are exchanged.

    Args:
        sizes: of all groups, 1 or more each.
        order: the groups to choose from.
        target: the sum that is wanted.
        leave: so many groups at least must not be taken; fewer than there are. To keep that, the sum may be smaller.
    """
    found = _closest(sizes, order, target)
    return found[: max(1, len(order) - leave)]


def _closest(sizes: Mapping[int, int], order: Sequence[int], target: int) -> list[int]:
    taken: list[int] = []
    room = target
    for group in order:
        if sizes[group] <= room and len(taken) < len(order) - 1:
            taken.append(group)
            room -= sizes[group]
        if not room:
            return taken
    best = _best(Counter(sizes[group] for group in order), target)
    if taken and room <= abs(best - target):
        return taken
    chosen = set(taken)
    rest = [group for group in order if group not in chosen]
    # From the last ones on, as many are given back as it takes. With all of them given back the sum can be reached.
    back = 1
    while True:
        kept = taken[: max(0, len(taken) - back)]
        pool = taken[len(kept) :] + rest
        found = _exactly(sizes, pool, best - sum(sizes[group] for group in kept))
        if found is not None and kept + found:
            return kept + found
        assert kept, "a sum that can be reached was not"
        back *= 4


def _best(counts: Counter[int], target: int) -> int:
    """The sum nearest to the target that some of the groups have; not of none of them, and not of all."""
    whole = sum(size * count for size, count in counts.items())
    sums = 1  # bit n: a sum of n can be reached
    for size, count in _bundles(counts):
        sums |= sums << (size * count)
    sums &= ~(1 | 1 << whole)
    below = (sums & ((1 << (target + 1)) - 1)).bit_length() - 1
    higher = sums >> (target + 1)
    above = target + (higher & -higher).bit_length() if higher else None
    if above is None or (below > 0 and target - below <= above - target):
        return below
    return above


def _bundles(counts: Counter[int]) -> list[tuple[int, int]]:
    """(size, how many at once), such that any number of each size is a sum of some of them."""
    found = []
    for size, count in sorted(counts.items(), reverse=True):
        some = 1
        while count:
            some = min(some, count)
            found.append((size, some))
            count -= some
            some *= 2
    return found


def _exactly(sizes: Mapping[int, int], pool: Sequence[int], wanted: int) -> list[int] | None:
    """Groups of the pool that together are just as large as wanted; None where there are none."""
    if wanted < 0:
        return None
    counts = Counter(sizes[group] for group in pool)
    capped = Counter({size: min(count, wanted // size) for size, count in counts.items() if size <= wanted})
    bundles = _bundles(capped)
    mask = (1 << (wanted + 1)) - 1
    steps = [1]
    for size, count in bundles:
        steps.append((steps[-1] | steps[-1] << (size * count)) & mask)
    if not steps[-1] >> wanted & 1:
        return None
    need: Counter[int] = Counter()
    for (size, count), before in zip(reversed(bundles), reversed(steps[:-1]), strict=True):
        if not before >> wanted & 1:
            need[size] += count
            wanted -= size * count
    found = []
    for group in pool:
        if need[sizes[group]]:
            need[sizes[group]] -= 1
            found.append(group)
    return found
