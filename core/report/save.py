"""Write a report to a file: whole or not at all, for its owner only, and over nothing that is not a report."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from core.errors import UserError
from core.report.document import Report
from core.report.pages import BEGIN, FORMATS, page
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
    if path.suffix not in FORMATS:
        raise UserError(f"{name}: a report is {' or '.join(FORMATS)}: name a file that ends so")
    try:
        if path.is_symlink() or (path.exists() and not path.is_file()):
            raise UserError(f"{name} is no regular file: name another one")
        if path.exists() and BEGIN.encode() not in path.read_bytes():
            raise UserError(f"{name} exists and is no report: name another file, or move it away")
    except OSError as error:
        raise UserError(f"{name} cannot be read ({error.strerror or error}): name another file") from error


def save(report: Report, paths: list[Path]) -> None:
    """Write each form of a report."""
    for path in paths:
        refuse(path)
    for path in paths:
        text = page(report, path.suffix).encode("utf-8", "backslashreplace")
        try:
            private_folder(path.absolute().parent)
            handle, part = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.absolute().parent)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(text)
                    file.flush()
                    os.fsync(handle)
                Path(part).replace(path)
            except BaseException:
                with suppress(OSError):
                    Path(part).unlink()
                raise
        except OSError as error:
            raise UserError(f"{printable(str(path))} cannot be written ({error.strerror or error})") from error
