"""Pairs of low quality by a reward model: which go under a rule, what that changes, and a copy without them."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import accumulate, islice
from pathlib import Path
from typing import Any, Literal

from core.data.gap import find_scale
from core.data.jsonl import BadRow, read_lines, row_in, row_of
from core.data.lines import open_regular
from core.data.manifest import refuse_target, stamp, writing
from core.data.messages import text_hash, text_key
from core.data.outputs import refuse_overwriting
from core.data.pairs import Pair, pair_of, read_pairs
from core.data.reward_cache import RewardCache, pair_key
from core.errors import UserError
from core.text import one_line, printable

Kind = Literal["min_margin", "drop_share", "keep_agreeing"]
Progress = Callable[[int, int | None, str | None], None]

# Rewards nearer than this are a tie, as in `core.training.reward`: the model prefers neither.
TIE = 1e-4
# Rows that are no pairs, or that the model cannot read, which are named one by one.
NAMED = 20
_WINDOW = 500


@dataclass(frozen=True, slots=True)
class Rule:
    """What makes a pair go, by its margin r_w - r_l.

    min_margin: it is below `value`. drop_share: it is among this share with the lowest. keep_agreeing: the model
    prefers the rejected response; a tie stays.
    """

    kind: Kind
    value: float = 0.0

    @property
    def words(self) -> str:
        if self.kind == "min_margin":
            return f"margin below {self.value:g}"
        if self.kind == "drop_share":
            return f"the {100 * self.value:g} % with the lowest margin"
        return "the model prefers the rejected response"

    @property
    def option(self) -> str:
        """As the command line has it."""
        name = f"--{self.kind.replace('_', '-')}"
        return name if self.kind == "keep_agreeing" else f"{name} {self.value:g}"

    @property
    def parameters(self) -> dict[str, Any]:
        return {"rule": self.kind} if self.kind == "keep_agreeing" else {"rule": self.kind, "value": self.value}


@dataclass(frozen=True, slots=True)
class Effect:
    """What a file of pairs is like. None where nothing is left, or nothing says."""

    pairs: int
    prompts: int
    agreeing: float | None  # share of the scored pairs, ties count half
    gap: float | None  # mean of the scores that the file itself has, on 0 to 1
    longer: float | None  # share with the longer response chosen


@dataclass(slots=True)
class ScoredFile:
    """Pairs of a file with their margins, as arrays: a million of them are 80 MB."""

    path: Path
    stamp: tuple[int, ...] | None
    lines: array[int] = field(default_factory=lambda: array("Q"))
    offsets: array[int] = field(default_factory=lambda: array("q"))  # -1 where a row cannot be read by itself
    lengths: array[int] = field(default_factory=lambda: array("Q"))
    places: array[int] = field(default_factory=lambda: array("Q"))  # number among all pairs of the file
    chosen: array[float] = field(default_factory=lambda: array("d"))
    rejected: array[float] = field(default_factory=lambda: array("d"))
    prompts: array[int] = field(default_factory=lambda: array("Q"))
    gaps: array[float] = field(default_factory=lambda: array("d"))  # NaN where the row has no scores
    longer: array[float] = field(default_factory=lambda: array("d"))  # 1, 0, or 1/2 where both are as long
    pairs: int = 0
    missing: int = 0  # not scored yet
    unread: int = 0  # the model cannot read them: they stay
    bad: int = 0
    named: list[str] = field(default_factory=list)  # the first of the bad and unread, with line and reason
    score_fields: set[str] = field(default_factory=set)
    ends: tuple[float, float] = (math.inf, -math.inf)  # of the scores
    unread_prompts: set[int] = field(default_factory=set)

    @property
    def scale(self) -> float | None:
        """How wide the scale of the file's own scores is; None where they are of several kinds, or none."""
        found = find_scale(*self.ends) if len(self.score_fields) == 1 else None
        return None if found is None else found[1] - found[0]


def read_scored(path: Path, cache: RewardCache, progress: Progress | None = None) -> ScoredFile:
    """A file as far as it is scored, in one pass.

    Raises:
        UserError: it cannot be read at all.
    """
    found = ScoredFile(path, stamp(path))
    rows = read_pairs(path)
    while window := list(islice(rows, _WINDOW)):
        known = iter(cache.known([pair_key(row) for row in window if isinstance(row, Pair)]))
        for pair in window:
            if isinstance(pair, BadRow):
                found.bad += 1
                _name(found, pair.line, pair.reason)
                continue
            rewards = next(known)
            place, found.pairs = found.pairs, found.pairs + 1
            if rewards is None:
                found.missing += 1
            elif rewards.chosen is None or rewards.rejected is None:
                found.unread += 1
                found.unread_prompts.add(text_hash(text_key(pair.prompt)))
                _name(found, pair.line, rewards.why or "the model cannot read it")
            else:
                _add(found, pair, place, rewards.chosen, rewards.rejected)
        if progress is not None:
            progress(found.pairs, None, "read")
    return found


