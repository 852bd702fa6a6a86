"""How far those who judged the same things agree: Cohen's or Fleiss' kappa by nltk, and the plain share beside it."""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from core.intervals import Z

Kind = Literal["Cohen", "Fleiss", "mean pairwise Cohen"]

# Leaving out each way to label an item in turn takes nltk 30 µs an item and pair of coders: at most a second or two.
_INTERVAL_WORK = 60_000

_ALL_ONE = "every label is the same one, so chance alone would agree as well"


@dataclass(frozen=True, slots=True)
class Agreement:
    """Of coders (people, judges) on items.

    Attributes:
        kappa: (observed - expected by chance) / (1 - expected): 1 is perfect, 0 is chance, below 0 is worse. None where
            it is undefined; `reason` says why.
        kind: Cohen (1960) between two; Fleiss (1971) between more who all judged every item; else the mean of Cohen's
            over the pairs of coders who share items.
        items: judged by at least two.
        coders: those who share an item with another.
        observed: share of agreeing pairs of labels of one item, None without any.
        reason: why there is no kappa, or what was left out of it; "" where nothing is to be said.
        low, high: 95 % interval of kappa by the jackknife over items, within -1 and 1; None where it cannot be had.
    """

    kappa: float | None
    kind: Kind
    items: int
    coders: int
    observed: float | None
    reason: str
    low: float | None = None
    high: float | None = None


def agreement(labels: Iterable[tuple[Hashable, Hashable, Hashable]]) -> Agreement:
    """Agreement of coders.

    Args:
        labels: (coder, item, label), in any order. The last label that a coder gave an item counts; items that one
            coder alone judged say nothing and are passed over.
    """
    given: dict[Hashable, dict[Hashable, Hashable]] = defaultdict(dict)
    for coder, item, label in labels:
        given[item][coder] = label
    # Plain numbers instead of names: nltk sorts them, and names may be of any kind.
    numbers: dict[Hashable, int] = {}
    words: dict[Hashable, int] = {}
    rows = []
    for row in given.values():
        if len(row) > 1:
            named = ((numbers.setdefault(c, len(numbers)), words.setdefault(w, len(words))) for c, w in row.items())
            rows.append(tuple(sorted(named)))
    coders = len(numbers)
    kind: Kind = "Cohen"
    if coders > 2:
        kind = "Fleiss" if all(len(row) == coders for row in rows) else "mean pairwise Cohen"
    kappa, reason = _kappa(kind, rows)
    low = high = None
    if kappa is not None:
        low, high = _interval(kind, rows, kappa)
    return Agreement(kappa, kind, len(rows), coders, _observed(rows), reason, low, high)


_Row = tuple[tuple[int, int], ...]  # of one item: (coder, label), sorted


def _observed(rows: Sequence[_Row]) -> float | None:
    agreeing = every = 0
    for row in rows:
        counts = Counter(label for _, label in row)
        agreeing += sum(count * (count - 1) for count in counts.values())
        every += len(row) * (len(row) - 1)
    return agreeing / every if every else None


def _kappa(kind: Kind, rows: Sequence[_Row]) -> tuple[float | None, str]:
    """The coefficient, or None and why; a word too where something was left out of it."""
    if not rows:
        return None, "nothing was judged by two"
    if len(rows) == 1:
        return None, "only one item was judged by two"
    if kind == "mean pairwise Cohen":
        return _mean_pairwise(rows)
    if len({label for row in rows for _, label in row}) == 1:
        return None, _ALL_ONE
    # nltk gives 1 where all labels are one; there, kappa is 0 / 0, and that has been said already.
    task = _task(rows)
    return float(task.kappa() if kind == "Cohen" else task.pi()), ""


def _mean_pairwise(rows: Sequence[_Row]) -> tuple[float | None, str]:
    shared: dict[tuple[int, int], list[_Row]] = defaultdict(list)
    for row in rows:
        for first, second in itertools.combinations(row, 2):
            shared[first[0], second[0]].append((first, second))
    found = [kappa for kappa, _ in (_kappa("Cohen", between) for between in shared.values()) if kappa is not None]
    left = len(shared) - len(found)
    why = "one item shared, or every label the same"
    if not found:
        return None, f"no two coders have a kappa of their own ({why})"
    told = f"not everybody judged everything: mean over {len(found)} pair{'s' if len(found) > 1 else ''} of coders"
    return math.fsum(found) / len(found), told + (f", {left} left out ({why})" if left else "")


def _task(rows: Sequence[_Row]):  # type: ignore[no-untyped-def]  # noqa: ANN202  (nltk has no types)
    # nltk brings numpy with it, which the terminal does without until somebody asks.
    from nltk.metrics.agreement import AnnotationTask  # type: ignore[import-untyped]

    # nltk's multi_kappa is another coefficient (Davies and Fleiss 1982); its multi-pi is what Fleiss published in 1971.
    return AnnotationTask([(coder, item, label) for item, row in enumerate(rows) for coder, label in row])


def _interval(kind: Kind, rows: Sequence[_Row], kappa: float) -> tuple[float | None, float | None]:
    """By the jackknife (Efron and Tibshirani 1993, eq. 11.5): items labelled alike are left out once for all of them.

    Perfect agreement has no spread to show, and no interval here.
    """
    patterns = Counter(rows)
    n = len(rows)
    coders = max(map(len, rows), default=0)
    if n < 3 or n * len(patterns) * coders * (coders - 1) // 2 > _INTERVAL_WORK:
        return None, None
    without = []
    for pattern, count in patterns.items():
        rest = list(rows)
        rest.remove(pattern)
        value, _ = _kappa(kind, rest)
        if value is None:
            return None, None
        without.append((value, count))
    mean = math.fsum(value * count for value, count in without) / n
    spread = math.fsum(count * (value - mean) ** 2 for value, count in without)
    half = Z * math.sqrt((n - 1) / n * spread)
    return (max(-1.0, kappa - half), min(1.0, kappa + half)) if half else (None, None)
