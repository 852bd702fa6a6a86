"""What a model answered, a line each, on disk before it counts: what was asked once is not asked again after a kill."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from core.errors import UserError
from core.text import printable


class Kept:
    """The file of a benchmark's answers. One process writes it; nothing in it is ever changed.

    A line that was not written to its end (the process was killed) is taken off when the file is opened.

    Args:
        of: what the answers depend on beside the request: the model's hash, its type. Answers to another `of` are not
            found, and stay in the file.
    """

    def __init__(self, path: Path, of: str = "") -> None:
        self.path = path
        self._of = of
        self._said: dict[str, Any] = {}
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
        self._file = os.fdopen(handle, "r+b")
        whole = 0
        for number, line in enumerate(self._file, 1):
            if not line.endswith(b"\n"):
                break
            whole += len(line)
            self._read(number, line)
        self._file.truncate(whole)
        self._file.seek(whole)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self._said)

    def __contains__(self, key: str) -> bool:
        return key in self._said

    def __getitem__(self, key: str) -> Any:
        return self._said[key]

    def close(self) -> None:
        self._file.close()

    def key(self, *request: object) -> str:
        """The name of a request: what is JSON of it, hashed with what answers depend on."""
        text = json.dumps([self._of, *request], ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def append(self, said: Iterable[tuple[str, Any]]) -> int:
        """Write answers that are not there yet, and wait until they are on disk; returns how many were new."""
        new = {key: one for key, one in said if key not in self._said}
        if not new:
            return 0
        # ASCII: a model may write half characters, which are no UTF-8.
        lines = [json.dumps({"key": key, "said": one}, ensure_ascii=True) + "\n" for key, one in new.items()]
        self._file.write("".join(lines).encode())
        self._file.flush()
        os.fsync(self._file.fileno())
        self._said.update(new)
        return len(new)

    def _read(self, number: int, line: bytes) -> None:
        try:
            fields = json.loads(line)
            self._said[str(fields["key"])] = fields["said"]
        except (ValueError, KeyError, TypeError):
            raise UserError(
                f"{printable(str(self.path))}:{number}: is no answer: the file was changed by another hand; put back"
                " what was there, or start a new run"
            ) from None
