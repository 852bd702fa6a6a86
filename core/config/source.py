"""A configuration's file as it was read: written again whole, and only where it is still the same."""

from __future__ import annotations

import hashlib
import os
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from core.config.document import Document, parse, read
from core.errors import UserError
from core.text import printable

_MARK = "\ufeff"


class ChangedElsewhere(UserError):
    """Another program wrote the file since it was read."""


@dataclass(frozen=True, slots=True)
class Source:
    """`stamp` is the hash of the bytes; `marked`: the file begins with a byte order mark."""

    path: Path
    text: str
    document: Document
    stamp: str
    marked: bool = False


def read_source(path: Path) -> Source:
    """Read a YAML file that is to be edited.

    Raises:
        UserError: as `core.config.document.read`.
    """
    document = read(path)  # says what is wrong with the file, and bounds what is read
    if not path.exists() or path.suffix == ".py":
        raise UserError(f"{document.name} is Python: it is read, and only YAML files are changed here")
    data = path.read_bytes()
    text = data.decode("utf-8-sig")
    # Once more, of these very bytes.
    return Source(path, text, parse(text, document.name), _stamp(data), data.startswith(_MARK.encode()))


def _stamp(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def still(source: Source) -> bool:
    """Whether the file is what it was when it was read."""
    try:
        return _stamp(source.path.read_bytes()) == source.stamp
    except OSError:
        return False


def save(source: Source, text: str) -> Source:
    """Write the text in the place of what was read; whole or not at all, readable by its owner only.

    Raises:
        ChangedElsewhere: the file is not what it was.
        UserError: it cannot be written.
    """
    if not still(source):
        raise ChangedElsewhere(f"{source.document.name} was changed by another program since it was read here")
    _write(source.path, (_MARK if source.marked else "") + text)
    return read_source(source.path)


def save_new(path: Path, text: str) -> Source:
    """Write a file that is not there yet.

    Raises:
        UserError: it is there, or cannot be written.
    """
    name = printable(str(path))
    if path.exists() or path.is_symlink():
        raise UserError(f"{name} is there already: name another file")
    if path.suffix != ".yaml":
        raise UserError(f"{name}: a configuration ends in .yaml")
    _write(path, text)
    return read_source(path)


def _write(path: Path, text: str) -> None:
    path = path.resolve()  # a link goes on being one
    try:
        # Made for its owner only.
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise UserError(f"{printable(str(path))} cannot be written: {error.strerror}") from error
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except (OSError, UnicodeEncodeError) as error:
        with suppress(OSError):
            Path(temporary).unlink()
        why = getattr(error, "strerror", None) or str(error)
        raise UserError(f"{printable(str(path))} cannot be written: {why}") from error
