"""Hashes of files and model folders, remembered until the file changes; and whether a fact is stale."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from pathlib import Path

from sqlite_utils import Database

from core.errors import UserError
from core.store.database import storable, transaction
from core.store.facts import Fact
from core.workspace import Workspace

# A file that has been left alone for this long has its hash remembered.
SETTLED_NS = 2_000_000_000

# What makes a model folder the model it is. Notes, caches and training metrics beside it do not.
_MODEL_PATTERNS = (
    "*.safetensors",
    "config.json",
    "adapter_config.json",
    "tokenizer*",
    "chat_template*",
    "special_tokens_map.json",
    "reward_config.json",  # how a reward model is asked
)
# What makes a folder without a model the data it is.
_DATA_PATTERNS = ("*.jsonl", "*.jsonl.gz")


def sha256(db: Database, workspace: Workspace, relative: str) -> str | None:
    """The sha256 of a file, or of a folder with a model or, without one, with JSONL files: over names and hashes of
    them, so that a file more or less shows too. None when it is not there."""
    return digest(workspace.path(relative), lambda member: _file_sha256(db, member))


def digest(path: Path, of_file: Callable[[Path], str]) -> str | None:
    """The same of a path, with what hashes a file."""
    if path.is_dir():
        whole = hashlib.sha256()
        members = _members(path, _MODEL_PATTERNS) or _members(path, _DATA_PATTERNS)
        if not members:
            return None
        for member in members:
            whole.update(f"{member.name}\0{of_file(member)}\n".encode())
        return whole.hexdigest()
    return of_file(path) if path.is_file() else None


def _members(folder: Path, patterns: tuple[str, ...]) -> list[Path]:
    return sorted({path for pattern in patterns for path in folder.glob(pattern) if path.is_file()})


def _file_sha256(db: Database, path: Path) -> str:
    key = storable(path.as_posix())
    try:
        stat = path.stat()
        row = db.execute("SELECT size, changed_ns, sha256 FROM files WHERE path = ?", [key]).fetchone()
        # The time of the inode's change, not of the content's: a copy can bring an old mtime with it.
        if row and row[:2] == (stat.st_size, stat.st_ctime_ns):
            return str(row[2])
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror})") from error
    # What changed just now may change again within the same tick of the file system's clock: not remembered yet.
    if time.time_ns() - stat.st_ctime_ns > SETTLED_NS:
        with transaction(db):
            db.execute(
                "INSERT OR REPLACE INTO files (path, size, changed_ns, sha256) VALUES (?, ?, ?, ?)",
                [key, stat.st_size, stat.st_ctime_ns, digest],
            )
    return digest


def fingerprints(db: Database, workspace: Workspace, *paths: str) -> dict[str, str]:
    """The hashes of the files that exist, as `Fact.inputs` and `Run.inputs` hold them."""
    found = {path: sha256(db, workspace, path) for path in paths}
    return {path: digest for path, digest in found.items() if digest is not None}


def stale_reason(db: Database, workspace: Workspace, fact: Fact) -> str | None:
    """Why a fact no longer speaks of what lies in the workspace, or None while it does."""
    for path, digest in fact.inputs.items():
        now = sha256(db, workspace, path)
        if now is None:
            return f"{path} is gone"
        if now != digest:
            return f"{path} changed since"
    return None
