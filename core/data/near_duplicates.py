"""Texts that are almost the same, among any number of them: MinHash finds candidates, the exact Jaccard decides.

Signatures by rensa, 126 permutations in 21 bands of 6: two texts of Jaccard 0.8 meet in at least one band with
probability 0.998, two of 0.5 with 0.28, two of 0.3 with 0.015. Bands lie on disk and are sorted one after the other.
"""

from __future__ import annotations

import itertools
import os
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from core.data.messages import text_key

if TYPE_CHECKING:
    import numpy as np

    from core.data.pairs import Pair

# Between parts of one text that are compared each with its own: prompt, chosen and rejected response of a pair.
PART = "\x1d"
PERMUTATIONS = 126
BANDS = 21
ROWS = PERMUTATIONS // BANDS
SEED = 42
THRESHOLD = 0.8
# Of texts in parts (prompt, chosen, rejected) each part must be as alike as this, or two answers to one long prompt
# would be one.
PART_THRESHOLD = 0.6
# A band is sorted in pieces of this many texts.
PIECE = 1 << 21
# Texts that meet in one band and are compared each with each; more are told apart by further bands.
CROWD = 256
# Before that each of a crowd is compared with so many of them that are not alike: mostly that is enough.
LEADERS = 8
# Below the threshold by this much in the signatures' estimate (four standard deviations), two texts are not compared.
_DOUBT = 0.145
_KEPT = 512
# To read and compare two sets takes as long as so many looks at their signatures: 130 µs against 66 ns, measured.
COMPARISON = 2000
_BATCH = 256

Progress = Callable[[int, int, str], None]


def near_duplicates(
    count: int,
    read: Callable[[int], str],
    texts: Iterable[str],
    *,
    threshold: float = THRESHOLD,
    part_threshold: float = PART_THRESHOLD,
    folder: Path | None = None,
    budget: int | None = None,
    progress: Progress | None = None,
    wants_stop: Callable[[], bool] | None = None,
) -> dict[int, int]:
    """Clusters of texts that are almost the same: linked, directly or over others, by a Jaccard of `threshold` or more.

    A text is the set of its neighbouring words (`core.data.shingles`). Which texts are together does not depend on
    their order. A text with the parts of a pair (`pair_text`) is compared as a whole, and every part with its own.

    Args:
        count: how many texts there are.
        read: one of them again, by its index.
        texts: all of them, in order; run through once.
        threshold: on the Jaccard, exactly computed.
        part_threshold: what each part must reach, of texts that have several.
        folder: where signatures lie meanwhile, about 300 bytes a text; a temporary one if not given.
        budget: looks at two texts; past it, of texts that meet in a band only neighbours in the order of their
            signatures are compared. For those who search again what was found.
        progress: told how far it is.
        wants_stop: asked often whether to give up; then what was found so far is returned.

    Returns:
        For every text that is in a cluster with another one, the smallest index of its cluster.
    """
    with tempfile.TemporaryDirectory(prefix="near-", dir=folder) as space:
        signatures = Signatures(Path(space))
        try:
            batch: list[str] = []
            for text in texts:
                batch.append(text)
                if len(batch) == _BATCH:
                    signatures.add(batch)
                    batch.clear()
                    if progress is not None:
                        progress(signatures.count, count, "signatures")
            signatures.add(batch)
            return signatures.clusters(
                read,
                threshold=threshold,
                part_threshold=part_threshold,
                budget=budget,
                progress=progress,
                wants_stop=wants_stop,
            )
        finally:
            signatures.close()


def pair_text(pair: Pair) -> str:
    """A pair as a text of three parts."""
    return PART.join(text_key(text).replace(PART, " ") for text in (pair.prompt, pair.chosen, pair.rejected))


