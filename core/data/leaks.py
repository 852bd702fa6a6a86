"""Prompts that stand in more than one of several files, or nearly: searched exactly, and by MinHash where that is too
much."""

from __future__ import annotations

import os
import tempfile
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.data.jsonl import BadRow
from core.data.messages import text_hash, text_key
from core.data.near_duplicates import BANDS, PERMUTATIONS, ROWS, THRESHOLD, Signatures
from core.data.pairs import read_pairs

if TYPE_CHECKING:
    import numpy as np

    from core.data.shingles import Numbers, Places

EXACT, MINHASH = "exact", "minhash"
# Looks at two prompts before the exact search gives way to the other one, and that one gives up: about a minute's work.
BUDGET = 1_000_000_000
# Permutations that grouping (`core.data.near_duplicates.SEED`) did not use: what it missed by chance is found here.
SEED = 7_919
# Of prompts alike by just the threshold a search finds this share, or it proves nothing.
CERTAIN = 0.99
# To compare two sets number by number takes as long as so many looks at their outlines; to read and compare two prompts
# as so many looks at their signatures.
_COMPARISON = 500
_READING = 2000
_BATCH = 512
_PIECE = 1 << 20  # looks that are made at once
_BUCKETS = 1 << 22
_KEPT = 100_000
# Below the threshold by this much in the signatures' estimate (four standard deviations), two texts are not compared.
_DOUBT = 0.145


@dataclass(frozen=True, slots=True)
class Leaks:
    """What several files share, in prompts.

    Attributes:
        exact: prompts that stand in more than one of them.
        near: prompts of one of them that are nearly a prompt of another one, as often as another one has such a prompt.
        pairs: hashes (`core.data.messages.text_hash`) of prompts that are nearly the same, in different files.
        complete: whether the search came to its end, and finds what is there (see `certainty`).
        method: EXACT, or MINHASH where the exact search would have taken too long.
        certainty: the chance that the search finds two prompts that are alike by just the threshold.
    """

    prompts: tuple[int, ...]  # different ones, by file
    exact: int
    near: int
    pairs: tuple[tuple[int, int], ...]
    complete: bool
    method: str = EXACT
    certainty: float = 1.0

    @property
    def search(self) -> str:
        """How it was searched, as the end of a sentence."""
        if not self.complete:
            return "not all were compared: too many are alike"
        if self.method == EXACT:
            return "searched exactly"
        return (
            f"searched by MinHash, with permutations of its own: {self.certainty:.1%} of those alike by just the"
            " threshold are found, and more of those more alike"
        )


class _TooMuch(Exception):
    """The budget is spent."""


def shared_prompts(
    paths: Sequence[Path], *, threshold: float = THRESHOLD, progress: Callable[[int], None] | None = None
) -> Leaks:
    """Compare the prompts of the first file with those of the others, and those of the others with each other.

    Near means a Jaccard of the sets of neighbouring words (`core.data.shingles`) of `threshold` or more. Two such sets
    share one of the rarest few words of each (prefix filter: Bayardo, Ma, Srikant 2007), so that what has none in
    common need not be compared. Where even the rarest words are common to too many prompts, it is searched by MinHash
    instead. Memory grows with the prompts of all files but the first: put the largest there.

    Args:
        progress: told how many prompts were read.
    """
    known: list[set[int]] = [set() for _ in paths]
    exact: set[int] = set()
    near: set[tuple[int, int]] = set()
    index = _Index(threshold)
    tell = progress or (lambda done: None)
    count = 0
    for number in range(1, len(paths)):
        for hashes, texts in _batches(paths[number], known[number]):
            index.add(hashes, texts, number)
            count += len(texts)
            tell(count)
    index.close()
    method, certainty, complete = EXACT, 1.0, True
    try:
        for number in range(1, len(paths)):
            index.among_themselves(number, near)
    except _TooMuch:
        method = MINHASH
    for hashes, texts in _batches(paths[0], known[0]):
        count += len(texts)
        tell(count)
        if method == EXACT:
            try:
                index.near(hashes, texts, near)
            except _TooMuch:
                method = MINHASH
    for number, hashes_of in enumerate(known):
        for other in known[:number]:
            exact |= hashes_of & other
    if method == MINHASH:
        certainty = 1 - (1 - threshold**ROWS) ** BANDS
        complete = _by_minhash(paths, threshold, near, tell) and certainty >= CERTAIN
    told = sorted(near)
    return Leaks(tuple(map(len, known)), len(exact), len(told), tuple(told), complete, method, certainty)


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


