"""Write a model folder that mlx-lm and transformers read, whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlx_lm.utils import save_config, save_model

from core.models.load import LanguageModel


def save(loaded: LanguageModel, folder: Path) -> None:
    """Weights, config.json and tokenizer into an existing folder."""
    save_model(folder, loaded.model)
    config = dict(loaded.config)
    save_config(config, folder / "config.json")
    loaded.tokenizer.save_pretrained(folder)
    generation = loaded.path / "generation_config.json"
    if generation.is_file():
        shutil.copyfile(generation, folder / generation.name)


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """A temporary folder beside `target` that takes its place when all of it is on disk.

    A crash at any moment leaves the old folder or the new one, never half of one. What stood there is replaced.
    """
    part = target.with_name(f".{target.name}.part")
    old = target.with_name(f".{target.name}.old")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True, mode=0o700)
    try:
        yield part
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    for path in part.rglob("*"):
        path.chmod(0o700 if path.is_dir() else 0o600)
        _sync(path)
    _sync(part)
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.rename(old)
    part.rename(target)
    _sync(target.parent)
    shutil.rmtree(old, ignore_errors=True)


def recover(target: Path) -> None:
    """Undo what a crash between the two renames of `whole_folder` left behind."""
    old = target.with_name(f".{target.name}.old")
    if old.exists() and not target.exists():
        old.rename(target)
    shutil.rmtree(old, ignore_errors=True)
    shutil.rmtree(target.with_name(f".{target.name}.part"), ignore_errors=True)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
