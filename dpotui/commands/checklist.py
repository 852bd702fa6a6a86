"""`dpotui checklist`: show, tick, fill, explain, back, undo, export and import the checklists."""

from __future__ import annotations

import getpass
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click

from core import checklist
from core.checklist import Document, Item, ItemState, Sought
from core.errors import UserError
from core.store import Database, open_store, ticks
from core.store.database import transaction
from core.text import printable
from core.workspace import Workspace, open_workspace
from dpotui.commands import checklist_view as view


class Session:
    """The workspace of one call: its checklists, its store, and how to print."""

    def __init__(self, folder: str) -> None:
        self.workspace: Workspace = open_workspace(Path(folder))
        self.documents: list[Document] = checklist.load_documents(self.workspace)
        self.roots: list[Item] = [document.root for document in self.documents if document.root is not None]
        self.db: Database = open_store(self.workspace.database)
        self.who = getpass.getuser()

    def find(self, meant: str) -> Item:
        return checklist.find(self.roots, meant)

    def states(self) -> dict[str, ItemState]:
        return checklist.states(self.db, self.workspace, self.roots)

    def lines(self, items: Iterable[Item]) -> None:
        """Show how items stand after a change."""
        found = self.states()
        for item in items:
            echo(view.line(item, found[item.id], width=_width()))


def echo(text: str) -> None:
    """Print with colours only where they are wanted; meaning never hangs on them."""
    plain = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb" or not sys.stdout.isatty()
    click.echo(text, color=not plain)


def _width() -> int:
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else view.UNBOUNDED