# Exactly


@dataclass(frozen=True, slots=True)
class _Sets:
    """Sets of numbers, one after the other; each in the order of its numbers, with an outline of a few bits: of two
    sets, no more bits differ than numbers do."""

    hashes: Numbers
    values: Numbers
    starts: Places
    outlines: np.ndarray[Any, Any]

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def sizes(self) -> Places:
        import numpy as np

        return np.diff(self.starts)

    @property
    def owners(self) -> Places:
        import numpy as np

        return np.repeat(np.arange(len(self)), self.sizes)

    def one(self, number: int) -> list[int]:
        found: list[int] = self.values[self.starts[number] : self.starts[number + 1]].tolist()
        return found


def _sets(hashes: Sequence[int], texts: Sequence[str]) -> _Sets:
    import numpy as np

    from core.data.shingles import shingle

    made = shingle(texts)
    owners = np.repeat(np.arange(len(texts)), np.diff(made.offsets))
    order = np.lexsort((made.numbers, owners))
    values, owners = made.numbers[order], owners[order]
    first = np.ones(len(values), bool)
    first[1:] = (values[1:] != values[:-1]) | (owners[1:] != owners[:-1])
    values, owners = values[first], owners[first]
    starts = np.searchsorted(owners, np.arange(len(texts) + 1))
    bits = np.zeros((len(values), 4), np.uint64)
    place = values & np.uint64(255)
    bits[np.arange(len(values)), (place >> np.uint64(6)).astype(np.int64)] = np.uint64(1) << (place & np.uint64(63))
    outlines = np.bitwise_or.reduceat(bits, starts[:-1], axis=0)
    return _Sets(np.array(hashes, np.uint64), values, starts, outlines)


