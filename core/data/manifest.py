"""Written data sets and what they were made of: a JSONL file, and beside it a manifest that git can compare."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import stat
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, BinaryIO

from core.errors import UserError
from core.text import one_line, printable
from core.workspace import private_folder

SUFFIX = ".manifest.json"
# A manifest is a page of text; what is bigger is none.
MAX_MANIFEST = 4 * 1024 * 1024

# Gives the sha256 of a file, or None where there is none.
Digest = Callable[[Path], str | None]

# What a writer that was killed left behind is removed by the next one, once nobody has written to it for so long.
_LEFT_SECONDS = 60

# What is written is text, one object a line. A name that promises something else would be believed.
_OTHER_FORMATS = (".gz", ".parquet", ".csv", ".zip", ".zst", ".bz2", ".xz", SUFFIX)


def manifest_path(data: Path) -> Path:
    return data.with_name(data.name + SUFFIX)


@dataclass
class Writer:
    """Rows of a data set on their way to the file.

    `path` is where they lie until the file is whole; after `flush` they can be read there.
    """

    path: Path
    file: BinaryIO
    shown: str
    rows: int = 0
    counts: dict[str, int] = field(default_factory=dict)  # told in the manifest
    notes: dict[str, str] = field(default_factory=dict)  # told there too: what was made sure of, and how
    _digest: Any = field(default_factory=hashlib.sha256)

    def row(self, fields: Mapping[str, Any]) -> None:
        """One object, its keys in the order given."""
        self.line(_json(fields))

    def line(self, line: bytes) -> None:
        """A line as it is, without its end."""
        try:
            self.file.write(line + b"\n")
        except OSError as error:
            raise _unwritable(self.shown, error) from error
        self._digest.update(line + b"\n")
        self.rows += 1

    def flush(self) -> None:
        """All rows so far can be read from `path`."""
        try:
            self.file.flush()
        except OSError as error:
            raise _unwritable(self.shown, error) from error

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
        path: where it goes, a name for JSONL. What stood there is replaced.
        command: what made it, such as "data split".
        parameters: of the command, JSON values; paths of parents are not repeated here.
        parents: files it was made from. Paths are written as they are seen from the folder of `path`.

    Raises:
        UserError: it cannot be written there; `path` is one of its parents; or a parent changed meanwhile.
    """
    parents = list(parents)
    name = printable(str(path))
    refuse_target(path, parents)
    made_by = {"program": f"dpotui {_version()}", "command": command, "parameters": dict(parameters)}
    _json(made_by)  # what is no JSON value fails before anything is written
    known = [_parent(path, parent) for parent in parents]
    try:
        private_folder(path.parent)
        _remove_left(path)
        # A name of its own, readable by its owner only: two that write the same file do not write into each other.
        handle, part_name = tempfile.mkstemp(prefix=f"{path.name}.", suffix=".part", dir=path.parent)
    except OSError as error:
        raise _unwritable(name, error) from error
    part = Path(part_name)
    try:
        with os.fdopen(handle, "wb") as file:
            _lock(handle)
            writer = Writer(part, file, name)
            yield writer
            writer.flush()
            os.fsync(handle)
        for parent, (_, before) in zip(parents, known, strict=True):
            if stamp(parent) != before:
                raise UserError(f"{printable(str(parent))} changed while it was read: run it again")
        document = {
            "format": 1,
            "file": path.name,
            "sha256": writer.sha256,
            "rows": writer.rows,
            **({"counts": dict(sorted(writer.counts.items()))} if writer.counts else {}),
            **({"notes": writer.notes} if writer.notes else {}),
            "made_by": made_by,
            "parents": [told for told, _ in known],
        }
        try:
            part.replace(path)
            _replace(manifest_path(path), _json(document, indent=2) + b"\n")
        except OSError as error:
            raise _unwritable(name, error) from error
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _lock(handle: int) -> bool:
    """Hold a file for as long as it is open here; False where another process does."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks: its age alone tells
        return True
    return True


def _remove_left(path: Path) -> None:
    """Remove what writers of this file left beside it that were killed: parts that nobody holds any more."""
    name = re.compile(rf"{re.escape(path.name)}(?:{re.escape(SUFFIX)})?\.[a-z0-9_]{{8}}\.part")
    with suppress(OSError):
        for entry in os.scandir(path.parent):
            if name.fullmatch(entry.name) is None or not entry.is_file(follow_symlinks=False):
                continue
            with suppress(OSError):
                handle = os.open(entry.path, os.O_RDONLY | os.O_NOFOLLOW)
                try:
                    if time.time() - os.fstat(handle).st_mtime > _LEFT_SECONDS and _lock(handle):
                        Path(entry.path).unlink()
                finally:
                    os.close(handle)


def refuse_target(path: Path, parents: Iterable[Path] = ()) -> None:
    """What must be known before the work begins.

    Raises:
        UserError: `path` is a folder, no regular file, a name for another format, or one of `parents`.
    """
    name = printable(str(path))
    if path.suffix.lower() in _OTHER_FORMATS or path.name.endswith(SUFFIX):
        raise UserError(f"{name}: JSONL is written, as plain text: name a file that ends in .jsonl")
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        mode = stat.S_IFREG
    except (OSError, ValueError) as error:
        raise UserError(f"{name} cannot be written ({error}): name another file") from error
    if stat.S_ISDIR(mode):
        raise UserError(f"{name} is a folder: name a file in it")
    if not stat.S_ISREG(mode):
        raise UserError(f"{name} is not a regular file: name another file")
    for parent in parents:
        if path.resolve() == parent.resolve() or _same_file(path, parent):
            raise UserError(f"{name} is read and written at once: name another file to write")


def _same_file(path: Path, parent: Path) -> bool:
    with suppress(OSError):
        return path.samefile(parent)
    return False


def _replace(path: Path, content: bytes) -> None:
    """A small file, whole or not at all, on the disk before it carries its name."""
    handle, part = tempfile.mkstemp(prefix=f"{path.name}.", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(handle)
        Path(part).replace(path)
    except BaseException:
        Path(part).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        with suppress(OSError):  # some file systems cannot
            os.fsync(folder)
    finally:
        os.close(folder)


def _json(value: Any, indent: int | None = None) -> bytes:
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent).encode()
    except UnicodeEncodeError:
        # Half a character (a name that is no UTF-8, `\ud800` in a field): it stays the escape that it was.
        return json.dumps(value, allow_nan=False, indent=indent).encode()


def _unwritable(name: str, error: OSError) -> UserError:
    return UserError(f"{name} cannot be written ({error.strerror or error}): name another file")


def stamp(path: Path) -> tuple[int, ...] | None:
    """What tells a file that was left alone from one that was written to; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _parent(path: Path, parent: Path) -> tuple[dict[str, str], tuple[int, ...] | None]:
    """What the manifest says of a parent, and by what to tell that it did not change meanwhile."""
    before = stamp(parent)
    try:
        digest = file_sha256(parent)
    except OSError as error:
        raise UserError(f"{printable(str(parent))} cannot be read: {error.strerror or error}") from error
    if digest is None:
        raise UserError(f"{printable(str(parent))} cannot be read: it is no regular file")
    shown = os.path.relpath(parent.absolute(), path.parent.absolute())
    return {"path": Path(shown).as_posix(), "sha256": digest}, before


