"""Putting runs in order: names, tags, notes, the archive; what was changed by whom, and back."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Sequence
from typing import Any

from core.errors import UserError
from core.store import Database, notes, run_changes, runs, transaction
from core.store.run_changes import Change, Field
from core.store.runs import Run
from core.text import one_line, printable

LONGEST_NAME = 100
LONGEST_TAG = 40
LONGEST_NOTE = 4000
MOST_TAGS = 20
_TAG = re.compile(r'[^\s,()"]+')


def rename(db: Database, run_id: str, name: str, who: str) -> Run:
    """An empty name is that of the run's id."""
    name = name.strip()
    if one_line(name, LONGEST_NAME) != name:
        raise UserError(f"a name is one line of at most {LONGEST_NAME} characters without control characters")
    return _change(db, run_id, "name", name or run_id, who)


def tag(db: Database, run_id: str, tags: Iterable[str], who: str) -> Run:
    """Add tags; those that it has stay."""
    wanted = [_checked(each) for each in tags]
    return _change(db, run_id, "tags", lambda run: (*run.tags, *wanted), who)


def untag(db: Database, run_id: str, tags: Iterable[str], who: str) -> Run:
    """Take tags off.

    Raises:
        UserError: it has not one of them.
    """
    gone = set(tags)
    run = runs.get(db, run_id)
    lacking = sorted(gone.difference(run.tags))
    if lacking:
        has = ", ".join(run.tags) or "none"
        raise UserError(f"{run.id} has no tag '{one_line(lacking[0], 60)}': its tags are {has}")
    return _change(db, run_id, "tags", lambda run: tuple(each for each in run.tags if each not in gone), who)


def set_tags(db: Database, run_id: str, tags: Iterable[str], who: str) -> Run:
    """These and no others."""
    wanted = tuple(_checked(each) for each in tags)
    return _change(db, run_id, "tags", wanted, who)


def archive(db: Database, run_id: str, who: str) -> Run:
    """Put a run out of sight; nothing of it is lost.

    Raises:
        UserError: it goes on, or waits to.
    """

    def when(run: Run) -> float:
        if run.state in (*runs.LIVE, "queued"):
            raise UserError(f"{run.id} is {run.state}: stop it first, or wait until it ended")
        return run.archived or time.time()

    return _change(db, run_id, "archived", when, who)


def unarchive(db: Database, run_id: str, who: str) -> Run:
    return _change(db, run_id, "archived", None, who)


def note(db: Database, run_id: str, text: str, who: str) -> Run:
    """Write a note on a run. Notes are added, never changed."""
    run = runs.get(db, run_id)
    text = printable(text.strip())
    if not text:
        raise UserError("a note has words: write what is to be kept in mind")
    if len(text) > LONGEST_NOTE:
        raise UserError(f"a note has at most {LONGEST_NOTE} characters, not {len(text)}: put the rest in a file")
    notes.add(db, f"run:{run.id}", text, who)
    return run


def undo(db: Database, who: str) -> Change | None:
    """Take back the newest change of a person; what somebody else changed since stands. None: there is none.

    Raises:
        UserError: it was changed again by another.
    """
    with transaction(db):
        change = run_changes.last(db, who)
        if change is None:
            return None
        now = _value(runs.get(db, change.run), change.field)
        run_changes.mark_undone(db, change.id)
        if now != change.after:
            raise UserError(f"{change.run}: its {change.field} changed since: it stays as it is")
        before = tuple(change.before) if change.field == "tags" else change.before
        runs.update(db, change.run, **{change.field: before})
    return change


def said(change: Change) -> str:
    """A change in words."""
    match change.field:
        case "name":
            return f"name {change.before} → {change.after}"
        case "archived":
            return "archived" if change.after else "taken out of the archive"
        case "tags":
            new = [f"+{each}" for each in change.after if each not in change.before]
            gone = [f"-{each}" for each in change.before if each not in change.after]
            return f"tags {' '.join([*new, *gone])}"


def split_tags(text: str) -> list[str]:
    """Tags as they are typed: words, with or without commas between them."""
    return [each for each in re.split(r"[\s,]+", text) if each]


def _checked(text: str) -> str:
    text = text.strip()
    if _TAG.fullmatch(text) is None or one_line(text, LONGEST_TAG) != text or text.casefold() == "none":
        raise UserError(
            f"'{one_line(text, 60)}' is no tag: one word of at most {LONGEST_TAG} characters, without"
            " commas, brackets and quotes, and not 'none'"
        )
    return text


def _value(run: Run, field: Field) -> Any:
    value = getattr(run, field)
    return list(value) if field == "tags" else value


def _change(db: Database, run_id: str, field: Field, wanted: Any, who: str) -> Run:
    """`wanted`: the value, or what gives it for the run as it stands."""
    with transaction(db):
        run = runs.get(db, run_id)
        value = wanted(run) if callable(wanted) else wanted
        if field == "tags":
            value = tuple(dict.fromkeys(value))
            _refuse_many(value)
        before, after = _value(run, field), list(value) if field == "tags" else value
        if before != after:
            runs.update(db, run.id, **{field: value})
            run_changes.record(db, run.id, field, before, after, who)
    return runs.get(db, run_id)


def _refuse_many(tags: Sequence[str]) -> None:
    if len(tags) > MOST_TAGS:
        raise UserError(f"a run has at most {MOST_TAGS} tags, not {len(tags)}: take one off first")
