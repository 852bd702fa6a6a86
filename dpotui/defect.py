"""What a person is told when the terminal itself fails: one line; the traceback goes into a file."""

from __future__ import annotations

import contextlib
import os
import time
import traceback
from pathlib import Path

from core.text import one_line

FILE = "terminal.log"


def told(error: BaseException, root: Path) -> str:
    """One line for the person. Names and values of a traceback may be text of others: they are for the file alone."""
    path = root / FILE
    lines = traceback.format_exception(error)
    stamp = time.strftime("%Y-%m-%d %H:%M:%S")
    where = "it could not be written down"
    with contextlib.suppress(OSError):
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"{stamp}\n{''.join(lines)}\n")
        where = f"{path} tells more"
    kind = type(error).__name__
    return f"dpotui: a defect ended the terminal, runs go on: {kind}: {one_line(str(error), 120)}; {where}"
