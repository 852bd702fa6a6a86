"""The lineage of a data set: its manifest, its parents' manifests and so on, and what changed since."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from core.data.manifest import Digest, Manifest, file_sha256, manifest_path, read_manifest
from core.errors import UserError
from core.text import printable

# Manifests are files that anybody may have written: a tree of a million lines is nobody's history.
MAX_NODES = 1000
MAX_DEPTH = 50

State = Literal["same", "changed", "gone", "unknown"]


@dataclass(frozen=True, slots=True)
class Node:
    """One file of a lineage: the data set itself (depth 0), one of its parents (1), one of theirs ...

    `state` compares the file as it is now with the hash that its child's manifest recorded (at depth 0: its own
    manifest): "same", "changed", "gone" (no such file any more), or "unknown" (nothing was recorded, or the file cannot
    be read). All text is safe to show.
    """

    depth: int
    path: Path
    name: str  # as the child names it, from the child's folder
    state: State
    recorded: str | None  # the sha256 that was recorded
    rows: int | None = None
    command: str = ""  # what made it; "" where it has no manifest: it came from outside
    program: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)  # what the command made sure of
    note: str = ""  # what else is to be said: a manifest that is broken or of other bytes, parents shown above

    @property
    def trusted(self) -> bool:
        """Whether nothing speaks against it."""
        return self.state == "same" and not self.note.startswith("its manifest")


def lineage(path: Path, digest: Digest = file_sha256) -> list[Node]:
    """A data set and all it was made of, parents below their child, in the order of the manifests.

    Args:
        path: a file of data; it need not have a manifest.
        digest: gives the sha256 of a file, or None where there is none. `core.store.files.sha256` remembers them.

    Raises:
        UserError: there is no such file and no manifest of it.
    """
    if not path.is_file() and not manifest_path(path).is_file():
        what = "is not a regular file" if path.exists() else "does not exist"
        raise UserError(f"{printable(str(path))} {what}: name a data set, such as data/preference_pairs.jsonl")
    found: list[Node] = []
    _walk(path, path.name, None, 0, digest, found, {}, ())
    return found


def _walk(
    path: Path,
    name: str,
    recorded: str | None,
    depth: int,
    digest: Digest,
    found: list[Node],
    expanded: dict[Path, Manifest | None],
    above: tuple[Path, ...],
) -> None:
    here = path.resolve()
    note = ""
    try:
        now, readable = digest(path), True
    except (OSError, UserError):
        now, readable = None, False
    try:
        manifest = read_manifest(path)
    except UserError as error:
        manifest, note = None, f"its manifest cannot be used: {error}"
    if depth == 0 and manifest is not None:
        recorded = manifest.sha256
    state: State
    if not readable or (now is not None and recorded is None):
        state = "unknown"
    elif now is None:
        state = "gone"
    else:
        state = "same" if now == recorded else "changed"
    if manifest is not None and depth and now is not None and manifest.sha256 != now:
        note = "its manifest is of other bytes: what it says may not be so any more"
    again = here in expanded
    if again and manifest is not None and manifest.parents:
        note = note or ("it is among its own parents" if here in above else "its parents are shown above")
    found.append(
        Node(
            depth,
            path,
            printable(name),
            state,
            recorded,
            manifest.rows if manifest else None,
            printable(manifest.command) if manifest else "",
            printable(manifest.program) if manifest else "",
            _clean(manifest.parameters) if manifest else {},
            {printable(key): value for key, value in manifest.counts.items()} if manifest else {},
            {printable(key): printable(value) for key, value in manifest.notes.items()} if manifest else {},
            note,
        )
    )
    if manifest is None or again:
        return
    expanded[here] = manifest
    for parent, then in manifest.parents:
        if len(found) >= MAX_NODES or depth + 1 >= MAX_DEPTH:
            return
        _walk(path.parent / parent, parent, then, depth + 1, digest, found, expanded, (*above, here))


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, list):
        return [_clean(item) for item in value]
    if isinstance(value, dict):
        return {printable(str(key)): _clean(item) for key, item in value.items()}
    return value