class _Index:
    """Sets of the prompts of all files but the first, found by their rarest numbers."""

    def __init__(self, threshold: float) -> None:
        import numpy as np

        self._threshold = threshold
        self._parts: list[_Sets] = []
        self._part_files: list[int] = []
        # How many sets a number is in, where numbers share a bucket of all of those: which ones are rare enough.
        self._common = np.zeros(_BUCKETS, np.uint32)
        self._looked = 0

    def add(self, hashes: list[int], texts: list[str], file: int) -> None:
        import numpy as np

        sets = _sets(hashes, texts)
        np.add.at(self._common, self._bucket(sets.values), 1)
        self._parts.append(sets)
        self._part_files.append(file)

    def close(self) -> None:
        """All sets are there."""
        import numpy as np

        parts, sizes = self._parts, [len(part) for part in self._parts]
        self._files = np.repeat(np.array(self._part_files, np.int64), np.array(sizes, np.int64))
        lengths = [part.sizes for part in parts]
        self._all = _Sets(
            _joined([part.hashes for part in parts], np.uint64),
            _joined([part.values for part in parts], np.uint64),
            np.concatenate([np.zeros(1, np.int64), np.cumsum(_joined(lengths, np.int64))]),
            np.concatenate([np.zeros((0, 4), np.uint64), *(part.outlines for part in parts)]),
        )
        self._sizes = self._all.sizes
        first = 0
        rare, owners = [], []
        for part, size in zip(parts, sizes, strict=True):
            numbers, of = self._rarest(part)
            rare.append(numbers)
            owners.append(of + first)
            first += size
        found = _joined(rare, np.uint64)
        order = np.argsort(found, kind="stable")
        self._rare, self._owners = found[order], _joined(owners, np.int64)[order].astype(np.uint32)
        self._parts = []

    @staticmethod
    def _bucket(values: Numbers) -> Places:
        import numpy as np

        # The lowest bits make outlines.
        return ((values >> np.uint64(8)) % np.uint64(_BUCKETS)).astype(np.int64)

    def _rarest(self, sets: _Sets) -> tuple[Numbers, Places]:
        """The few rarest numbers of each set, and whose they are: of two sets alike enough, one at least is among
        those of both."""
        import numpy as np

        owners, sizes = sets.owners, sets.sizes
        order = np.lexsort((sets.values, self._common[self._bucket(sets.values)], owners))
        least = np.ceil(self._threshold * sizes - 1e-9).astype(np.int64)
        rank = np.arange(len(order)) - sets.starts[owners]
        taken = rank < (sizes - least + 1)[owners]
        return sets.values[order][taken], owners[taken]

    def among_themselves(self, file: int, found: set[tuple[int, int]]) -> None:
        """Those of a file that are held that are nearly one of another file that is held."""
        import numpy as np

        if not (self._files != file).any():
            return
        mine = np.flatnonzero(self._files == file)
        whole = self._all
        for first in range(0, len(mine), _BATCH):
            some = mine[first : first + _BATCH]  # neighbours: files were added one after the other
            begin, end = int(some[0]), int(some[-1]) + 1
            starts = whole.starts[begin : end + 1]
            self._look(
                _Sets(
                    whole.hashes[begin:end],
                    whole.values[starts[0] : starts[-1]],
                    starts - starts[0],
                    whole.outlines[begin:end],
                ),
                file,
                found,
            )

    def near(self, hashes: list[int], texts: list[str], found: set[tuple[int, int]]) -> None:
        """Those of the first file that are nearly one of another file.

        Raises:
            _TooMuch: there is too much to compare.
        """
        self._look(_sets(hashes, texts), 0, found)

    def _look(self, sets: _Sets, file: int, found: set[tuple[int, int]]) -> None:
        import numpy as np

        numbers, owners = self._rarest(sets)
        low = np.searchsorted(self._rare, numbers, "left")
        counts = np.searchsorted(self._rare, numbers, "right") - low
        some = counts > 0
        low, counts, owners = low[some], counts[some], owners[some]
        self._spend(int(counts.sum()))
        ends = np.cumsum(counts)
        first = 0
        while first < len(counts):
            before = int(ends[first - 1]) if first else 0
            last = max(first + 1, int(np.searchsorted(ends, before + _PIECE, "right")))
            piece = slice(first, last)
            mine = np.repeat(owners[piece], counts[piece])
            shift = low[piece] - (ends[piece] - counts[piece])
            theirs = self._owners[np.repeat(shift, counts[piece]) + np.arange(before, int(ends[last - 1]))]
            self._compare(sets, file, mine, theirs.astype(np.int64), found)
            first = last

    def _compare(self, sets: _Sets, file: int, mine: Places, theirs: Places, found: set[tuple[int, int]]) -> None:
        import numpy as np

        # The same prompt on two sides is no near-duplicate: it is counted as what it is.
        fit = (self._files[theirs] != file) & (self._all.hashes[theirs] != sets.hashes[mine])
        mine, theirs = mine[fit], theirs[fit]
        both = sets.sizes[mine] + self._sizes[theirs]
        differing = np.bitwise_count(sets.outlines[mine] ^ self._all.outlines[theirs]).sum(axis=1)
        # Of two sets alike enough, at most so many numbers are in one of them only.
        fit = differing <= both * (1 - self._threshold) / (1 + self._threshold) + 1e-9
        candidates = np.unique(mine[fit] * len(self._all) + theirs[fit])
        self._spend(_COMPARISON * len(candidates))
        last, own = -1, frozenset[int]()
        for candidate in candidates.tolist():
            one, other = divmod(candidate, len(self._all))
            if one != last:
                last, own = one, frozenset(sets.one(one))
            if _alike(own, self._all.one(other), self._threshold):
                key, other_key = int(sets.hashes[one]), int(self._all.hashes[other])
                found.add((min(key, other_key), max(key, other_key)))

    def _spend(self, looks: int) -> None:
        self._looked += looks
        if self._looked > BUDGET:
            raise _TooMuch


