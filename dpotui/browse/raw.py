"""The bytes of a file that is being looked at, as long as it is the file that was opened."""

from __future__ import annotations

import os
from pathlib import Path

from core.errors import UserError
from core.text import printable


class FileChanged(UserError):
    """What was known of the file does not hold any more."""


class RawFile:
    """A file held open. Every reading of it makes sure that it has not changed since."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = printable(path.name)
        try:
            self._handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise UserError(f"{self.name} cannot be read: {error.strerror or error}") from error
        except ValueError as error:  # a NUL in the name
            raise UserError(f"{self.name} is not a file name: {error}") from error
        self._stands = self._stat()
        self.size = self._stands[0]

    def _stat(self) -> tuple[int, ...]:
        try:
            stat = self.path.stat()
        except OSError as error:
            raise FileChanged(f"{self.name} is gone") from error
        return stat.st_size, stat.st_mtime_ns, stat.st_ino

    def check(self) -> None:
        """
        Raises:
            FileChanged: another file stands there now, or none.
        """
        if self._stat() != self._stands:
            raise FileChanged(f"{self.name} changed since it was opened")

    def read(self, offset: int, length: int) -> bytes:
        self.check()
        return os.pread(self._handle, length, offset)

    def close(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1
