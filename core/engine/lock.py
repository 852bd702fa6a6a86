"""One engine a workspace: a file lock that the system releases however its holder ends."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from core.errors import UserError

# Somebody who only looks whether an engine lives holds the lock for an instant.
PATIENCE = 3.0


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


@contextmanager
def engine_lock(path: Path, patience: float = PATIENCE) -> Iterator[None]:
    """Hold the lock. Raises UserError when another engine has it."""
    handle = _open(path)
    try:
        deadline = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise UserError(f"an engine runs already for {path.parent}: 'dpotui doctor' shows it") from None
                time.sleep(0.05)
        yield
    finally:
        os.close(handle)


@contextmanager
def no_engine(path: Path) -> Iterator[bool]:
    """Whether no engine lives; while inside with True, none can start."""
    handle = _open(path)
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        yield False
        return
    try:
        yield True
    finally:
        os.close(handle)
