"""A configuration that is being changed: its values, what is wrong with them, and the file as it would be written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel

from core.config.document import KeyPath
from core.config.edit import rewritten, same
from core.config.form import MISSING, Row, effective, normal, rows, shown, value_at, with_value, without
from core.config.keys import key_order
from core.config.kinds import RUN_CONFIGS
from core.config.load import problems
from core.config.source import Source, read_source, save, save_new

# Steps that can be undone.
_STEPS = 500


class Difference(NamedTuple):
    """A key whose value is not the same here and there."""

    path: tuple[str, ...]
    here: Any
    there: Any

    @property
    def dotted(self) -> str:
        return ".".join(self.path)

    def words(self) -> str:
        return f"{self.dotted}: {_or_nothing(self.there)} → {_or_nothing(self.here)}"


def _plain(value: Any) -> Any:
    return None if value is MISSING else value


def _or_nothing(value: Any) -> str:
    return shown(value) or "not set"


class Draft:
    def __init__(self, source: Source, kind: str) -> None:
        self.source = source
        self.kind = kind
        self.model = RUN_CONFIGS[kind]
        self._steps: list[dict[str, Any]] = [source.document.value]
        self._at = 0
        self._known: tuple[object, list[tuple[KeyPath, str]]] | None = None

    @property
    def value(self) -> dict[str, Any]:
        return self._steps[self._at]

    @property
    def original(self) -> dict[str, Any]:
        return self.source.document.value

    def change(self, value: dict[str, Any]) -> None:
        """Go on from these values; they can be taken back."""
        if same(value, self.value):
            return
        self._steps = [*self._steps[: self._at + 1], value][-_STEPS:]
        self._at = len(self._steps) - 1

    def set(self, path: KeyPath, value: Any) -> None:
        self.change(with_value(self.value, path, value))

    def unset(self, path: KeyPath) -> None:
        """Leave a key out: its default takes its place."""
        self.change(without(self.value, path))

    def undo(self) -> bool:
        self._at, before = max(0, self._at - 1), self._at
        return self._at != before

    def redo(self) -> bool:
        self._at, before = min(len(self._steps) - 1, self._at + 1), self._at
        return self._at != before

    @property
    def changed(self) -> bool:
        return not same(self.value, self.original)

    def is_changed(self, path: KeyPath) -> bool:
        """Whether another value stands at a key than in the file."""
        here, there = value_at(self.value, path), value_at(self.original, path)
        return (here is MISSING) != (there is MISSING) or (here is not MISSING and not same(here, there))

    @property
    def problems(self) -> list[tuple[KeyPath, str]]:
        """What is wrong, in the order of the form."""
        if self._known is None or self._known[0] is not self.value:
            places = {row.path: place for place, row in enumerate(rows(self.model, self.value))}
            found = problems(self.model, self.value)
            found.sort(key=lambda problem: places.get(self.row_of(problem[0], places), 0))
            self._known = (self.value, found)
        return self._known[1]

    @staticmethod
    def row_of(path: KeyPath, places: dict[tuple[str, ...], int]) -> tuple[str, ...]:
        """The row beside which an error stands: of its key, or of what is around it."""
        words = tuple(map(str, path))
        while words and words not in places:
            words = words[:-1]
        return words

    def text(self) -> str:
        """The file as it would be written.

        Raises:
            UserError: a place of it cannot be changed alone.
        """
        return rewritten(
            self.source.text, self.value, self.source.document.name, lambda path: key_order(self.model, path)
        )

    def save(self) -> None:
        """Write the file.

        Raises:
            ChangedElsewhere: another program wrote it.
            UserError: it cannot be written, or not changed.
        """
        self._restart(save(self.source, self.text()))

    def save_as(self, path: Path) -> None:
        """Write another file, and go on with that."""
        self._restart(save_new(path, self.text()))

    def reload(self) -> None:
        """Read the file anew; what was changed here is changed in it too."""
        changes = list(_changes(self.original, self.value))
        self._restart(read_source(self.source.path))
        value = self.value
        for path, new in changes:
            value = without(value, path) if new is MISSING else with_value(value, path, new)
        self.change(value)

    def _restart(self, source: Source) -> None:
        self.source = source
        self._steps, self._at = [source.document.value], 0

    def take(self, other: dict[str, Any]) -> None:
        """Take over the values of another configuration, such as that of a run; what is the same stays unwritten."""
        value = self.value
        theirs = {row.path: row.role for row in rows(self.model, other)}
        for row in list(rows(self.model, value)):
            if (row.role == "name" and row.path not in theirs) or theirs.get(row.path) == "absent":
                value = without(value, row.path)
        for path, _, there in differences(self.model, value, other):
            value = without(value, path) if there is None or there is MISSING else with_value(value, path, there)
        self.change(value)


def _changes(
    before: dict[str, Any], after: dict[str, Any], path: tuple[str, ...] = ()
) -> Iterator[tuple[KeyPath, Any]]:
    """What is to be set, or with MISSING taken out, so that one becomes the other."""
    for key in {**before, **after}:
        old, new = before.get(key, MISSING), after.get(key, MISSING)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _changes(old, new, (*path, key))
        elif (old is MISSING) != (new is MISSING) or (new is not MISSING and not same(old, new)):
            yield (*path, key), new


def differences(model: type[BaseModel], here: dict[str, Any], there: dict[str, Any]) -> list[Difference]:
    """The keys that come to something else here and there, defaults counted, in the order of the form."""
    found: dict[tuple[str, ...], Row] = {}
    for value in (here, there):
        found |= {row.path: row for row in rows(model, value) if row.role in ("field", "unknown")}
    listed = []
    for path in found:
        one, other = (normal(model, path, _or_missing(model, value, path)) for value in (here, there))
        if not same(_plain(one), _plain(other)):
            listed.append(Difference(path, one, other))
    return listed


def _or_missing(model: type[BaseModel], value: dict[str, Any], path: tuple[str, ...]) -> Any:
    """What a key comes to; nothing in a section under a name that is not there."""
    for depth in range(1, len(path)):
        inside = value_at(value, path[:depth])
        if inside is MISSING and not key_order(model, path[: depth - 1]):
            return MISSING
    return effective(model, value, path)
