"""What a reward model thinks of pairs, put into the index of their file, so that the terminal leads to them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from core.data.index import Index, build, existing


def mark(path: Path, folder: Path, kind: str, rows: Iterable[tuple[int, str, int | None]], *, needed: bool) -> bool:
    """Put findings of a kind, by the number of the pair in its file, in the place of those that stood there.

    Args:
        folder: where indexes lie.
        needed: make an index where there is none; else nothing is marked then, and False comes back.

    Raises:
        UserError: an index cannot be made.
    """
    index = _index(path, folder, needed=needed)
    if index is None:
        return False
    with index:
        index.add_findings(kind, rows)
    return True


def mark_lines(path: Path, folder: Path, kind: str, details: Mapping[int, str]) -> int:
    """The same by lines of the file; returns how many of them are pairs there.

    Raises:
        UserError: an index cannot be made.
    """
    index = _index(path, folder, needed=True)
    assert index is not None
    with index:
        found = [
            (int(pair), details[line], None)
            for pair, line in index.stream("SELECT id, line FROM pairs ORDER BY id")
            if line in details
        ]
        index.add_findings(kind, found)
    return len(found)


def _index(path: Path, folder: Path, *, needed: bool) -> Index | None:
    path = path.absolute()
    found = existing([path], folder)
    # Only what stands where: looking for all else takes minutes, and `data check` does it.
    return build([path], folder, rows_only=True) if found is None and needed else found
