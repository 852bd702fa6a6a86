"""Files that a command writes, held apart from those it reads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from core.data.lines import open_regular
from core.errors import UserError
from core.text import printable


def refuse_overwriting(outputs: Sequence[Path], inputs: Sequence[Path]) -> None:
    """Hold every output to a name of its own, and to none that leads to a file that is read; the first of those must be
    there.

    Raises:
        UserError: nothing was written yet.
    """
    open_regular(inputs[0], printable(str(inputs[0]))).close()
    for number, output in enumerate(outputs):
        for source in inputs:
            if _same(output, source):
                raise UserError(f"{printable(str(output))} is the file that is read: name another one to write")
        for other in outputs[:number]:
            if _same(output, other):
                raise UserError(f"{printable(str(output))} would be written twice: name two files")


def _same(a: Path, b: Path) -> bool:
    try:
        if a.samefile(b):  # also by a link
            return True
    except (OSError, ValueError):
        pass  # one of them is not there yet, or no name: whoever opens it says so
    try:
        return a.resolve() == b.resolve()
    except (OSError, ValueError, RuntimeError):
        return a == b