def file_sha256(path: Path) -> str | None:
    """The hash of a file; None where no regular file lies.

    Raises:
        OSError: it cannot be read.
    """
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _version() -> str:
    try:
        return version("dpotui")
    except PackageNotFoundError:
        return "?"


# Read back


@dataclass(frozen=True, slots=True)
class Manifest:
    """What the manifest beside a data set says. Its words are as they stood there: clean them before they are shown."""

    sha256: str
    rows: int | None
    counts: dict[str, int]
    program: str
    command: str
    parameters: dict[str, Any]
    parents: tuple[tuple[str, str], ...]  # path as seen from the folder of the data set, sha256
    notes: dict[str, str] = field(default_factory=dict)


def read_manifest(data: Path) -> Manifest | None:
    """The manifest of a data set; None where it has none.

    Raises:
        UserError: there is one, and it cannot be understood.
    """
    path = manifest_path(data)
    shown = printable(str(path))
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise UserError(f"{shown} is not a regular file: remove it")
        with path.open("rb") as file:
            content = file.read(MAX_MANIFEST + 1)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UserError(f"{shown} cannot be read: {error}") from error
    if len(content) > MAX_MANIFEST:
        raise UserError(f"{shown} is no manifest: it is larger than {MAX_MANIFEST} bytes")
    try:
        return _manifest(json.loads(content))
    except (ValueError, RecursionError, _Unfit) as error:
        raise UserError(
            f"{shown} is no manifest ({one_line(str(error), 80)}): write the file anew, or remove it"
        ) from error


class _Unfit(Exception):
    pass


def _manifest(document: Any) -> Manifest:
    root = _Fields(document, "it")
    if root.get("format", int) != 1:
        raise _Unfit("its format is not 1")
    made_by = _Fields(root.get("made_by", dict), "made_by")
    parents = []
    for number, entry in enumerate(root.get("parents", list)):
        parent = _Fields(entry, f"parents[{number}]")
        shown = parent.get("path", str)
        if not shown or "\0" in shown:
            raise _Unfit(f"the path of parents[{number}] is no path")
        parents.append((shown, parent.get("sha256", str)))
    counts, notes = root.get("counts", dict, {}), root.get("notes", dict, {})
    return Manifest(
        sha256=root.get("sha256", str),
        rows=root.get("rows", int, None),
        counts={str(key): value for key, value in counts.items() if isinstance(value, int)},
        program=made_by.get("program", str, ""),
        command=made_by.get("command", str, ""),
        parameters=made_by.get("parameters", dict, {}),
        parents=tuple(parents),
        notes={str(key): value for key, value in notes.items() if isinstance(value, str)},
    )


class _Fields:
    def __init__(self, value: Any, name: str) -> None:
        if not isinstance(value, dict):
            raise _Unfit(f"{name} is no object")
        self.value, self.name = value, name

    def get(self, key: str, kind: type, *default: Any) -> Any:
        if key not in self.value and default:
            return default[0]
        found = self.value.get(key)
        if not isinstance(found, kind) or isinstance(found, bool):
            raise _Unfit(f"{key} of {self.name} is missing or of the wrong kind")
        return found
