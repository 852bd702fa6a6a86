"""A file of lines that a killed process can go on from: a line counts when it is on disk, and is never changed."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path


class Appended:
    """One process writes it, readable by its owner alone.

    A line that was not written to its end (the process was killed) is taken off when the file is opened.

    Args:
        read: is given the whole lines that are there: number from 1, offset in bytes, the line. What it raises goes on.
    """

    def __init__(self, path: Path, read: Callable[[int, int, bytes], None]) -> None:
        self._file = os.fdopen(os.open(path, os.O_CREAT | os.O_RDWR, 0o600), "r+b")
        self._end = 0
        try:
            for number, line in enumerate(self._file, 1):
                if not line.endswith(b"\n"):
                    break
                read(number, self._end, line)
                self._end += len(line)
        except BaseException:
            self._file.close()
            raise
        self._file.truncate(self._end)
        self._file.seek(self._end)

    def append(self, lines: Sequence[str]) -> list[int]:
        """Write lines, given without their ends, and wait until they are on disk; returns the offset of each."""
        # Half characters, which a model may write, are no UTF-8.
        data = [line.encode("utf-8", "replace") + b"\n" for line in lines]
        offsets = []
        for line in data:
            offsets.append(self._end)
            self._end += len(line)
        self._file.write(b"".join(data))
        self._file.flush()
        os.fsync(self._file.fileno())
        return offsets

    def close(self) -> None:
        self._file.close()
