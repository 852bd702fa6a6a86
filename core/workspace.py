"""Where things are: one folder with configs, data, models, checkpoints, outputs and runs.db."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from core.errors import UserError

FOLDERS = ("configs", "data", "models", "checkpoints", "outputs")
DATABASE = "runs.db"


def templates() -> Path:
    """The folder of commented configurations and checklists that a new workspace starts from.

    Inside an installed wheel it lies in the package, in a checkout at the top level.
    """
    here = Path(__file__).parent
    for folder in (here / "configs", here.parent / "configs"):
        if (folder / "checklists").is_dir():
            return folder
    raise UserError(f"the templates of dpotui are missing beside {here}: reinstall the package")


@dataclass(frozen=True, slots=True)
class Workspace:
    """Paths of one workspace. `root` is absolute."""

    root: Path

    @property
    def configs(self) -> Path:
        return self.root / "configs"

    @property
    def checklists(self) -> Path:
        return self.configs / "checklists"

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def checkpoints(self) -> Path:
        return self.root / "checkpoints"

    @property
    def outputs(self) -> Path:
        return self.root / "outputs"

    @property
    def cache(self) -> Path:
        """What is computed once for many runs; may be removed at any time."""
        return self.root / "cache"

    @property
    def database(self) -> Path:
        return self.root / DATABASE

    @property
    def engine_lock(self) -> Path:
        return self.root / ".engine.lock"

    @property
    def engine_log(self) -> Path:
        return self.root / "engine.log"

    def path(self, relative: str | Path) -> Path:
        """An absolute path; relative ones are meant from the workspace, `~` is the home folder."""
        return self.root / Path(relative).expanduser()

    def relative(self, path: Path) -> str:
        """How the path is written in runs.db: from the workspace when inside it, else absolute."""
        path = Path(os.path.normpath(self.path(path)))
        try:
            return path.relative_to(self.root).as_posix()
        except ValueError:
            return path.as_posix()


def write_private(path: Path, text: str) -> None:
    """Write a text file that only its owner can read, from its first byte on."""
    handle = os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        os.fchmod(handle, 0o600)  # also where the file stood there before
        file.write(text)


def is_workspace(folder: Path) -> bool:
    return (folder / "configs").is_dir() and (folder / DATABASE).is_file()


def name_from(folder: Path, path: Path) -> str:
    """How a file in `folder` names `path`, so that a workspace that is copied or moved goes on with what is its own.

    By its place in the workspace that holds both; else in full.
    """
    root = _around(folder)
    path = path.resolve()
    return str(path.relative_to(root)) if root is not None and path.is_relative_to(root) else str(path)


def path_from(folder: Path, name: str) -> Path:
    """What a file in `folder` means by a name that `name_from` gave it.

    A copy of a workspace without its runs.db, as another host has one, is found by that it has what is named.
    """
    around = _around(folder) or next((above for above in folder.resolve().parents if (above / name).exists()), folder)
    return around / name


def _around(folder: Path) -> Path | None:
    whole = folder.resolve()
    return next((found for found in (whole, *whole.parents) if is_workspace(found)), None)


def open_workspace(folder: Path) -> Workspace:
    """The workspace in `folder`, or in the nearest folder above it that is one."""
    start = folder.expanduser().absolute()
    if not start.is_dir():
        raise UserError(f"{start} is no folder: make a workspace with 'dpotui init {folder}'")
    for candidate in (start, *start.parents):
        if is_workspace(candidate):
            return Workspace(candidate.resolve())
    raise UserError(f"{start} is not a workspace (no configs/ and runs.db): make one with 'dpotui init {folder}'")


def create_workspace(folder: Path) -> Workspace:
    """Make the folders of a workspace and copy the templates into it, readable by its owner only.

    The database is made by `core.store.open_store`. Files that stand there already are kept.
    """
    root = folder.expanduser().absolute()
    if root.exists() and not root.is_dir():
        raise UserError(f"{root} is a file: name a folder for the workspace")
    try:
        private_folder(root)
        root = root.resolve()
        for name in FOLDERS:
            private_folder(root / name)
        source = templates()
        for path in sorted(source.rglob("*")):
            if path.is_dir() or path.name.startswith((".", "__")):
                continue
            target = root / "configs" / path.relative_to(source)
            private_folder(target.parent)
            if not target.exists():
                write_private(target, path.read_text("utf-8"))
    except OSError as error:
        raise UserError(f"{error.filename or root} cannot be made ({error.strerror}): name another folder") from error
    return Workspace(root)


def private_folder(path: Path) -> None:
    """Make a folder for its owner only, and those above it that are missing too. One that stands there keeps its
    rights."""
    if not path.is_dir():
        if path.parent != path:
            private_folder(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)
