"""What a person does to checklist items on any screen that shows them."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import ClassVar

from textual import work
from textual.binding import Binding, BindingType

from core import checklist
from core.checklist import Item
from core.checklist.line import underscores
from core.checklist.values import fill_text, numeric, read_number, written
from core.errors import UserError
from core.store import facts, runs, ticks
from core.store.database import transaction
from dpotui import cards
from dpotui.commands.checklist_view import described
from dpotui.offers import Offer, offer_of
from dpotui.screens.dialogs import Ask, CardScreen, Confirm, Field
from dpotui.screens.mode import ModeScreen
from dpotui.widgets.card import Card, Entry
from dpotui.widgets.checklist import ChecklistTree, Verb


class ItemCard(CardScreen):
    """All that is known of an item, over the screen; gives back whether what starts from it is wanted."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "g", "start", "Start", tooltip="Start what measures this item, or go where it is done", id="card.start"
        ),
    ]

    def on_mount(self) -> None:
        self.query_one(Card).border_subtitle = "g start · escape close"

    def action_start(self) -> None:
        self.dismiss(True)


class TicksItems(ModeScreen):
    """A mode with a checklist tree in it."""

    def on_mount(self) -> None:
        self.query_one(ChecklistTree).desk = self

    def changed_by_me(self) -> Collection[str]:
        return ticks.changed_by(self.bench.db, self.bench.who)

    def asked(self, verb: Verb, item: Item) -> None:
        match verb:
            case "tick":
                self._tick(item)
            case "value":
                self._value(item)
            case "note":
                self._note(item)
            case "evidence":
                self._evidence(item)
            case "details":
                self.show_item(item)
            case "start":
                self.follow_offer(item)

    def show_item(self, item: Item) -> None:
        """Enter on an item."""

        def closed(start: bool | None) -> None:
            if start:
                self.follow_offer(item)

        card = ItemCard if offer_of(item) is not None else CardScreen
        self.app.push_screen(card("Item", self.card_of(item)), closed)

    def card_of(self, item: Item) -> list[Entry]:
        snapshot = self.bench.snapshot
        assert snapshot is not None
        changes = ticks.history(self.bench.db, item.id, 12)
        return cards.of_item(item, snapshot.states, changes, snapshot.gates, snapshot.time)

    # What starts from an item

    def follow_offer(self, item: Item) -> None:
        offer = offer_of(item)
        if offer is None:
            self.bench.say("nothing starts from this item: space ticks it, v fills its value", "warning")
        elif offer.action is not None:
            self.bench.start_run(offer.action)
        else:
            self._go_to(offer)

    @work(group="offer", exit_on_error=False)
    async def _go_to(self, offer: Offer) -> None:
        bench = self.bench
        if offer.config:
            await bench.open_config(bench.workspace.path(offer.config))
        elif offer.stage is not None:
            screen = await bench.open_stage(offer.stage)
            if offer.verb:
                await bench.run_action(offer.verb, screen)
        else:
            await bench.switch_mode(offer.mode)

    # What is written

    def _do(self, act: Callable[[], object]) -> None:
        """Act at once; what a person can mend is a notice."""
        try:
            act()
        except UserError as error:
            self.bench.say(str(error), "error")
        self.bench.written()

    def _ask(
        self,
        title: str,
        words: str,
        fields: list[Field],
        submit: Callable[[list[str]], None],
        check: Callable[[list[str]], str] | None = None,
    ) -> None:
        def act(values: list[str]) -> None:
            submit(values)
            self.bench.written()

        self.app.push_screen(Ask(title, words, fields, act, check=check))

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
                "0.08, 8 %, 1e-3; empty takes it back" if numeric(item, index) else "empty takes it back",
            )
            for index, blank in enumerate(item.blanks)
        ]
        fields.append(
            Field(
                "Note (needed where it differs from what was measured)",
                (state.note if state else "") or "",
                goes_on=True,
            )
        )

        def submit(given: list[str]) -> None:
            *texts, note = given
            # All of it or nothing: what was wrong in the second field is not half written.
            with transaction(bench.db):
                for index, text in enumerate(texts):
                    if text != fields[index].value:
                        checklist.set_value(bench.db, item, text, bench.who, note or None, blank=index)
                if note != fields[-1].value:
                    checklist.set_note(bench.db, item, note, bench.who)

        words = fill_text(item, list(underscores(item.text)))
        self._ask("Value", words, fields, submit, lambda given: _comes_to(item, given))

    def _note(self, item: Item) -> None:
        bench = self.bench
        state = bench.snapshot.states.get(item.id) if bench.snapshot else None
        old = (state.note if state else None) or ""
        self._ask(
            "Note",
            item.text,
            [Field("Note", old, "empty takes it away", goes_on=True)],
            lambda values: self._noted(item, values[0]),
        )

    def _noted(self, item: Item, note: str) -> None:
        checklist.set_note(self.bench.db, item, note, self.bench.who)

    def _evidence(self, item: Item) -> None:
        # Read when it is asked for: it is not needed to start.
        from dpotui.screens.evidence import EvidenceScreen

        bench = self.bench
        snapshot = bench.snapshot

        def attach(kind: str, name: str) -> None:
            if not name:
                raise UserError("name a file, a run such as dpo-001, or a fact such as dpo.kl_divergence")
            if kind == "run" or (not kind and bench.db.execute("SELECT 1 FROM runs WHERE id = ?", [name]).fetchone()):
                checklist.add_evidence(bench.db, bench.workspace, item, bench.who, run=runs.get(bench.db, name).id)
            elif kind == "fact" or (not kind and name in facts.latest(bench.db)):
                checklist.add_evidence(bench.db, bench.workspace, item, bench.who, fact=name)
            else:
                checklist.add_evidence(bench.db, bench.workspace, item, bench.who, file=name)
            bench.written()

        now = snapshot.time if snapshot else 0.0
        self.app.push_screen(EvidenceScreen(bench.workspace, item, item.text, now, attach))

    # What is taken back

    def undo(self, *, redo: bool = False) -> None:
        bench = self.bench
        newest = None if redo else ticks.newest(bench.db)
        if newest is None or newest.who == bench.who:
            self._reverse(redo)
            return
        # The other person may be at work right now.
        question = Confirm(f"Take back what {newest.who} did?", f"{described(newest)}\n\nH shows all changes.")
        self.app.push_screen(question, lambda yes: self._reverse(False) if yes else None)

    def _reverse(self, redo: bool) -> None:
        act = checklist.redo if redo else checklist.undo
        taken = act(self.bench.db, self.bench.who)
        if not taken:
            self.bench.say("nothing to bring back" if redo else "nothing to undo")
        for change in taken[:3]:
            self.bench.say(f"{'brought back' if redo else 'undone'}: {described(change)}")
        if len(taken) > 3:
            self.bench.say(f"and {len(taken) - 3} more of the same moment")
        self.bench.written()

    def show_history(self) -> None:
        from dpotui.screens.history import HistoryScreen

        snapshot = self.bench.snapshot
        items = checklist.by_id(list(snapshot.roots)) if snapshot else {}

        def chosen(item_id: str | None) -> None:
            if item_id is not None:
                self.query_one(ChecklistTree).select(item_id)

        self.app.push_screen(HistoryScreen(items), chosen)


def _comes_to(item: Item, given: list[str]) -> str:
    """What the values that are typed come to.

    Raises:
        UserError: what is wanted in place of what is typed.
    """
    said = []
    for index, (blank, text) in enumerate(zip(item.blanks, given, strict=False)):
        value = written(item, index, text)
        if value is None:
            continue
        if index == 0 and item.target is not None and (number := read_number(value)) is not None:
            verdict = "meets" if item.target.met(number) else "does not meet"
            said.append(f"{value} {verdict} {item.target}")
        elif value != text:
            said.append(f"{blank.label or 'it'} reads {value}")
    return "; ".join(said)
