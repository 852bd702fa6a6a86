"""Checklists and gates as they stand, judged again only when something changed that they rest on."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import UserError
from core.store import Database
from core.store import facts as fact_store
from core.store import ticks as tick_store
from core.workspace import Workspace
from dpotui.stamps import stamp

if TYPE_CHECKING:
    from core.checklist import Item, ItemState
    from core.gates import Gate, GateResult

# How often all is judged again though nothing seems to have changed: thresholds may lie in files not looked at.
_ANEW = 60.0

_WRITTEN = "SELECT (SELECT max(id) FROM facts), (SELECT max(id) FROM tick_history), (SELECT max(time) FROM ticks)"


@dataclass(frozen=True, slots=True)
class Judged:
    roots: tuple[Item, ...] = ()
    states: Mapping[str, ItemState] = field(default_factory=dict)
    gates: tuple[GateResult, ...] = ()
    problem: str | None = None  # what keeps checklists or gates from being read


class Judging:
    """The last judgement and what it rested on; used by one thread."""

    def __init__(self, db: Database, workspace: Workspace, clock: Callable[[], float]) -> None:
        self._db, self._workspace, self._clock = db, workspace, clock
        self._written: tuple[object, ...] = ()
        self._inputs: tuple[Path, ...] = ()
        self._files: object = None
        self._gates_files: object = None
        self._gates: tuple[Gate, ...] = ()
        self._at = -_ANEW
        self._last = Judged()

    def look(self, *, outside: bool) -> Judged:
        """The judgement as it is now.

        Args:
            outside: look at files, too; else only at what was written to runs.db.
        """
        written = tuple(self._db.execute(_WRITTEN).fetchone())
        if written == self._written and not outside:
            return self._last
        if written != self._written:
            self._inputs = self._rests_on()
        now = self._clock()
        fresh = 0 <= now - self._at < _ANEW
        files = stamp([self._workspace.checklists, self._workspace.configs, *self._inputs])
        stands = written == self._written and files is not None and files == self._files
        if stands and fresh:
            return self._last
        # Taken before: what changes while it is judged is judged again.
        self._written, self._files, self._at = written, files, now
        self._last = self._judge(now, anew=not fresh)
        return self._last

    def checklists(self) -> Judged:
        """With the checklists alone judged anew, which takes some milliseconds."""
        from core import checklist

        last = self._last
        try:
            roots = tuple(checklist.load_tree(self._workspace))
            states = checklist.states(self._db, self._workspace, roots)
        except UserError as error:
            return replace(last, problem=self._said(error))
        return replace(last, roots=roots, states=states, problem=None)

    def _judge(self, now: float, *, anew: bool) -> Judged:
        new = self.checklists()
        from core import gates  # what reads configurations takes a quarter of a second to import

        try:
            self._load_gates(anew)
            results = tuple(gates.evaluate(self._db, self._workspace, gates=self._gates))
            with suppress(sqlite3.OperationalError):  # a full disk: what cannot be kept now is at the next look
                gates.record(self._db, results, now)
        except UserError as error:
            return replace(new, problem=new.problem or self._said(error))
        return replace(new, gates=results)

    def _load_gates(self, anew: bool) -> None:
        """Reading them takes longer than all else that is looked at.

        Raises:
            UserError: an error in them.
        """
        from core import gates

        files = stamp([self._workspace.configs])
        if anew or files is None or files != self._gates_files:
            self._gates_files = None
            self._gates = tuple(gates.load_gates(self._workspace))
            self._gates_files = files

    def _rests_on(self) -> tuple[Path, ...]:
        """The files and folders that facts and evidence speak of: when they change, these are stale."""
        names = {name for fact in fact_store.latest(self._db).values() for name in fact.inputs}
        for tick in tick_store.everything(self._db).values():
            names |= {str(entry["path"]) for entry in tick.evidence if entry.get("kind") == "file"}
        return tuple(self._workspace.path(name) for name in sorted(names))

    def _said(self, error: UserError) -> str:
        """Paths on screen are meant from the workspace."""
        return str(error).replace(f"{self._workspace.root}/", "")