def _name(found: ScoredFile, line: int, reason: str) -> None:
    if len(found.named) < NAMED:
        found.named.append(f"{printable(found.path.name)}:{line}: {one_line(reason, 200)}")


def _add(found: ScoredFile, pair: Pair, place: int, chosen: float, rejected: float) -> None:
    found.lines.append(pair.line)
    found.offsets.append(pair.offset)
    found.lengths.append(max(0, pair.length))
    found.places.append(place)
    found.chosen.append(chosen)
    found.rejected.append(rejected)
    found.prompts.append(text_hash(text_key(pair.prompt)))
    lengths = len(text_key(pair.chosen)), len(text_key(pair.rejected))
    found.longer.append(0.5 if lengths[0] == lengths[1] else float(lengths[0] > lengths[1]))
    if pair.chosen_score is None or pair.rejected_score is None:
        found.gaps.append(math.nan)
        return
    found.gaps.append(pair.chosen_score - pair.rejected_score)
    found.score_fields.add(pair.score_fields)
    low, high = found.ends
    found.ends = (
        min(low, pair.chosen_score, pair.rejected_score),
        max(high, pair.chosen_score, pair.rejected_score),
    )


class Ranking:
    """The pairs of a scored file from the lowest margin up. Under every rule some number of the first ones goes, so
    what any cut changes is looked up, not counted: a person moves it and sees."""

    def __init__(self, scored: ScoredFile) -> None:
        self.scored = scored
        margins = [c - r for c, r in zip(scored.chosen, scored.rejected, strict=True)]
        self.order = sorted(range(len(margins)), key=margins.__getitem__)  # of equal margins the earlier line first
        self.margins = [margins[i] for i in self.order]
        # Ahead of each of them: how many agree, the sum of gaps, how many have one, how many chose the longer.
        self._agreeing = _sums(1.0 if m > TIE else 0.5 if m >= -TIE else 0.0 for m in self.margins)
        gaps = [scored.gaps[i] for i in self.order]
        self._gaps = _sums(0.0 if math.isnan(g) else g for g in gaps)
        self._with_gap = _sums(0.0 if math.isnan(g) else 1.0 for g in gaps)
        self._longer = _sums(scored.longer[i] for i in self.order)
        last: dict[int, int] = {}
        for rank, i in enumerate(self.order):
            last[scored.prompts[i]] = rank
        # A prompt stays with any of its pairs, also one that the model cannot read.
        self._lost = sorted(rank for prompt, rank in last.items() if prompt not in scored.unread_prompts)
        self._prompts = len(last.keys() | scored.unread_prompts)
        self._scale = scored.scale

    def __len__(self) -> int:
        return len(self.order)

    def goes(self, rule: Rule) -> int:
        """How many pairs, counted from the lowest margin."""
        if rule.kind == "min_margin":
            return bisect_left(self.margins, rule.value)
        if rule.kind == "drop_share":
            # 0.15 of 20 is 3, although 0.15 * 20 falls a hair short of it.
            return min(len(self), math.floor(rule.value * len(self) + 1e-9))
        return bisect_left(self.margins, -TIE)

    def effect(self, gone: int) -> Effect:
        """The file without the first `gone`."""
        left = len(self) - gone
        with_gap = self._with_gap[-1] - self._with_gap[gone]
        gap = None
        if self._scale is not None and with_gap:
            gap = (self._gaps[-1] - self._gaps[gone]) / with_gap / self._scale
        return Effect(
            pairs=self.scored.pairs - gone,
            prompts=self._prompts - bisect_left(self._lost, gone),
            agreeing=(self._agreeing[-1] - self._agreeing[gone]) / left if left else None,
            gap=gap,
            longer=(self._longer[-1] - self._longer[gone]) / left if left else None,
        )

    def histogram(self, bins: int) -> list[tuple[float, float, int]]:
        """From, to and how many, in equal steps over all margins."""
        if not self.margins:
            return []
        low, high = self.margins[0], self.margins[-1]
        step = (high - low) / bins or 1.0
        edges = [low + step * i for i in range(bins)]
        starts = [bisect_left(self.margins, edge) for edge in edges] + [len(self)]
        starts[0] = 0
        return [(edges[i], edges[i] + step, starts[i + 1] - starts[i]) for i in range(bins)]

    def gone_in(self, low: float, high: float, gone: int) -> int:
        """How many of the first `gone` have a margin from `low` to below `high`."""
        return max(0, min(gone, bisect_left(self.margins, high)) - bisect_left(self.margins, low))

    def median(self) -> float:
        return self.margins[len(self) // 2]

    def findings(self, gone: int) -> Iterator[tuple[int, str, int | None]]:
        """One row for the index of each pair that goes: its number, its margin, no cluster."""
        for rank in range(gone):
            yield self.scored.places[self.order[rank]], f"margin {self.margins[rank]:.3f}", None


def _sums(values: Any) -> list[float]:
    return [0.0, *accumulate(values)]


def suggestions(ranking: Ranking) -> list[Rule]:
    """Rules worth looking at where none was named."""
    found = [Rule("keep_agreeing"), *(Rule("drop_share", share) for share in (0.05, 0.1, 0.2))]
    return [*found, *(Rule("min_margin", margin) for margin in (0.0, 0.5, 1.0))]


@dataclass(frozen=True, slots=True)
class Example:
    """A pair that goes, in words."""

    line: int
    margin: float
    pair: Pair


def examples(ranking: Ranking, first: int, count: int, *, scan: bool = True) -> list[Example]:
    """Pairs number `first` and on from the lowest margin, read from the file.

    Args:
        scan: go through the file where a row cannot be read by itself (gzip, CSV, Parquet); else such pairs are left
            out.

    Raises:
        UserError: the file is gone.
    """
    scored = ranking.scored
    ranks = range(max(0, first), min(first + count, len(ranking)))
    found: dict[int, Pair] = {}
    lines: dict[int, int] = {}
    with open_regular(scored.path, printable(str(scored.path))) as file:
        for rank in ranks:
            i = ranking.order[rank]
            if scored.offsets[i] < 0:
                lines[scored.lines[i]] = rank
                continue
            file.seek(scored.offsets[i])
            row = row_of(scored.lines[i], file.read(scored.lengths[i]))
            pair = row if isinstance(row, BadRow) else pair_of(row)
            if isinstance(pair, Pair):
                found[rank] = pair
    for other in read_pairs(scored.path) if lines and scan else ():
        if isinstance(other, Pair) and other.line in lines:
            found[lines.pop(other.line)] = other
            if not lines:
                break
    return [Example(found[rank].line, ranking.margins[rank], found[rank]) for rank in ranks if rank in found]


@dataclass(frozen=True, slots=True)
class Filtered:
    """What was written."""

    path: Path
    read: int
    written: int
    gone: int
    bad: int
    sha256: str


def refuse_output(out: Path, source: Path) -> None:
    """
    Raises:
        UserError: it stands there, or it is what is read.
    """
    refuse_overwriting([out], [source])
    refuse_target(out, [source])
    if out.exists() or out.is_symlink():
        raise UserError(f"{printable(str(out))} stands there already, and is not written over: name another file")


def write_filtered(
    ranking: Ranking, gone: int, out: Path, parameters: dict[str, Any], progress: Progress | None = None
) -> Filtered:
    """Copy the file without the first `gone` pairs and without rows that are none, each row byte for byte.

    Args:
        parameters: for the manifest: rule, model and its hash.

    Raises:
        UserError: the output stands there, cannot be written, or would be empty; the file changed since it was scored.
    """
    scored = ranking.scored
    refuse_output(out, scored.path)
    if gone >= scored.pairs:
        raise UserError(f"all {scored.pairs} pairs of {printable(str(scored.path))} would go: take a milder rule")
    lines = {scored.lines[ranking.order[rank]] for rank in range(gone)}
    read = bad = 0
    with writing(out, command="data filter", parameters=parameters, parents=[scored.path]) as writer:
        if stamp(scored.path) != scored.stamp:
            raise UserError(f"{printable(str(scored.path))} changed since it was scored: run it again")
        for line in read_lines(scored.path):
            row = row_in(line)
            read += 1
            if isinstance(row, BadRow) or isinstance(pair_of(row), BadRow):
                bad += 1
            elif line.number not in lines:
                writer.line(line.raw)
            if progress is not None:
                progress(read, None, "written")
        writer.counts |= {"pairs": writer.rows, "low quality": gone, "no pairs": bad}
        if scored.unread:
            writer.counts["not scored, kept"] = scored.unread
    return Filtered(out, read, writer.rows, gone, bad, writer.sha256)
