"""Prompts that stand in more than one of several files, or nearly: an exact search, no estimate."""

from __future__ import annotations

import itertools
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.data.jsonl import BadRow
from core.data.messages import text_hash, text_key
from core.data.near_duplicates import THRESHOLD
from core.data.pairs import read_pairs

_BATCH = 512
# Prompts from which it is learnt how common pairs of words are.
_SAMPLE = 10_000
# Comparisons of two prompts before the search says that it is not complete: a few minutes' work.
BUDGET = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Leaks:
    """What several files share, in prompts.

    Attributes:
        exact: prompts that stand in more than one of them.
        near: prompts of one of them that are nearly a prompt of another one, as often as another one has such a prompt.
        pairs: hashes (`core.data.messages.text_hash`) of prompts that are nearly the same, in different files.
        complete: whether every prompt was compared with every one that could be near it.
    """

    prompts: tuple[int, ...]  # different ones, by file
    exact: int
    near: int
    pairs: tuple[tuple[int, int], ...]
    complete: bool


def shared_prompts(
    paths: Sequence[Path], *, threshold: float = THRESHOLD, progress: Callable[[int], None] | None = None
) -> Leaks:
    """Compare the prompts of the first file with those of the others, and those of the others with each other.

    Near means a Jaccard of the sets of neighbouring words (`core.data.shingles`) of `threshold` or more. Two such sets
    share one of the rarest few words of each (prefix filter: Bayardo, Ma, Srikant 2007), so that what has none in
    common need not be compared. Memory grows with the prompts of all files but the first: put the largest there.

    Args:
        progress: told how many prompts were read.
    """
    index = _Index(threshold)
    known: list[set[int]] = [set() for _ in paths]
    exact: set[int] = set()
    near: set[tuple[int, int]] = set()
    count = 0
    for number in (*range(1, len(paths)), 0):
        others = [known[other] for other in range(len(paths)) if other != number]
        for hashes, texts in _batches(paths[number], known[number]):
            exact.update(key for key in hashes if any(key in other for other in others))
            near |= index.near(hashes, texts, number, keep=number > 0)
            count += len(texts)
            if progress is not None:
                progress(count)
    told = sorted(near)
    return Leaks(tuple(map(len, known)), len(exact), len(told), tuple(told), not index.exhausted)


def _batches(path: Path, seen: set[int]) -> Iterator[tuple[list[int], list[str]]]:
    """The different prompts of a file with their hashes, which are put into `seen`."""
    hashes: list[int] = []
    texts: list[str] = []
    for pair in read_pairs(path):
        if isinstance(pair, BadRow):
            continue
        text = text_key(pair.prompt)
        key = text_hash(text)
        if key in seen:
            continue
        seen.add(key)
        hashes.append(key)
        texts.append(text)
        if len(texts) == _BATCH:
            yield hashes, texts
            hashes, texts = [], []
    if texts:
        yield hashes, texts


class _Index:
    """Sets of prompts on the side that is held in memory, found by their rarest words."""

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._hashes = array("Q")
        self._files = array("I")
        self._values = array("Q")  # of all sets, one after the other
        self._starts = array("Q", [0])
        self._by_word: dict[int, list[int]] = {}
        self._outlines: list[int] = []
        self._common: dict[int, int] = {}
        self._looked = 0
        self.exhausted = False

    def near(self, hashes: list[int], texts: list[str], file: int, *, keep: bool) -> set[tuple[int, int]]:
        """Those of these prompts that are nearly one of another file; with `keep` they are found themselves later."""
        found: set[tuple[int, int]] = set()
        for key, values in zip(hashes, self._sets(texts, learn=keep), strict=True):
            size = len(values)
            # Of two sets alike enough, one word at least is among so many of the rarest of each.
            rarest = values[: size - _least(self._threshold * size) + 1]
            candidates = {other for value in rarest for other in self._by_word.get(value, ())}
            outline = _outline(values)
            if candidates and self._looked < BUDGET:
                self._looked += len(candidates)
                # Of this set and one that is alike enough, at most so many are in one of them only.
                room = (1 - self._threshold) / self._threshold * size + 1e-9
                outlines = self._outlines
                likely = [other for other in candidates if (outlines[other] ^ outline).bit_count() <= room]
                mine = frozenset(values)
                for other in likely:
                    # The same prompt on two sides is no near-duplicate: it is counted as what it is.
                    if self._files[other] != file and self._hashes[other] != key and self._alike(mine, other):
                        found.add((min(key, self._hashes[other]), max(key, self._hashes[other])))
            elif candidates:
                self.exhausted = True
            if keep:
                number = len(self._hashes)
                self._hashes.append(key)
                self._outlines.append(outline)
                self._files.append(file)
                self._values.extend(values)
                self._starts.append(len(self._values))
                for value in rarest:
                    self._by_word.setdefault(value, []).append(number)
        return found

    def _alike(self, mine: frozenset[int], other: int) -> bool:
        begin, end = self._starts[other], self._starts[other + 1]
        small, large = sorted((len(mine), end - begin))
        if small < self._threshold * large:
            return False
        shared = len(mine.intersection(self._values[begin:end]))
        return shared >= self._threshold * (small + large - shared)

    def _sets(self, texts: list[str], *, learn: bool) -> Iterator[list[int]]:
        """The set of each text, the rarest numbers first, in an order that is the same for all texts."""
        from core.data.shingles import shingle

        made = shingle(texts)
        numbers: list[int] = made.numbers.tolist()
        offsets: Any = made.offsets.tolist()
        each = [set(numbers[begin:end]) for begin, end in itertools.pairwise(offsets)]
        if learn and not self._hashes:
            for values in each[:_SAMPLE]:
                for value in values:
                    self._common[value] = self._common.get(value, 0) + 1
            self._common = {value: count for value, count in self._common.items() if count > 1}
        common = self._common
        for values in each:
            yield sorted(values, key=lambda value: (common.get(value, 0), value))


def _outline(values: list[int]) -> int:
    """A few bits for a set: those that differ between two sets are no more than the numbers that differ."""
    bits = 0
    for value in values:
        bits |= 1 << (value & 255)
    return bits


def _least(number: float) -> int:
    """The smallest whole number that is not below; what floating point added by rounding does not count."""
    return -int(-(number - 1e-9) // 1)
