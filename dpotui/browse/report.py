"""What an index says of a file in numbers: rows, prompts, lengths, the gap and its spread, what was found."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from operator import gt, lt
from typing import Any

from core.data.index import Index

BINS = 20


@dataclass(frozen=True, slots=True)
class Lengths:
    """Of one text of the pairs: how long half of them are at most, and the longest."""

    what: str
    unit: str
    median: float
    longest: int


@dataclass(frozen=True, slots=True)
class Report:
    """`histogram`: (from, to, pairs) in steps of 0.1 over the gaps there are; `values` are sorted for `share`."""

    pairs: int
    bad: dict[str, int]
    prompts: int
    scored: int
    mean: float | None
    median: float | None
    inverted: int
    histogram: tuple[tuple[float, float, int], ...]
    lengths: tuple[Lengths, ...]
    longer_chosen: int
    longer_rejected: int
    findings: dict[str, int]

    @property
    def rows(self) -> int:
        return self.pairs + sum(self.bad.values())


def report(index: Index, file: int) -> Report:
    """Measured in one pass over the index, a few thousand pairs at a time, and by two queries that sort: some seconds
    at a million pairs, in which whoever shares the process is not held up."""
    pairs = index.files[file].pairs
    bad = index.rows("SELECT kind, count(*) FROM bad_rows WHERE file = ? GROUP BY kind ORDER BY count(*) DESC", [file])
    # A GROUP BY is sorted, a DISTINCT is looked up pair by pair.
    ((prompts,),) = index.rows("SELECT count(*) FROM (SELECT prompt FROM pairs WHERE file = ? GROUP BY prompt)", [file])
    passed = _Pass()
    first = sum(each.pairs for each in index.files[:file])
    for start in range(first, first + pairs, _CHUNK):
        passed.add(index.rows(_COLUMNS, [start, min(start + _CHUNK, first + pairs)]))
    findings = index.counts()
    if len(index.files) > 1:
        sql = "SELECT kind, count(*) FROM findings JOIN pairs ON id = pair WHERE file = ? GROUP BY kind"
        mine = dict(index.rows(sql, [file]))
        findings = {kind: int(mine.get(kind, 0)) for kind in findings}
    bins = range(min(passed.bins), max(passed.bins) + 1) if passed.bins else range(0)
    unit = "tokens" if pairs and passed.tokens == pairs else "characters"
    return Report(
        pairs=pairs,
        bad={str(kind): int(count) for kind, count in bad},
        prompts=int(prompts),
        scored=passed.scored,
        mean=passed.gaps / passed.scored if passed.scored else None,
        median=_median_gap(index, file, passed.scored),
        inverted=passed.inverted,
        histogram=tuple((round(b / 10 - 1, 1), round(b / 10 - 0.9, 1), passed.bins[b]) for b in bins),
        lengths=tuple(
            Lengths(what, unit, _middle(passed.lengths[unit][what]), max(passed.lengths[unit][what]))
            for what in _TEXTS
            if pairs
        ),
        longer_chosen=passed.longer_chosen,
        longer_rejected=passed.longer_rejected,
        findings=findings,
    )


_TEXTS = ("prompt", "chosen", "rejected")
_CHUNK = 2000
_COLUMNS = (
    "SELECT prompt_chars, chosen_chars, rejected_chars, prompt_tokens, chosen_tokens, rejected_tokens, gap FROM pairs"
    " WHERE id >= ? AND id < ?"
)


class _Pass:
    """What is counted pair by pair. Lengths are few different numbers, however many pairs there are."""

    def __init__(self) -> None:
        self.lengths: dict[str, dict[str, Counter[int]]] = {
            unit: {what: Counter() for what in _TEXTS} for unit in ("characters", "tokens")
        }
        self.bins: Counter[int] = Counter()
        self.tokens = self.scored = self.inverted = self.longer_chosen = self.longer_rejected = 0
        self.gaps = 0.0

    def add(self, rows: list[tuple[Any, ...]]) -> None:
        if not rows:
            return
        columns = list(zip(*rows, strict=True))
        for what, characters, tokens in zip(_TEXTS, columns[:3], columns[3:6], strict=True):
            self.lengths["characters"][what].update(characters)
            self.lengths["tokens"][what].update(count for count in tokens if count is not None)
        self.tokens += sum(count is not None for count in columns[3])
        self.longer_chosen += sum(map(gt, columns[1], columns[2]))
        self.longer_rejected += sum(map(lt, columns[1], columns[2]))
        gaps = [gap for gap in columns[6] if gap is not None]
        self.scored += len(gaps)
        self.gaps += math.fsum(gaps)
        self.inverted += sum(gap < 0 for gap in gaps)
        # 0.7 belongs to the bin that begins there, although (0.7 + 1) * 10 may fall a hair short.
        self.bins.update(min(int(round((gap + 1) * BINS / 2, 9)), BINS - 1) for gap in gaps)


def _middle(counts: Counter[int]) -> float:
    """The median of numbers of which each stands there so often."""
    total = counts.total()
    seen, low = 0, None
    for number in sorted(counts):
        seen += counts[number]
        if low is None and 2 * seen >= total:
            low = number
        if low is not None and seen > total // 2:
            return (low + number) / 2 if total % 2 == 0 else float(number)
    return float(low or 0)


def _median_gap(index: Index, file: int, scored: int) -> float | None:
    if not scored:
        return None
    sql = (
        "SELECT avg(gap) FROM (SELECT gap FROM pairs WHERE file = ? AND gap IS NOT NULL ORDER BY gap LIMIT ? OFFSET ?)"
    )
    ((middle,),) = index.rows(sql, [file, 2 - scored % 2, (scored - 1) // 2])
    return None if middle is None else float(middle)


def share(index: Index, file: int, target: float) -> float | None:
    """The share of scored pairs whose gap is at least the target."""
    ((over, scored),) = index.rows(
        "SELECT coalesce(sum(gap >= ?), 0), count(gap) FROM pairs WHERE file = ? AND gap IS NOT NULL", [target, file]
    )
    return over / scored if scored else None
