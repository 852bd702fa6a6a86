"""The data files of a workspace: what each holds, what was measured on it, and whether that still holds."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from core.data.index import SUFFIX, open_index
from core.data.manifest import read_manifest
from core.errors import UserError
from core.store import facts, files, open_store
from core.store.facts import Fact
from core.workspace import Workspace
from dpotui.browse.kinds import Kind, is_data, kind_of_file, packed

# More files than this are a data lake and not a workspace.
MOST = 500
_DEEPEST = 3
_BLOCK = 1 << 20
# Facts about a file that say nothing of whether its pairs were looked through.
_NO_CHECKS = ("data.votes", "data.annotator_agreement", "data.guidelines", "data.strategy", "data.judge_agreement")


@dataclass(frozen=True, slots=True)
class DataFile:
    """A data file. `rows` is None where nobody has counted them; `stale` says why its facts no longer speak of it."""

    path: Path
    name: str  # as `Workspace.relative` writes it
    size: int
    kind: Kind | str
    rows: int | None = None
    checked: float | None = None
    gap: Fact | None = None
    stale: str | None = None
    problem: str = ""  # why it cannot be read
    indexed: bool = False


@dataclass(frozen=True, slots=True)
class _Known:
    kind: Kind | str
    rows: int | None
    problem: str


class Library:
    """Looks at the files; used by one thread. What was found in a file is remembered until it changes."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._known: dict[Path, tuple[tuple[int, int], _Known]] = {}

    def stamp(self, extra: tuple[Path, ...] = ()) -> tuple[object, ...]:
        """Changes when a file came, went or changed. Cheap."""
        found = []
        for path in self._paths(extra):
            stat = path.stat(follow_symlinks=True) if path.exists() else None
            found.append((path, stat.st_size, stat.st_mtime_ns) if stat else (path, -1, -1))
        return tuple(found)

    def look(self, extra: tuple[Path, ...] = ()) -> list[DataFile]:
        """All files, those of pairs first. `extra`: files from elsewhere that were opened."""
        with closing(open_store(self._workspace.database)) as db:
            newest = [fact for fact in facts.latest(db).values() if fact.inputs]
            stale = {fact.name: files.stale_reason(db, self._workspace, fact) for fact in newest if _of_data(fact)}
        indexed = self._indexed()
        found = []
        for path in self._paths(extra):
            try:
                stat = path.stat()
            except OSError:
                continue
            name = self._workspace.relative(path)
            mine = [fact for fact in newest if name in fact.inputs and fact.name in stale]
            known = self._look_into(path, (stat.st_size, stat.st_mtime_ns))
            found.append(
                DataFile(
                    path,
                    name,
                    stat.st_size,
                    known.kind,
                    indexed.get(path.absolute(), known.rows),
                    max((fact.time for fact in mine if fact.name not in _NO_CHECKS), default=None),
                    next((fact for fact in mine if fact.name == "data.preference_gap"), None),
                    next((stale[fact.name] for fact in mine if stale[fact.name]), None),
                    known.problem,
                    path.absolute() in indexed,
                )
            )
        order = ("pairs", "candidates", "prompts", "SFT examples", "table", "rows", "benchmark")
        return sorted(found, key=lambda each: (order.index(each.kind) if each.kind in order else 9, each.name))

    def _paths(self, extra: tuple[Path, ...]) -> list[Path]:
        paths = {path.absolute(): None for path in _walk(self._workspace.data, 0)}
        paths |= {path.absolute(): None for path in extra}
        return list(paths)[:MOST]

    def _indexed(self) -> dict[Path, int]:
        """Files that have an index of what they are now, and how many rows that counted."""
        found: dict[Path, int] = {}
        for each in sorted((self._workspace.cache / "data").glob(f"*{SUFFIX}")):
            index = None if ".part" in each.name else open_index(each)
            if index is None:
                continue
            with closing(index):
                if not all(_stands(file.path, file.size, file.changed_ns) for file in index.files):
                    continue
                bad = dict(index.rows("SELECT file, count(*) FROM bad_rows GROUP BY file"))
                for number, file in enumerate(index.files):
                    found[file.path] = file.pairs + int(bad.get(number, 0))
        return found

    def _look_into(self, path: Path, stamp: tuple[int, int]) -> _Known:
        known = self._known.get(path)
        if known is not None and known[0] == stamp:
            return known[1]
        rows: int | None = None
        problem = ""
        kind: Kind | str = "rows"
        try:
            kind = "benchmark" if path.parent.name == "benchmarks" else kind_of_file(path)
            rows = None if packed(path) else _count_lines(path)
        except (UserError, OSError) as error:
            kind, problem = "unreadable", str(error).replace(f"{path.parent}/", "")
        if rows is None and not problem:
            try:
                manifest = read_manifest(path)
                rows = manifest.rows if manifest else None
            except UserError:
                rows = None
        found = _Known(kind, rows, problem)
        self._known[path] = (stamp, found)
        return found


def _of_data(fact: Fact) -> bool:
    return fact.name.startswith(("data.", "sft.data", "sft.validation_share"))


def _walk(folder: Path, depth: int) -> Iterator[Path]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        # Links lead to data elsewhere; a folder behind a link may lead back here.
        if entry.is_dir(follow_symlinks=False):
            if depth < _DEEPEST and not entry.name.startswith("."):
                yield from _walk(Path(entry.path), depth + 1)
        elif is_data(entry.name) and entry.is_file():
            yield Path(entry.path)


def _stands(path: Path, size: int, changed_ns: int) -> bool:
    try:
        stat = path.stat()
    except OSError:
        return False
    return (stat.st_size, stat.st_ctime_ns) == (size, changed_ns)


def _count_lines(path: Path) -> int:
    """Ends of lines, and a last line without one. A gigabyte takes a third of a second."""
    lines, last = 0, b"\n"
    with path.open("rb", buffering=0) as file:
        while block := file.read(_BLOCK):
            lines += block.count(b"\n")
            last = block[-1:]
    return lines + (last != b"\n")
