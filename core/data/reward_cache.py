"""Rewards of pairs on disk: scored once under a reward model, whoever asks for them again, and as far as one came."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from core.data.pairs import Pair
from core.errors import UserError
from core.text import printable
from core.workspace import path_from, private_folder

SETTINGS = "reward_config.json"  # of a folder that 'dpotui train reward' wrote
_FILES = ("*.safetensors", "*.json", "tokenizer*", "chat_template*")
# Written beside the weights, and no part of what they compute.
_BESIDE = ("training_metrics.json",)
# Raised when the same model and pair would be scored otherwise than before.
_FORMAT = 1


class Rewarded(NamedTuple):
    """Rewards of both responses of a pair, or why the model cannot read it."""

    chosen: float | None
    rejected: float | None
    why: str | None = None


class RewardCache:
    """Rewards under one model, by what the pair says. A process that is killed loses what it did not add yet.

    Args:
        path: as `cache_path` names it; None keeps them in memory.

    Raises:
        UserError: the file cannot be opened.
    """

    def __init__(self, path: Path | None) -> None:
        self._shown = printable(str(path))
        try:
            if path is not None:
                private_folder(path.parent)
                path.touch(mode=0o600)
            self._db = sqlite3.connect(path or ":memory:", timeout=30, check_same_thread=False)
            with self._db:
                self._db.execute(
                    "CREATE TABLE IF NOT EXISTS rewards"
                    " (pair BLOB PRIMARY KEY, chosen REAL, rejected REAL, why TEXT) WITHOUT ROWID"
                )
        except (OSError, sqlite3.Error) as error:
            raise UserError(f"{self._shown} cannot be used ({error}): remove it, it is made again") from error

    def __enter__(self) -> RewardCache:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._db.close()

    def known(self, keys: Sequence[bytes]) -> list[Rewarded | None]:
        """What is known of each of these pairs."""
        found: dict[bytes, Rewarded] = {}
        for start in range(0, len(keys), 500):
            part = keys[start : start + 500]
            marks = ",".join("?" * len(part))  # nothing else enters the statement
            rows = self._db.execute(
                f"SELECT pair, chosen, rejected, why FROM rewards WHERE pair IN ({marks})",  # noqa: S608
                part,
            )
            found |= {key: Rewarded(*rest) for key, *rest in rows}
        return [found.get(key) for key in keys]

    def add(self, rows: Iterable[tuple[bytes, Rewarded]]) -> None:
        """Put them on disk, all or none."""
        try:
            with self._db:
                self._db.executemany("INSERT OR REPLACE INTO rewards VALUES (?, ?, ?, ?)", ((k, *r) for k, r in rows))
        except sqlite3.Error as error:
            raise UserError(f"{self._shown} cannot be written: {error}") from error

    def __len__(self) -> int:
        return int(self._db.execute("SELECT count(*) FROM rewards").fetchone()[0])


def pair_key(pair: Pair) -> bytes:
    """128 bits that stand for what a pair says."""
    told = json.dumps([pair.prompt, pair.chosen, pair.rejected])
    return hashlib.blake2b(told.encode(), digest_size=16).digest()


def cache_path(folder: Path, model: str) -> Path:
    """Where rewards under the model with this hash lie, in the cache of a workspace."""
    return folder / "rewards" / f"{model[:24]}.db"


def model_hash(folder: Path, digest: Callable[[Path], str | None]) -> str:
    """What a reward model is: its files, and those of the model that its adapter stands on.

    Args:
        digest: gives the sha256 of a file; `core.store.files.sha256` remembers them.

    Raises:
        UserError: the folder is none, or what it stands on is gone.
    """
    shown = printable(str(folder))
    if not folder.is_dir():
        raise UserError(f"{shown} is no folder: name that of a reward model, such as checkpoints/reward_model")
    whole = hashlib.sha256(f"{_FORMAT}\n".encode())
    for part in (folder, base_of(folder)):
        if part is None:
            continue
        if not part.is_dir():
            raise UserError(f"{shown} stands on {printable(str(part))}, which is not there: put it back")
        members = sorted({path for pattern in _FILES for path in part.glob(pattern) if path.name not in _BESIDE})
        if not any(path.suffix == ".safetensors" for path in members):
            raise UserError(
                f"{printable(str(part))} holds no weights (*.safetensors): train one with 'dpotui train reward'"
            )
        for path in members:
            try:
                whole.update(f"{path.name}\0{digest(path)}\n".encode())
            except OSError as error:
                raise UserError(f"{printable(str(path))} cannot be read: {error.strerror or error}") from error
    return whole.hexdigest()


def base_of(folder: Path) -> Path | None:
    """The model that a reward model's adapter stands on; None for a whole model, or where nothing says so."""
    try:
        settings = json.loads((folder / SETTINGS).read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    base = settings.get("base_model") if isinstance(settings, dict) else None
    return path_from(folder, base) if isinstance(base, str) and "\0" not in base else None
