"""What a configuration that is being changed looks like: rows of its form, help of a key, its file, differences.

Imported when Config is entered: it needs pydantic.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from core.config.document import parse
from core.config.draft import Draft, differences
from core.config.edit import changed_lines
from core.config.files import template_of
from core.config.form import MISSING, Row, default_at, effective, first_value, rows, shown, type_and_choices, typed
from core.config.form import value_at as value_at
from core.config.form import with_value as with_value
from core.config.keys import allowed
from core.config.load import problems
from core.config.practice import practice
from core.config.source import read_source
from core.errors import UserError
from core.text import one_line
from core.workspace import Workspace
from dpotui.widgets.card import BLANK, Entry
from dpotui.widgets.form import FormRow
from dpotui.widgets.listing import Line
from dpotui.wrap import wrap

# What each key is a file or a model for is told by the end of its name.
_FILES = ("file", "_set")
_MODELS = ("model", "final", "baseline", "base", "checkpoint")
_PROPOSED = 300


def unit_of(row: Row) -> str:
    extra = row.field.json_schema_extra if row.field is not None else None
    return str(extra.get("unit", "")) if isinstance(extra, dict) else ""


def row_of(draft: Draft, key: str) -> Row | None:
    return next((row for row in rows(draft.model, draft.value) if row.dotted == key), None)


def errors_of(draft: Draft, found: Sequence[tuple[Any, str]]) -> dict[str, str]:
    """The first error of each row."""
    places = {row.path: place for place, row in enumerate(rows(draft.model, draft.value))}
    told: dict[str, str] = {}
    for path, words in found:
        dotted = ".".join(draft.row_of(path, places))
        # What a section lacks is said with the key that is missing.
        if len(path) > len(draft.row_of(path, places)) and path[-1] != "[key]":
            words = f"{path[-1]}: {words}"
        told.setdefault(dotted, words)
    return told


def errors_if(draft: Draft, row: Row, text: str) -> dict[str, str]:
    """The errors that there would be if this were the value."""
    assert row.field is not None
    try:
        value = with_value(draft.value, row.path, typed(row.field, text))
    except UserError as error:
        return {row.dotted: str(error)}
    return errors_of(draft, problems(draft.model, value))


def form_rows(draft: Draft, text: str, changed_only: bool) -> list[FormRow]:
    """The form, narrowed to keys with these words in them, and to what was changed."""
    errors = errors_of(draft, draft.problems)
    words = text.casefold().split()
    found: list[FormRow] = []
    headings: list[FormRow] = []
    for row in rows(draft.model, draft.value):
        made = _form_row(draft, row, errors.get(row.dotted, ""))
        if made.heading:
            headings = [heading for heading in headings if row.dotted.startswith(f"{heading.key}.")]
            headings.append(made)
        meaning = row.field.description if row.field is not None else ""
        told = f"{row.dotted} {meaning} {made.value}".casefold()
        if not all(word in told for word in words):
            continue
        if changed_only and made.state != "changed":
            continue
        if made.heading and (words or changed_only) and row.role in ("section", "names"):
            continue
        found += [heading for heading in headings if heading not in found and heading is not made]
        found.append(made)
    return found


def _form_row(draft: Draft, row: Row, error: str) -> FormRow:
    depth = len(row.path) - 1
    changed = draft.is_changed(row.path)
    label = row.path[-1]
    if row.role == "section":
        note = "x takes it out" if row.may_go else ""
        return FormRow(row.dotted, label, heading=True, depth=depth, error=error, note=note)
    if row.role == "names":
        return FormRow(row.dotted, label, heading=True, depth=depth, error=error, note="enter adds one")
    if row.role == "name":
        is_new = value_at(draft.original, row.path) is MISSING
        state = "changed" if is_new else "set"
        note = "added" if is_new else ""
        return FormRow(row.dotted, label, heading=True, depth=depth, error=error, note=note, state=state)  # type: ignore[arg-type]
    if row.role == "absent":
        return FormRow(row.dotted, label, "not set", depth=depth, state="changed" if changed else "default",
                       error=error, note="enter sets it")  # fmt: skip
    there = value_at(draft.value, row.path) is not MISSING
    value = shown(effective(draft.model, draft.value, row.path)) or ('""' if there else "not set")
    if row.required and not there:
        value = "must be given"
    state = "changed" if changed else "set" if there else "default"
    return FormRow(row.dotted, label, value, depth=depth, state=state, error=error, note=unit_of(row))  # type: ignore[arg-type]


def proposals(workspace: Workspace, row: Row) -> list[str]:
    """What is in the workspace that the key could name."""
    name = row.path[-1]
    if name.endswith(_FILES):
        places = ["data/*.jsonl", "data/*/*.jsonl", "configs/*.md"]
    elif name.endswith(_MODELS):
        places = ["models/*/", "checkpoints/*/", "outputs/*/"]
    else:
        return []
    found: list[str] = []
    for place in places:
        for path in sorted(workspace.root.glob(place)):
            found.append(workspace.relative(path))
            if len(found) == _PROPOSED:
                return found
    return found


def hint(row: Row) -> str:
    return allowed(row.field) if row.field is not None else ""


def next_choice(draft: Draft, row: Row) -> Any:
    """The choice after the one that stands there; MISSING where there is nothing to choose from."""
    if row.field is None:
        return MISSING
    kind, choices = type_and_choices(row.field)
    now = effective(draft.model, draft.value, row.path)
    if kind == "bool":
        return now is not True
    if kind == "choices" and not isinstance(now, str):
        return MISSING
    if not choices:
        return MISSING
    return choices[(choices.index(now) + 1) % len(choices)] if now in choices else choices[0]


def choices_of(row: Row) -> tuple[str, ...]:
    """What is chosen from a list: no field that may hold several."""
    if row.field is None:
        return ()
    kind, choices = type_and_choices(row.field)
    return choices if kind == "choice" else ()


def added(draft: Draft, row: Row, name: str = "") -> tuple[tuple[str, ...], dict[str, Any]]:
    """A new section and where it stands: one that may be there, or one under a name.

    Raises:
        UserError: that is no name.
    """
    path = (*row.path, name) if name else row.path
    section = first_value(draft.model, path)
    for where, words in problems(draft.model, with_value(draft.value, path, section)):
        if where[-1] == "[key]":
            raise UserError(words)
    return path, section


def brief(draft: Draft, row: Row | None, error: str, width: int) -> list[tuple[str, str]]:
    """Help in three lines."""
    if row is None:
        return [("", "")] * 3
    words = row.field.description or "" if row.field is not None else "A key that no such configuration has."
    facts = _facts(draft, row)
    if error:
        told = wrap(f"! {error}", width - 1)[:2]
        lines = [*told, facts or words] if len(told) == 2 else [*told, words, facts]
        roles = ["bad"] * len(told) + ["dim"] * (len(lines) - len(told))
    else:
        told = wrap(f"{words} {practice(draft.kind, row.help)}", width - 1)
        cut = [told[0], one_line(" ".join(told[1:]), width - 1)] if len(told) > 2 else [*told, ""][:2]
        lines, roles = [*cut, facts], ["", "", "dim"]
    found = [(" " + one_line(line, width - 1), role) for line, role in zip(lines, roles, strict=True)]
    return [*found, *[("", "")] * (3 - len(found))]


def _facts(draft: Draft, row: Row) -> str:
    """What is allowed, the unit and the default."""
    if row.role != "field":
        return {"names": "enter adds a section under a name", "absent": "enter sets it", "name": "x takes it out",
                "unknown": "x takes it out"}.get(row.role, "")  # fmt: skip
    return f"{hint(row)}{', ' + unit_of(row) if unit_of(row) else ''}{_default_words(draft, row)}"


def _default_words(draft: Draft, row: Row) -> str:
    if row.role != "field":
        return ""
    if row.required:
        return "; must be given"
    return f"; default {shown(default_at(draft.model, draft.value, row.path)) or 'not set'}"


def help_of(
    draft: Draft, row: Row | None, error: str, last: tuple[str, dict[str, Any]] | None, template: dict[str, Any]
) -> list[Entry]:
    """All help of a key. `last`: the last run of this kind, and what it had."""
    if row is None:
        return []
    entries = [Entry("", row.dotted, "title")]
    if error:
        entries.append(Entry("", f"! {error}", "bad"))
    entries.append(
        Entry("", (row.field.description or "") if row.field is not None else "A key that no such configuration has.")
    )
    words = practice(draft.kind, row.help)
    if words:
        entries += [BLANK, Entry("", words, "accent")]
    entries.append(BLANK)
    if row.field is not None and row.role == "field":
        entries.append(Entry("allowed", allowed(row.field)))
    if unit_of(row):
        entries.append(Entry("unit", unit_of(row)))
    if row.role != "field":
        return entries
    default = default_at(draft.model, draft.value, row.path)
    entries.append(Entry("default", "must be given" if row.required else shown(default) or "not set"))
    before = value_at(draft.original, row.path)
    if draft.is_changed(row.path):
        entries.append(Entry("file", "left out" if before is MISSING else shown(before), "accent"))
    if last is not None:
        entries.append(Entry(last[0], shown(effective(draft.model, last[1], row.path)) or "not set"))
    entries.append(Entry("template", shown(effective(draft.model, template, row.path)) or "not set"))
    return entries


class Written(NamedTuple):
    """The file as it would be written; lines that change are marked. `places`: the line of each key, from 0."""

    lines: list[Line]
    places: dict[tuple[str | int, ...], int]


def written(draft: Draft) -> Written:
    """Takes as long as reading the file: not for the thread of the screen."""
    try:
        after = draft.text()
        places = parse(after, "").lines
    except UserError as error:
        return Written([Line(str(error), "bad"), *text_lines(draft.source.text)], {})
    marked = changed_lines(draft.source.text, after)
    lines = [
        Line(line, "accent" if y in marked else _yaml_role(line), "*" if y in marked else " ", y + 1)
        for y, line in enumerate(after.splitlines())
    ]
    return Written(lines, {path: line - 1 for path, line in places.items()})


def text_lines(text: str) -> list[Line]:
    return [Line(line, _yaml_role(line), " ", y + 1) for y, line in enumerate(text.splitlines())]


def _yaml_role(line: str) -> str:
    return "dim" if line.lstrip().startswith("#") else ""


def difference_lines(draft: Draft, other: dict[str, Any], name: str) -> list[Line]:
    """Where this configuration comes to something else than another."""
    found = differences(draft.model, draft.value, other)
    if not found:
        return [Line(f"nothing differs from {name}", "dim")]
    lines = [Line(f"{name} → here", "dim")]
    for one in found:
        there, here = (shown(None if value is MISSING else value) or "not set" for value in (one.there, one.here))
        lines += [Line(one.dotted, "", "*"), Line(f"    {there} → {here}", "accent")]
    return lines


@cache
def template_values(kind: str) -> dict[str, Any]:
    return read_source(template_of(kind)).document.value


def read_text(path: Path) -> str:
    """A file that is only shown.

    Raises:
        UserError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(256 * 1024).decode("utf-8", "replace")
    except OSError as error:
        raise UserError(f"{path.name} cannot be read: {error.strerror}") from error
