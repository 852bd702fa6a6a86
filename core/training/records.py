"""An append-only file of records of one size; what a crash left half-written is cut off."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt


class Records:
    """`rows` holds what the file held when it was opened. The file's folder is there.

    One process writes at a time: a workspace has one engine.
    """

    def __init__(self, path: Path, kind: npt.DTypeLike) -> None:
        self._path = path
        self._kind = np.dtype(kind)
        self.rows: npt.NDArray[Any] = np.zeros(0, self._kind)
        if path.exists():
            whole = path.stat().st_size // self._kind.itemsize
            self.rows = np.fromfile(path, self._kind, count=whole)

    def append(self, rows: npt.NDArray[Any]) -> None:
        """On disk when this returns."""
        fresh = not self._path.exists()
        with self._path.open("ab") as file:
            if fresh:
                self._path.chmod(0o600)
            file.truncate(file.tell() // self._kind.itemsize * self._kind.itemsize)
            file.write(rows.astype(self._kind).tobytes())
            file.flush()
            os.fsync(file.fileno())
