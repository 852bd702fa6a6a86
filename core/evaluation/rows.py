"""A file of results that a resumed run goes on from: a line each, on disk before it counts, never changed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from core.appended import Appended
from core.errors import UserError
from core.text import printable

Key = tuple[str | int, ...]


class Rows:
    """What was found for each key. Numbers come back as they were: JSON holds every digit of a float."""

    def __init__(self, path: Path) -> None:
        self._found: dict[Key, Any] = {}
        self._path = path
        self._lines = Appended(path, self._read)

    def __enter__(self) -> Rows:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lines.close()

    def __contains__(self, key: Key) -> bool:
        return key in self._found

    def __getitem__(self, key: Key) -> Any:
        return self._found[key]

    def __iter__(self) -> Iterator[tuple[Key, Any]]:
        return iter(self._found.items())

    def add(self, rows: Iterable[tuple[Key, Any]]) -> None:
        """Write what is not there yet; it is on disk when this returns."""
        new = {key: value for key, value in rows if key not in self._found}
        if not new:
            return
        self._lines.append([json.dumps([key, value], ensure_ascii=False) for key, value in new.items()])
        self._found.update(new)

    def _read(self, number: int, offset: int, line: bytes) -> None:
        try:
            key, value = json.loads(line)
            self._found[tuple(key)] = value
        except (ValueError, TypeError, RecursionError):
            raise UserError(
                f"{printable(str(self._path))}:{number}: not as this program writes it: put back what was there, or"
                " start a new run"
            ) from None


def write_whole(path: Path, text: str) -> None:
    """A file that is there with all of its text or, after a crash, as it was."""
    part = path.with_name(f".{path.name}.part")
    with os.fdopen(os.open(part, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb") as file:
        file.write(text.encode("utf-8", "replace"))
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def write_json(path: Path, value: Any) -> None:
    write_whole(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_lines(path: Path, rows: Iterable[Any]) -> None:
    write_whole(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
