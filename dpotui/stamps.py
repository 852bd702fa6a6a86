"""Whether files changed, by a look at their names, sizes and times."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path

from core.store.files import SETTLED_NS

_Stamp = tuple[object, ...]


def stamp(paths: Iterable[Path]) -> _Stamp | None:
    """Changes when a file does, or one in a folder that is named; None where one changed so lately that it may change
    again unseen."""
    found: list[object] = []
    newest = 0
    for path in paths:
        try:
            info = path.stat()
        except (OSError, ValueError):
            found.append((str(path), None))
            continue
        found.append((str(path), *_of(info)))
        newest = max(newest, info.st_ctime_ns)
        if not path.is_dir():
            continue
        try:
            with os.scandir(path) as entries:
                for entry in sorted(entries, key=lambda entry: entry.name):
                    info = entry.stat()
                    found.append((entry.name, *_of(info)))
                    newest = max(newest, info.st_ctime_ns)
        except OSError:
            return None
    return tuple(found) if time.time_ns() - newest > SETTLED_NS else None


def _of(info: os.stat_result) -> tuple[int, ...]:
    return info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns
