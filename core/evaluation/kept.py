"""What a model answered, a line each, on disk before it counts: what was asked once is not asked again after a kill."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from core.appended import Appended
from core.errors import UserError
from core.text import printable


class Kept:
    """The file of a benchmark's answers.

    Args:
        of: what the answers depend on beside the request: the model's hash, its type. Answers to another `of` are not
            found, and stay in the file.
    """

    def __init__(self, path: Path, of: str = "") -> None:
        self.path = path
        self._of = of
        self._said: dict[str, Any] = {}
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lines = Appended(path, self._read)

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
        self._lines.close()

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
        self._lines.append([json.dumps({"key": key, "said": one}, ensure_ascii=True) for key, one in new.items()])
        self._said.update(new)
        return len(new)

    def _read(self, number: int, offset: int, line: bytes) -> None:
        try:
            fields = json.loads(line)
            self._said[str(fields["key"])] = fields["said"]
        except (ValueError, KeyError, TypeError):
            raise UserError(
                f"{printable(str(self.path))}:{number}: is no answer: the file was changed by another hand; put back"
                " what was there, or start a new run"
            ) from None
