"""What an index says of a file in numbers: rows, prompts, lengths, the gap and its spread, what was found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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
    """Measured by queries on the index; a second or two at a million pairs."""
    rows = index.rows
    pairs = index.files[file].pairs

    def one(sql: str, *values: Any) -> tuple[Any, ...]:
        return rows(sql, [*values])[0]

    bad = rows("SELECT kind, count(*) FROM bad_rows WHERE file = ? GROUP BY kind ORDER BY count(*) DESC", [file])
    (prompts,) = one("SELECT count(DISTINCT prompt) FROM pairs WHERE file = ?", file)
    scored, mean, inverted = one(
        "SELECT count(gap), avg(gap), coalesce(sum(gap < 0), 0) FROM pairs WHERE file = ? AND gap IS NOT NULL", file
    )
    counted = dict(
        rows(
            "SELECT min(CAST(round((gap + 1) * 10, 9) AS INTEGER), 19) AS bin, count(*) FROM pairs"
            " WHERE file = ? AND gap IS NOT NULL GROUP BY bin",
            [file],
        )
        if scored
        else []
    )
    bins = range(min(counted), max(counted) + 1) if counted else range(0)
    longer, shorter = one(
        "SELECT coalesce(sum(chosen_chars > rejected_chars), 0), coalesce(sum(chosen_chars < rejected_chars), 0)"
        " FROM pairs WHERE file = ?",
        file,
    )
    by_file = len(index.files) > 1
    findings = index.counts()
    if by_file:
        sql = "SELECT kind, count(*) FROM findings JOIN pairs ON id = pair WHERE file = ? GROUP BY kind"
        mine = dict(rows(sql, [file]))
        findings = {kind: int(mine.get(kind, 0)) for kind in findings}
    return Report(
        pairs=pairs,
        bad={str(kind): int(count) for kind, count in bad},
        prompts=int(prompts),
        scored=int(scored),
        mean=mean,
        median=_median(index, file, "gap", int(scored)),
        inverted=int(inverted),
        histogram=tuple((round(b / 10 - 1, 1), round(b / 10 - 0.9, 1), int(counted.get(b, 0))) for b in bins),
        lengths=tuple(_lengths(index, file, pairs)),
        longer_chosen=int(longer),
        longer_rejected=int(shorter),
        findings=findings,
    )


def share(index: Index, file: int, target: float) -> float | None:
    """The share of scored pairs whose gap is at least the target."""
    ((over, scored),) = index.rows(
        "SELECT coalesce(sum(gap >= ?), 0), count(gap) FROM pairs WHERE file = ? AND gap IS NOT NULL", [target, file]
    )
    return over / scored if scored else None


def _lengths(index: Index, file: int, pairs: int) -> Sequence[Lengths]:
    if not pairs:
        return []
    ((tokens,),) = index.rows("SELECT count(prompt_tokens) FROM pairs WHERE file = ?", [file])
    unit, suffix = ("tokens", "tokens") if tokens == pairs else ("characters", "chars")
    found = []
    for what in ("prompt", "chosen", "rejected"):
        column = f"{what}_{suffix}"
        median = _median(index, file, column, pairs)
        ((longest,),) = index.rows(f"SELECT max({column}) FROM pairs WHERE file = ?", [file])  # noqa: S608
        found.append(Lengths(what, unit, median or 0.0, int(longest)))
    return found


def _median(index: Index, file: int, column: str, count: int) -> float | None:
    """The middle of a column, one of the index's own."""
    if not count:
        return None
    sql = (
        f"SELECT avg({column}) FROM (SELECT {column} FROM pairs WHERE file = ? AND {column} IS NOT NULL"  # noqa: S608
        f" ORDER BY {column} LIMIT ? OFFSET ?)"
    )
    ((middle,),) = index.rows(sql, [file, 2 - count % 2, (count - 1) // 2])
    return None if middle is None else float(middle)