def _joined(parts: list[np.ndarray[Any, Any]], kind: Any) -> np.ndarray[Any, Any]:
    import numpy as np

    return np.concatenate([np.zeros(0, kind), *parts])


def _alike(one: frozenset[int], other: Sequence[int] | frozenset[int], threshold: float) -> bool:
    shared = len(one.intersection(other))
    return shared >= threshold * (len(one) + len(other) - shared)


# By MinHash


def _by_minhash(
    paths: Sequence[Path], threshold: float, found: set[tuple[int, int]], tell: Callable[[int], None]
) -> bool:
    """Add what is found; returns whether everything was looked at that the signatures lead to."""
    with tempfile.TemporaryDirectory(prefix="leaks-") as space:
        prompts = _OnDisk(Path(space))
        try:
            for number, path in enumerate(paths):
                for hashes, texts in _batches(path, set()):
                    prompts.add(hashes, texts, number)
                    tell(len(prompts.hashes))
            return prompts.search(threshold, found)
        finally:
            prompts.close()


class _OnDisk:
    """The prompts of several files with their signatures."""

    def __init__(self, folder: Path) -> None:
        self.hashes = array("Q")
        self._files = array("B")
        self._starts = array("Q", [0])
        self._texts = (folder / "texts").open("w+b")
        self._signatures = Signatures(folder, SEED)
        self._apart: set[tuple[int, int]] = set()

    def add(self, hashes: list[int], texts: list[str], file: int) -> None:
        for text in texts:
            content = text.encode("utf-8", "surrogatepass")
            self._texts.write(content)
            self._starts.append(self._starts[-1] + len(content))
        self.hashes.extend(hashes)
        self._files.extend([file] * len(texts))
        self._signatures.add(texts)

    def close(self) -> None:
        self._texts.close()
        self._signatures.close()

    def search(self, threshold: float, found: set[tuple[int, int]]) -> bool:
        import numpy as np

        self._texts.flush()
        self._signatures.flush()
        files = np.frombuffer(self._files, np.uint8)
        spent = 0
        for band in (-2, *range(BANDS)):  # first what has the same words
            for group in self._signatures.groups(band):
                on = files[group]
                if (on == on[0]).all():
                    continue
                looks = _across(on)
                spent += looks
                if spent > BUDGET:
                    return False
                low = self._signatures.estimate_bytes(group.tolist())
                for place in np.flatnonzero(on > on.min()):
                    others = np.flatnonzero(on < on[place])
                    alike = (low[others] == low[place]).sum(axis=1)
                    for other in others[alike >= (threshold - _DOUBT) * PERMUTATIONS]:
                        spent += _READING
                        self._verify(int(group[other]), int(group[place]), threshold, found)
                if spent > BUDGET:
                    return False
        return True

    def _verify(self, one: int, other: int, threshold: float, found: set[tuple[int, int]]) -> None:
        key = min(self.hashes[one], self.hashes[other]), max(self.hashes[one], self.hashes[other])
        if key[0] == key[1] or key in found or key in self._apart:
            return
        if _alike(self._set(one), self._set(other), threshold):
            found.add(key)
            return
        if len(self._apart) >= _KEPT:
            self._apart.clear()
        self._apart.add(key)

    def _set(self, number: int) -> frozenset[int]:
        from core.data.shingles import shingle

        begin, end = self._starts[number], self._starts[number + 1]
        text = os.pread(self._texts.fileno(), end - begin, begin).decode("utf-8", "surrogatepass")
        return frozenset(shingle([text]).numbers.tolist())


def _across(files: np.ndarray[Any, Any]) -> int:
    """How many pairs of different files there are."""
    import numpy as np

    counts = np.bincount(files)
    return (int(counts.sum()) ** 2 - int((counts.astype(np.int64) ** 2).sum())) // 2
