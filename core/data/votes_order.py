"""What is voted on: the comparisons of a file in an order drawn by seed, the same for all who vote, read one by one."""

from __future__ import annotations

import tempfile
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import BinaryIO, cast

from core.data.candidates import candidates_of
from core.data.comparisons import Comparison, of_candidates, of_pair
from core.data.jsonl import BadRow, Row, read_lines, row_in, row_of
from core.data.lines import open_regular
from core.data.messages import text_key
from core.data.pairs import pair_of
from core.errors import UserError
from core.store.votes import Side
from core.text import printable

# Rows between two looks at whether somebody still waits.
_BREATH = 256


def drawn_side(seed: int, who: str, key: str) -> Side:
    """Where the first response stands for an annotator: heads or tails, whatever the order in the file."""
    digest = blake2b(f"side\0{seed}\0{who}\0{key}".encode(), digest_size=8).digest()
    return "A" if digest[0] & 1 else "B"


def place(seed: int, key: str) -> int:
    """Where a comparison stands in the order of a seed: comparisons are voted on from the lowest place on."""
    return int.from_bytes(blake2b(f"place\0{seed}\0{key}".encode(), digest_size=8).digest(), "big")


def canonical(comparison: Comparison) -> Comparison:
    """The same with its responses in the order of their texts, as votes name them."""
    if text_key(comparison.first) <= text_key(comparison.second):
        return comparison
    return replace(comparison, first=comparison.second, second=comparison.first)


class Stopped(Exception):
    """Reading ended because somebody asked for it."""


class Ballots:
    """The comparisons of a file that are voted on, in the order of a seed. Texts stay in the file.

    Attributes:
        path: of the file.
        seed: draws the order and the sides.
        bad: rows that cannot be read.
        whole: comparisons in the file, of which these are a sample.
    """

    def __init__(self, path: Path, seed: int, found: _Found, sample: int | None) -> None:
        self.path, self.seed, self.bad = path, seed, found.bad
        order = sorted(range(len(found.places)), key=found.places.__getitem__)
        # What stands in the file twice has one place.
        once = [at for n, at in enumerate(order) if not n or found.places[at] != found.places[order[n - 1]]]
        self.whole = len(once)
        once = once[:sample]
        self._file = found.file
        self._places, self._offsets, self._lengths, self._lines, self._nths = (
            array(column.typecode, [column[at] for at in once]) for column in found.columns
        )

    def __len__(self) -> int:
        return len(self._places)

    def number_of(self, key: str) -> int | None:
        """Which of these comparisons a key belongs to, if any."""
        wanted = place(self.seed, key)
        at = bisect_left(self._places, wanted)
        return at if at < len(self) and self._places[at] == wanted else None

    def read(self, number: int) -> Comparison:
        """A comparison, its responses in the order of their texts.

        Raises:
            UserError: the file is another one by now.
        """
        line = self._lines[number]
        self._file.seek(self._offsets[number])
        row = row_of(line, self._file.read(self._lengths[number]))
        found = next(islice(_of_row(row), self._nths[number], None), None)
        if not isinstance(found, Comparison) or place(self.seed, found.key) != self._places[number]:
            name = printable(str(self.path))
            raise UserError(f"{name}:{line} changed since voting began: leave and open it again")
        return found

    def close(self) -> None:
        self._file.close()


class _Found:
    """What there is in a file, in its order: 36 bytes a comparison."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.places, self.offsets, self.lengths, self.lines = array("Q"), array("Q"), array("Q"), array("Q")
        self.nths = array("I")
        self.bad = 0

    @property
    def columns(self) -> tuple[array[int], ...]:
        return self.places, self.offsets, self.lengths, self.lines, self.nths


def gather(
    path: Path,
    *,
    seed: int,
    sample: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    wants_stop: Callable[[], bool] | None = None,
) -> Ballots:
    """Look through a file once for what there is to vote on. A comparison that stands there twice counts once.

    A sample of a seed is part of every larger sample of it: one can begin with 50 and go on to 200.

    Args:
        path: of pairs or of candidates, in any format that is read.
        seed: draws the order.
        sample: how many to vote on; all of them without it.
        progress: called with rows read, and bytes of the file that they came from where that is known.
        wants_stop: asked now and then.

    Raises:
        UserError: the file cannot be read at all, or holds nothing to vote on.
        Stopped: as was wanted.
    """
    name = printable(str(path))
    found = _Found(open_regular(path, name))
    spool: BinaryIO | None = None
    try:
        why = ""
        for rows, line in enumerate(read_lines(path), 1):
            if rows % _BREATH == 0:
                if progress is not None:
                    progress(rows, max(0, line.offset))
                if wants_stop is not None and wants_stop():
                    raise Stopped
            offset, length = line.offset, line.length
            if offset < 0:
                # What cannot be found again in the file is kept beside it while one votes.
                spool = spool or cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115
                offset, length = spool.tell(), spool.write(line.raw)
            for nth, comparison in enumerate(_of_row(row_in(line))):
                if isinstance(comparison, BadRow):
                    found.bad += 1
                    why = why or f": line {comparison.line}: {comparison.reason}"
                    continue
                values = (place(seed, comparison.key), offset, length, comparison.line, nth)
                for column, value in zip(found.columns, values, strict=True):
                    column.append(value)
        if not found.places:
            raise UserError(f"{name} has nothing to vote on{why}")
        if spool is not None:
            found.file.close()
            found.file = spool
        return Ballots(path, seed, found, sample)
    except BaseException:
        found.file.close()
        if spool is not None:
            spool.close()
        raise


def _of_row(row: Row | BadRow) -> Iterator[Comparison | BadRow]:
    """What a row compares, if there is anything to compare in it."""
    if isinstance(row, BadRow):
        yield row
        return
    if "responses" in row.fields:
        candidates = candidates_of(row)
        several: Iterable[Comparison | BadRow]
        several = [candidates] if isinstance(candidates, BadRow) else of_candidates(candidates)
    else:
        pair = pair_of(row)
        several = [pair if isinstance(pair, BadRow) else of_pair(pair)]
    for one in several:
        if isinstance(one, BadRow):
            yield one
        elif text_key(one.first) != text_key(one.second):
            yield canonical(one)