class Signatures:
    """Signatures of texts on disk: a file for each band, one for the whole contents and one for the estimate."""

    def __init__(self, folder: Path, seed: int = SEED) -> None:
        self.count = 0
        self._seed = seed
        self._files: list[BinaryIO] = [(folder / name).open("w+b") for name in (*map(str, range(BANDS)), "all", "low")]

    def add(self, texts: Sequence[str]) -> None:
        """The next texts; several hundred at a time are quickest."""
        if texts:
            self.append(*sketch(texts, self._seed))

    def append(self, signatures: np.ndarray[Any, Any], content: np.ndarray[Any, Any]) -> None:
        """What `sketch` made of the next texts."""
        import numpy as np

        mixed = np.zeros((len(signatures), BANDS), np.uint64)
        for row in range(ROWS):
            mixed = (mixed ^ signatures[:, row::ROWS].astype(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
            mixed ^= mixed >> np.uint64(31)
        for band in range(BANDS):
            self._files[band].write(mixed[:, band].tobytes())
        self._files[-2].write(content.tobytes())
        self._files[-1].write(signatures.astype(np.uint8).tobytes())
        self.count += len(signatures)

    def clusters(
        self,
        read: Callable[[int], str],
        *,
        threshold: float = THRESHOLD,
        part_threshold: float = PART_THRESHOLD,
        budget: int | None = None,
        progress: Progress | None = None,
        wants_stop: Callable[[], bool] | None = None,
    ) -> dict[int, int]:
        """See `near_duplicates`."""
        self.flush()
        return _Clustering(self, read, threshold, part_threshold, budget).run(progress, wants_stop)

    def flush(self) -> None:
        """All of them can be read."""
        for file in self._files:
            file.flush()

    def close(self) -> None:
        for file in self._files:
            file.close()
            Path(file.name).unlink(missing_ok=True)

    def groups(self, band: int) -> Iterator[np.ndarray[Any, Any]]:
        """The indexes of texts that are the same in a band (-2: in all their words), in groups of two and more."""
        import numpy as np

        pieces = -(-self.count // PIECE)
        for piece in range(pieces):
            keys, places = self._piece(band, piece, pieces)
            order = np.argsort(keys, kind="stable")
            keys = keys[order]
            edges = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1], [True]]))
            for group in np.flatnonzero(np.diff(edges) > 1):
                yield places[order[edges[group] : edges[group + 1]]]

    def _piece(self, band: int, piece: int, pieces: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        import numpy as np

        path = Path(self._files[band].name)
        if pieces == 1:
            return np.fromfile(path, np.uint64), np.arange(self.count)
        keys, places = [], []
        for start in range(0, self.count, PIECE):
            some = np.fromfile(path, np.uint64, count=PIECE, offset=8 * start)
            mine = np.flatnonzero(some % np.uint64(pieces) == piece)
            keys.append(some[mine])
            places.append(mine + start)
        return np.concatenate(keys), np.concatenate(places)

    def band_key(self, band: int, text: int) -> bytes:
        return self._at(band, text, 8)

    def estimate_bytes(self, texts: Sequence[int]) -> np.ndarray[Any, Any]:
        """The lowest byte of each number of the signatures of these texts."""
        import numpy as np

        data = b"".join(self._at(-1, text, PERMUTATIONS) for text in texts)
        return np.frombuffer(data, np.uint8).reshape(len(texts), PERMUTATIONS)

    def _at(self, file: int, text: int, width: int) -> bytes:
        return os.pread(self._files[file].fileno(), width, width * text)


def sketch(texts: Sequence[str], seed: int = SEED) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """The signatures of these texts, and a hash of the words of each."""
    import numpy as np
    from rensa import RMinHash

    from core.data.shingles import shingle

    made = shingle(texts)
    matrix = RMinHash.digest_matrix_from_flat_token_hashes(
        made.numbers, made.offsets.astype(np.uint64), PERMUTATIONS, seed
    )
    return np.array(matrix.to_rows(), np.uint32).reshape(len(texts), PERMUTATIONS), made.content


class _Clustering:
    def __init__(
        self,
        signatures: Signatures,
        read: Callable[[int], str],
        threshold: float,
        part_threshold: float,
        budget: int | None = None,
    ) -> None:
        import numpy as np

        self._signatures = signatures
        self._read = read
        self._threshold = threshold
        self._part_threshold = part_threshold
        self._left = float("inf") if budget is None else budget
        self._parent = np.arange(signatures.count, dtype=np.int64)
        self._again = np.zeros(signatures.count, bool)  # has the words of an earlier one
        self._sets: OrderedDict[int, list[frozenset[int]]] = OrderedDict()
        self._apart: set[tuple[int, int]] = set()

    def run(self, progress: Progress | None, wants_stop: Callable[[], bool] | None) -> dict[int, int]:
        for group in self._signatures.groups(-2):
            for other in group[1:]:
                self._join(int(group[0]), int(other))
            self._again[group[1:]] = True
        for band in range(BANDS):
            if progress is not None:
                progress(band, BANDS, "near duplicates")
            for number, group in enumerate(self._signatures.groups(band)):
                if wants_stop is not None and number % 64 == 0 and wants_stop():
                    return self._found()
                self._compare([int(text) for text in group[~self._again[group]]], band)
        if progress is not None:
            progress(BANDS, BANDS, "near duplicates")
        return self._found()

    def _found(self) -> dict[int, int]:
        import numpy as np

        for text in np.flatnonzero(self._parent != np.arange(len(self._parent))):
            self._parent[text] = self._root(int(text))
        members = np.flatnonzero(self._parent != np.arange(len(self._parent)))
        found = {int(text): int(self._parent[text]) for text in members}
        found.update({root: root for root in set(found.values())})
        return found

    def _compare(self, texts: list[int], band: int, depth: int = 1) -> None:
        """Join those of these texts that are near duplicates."""
        if len(texts) > CROWD:
            # One template with many fillings.
            if depth == 1:
                texts = self._lead(texts)
            if len(texts) > CROWD and depth < BANDS and not self._one(texts):
                # Only those that agree in another band too are candidates.
                finer: dict[bytes, list[int]] = {}
                for text in texts:
                    finer.setdefault(self._signatures.band_key((band + depth) % BANDS, text), []).append(text)
                for some in finer.values():
                    self._compare(some, band, depth + 1)
                return
        if self._one(texts):
            return
        low = self._signatures.estimate_bytes(texts)
        self._left -= len(texts) * (len(texts) - 1) // 2
        if len(texts) > CROWD or self._left < 0:
            # Alike in every band, or too many: each with its neighbours in the order of the signatures.
            order = sorted(range(len(texts)), key=lambda place: low[place].tobytes())
            for a, b in itertools.pairwise(order):
                self._verify(texts[a], texts[b])
            return
        # The lowest bytes agree by chance in 1 of 256.
        least = (self._threshold - _DOUBT) * PERMUTATIONS
        for place in range(len(texts) - 1):
            alike = (low[place + 1 :] == low[place]).sum(axis=1)
            for other in (alike >= least).nonzero()[0]:
                self._verify(texts[place], texts[place + 1 + int(other)])

    def _one(self, texts: list[int]) -> bool:
        """Whether all of these are together already."""
        return len({self._root(text) for text in texts}) < 2

    def _lead(self, texts: list[int]) -> list[int]:
        """Compare each of these texts with the few that most turn out to be like; returns them in an order that
        depends on their words only."""
        texts = sorted(texts, key=lambda text: self._signatures.band_key(-2, text))
        leaders: list[int] = []
        for text in texts:
            if self._root(text) in {self._root(leader) for leader in leaders}:
                continue
            if not any(self._verify(leader, text) for leader in leaders) and len(leaders) < LEADERS:
                leaders.append(text)
        return texts

    def _verify(self, a: int, b: int) -> bool:
        """Whether two texts are together, after they were compared."""
        first, second = self._root(a), self._root(b)
        if first == second:
            return True
        if (a, b) in self._apart:
            return False
        self._left -= COMPARISON
        if _alike(self._set(a), self._set(b), self._threshold, self._part_threshold):
            self._join(first, second)
            return True
        if len(self._apart) > 100_000:
            self._apart.clear()
        self._apart.add((a, b))
        return False

    def _set(self, text: int) -> list[frozenset[int]]:
        from core.data.shingles import sets

        found = self._sets.pop(text, None)
        if found is None:
            found = sets(self._read(text))
            if len(self._sets) >= _KEPT:
                self._sets.popitem(last=False)
        self._sets[text] = found
        return found

    def _root(self, text: int) -> int:
        parent = self._parent
        while (above := int(parent[text])) != text:
            parent[text] = parent[above]
            text = above
        return text

    def _join(self, a: int, b: int) -> None:
        first, second = sorted((self._root(a), self._root(b)))
        self._parent[second] = first


def _alike(
    first: Sequence[frozenset[int]], second: Sequence[frozenset[int]], threshold: float, part_threshold: float
) -> bool:
    """Whether two texts, set by set of their parts, are near duplicates."""
    if len(first) != len(second):
        return False
    both = either = 0
    for one, other in zip(first, second, strict=True):
        shared = len(one & other)
        together = len(one) + len(other) - shared
        if len(first) > 1 and shared < part_threshold * together:
            return False
        both += shared
        either += together
    return both >= threshold * either


def jaccard(first: str, second: str) -> float:
    """Of two texts as wholes, exactly."""
    from core.data.shingles import sets

    one, other = sets(first), sets(second)
    shared = sum(len(a & b) for a, b in zip(one, other, strict=False))
    total = sum(map(len, one)) + sum(map(len, other)) - shared
    return shared / total if total else 1.0
