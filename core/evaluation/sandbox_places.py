"""The folders a foreign program runs in: its own, gone when it ends, or by the next run when this one was killed."""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

NOBODY = 65534
_NAME = "dpotui-sandbox-"


@contextmanager
def places(drop: bool) -> Iterator[tuple[Path, Path]]:
    """The program's own folder, and one that it should not be able to write to though everybody may.

    Args:
        drop: it runs as a user without rights.
    """
    whole, lock = _locked()
    try:
        folder, outside = whole / "work", whole / "outside"
        folder.mkdir(0o700)
        outside.mkdir()
        outside.chmod(0o777)
        whole.chmod(0o711)
        if drop:
            os.chown(folder, NOBODY, NOBODY)
        yield folder, outside
    finally:
        _remove(whole)
        os.close(lock)


def _locked() -> tuple[Path, int]:
    """A folder whose lock lasts as long as this process; it has its name only when it is locked."""
    made = Path(tempfile.mkdtemp(prefix=f".{_NAME}")).resolve()
    lock = os.open(made, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    return made.rename(made.with_name(made.name.removeprefix("."))), lock


def tidy() -> None:
    """End and remove what runs left behind that were killed: what nobody holds the lock of."""
    for whole in Path(tempfile.gettempdir()).resolve().glob(f"{_NAME}*"):
        try:
            lock = os.open(whole, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            if os.fstat(lock).st_uid == os.geteuid():
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                end_at_home_in(whole / "work")
                _remove(whole)
        except OSError:
            continue
        finally:
            os.close(lock)


def _remove(folder: Path) -> None:
    """Also what a program made unreadable; links are removed, never followed."""

    def opened(_: Callable[..., Any], path: str, __: Any) -> None:
        for one in (Path(path).parent, Path(path)):
            if not one.is_symlink() and one.is_dir() and one.is_relative_to(folder):
                one.chmod(0o700)

    shutil.rmtree(folder, onerror=opened)
    shutil.rmtree(folder, ignore_errors=True)


def size(folder: Path) -> int:
    """Bytes of the files in a folder and the folders in it; stops counting where there are very many."""
    total, looked, open_ = 0, 0, [str(folder)]
    while open_ and looked < 5000:
        try:
            with os.scandir(open_.pop()) as entries:
                for entry in entries:
                    looked += 1
                    if entry.is_dir(follow_symlinks=False):
                        open_.append(entry.path)
                    else:
                        total += entry.stat(follow_symlinks=False).st_blocks * 512
                    if looked >= 5000:
                        return sys.maxsize
        except OSError:
            continue
    return total


def end_at_home_in(folder: Path) -> None:
    """End processes that still have the program's folder as their home or their place: daemons it left behind."""
    for one in psutil.process_iter():
        try:
            if one.environ().get("HOME") == str(folder) or Path(one.cwd()).is_relative_to(folder):
                one.kill()
        except (psutil.Error, OSError):
            continue