def in_workspace(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command `--workspace` and, as its first argument, the session there."""

    def opened(*args: Any, workspace: str, **options: Any) -> None:
        function(Session(workspace), *args, **options)

    opened.__doc__, opened.__name__ = function.__doc__, function.__name__
    opened.__click_params__ = getattr(function, "__click_params__", [])  # type: ignore[attr-defined]
    option = click.option("-w", "--workspace", default=".", metavar="DIR", help="The workspace (default: here).")
    return option(opened)


@click.group()
def command() -> None:
    """Show, tick, fill, export and import the checklists.

    ITEM is an id (dpo.gates.kl_divergence), a piece of one (gates.kl), the number of a stage, or the first words of an
    item. What facts decide ticks itself; a person who says otherwise says why with --note.

    The checklists are Markdown in configs/checklists: add items and files of your own. A comment behind an item names
    it and what fills it: <!-- id: my.latency fact: dpo.throughput target: >5 -->
    """


@command.command()
@click.argument("item", required=False)
@click.option("--json", "as_json", is_flag=True, help="One JSON document, nested as the checklists are.")
@click.option("--open", "sought", flag_value="open", help="Only what is not done.")
@click.option("--failed", "sought", flag_value="failed", help="Only what does not meet its target.")
@click.option("--stale", "sought", flag_value="stale", help="Only what was measured on files that changed since.")
@click.option("--mine", "sought", flag_value="mine", help="Only what you changed.")
@click.option("--ids", is_flag=True, help="With the id of each item.")
@in_workspace
def show(session: Session, item: str | None, as_json: bool, sought: Sought | None, ids: bool) -> None:
    """Show all checklists, one branch, or all that is known of one ITEM."""
    found = session.states()
    chosen = session.find(item) if item is not None else None
    if as_json:
        document = view.as_json(chosen, found) if chosen else view.all_as_json(session.roots, found)
        # The same document either way; on a terminal no character of it can be a command.
        click.echo(json.dumps(document, ensure_ascii=sys.stdout.isatty(), indent=2))
        return
    if chosen is not None and not chosen.children:
        for line in view.card(chosen, found[chosen.id], ticks.history(session.db, chosen.id, 10)):
            echo(line)
        return
    roots = [chosen] if chosen else session.roots
    left = None
    if sought is not None:
        mine = ticks.changed_by(session.db, session.who) if sought == "mine" else ()
        left = checklist.left(roots, found, sought, mine)
    for line in view.tree(roots, found, width=_width(), ids=ids, left=left):
        echo(line)
    if chosen is None:
        _summary(session, found)


def _summary(session: Session, found: dict[str, ItemState]) -> None:
    states = [found[root.id] for root in session.roots]
    done, total = sum(s.done for s in states), sum(s.total for s in states)
    failing, stale = sum(s.failing for s in states), sum(s.stale for s in states)
    echo(f"{done} of {total} done, {failing} FAIL, {stale} STALE")
    known = checklist.by_id(session.roots)
    lost = [name for name, tick in ticks.everything(session.db).items() if name not in known and tick.time]
    if lost:
        echo(printable(f"ticks whose items are no longer in the files: {', '.join(sorted(lost))}"))


@command.command()
@click.argument("items", nargs=-1, required=True, metavar="ITEM...")
@click.option("--note", metavar="WHY", help="Why; needed where a fact or a target says otherwise.")
@in_workspace
def tick(session: Session, items: tuple[str, ...], note: str | None) -> None:
    """Sign items."""
    _sign(session, items, checklist.tick, note)


@command.command()
@click.argument("items", nargs=-1, required=True, metavar="ITEM...")
@click.option("--note", metavar="WHY", help="Why; needed where a fact says otherwise.")
@in_workspace
def untick(session: Session, items: tuple[str, ...], note: str | None) -> None:
    """Take ticks back, a person's or a fact's."""
    _sign(session, items, checklist.untick, note)


def _sign(session: Session, items: tuple[str, ...], sign: Callable[..., bool], note: str | None) -> None:
    found = [session.find(item) for item in items]
    now = time.time()
    with transaction(session.db):
        for item in found:
            sign(session.db, item, session.who, note, when=now)
    session.lines(found)


@command.command(context_settings={"ignore_unknown_options": True})
@click.argument("item")
@click.argument("text", metavar="VALUE", required=False)
@click.option("--blank", metavar="N|LABEL", help="Which blank, where there are several (default: the first).")
@click.option("--clear", is_flag=True, help="Empty the blank.")
@click.option("--note", metavar="WHY", help="Why; needed where a fact or a target says otherwise.")
@in_workspace
def value(session: Session, item: str, text: str | None, blank: str | None, clear: bool, note: str | None) -> None:
    """Fill the blank of ITEM. Numbers with a point: 0.08, 1e-3, 96.5%."""
    if clear == (text is not None):
        raise UserError("give a VALUE, or --clear to empty the blank")
    found = session.find(item)
    checklist.set_value(session.db, found, text or "", session.who, note, blank=_blank(found, blank))
    session.lines([found])


def _blank(item: Item, meant: str | None) -> int:
    if meant is None:
        return 0
    if meant.isdecimal():
        return int(meant) - 1
    labels = [blank.label for blank in item.blanks]
    fitting = [i for i, label in enumerate(labels) if label.casefold().startswith(meant.casefold())]
    if len(fitting) != 1:
        raise UserError(f"--blank {meant}: {item.id} has the blanks {', '.join(labels) or 'none'}")
    return fitting[0]


@command.command()
@click.argument("item")
@click.argument("text", nargs=-1)
@in_workspace
def note(session: Session, item: str, text: tuple[str, ...]) -> None:
    """Give ITEM a note; without TEXT take it away."""
    found = session.find(item)
    checklist.set_note(session.db, found, " ".join(text), session.who)
    session.lines([found])


@command.command()
@click.argument("item")
@click.option("--file", metavar="PATH", help="A file or model folder; its hash is kept.")
@click.option("--run", metavar="RUN", help="A run.")
@click.option("--fact", metavar="NAME", help="A fact as it stands now.")
@click.option("--note", metavar="TEXT", help="A remark.")
@in_workspace
def evidence(
    session: Session, item: str, file: str | None, run: str | None, fact: str | None, note: str | None
) -> None:
    """Back ITEM with a file, a run, a fact or a remark."""
    found = session.find(item)
    # A relative path means what the shell means by it, wherever the workspace lies.
    path = Path(file).expanduser().absolute() if file is not None else None
    checklist.add_evidence(session.db, session.workspace, found, session.who, file=path, run=run, fact=fact, note=note)
    session.lines([found])


@command.command()
@click.argument("item", required=False)
@click.option("--redo", is_flag=True, help="Undo the newest undo.")
@in_workspace
def undo(session: Session, item: str | None, redo: bool) -> None:
    """Take back the newest change, of ITEM or of all; an import as a whole."""
    found = session.find(item) if item is not None else None
    reverse = checklist.redo if redo else checklist.undo
    changes = reverse(session.db, session.who, found)
    if not changes:
        echo(f"nothing to {'redo' if redo else 'undo'}")
    for change in changes:
        echo(f"{'brought back' if redo else 'taken back'}: {view.described(change)}")


@command.command()
@click.argument("item", required=False)
@click.option("-n", "--limit", default=50, show_default=True, help="How many changes.")
@in_workspace
def history(session: Session, item: str | None, limit: int) -> None:
    """Who changed what and when, newest first."""
    found = session.find(item) if item is not None else None
    for change in ticks.history(session.db, found.id if found else None, limit):
        echo(view.described(change))


@command.command()
@click.argument("stage", required=False)
@click.option("-o", "--output", metavar="DIR", help="Write the files there instead of to stdout.")
@click.option("--force", is_flag=True, help="Overwrite files that differ.")
@in_workspace
def export(session: Session, stage: str | None, output: str | None, force: bool) -> None:
    """Write the checklists with ticks and values filled in: all to a folder, or one STAGE to stdout."""
    chosen = session.documents
    if stage is not None:
        root = session.find(stage)
        if root.kind != "stage":
            raise UserError(f"{root.id} is no stage: export writes whole checklists, such as '{root.file}'")
        chosen = [document for document in session.documents if document.root is root]
    found = session.states()
    if output is not None:
        _write(session, chosen, found, Path(output).expanduser().absolute(), force)
    elif stage is None:
        raise UserError("name a stage to write to stdout, or a folder for all with --output DIR")
    else:
        text = checklist.render(chosen[0], found)
        if sys.stdout.isatty():
            text = printable(text)
        # Bytes, so that line ends arrive as they stand in the file.
        sys.stdout.flush()
        sys.stdout.buffer.write(text.encode())
        sys.stdout.buffer.flush()


def _write(session: Session, documents: list[Document], found: dict[str, ItemState], folder: Path, force: bool) -> None:
    if folder.resolve() == session.workspace.checklists.resolve():
        raise UserError(f"{folder} holds the checklists themselves, whose blanks stay blank: name another folder")
    texts = {folder / Path(document.name).name: checklist.render(document, found).encode() for document in documents}
    for path, text in texts.items():
        if path.exists() and not force and path.read_bytes() != text:
            raise UserError(f"{path} exists and differs: import it first, or overwrite it with --force")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path, text in texts.items():
            path.touch(mode=0o600)
            path.write_bytes(text)
            echo(printable(str(path)))
    except OSError as error:
        raise UserError(f"{error.filename or folder} cannot be written: {error.strerror}") from None


@command.command("import")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("--note", metavar="WHY", help="Why, for lines that say otherwise than a fact or a target.")
@click.option("--dry-run", is_flag=True, help="Say what would change.")
@in_workspace
def import_(session: Session, paths: tuple[str, ...], note: str | None, dry_run: bool) -> None:
    """Read ticks and values back from edited exports (files, or folders of them)."""
    files: list[Path] = []
    for path in map(Path, paths):
        inside = sorted(path.glob("*.md")) if path.is_dir() else [path]
        if not inside:
            raise UserError(f"{path} has no .md files")
        files += inside
    report = checklist.import_files(session.db, session.workspace, files, session.who, note=note, dry_run=dry_run)
    for entry in report:
        name = entry.item or "ignored"
        echo(printable(f"{entry.file}:{entry.line}: {name}: {entry.text}"))
    changed = sum(entry.changed for entry in report)
    what = f"{changed} change{'s' if changed > 1 else ''} {'would be ' if dry_run else ''}made"
    echo(what if changed else "nothing to change")
