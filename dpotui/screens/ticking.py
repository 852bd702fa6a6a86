"""What a person does to checklist items on any screen that shows them."""

from __future__ import annotations

from collections.abc import Callable

from textual import on

from core import checklist
from core.checklist import Item
from core.checklist.line import underscores
from core.checklist.values import fill_text
from core.errors import UserError
from core.store import facts, runs, ticks
from dpotui import cards
from dpotui.commands.checklist_view import described
from dpotui.screens.dialogs import Ask, Field
from dpotui.screens.mode import ModeScreen
from dpotui.widgets.card import Entry
from dpotui.widgets.checklist import ChecklistTree


class TicksItems(ModeScreen):
    """A mode with a checklist tree in it."""

    @on(ChecklistTree.Asked)
    def _asked(self, event: ChecklistTree.Asked) -> None:
        event.stop()
        match event.verb:
            case "tick":
                self._tick(event.item)
            case "value":
                self._value(event.item)
            case "note":
                self._note(event.item)
            case "evidence":
                self._evidence(event.item)
            case "details":
                self.show_item(event.item)

    def show_item(self, item: Item) -> None:
        """Enter on an item."""
        raise NotImplementedError

    def card_of(self, item: Item) -> list[Entry]:
        snapshot = self.bench.snapshot
        assert snapshot is not None
        return cards.of_item(item, snapshot.states[item.id], ticks.history(self.bench.db, item.id, 12), snapshot.time)

    def _do(self, act: Callable[[], object]) -> None:
        """Act at once; what a person can mend is a notice."""
        try:
            act()
        except UserError as error:
            self.bench.say(str(error), "error")
        self.bench.written()

    def _ask(self, title: str, words: str, fields: list[Field], submit: Callable[[list[str]], None]) -> None:
        def act(values: list[str]) -> None:
            submit(values)
            self.bench.written()

        self.app.push_screen(Ask(title, words, fields, act))

    def _tick(self, item: Item) -> None:
        bench = self.bench
        state = bench.snapshot.states.get(item.id) if bench.snapshot else None
        if state is None:
            return
        done = state.state == "done"
        act = checklist.untick if done else checklist.tick
        against = checklist.needs_note(bench.db, item, not done)
        if against is None:
            self._do(lambda: act(bench.db, item, bench.who))
            return
        why = "Why is it open all the same?" if done else "Why is it done all the same?"

        def override(values: list[str]) -> None:
            if not values[0]:
                raise UserError("an override needs a note: it is shown beside the tick")
            act(bench.db, item, bench.who, values[0])

        self._ask("Override", f"{item.text}\n\n{against}.", [Field(why)], override)

    def _value(self, item: Item) -> None:
        bench = self.bench
        if not item.blanks:
            bench.say("this item has no blank: space ticks it, n gives it a note", "warning")
            return
        snapshot = bench.snapshot
        state = snapshot.states.get(item.id) if snapshot else None
        values = state.values if state else ()
        fields = [
            Field(
                f"{blank.label or item.text}{f'  in {blank.unit}' if blank.unit else ''}",
                (values[index] if index < len(values) else None) or "",
                "0.08, 8%, 1e-3; empty takes it back" if blank.unit or item.target else "empty takes it back",
            )
            for index, blank in enumerate(item.blanks)
        ]
        fields.append(
            Field("Note (needed where it differs from what was measured)", (state.note if state else "") or "")
        )

        def submit(given: list[str]) -> None:
            *texts, note = given
            for index, text in enumerate(texts):
                if text != fields[index].value:
                    checklist.set_value(bench.db, item, text, bench.who, note or None, blank=index)
            if note != fields[-1].value:
                checklist.set_note(bench.db, item, note, bench.who)

        words = fill_text(item, list(underscores(item.text)))
        self._ask("Value", words, fields, submit)

    def _note(self, item: Item) -> None:
        bench = self.bench
        state = bench.snapshot.states.get(item.id) if bench.snapshot else None
        old = (state.note if state else None) or ""
        self._ask(
            "Note",
            item.text,
            [Field("Note", old, "empty takes it away")],
            lambda values: self._noted(item, values[0]),
        )

    def _noted(self, item: Item, note: str) -> None:
        checklist.set_note(self.bench.db, item, note, self.bench.who)

    def _evidence(self, item: Item) -> None:
        bench = self.bench

        def submit(values: list[str]) -> None:
            what = values[0]
            if not what:
                raise UserError("name a file, a run such as dpo-001, or a fact such as dpo.kl_divergence")
            if bench.db.execute("SELECT 1 FROM runs WHERE id = ?", [what]).fetchone():
                checklist.add_evidence(bench.db, bench.workspace, item, bench.who, run=runs.get(bench.db, what).id)
            elif what in facts.latest(bench.db):
                checklist.add_evidence(bench.db, bench.workspace, item, bench.who, fact=what)
            else:
                checklist.add_evidence(bench.db, bench.workspace, item, bench.who, file=what)

        self._ask("Evidence", item.text, [Field("File, run or fact", "", "outputs/report.md, dpo-001, ...")], submit)

    @on(ChecklistTree.UndoAsked)
    def _undo(self, event: ChecklistTree.UndoAsked) -> None:
        event.stop()
        taken = checklist.undo(self.bench.db, self.bench.who)
        if not taken:
            self.bench.say("nothing to undo")
        for change in taken[:3]:
            self.bench.say(f"undone: {described(change)}")
        self.bench.written()
