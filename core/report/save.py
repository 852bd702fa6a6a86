"""Write a report to a file: whole or not at all, for its owner only, and over nothing that is not a report."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from core.errors import UserError
from core.report.as_json import JSON, KIND, as_json
from core.report.document import Report
from core.report.pages import BEGIN, FORMATS, page
from core.report.sources import Sources
from core.text import printable
from core.workspace import Workspace, private_folder


def usual(workspace: Workspace) -> list[Path]:
    """Where a report goes when no file is named."""
    return [workspace.outputs / "report" / f"report{suffix}" for suffix in FORMATS]


def refuse(path: Path) -> None:
    """What must be known before anything is written.

    Raises:
        UserError: the name promises another format, or something else lies there.
    """
    name = printable(str(path))
    if path.suffix not in (*FORMATS, JSON):
        raise UserError(f"{name}: a report is {', '.join(FORMATS)} or {JSON}: name a file that ends so")
    try:
        if path.is_symlink() or (path.exists() and not path.is_file()):
            raise UserError(f"{name} is no regular file: name another one")
        mark = KIND if path.suffix == JSON else BEGIN
        if path.exists() and mark.encode() not in path.read_bytes():
            raise UserError(f"{name} exists and is no report: name another file, or move it away")
    except OSError as error:
        raise UserError(f"{name} cannot be read ({error.strerror or error}): name another file") from error


def save(report: Report, paths: list[Path]) -> None:
    """Write each form of a report that is a page."""
    _put(paths, lambda suffix: page(report, suffix))


def export(sources: Sources, report: Report, paths: list[Path]) -> None:
    """The same, and JSON where a name ends so."""
    _put(paths, lambda suffix: as_json(sources, report) if suffix == JSON else page(report, suffix))


def _put(paths: list[Path], text: Callable[[str], str]) -> None:
    """Write files. `text` gives what belongs to a suffix."""
    for path in paths:
        refuse(path)
    for path in paths:
        data = text(path.suffix).encode("utf-8", "backslashreplace")
        try:
            private_folder(path.absolute().parent)
            handle, part = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.absolute().parent)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(handle)
                Path(part).replace(path)
            except BaseException:
                with suppress(OSError):
                    Path(part).unlink()
                raise
        except OSError as error:
            raise UserError(f"{printable(str(path))} cannot be written ({error.strerror or error})") from error
