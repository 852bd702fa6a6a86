"""The frozen trunk on disk: what enters the first trained block is the same in every epoch and for the reference."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from core.data.tokenize import Tokens
from core.training.records import Records
from core.training.reference_cache import digest, fingerprint
from core.workspace import private_folder

_KIND = [("key", "<u8"), ("check", "<u8"), ("offset", "<u8"), ("tokens", "<u4", (3,))]
_DATA, _INDEX = "hidden.bin", "index.bin"

# What was computed is entered into the index at the latest after this many seconds.
INTERVAL = 20.0

Numbers = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Room:
    """How much the cache needs and may have, in bytes."""

    needed: int
    limit: int
    free: int

    @property
    def fits(self) -> bool:
        """Within the limit, and in half of what is free on the disk."""
        return self.needed <= self.limit and self.needed <= self.free // 2


def tokens_kept(pairs: Sequence[Tokens]) -> int:
    """Hidden states that are kept of these pairs: all tokens but the last one of each response."""
    return sum(len(pair.prompt) - 1 + sum(map(len, pair.responses)) for pair in pairs)


def room(folder: Path, key: str, needed: int, limit: int) -> Room:
    """Whether `needed` bytes fit. Older trunks in `folder` go first, the longest unused one before others."""
    own = folder / digest(key)
    others = sorted((p for p in folder.glob("*") if p.is_dir() and p != own), key=_used)
    while others and needed <= limit and sum(map(_size, others)) + max(needed, _size(own)) > limit:
        shutil.rmtree(others.pop(0))
    place = next(p for p in (folder, *folder.parents) if p.exists())
    return Room(needed, limit, shutil.disk_usage(place).free + _size(own))


class TrunkCache:
    """Hidden states of pairs, of one model up to one block, memory-mapped.

    Args:
        folder: `cache/trunk` of the workspace.
        key: all that decides the values: hash of the model's files, the block, precision, versions.
        width: size of a hidden state.
        kind: NumPy's type of its entries; bfloat16 comes as its bits in uint16.
    """

    def __init__(self, folder: Path, key: str, width: int, kind: npt.DTypeLike) -> None:
        self._folder = folder / digest(key)
        private_folder(self._folder)
        os.utime(self._folder)
        self._width = width
        self._kind = np.dtype(kind)
        self._index = Records(self._folder / _INDEX, _KIND)
        path = self._folder / _DATA
        size = path.stat().st_size if path.exists() else 0
        self._places: dict[tuple[int, int], tuple[int, tuple[int, ...]]] = {}
        end = 0
        for key_, check, offset, tokens in self._index.rows.tolist():
            stop = offset + self._bytes(sum(tokens))
            if stop <= size:
                self._places[key_, check] = (offset, tuple(tokens))
                end = max(end, stop)
        self._file: BinaryIO = path.open("r+b" if path.exists() else "w+b")
        path.chmod(0o600)
        # What lies beyond was never entered into the index.
        self._file.truncate(end)
        self._end = end
        self._map = np.zeros(0, np.uint8)
        self._pending: list[tuple[int, int, int, tuple[int, ...]]] = []
        self._flushed = time.monotonic()

    def __contains__(self, pair: Tokens) -> bool:
        return fingerprint(pair) in self._places

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return self._end

    def get(self, pair: Tokens) -> tuple[Numbers, ...] | None:
        """(tokens, width) of the prompt without its last token, of the chosen and of the rejected response's row."""
        place = self._places.get(fingerprint(pair))
        if place is None:
            return None
        offset, tokens = place
        stop = offset + self._bytes(sum(tokens))
        if stop > len(self._map):
            self._file.flush()
            self._map = np.memmap(self._file, np.uint8, "r")
        rows = self._map[offset:stop].view(self._kind).reshape(-1, self._width)
        return tuple(np.split(rows, np.cumsum(tokens)[:-1]))

    def put(self, pair: Tokens, parts: Sequence[Numbers]) -> None:
        key = fingerprint(pair)
        if key in self._places:
            return
        tokens = tuple(len(part) for part in parts)
        self._file.seek(self._end)
        for part in parts:
            self._file.write(np.ascontiguousarray(part, self._kind).tobytes())
        self._places[key] = (self._end, tokens)
        self._pending.append((*key, self._end, tokens))
        self._end += self._bytes(sum(tokens))
        if time.monotonic() - self._flushed > INTERVAL:
            self.flush()

    def flush(self) -> None:
        """Put on disk what was added, the data before the index."""
        if self._pending:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._index.append(np.array(self._pending, _KIND))
            self._pending.clear()
        self._flushed = time.monotonic()

    def close(self) -> None:
        self.flush()
        self._file.close()

    def _bytes(self, tokens: int) -> int:
        return tokens * self._width * self._kind.itemsize


def _size(folder: Path) -> int:
    return sum(p.stat().st_size for p in folder.glob("*")) if folder.is_dir() else 0


def _used(folder: Path) -> float:
    return folder.stat().st_mtime
