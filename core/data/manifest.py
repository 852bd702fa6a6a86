"""Written data sets and what they were made of: a JSONL file, and beside it a manifest that git can compare."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, BinaryIO

from core.errors import UserError
from core.text import printable
from core.workspace import private_folder, write_private

SUFFIX = ".manifest.json"


def manifest_path(data: Path) -> Path:
    return data.with_name(data.name + SUFFIX)


@dataclass
class Writer:
    """Rows of a data set on their way to the file."""

    file: BinaryIO
    rows: int = 0
    counts: dict[str, int] = field(default_factory=dict)  # told in the manifest
    _digest: Any = field(default_factory=hashlib.sha256)

    def row(self, fields: Mapping[str, Any]) -> None:
        """One object, its keys in the order given."""
        self.line(json.dumps(fields, ensure_ascii=False, allow_nan=False).encode())

    def line(self, line: bytes) -> None:
        """A line as it is, without its end."""
        self.file.write(line + b"\n")
        self._digest.update(line + b"\n")
        self.rows += 1

    @property
    def sha256(self) -> str:
        return str(self._digest.hexdigest())


@contextmanager
def writing(
    path: Path, *, command: str, parameters: Mapping[str, Any], parents: Iterable[Path] = ()
) -> Iterator[Writer]:
    """Write a data set whole or not at all, readable by its owner only, and then its manifest.

    The same parents, command and parameters give the same bytes: nothing in the manifest tells the time or the host.

    Args:
        path: where it goes. What stood there is replaced.
        command: what made it, such as "data split".
        parameters: of the command, JSON values; paths of parents are not repeated here.
        parents: files it was made from. Paths are written as they are seen from the folder of `path`.

    Raises:
        UserError: it cannot be written there.
    """
    known = [_parent(path, parent) for parent in parents]
    part = path.with_name(path.name + ".part")
    try:
        private_folder(path.parent)
        handle = os.open(part, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
    except OSError as error:
        raise UserError(f"{printable(str(path))} cannot be written ({error.strerror}): name another file") from error
    try:
        with os.fdopen(handle, "wb") as file:
            writer = Writer(file)
            yield writer
            file.flush()
            os.fsync(handle)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    document = {
        "format": 1,
        "file": path.name,
        "sha256": writer.sha256,
        "rows": writer.rows,
        **({"counts": dict(sorted(writer.counts.items()))} if writer.counts else {}),
        "made_by": {"program": f"dpotui {_version()}", "command": command, "parameters": dict(parameters)},
        "parents": known,
    }
    write_private(manifest_path(path), json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def _parent(path: Path, parent: Path) -> dict[str, str]:
    try:
        with parent.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{printable(str(parent))} cannot be read: {error.strerror or error}") from error
    shown = os.path.relpath(parent.absolute(), path.parent.absolute())
    return {"path": Path(shown).as_posix(), "sha256": digest}


def _version() -> str:
    try:
        return version("dpotui")
    except PackageNotFoundError:
        return "?"
