"""What lies in an export: SHA256SUMS for people, export.json for programs."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

RECORD = "export.json"
SUMS = "SHA256SUMS"
_KIND = "dpotui export"


def write(folder: Path, facts: dict[str, Any]) -> None:
    """Write both, last of all files: the record names every other file, the sums hold the record too."""
    files = {
        name: {"sha256": _sha256(folder / name), "bytes": (folder / name).stat().st_size} for name in _names(folder)
    }
    record = {"kind": _KIND, "format": 1, **facts, "files": files}
    (folder / RECORD).write_text(json.dumps(record, indent=2, ensure_ascii=True) + "\n", "utf-8")
    # Two blanks, as sha256sum and shasum write and read it.
    lines = [f"{_sha256(folder / name)}  {name}\n" for name in _names(folder)]
    (folder / SUMS).write_text("".join(lines), "utf-8")


def is_export(folder: Path, run: str | None = None) -> bool:
    """Whether a folder holds what an export wrote; where one is named, this very run."""
    try:
        found = json.loads((folder / RECORD).read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(found, dict) and found.get("kind") == _KIND and run in (None, found.get("run"))


def _names(folder: Path) -> list[str]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return [name for path in paths if (name := path.relative_to(folder).as_posix()) != SUMS]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
