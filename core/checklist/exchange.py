"""Export and import: the same Markdown with `[x]` and values filled in, and what a person changed in it read back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import time

from core.checklist import actions
from core.checklist.files import load_documents, read_text
from core.checklist.line import matcher
from core.checklist.markdown import Document, parse_filled
from core.checklist.state import ItemState, states
from core.checklist.tree import Item
from core.checklist.values import filled
from core.errors import UserError
from core.store import Database
from core.store.database import transaction
from core.workspace import Workspace


def render(document: Document, found: Mapping[str, ItemState]) -> str:
    """The text of a checklist with boxes and blanks as `found` says; all else as it stands in the file."""
    if document.root is None:
        return document.text
    lines = document.text.split("\n")
    for item in document.root.walk():
        if item.kind != "item":
            continue
        state, line = found[item.id], lines[item.line - 1]
        for blank, value in reversed(list(zip(item.blanks, state.values, strict=False))):
            if value is not None:
                line = line[: blank.start] + value + line[blank.end :]
        # A box is rewritten only where it says otherwise: `[X]` stays, and so does a parent's box nobody touched.
        if (state.state == "done") != _done_in_file(item):
            line = line[: item.box_at] + ("x" if state.state == "done" else " ") + line[item.box_at + 1 :]
        lines[item.line - 1] = line
    return "\n".join(lines)


def _done_in_file(item: Item) -> bool:
    """Whether the boxes of the file alone make an item done."""
    if item.leaf:
        return item.box
    return all(_done_in_file(child) for child in [c for c in item.children if not c.optional] or item.children)


@dataclass(frozen=True, slots=True)
class Imported:
    """One thing that an import did, or could not read."""

    item: str | None
    text: str
    line: int
    file: str
    changed: bool


def import_files(
    db: Database,
    workspace: Workspace,
    paths: Sequence[Path],
    who: str,
    *,
    note: str | None = None,
    dry_run: bool = False,
) -> list[Imported]:
    """Read ticks and values back from edited exports; what says what stands already is passed over.

    All or nothing: an error in one line changes nothing. One `undo` takes all of it back.

    Args:
        note: why, where a line says otherwise than a fact or a target.
        dry_run: say what would change.

    Raises:
        UserError: file, line and what is wrong there.
    """
    documents = load_documents(workspace)
    found = states(db, workspace, [document.root for document in documents if document.root])
    now = time()
    report: list[Imported] = []
    try:
        with transaction(db):
            for path in paths:
                text = read_text(path)
                known = {item.id: item for item in _template(text, path, documents).walk()}
                edited = parse_filled(text, str(path), known.values()).root
                for line in edited.walk() if edited else ():
                    if line.kind == "item":
                        reader = _Reader(db, line, known.get(line.id), found.get(line.id), who, note, now)
                        report += reader.read()
            if dry_run:
                raise _DryRun
    except _DryRun:
        pass
    return report


class _DryRun(Exception):
    """Takes back what a dry run did."""


def _template(text: str, path: Path, documents: Sequence[Document]) -> Item:
    """The checklist that a file was exported from: by the id of its title, its name, or an id in it."""
    read = parse_filled(text, str(path)).root
    if read is None:
        raise UserError(f"{path} has no items: import reads files that export wrote")
    named = {item.id for item in read.walk() if item.own_id}
    roots = [document.root for document in documents if document.root is not None]
    for fitting in (
        [root for root in roots if root.id == read.id],
        [root for root in roots if Path(root.file).name == path.name],
        [root for root in roots if named & {item.id for item in root.walk()}],
    ):
        if len(fitting) == 1:
            return fitting[0]
    raise UserError(f"{path} is none of the checklists of this workspace: import reads files that export wrote")


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads one line of an edited export."""

    db: Database
    line: Item
    item: Item | None
    state: ItemState | None
    who: str
    note: str | None
    now: float

    def read(self) -> list[Imported]:
        if self.item is None or self.state is None:
            return [self.said(False, f"'{self.line.text}' is not in the checklist: add it to the file there")]
        try:
            report = self.values(self.item, self.state)
            if self.item.leaf and self.line.box != (self.state.state == "done"):
                sign = actions.tick if self.line.box else actions.untick
                sign(self.db, self.item, self.who, self.note, when=self.now)
                report.append(self.said(True, "ticked" if self.line.box else "tick taken back"))
            return report
        except UserError as error:
            raise UserError(f"{self.line.file}:{self.line.line}: {error}") from None

    def values(self, item: Item, state: ItemState) -> list[Imported]:
        if not item.blanks or self.line.text == filled(item, state.values):
            return []
        found = matcher(item.text).fullmatch(self.line.text)
        if found is None:
            return [self.said(False, "its words were changed: no values read")]
        report = []
        for index, text in enumerate(found.groups()):
            value, current = "" if set(text) <= {"_"} else text, state.values[index]
            if value == (current or ""):
                continue
            blank = item.blanks[index]
            name = f" ({blank.label})" if len(item.blanks) > 1 and blank.label else ""
            if actions.set_value(self.db, item, value, self.who, self.note, blank=index, beside=True, when=self.now):
                report.append(self.said(True, f"value{name} {current or 'empty'} -> {value or 'empty'}"))
            elif not value:
                report.append(
                    self.said(False, f"{blank.fact} filled it with {current}: an empty blank changes nothing")
                )
        return report

    def said(self, changed: bool, text: str) -> Imported:
        return Imported(self.item.id if self.item else None, text, self.line.line, self.line.file, changed)
