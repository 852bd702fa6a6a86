"""Reference log-probs on disk: computed once for a pair, whatever runs, sweeps or iterations ask for it again."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from core.data.tokenize import Tokens
from core.training.records import Records
from core.workspace import private_folder

_KIND = [("key", "<u8"), ("check", "<u8"), ("logps", "<f4", (2,))]

# What was computed is written at the latest after this many seconds.
INTERVAL = 20.0

Numbers = npt.NDArray[Any]


class ReferenceCache:
    """Summed log-probs of both responses of pairs under one reference, by the pair's token ids.

    Chat template and truncation act on token ids, so that another template or length misses. So does another
    reference: its `key` is part of the file's name.

    Args:
        folder: `cache/reference` of the workspace; None keeps nothing.
        key: all else that decides the values: hash of the reference's files, precision, versions.
        weighting: what positions past the shorter response weigh (LD-DPO); part of each entry's key.
    """

    def __init__(self, folder: Path | None, key: str, weighting: float = 1.0) -> None:
        self._records: Records | None = None
        if folder is not None:
            private_folder(folder)
            self._records = Records(folder / f"{digest(key)}.bin", _KIND)
        self._weighting = weighting
        self._pending: list[Numbers] = []
        self._written = time.monotonic()

    def known(self, pairs: Sequence[Tokens]) -> npt.NDArray[np.float32]:
        """(pairs, 2) log-probs of chosen and rejected, NaN where not yet computed."""
        found = np.full((len(pairs), 2), np.nan, np.float32)
        if self._records is None or not len(self._records.rows):
            return found
        rows = self._records.rows
        # Of an entry that was written twice the first one counts.
        order = np.argsort(rows["key"], kind="stable")
        keys = rows["key"][order]
        wanted = self._keys(pairs)
        at = np.minimum(np.searchsorted(keys, wanted["key"]), len(keys) - 1)
        hits = rows[order[at]]
        same = (hits["key"] == wanted["key"]) & (hits["check"] == wanted["check"])
        found[same] = hits["logps"][same]
        return found

    def add(self, pairs: Sequence[Tokens], logps: npt.NDArray[np.float32]) -> None:
        """Remember (pairs, 2) log-probs."""
        if self._records is None:
            return
        rows = self._keys(pairs)
        rows["logps"] = logps
        self._pending.append(rows)
        if time.monotonic() - self._written > INTERVAL:
            self.flush()

    def flush(self) -> None:
        """Put on disk what was added."""
        if self._records is not None and self._pending:
            self._records.append(np.concatenate(self._pending))
            self._pending.clear()
        self._written = time.monotonic()

    def _keys(self, pairs: Sequence[Tokens]) -> Numbers:
        rows = np.zeros(len(pairs), _KIND)
        for number, pair in enumerate(pairs):
            rows["key"][number], rows["check"][number] = fingerprint(pair, self._weighting)
        return rows


def fingerprint(pair: Tokens, *more: float) -> tuple[int, int]:
    """128 bits that stand for a pair's token ids, and for some numbers more."""
    hasher = hashlib.blake2b(digest_size=16)
    for part in (pair.prompt, *pair.responses):
        hasher.update(np.array([len(part), *part], "<i8").tobytes())
    hasher.update(np.array(more, "<f8").tobytes())
    value = hasher.digest()
    return int.from_bytes(value[:8], "little"), int.from_bytes(value[8:], "little")


def digest(text: str) -> str:
    """A short name of a file for whatever `text` says."""
    return hashlib.sha256(text.encode()).hexdigest()[:24]
