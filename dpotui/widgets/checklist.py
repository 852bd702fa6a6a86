"""The checklists as a tree that can be ticked, an item a line."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import ClassVar, Literal, NamedTuple, Protocol, cast

from rich.cells import cell_len
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message

from core.checklist import Item, ItemState
from core.text import one_line
from dpotui.item_sieve import ItemSieve
from dpotui.offers import offer_of
from dpotui.roles import Span
from dpotui.widgets.item_line import box_at, item_line, titles
from dpotui.widgets.lines import Lines

Verb = Literal["tick", "value", "note", "evidence", "details", "start"]

_FAR = 1_000_000_000


class _Row(NamedTuple):
    item: Item
    depth: int
    unfolded: bool


class Desk(Protocol):
    """Where what is asked of items is done. It is done at once: a key that comes behind one that opens a dialog, as in
    a burst over a slow line, is meant for the dialog."""

    def asked(self, verb: Verb, item: Item) -> None: ...

    def undo(self, *, redo: bool = False) -> None: ...

    def show_history(self) -> None: ...

    def changed_by_me(self) -> Collection[str]:
        """Ids of the items that the person changed."""
        ...


class ChecklistTree(Lines, can_focus=True):
    FIXED = 1
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "ask('tick')", "Tick", tooltip="Tick, or take the tick back; fold a heading", id="item.tick"),
        Binding("v", "ask('value')", "Value", tooltip="Fill the blanks", id="item.value"),
        Binding("n", "ask('note')", "Note", id="item.note"),
        Binding("e", "ask('evidence')", "Evidence", tooltip="Attach a file, a run or a fact", id="item.evidence"),
        Binding("g", "ask('start')", "Start", tooltip="Start the run that measures this item", id="item.start"),
        Binding("u", "undo(False)", "Undo", tooltip="Take the newest change back", id="item.undo"),
        Binding("U", "undo(True)", "Redo", show=False, tooltip="Bring back what was undone", id="item.redo"),
        Binding("H", "history", "History", show=False, tooltip="All changes, who and when", id="item.history"),
        Binding("enter", "ask('details')", "Details", id="item.details"),
        Binding("f", "filter", "Filter", tooltip="All items, open, FAIL, STALE, or mine", id="item.filter"),
        Binding("o", "open(1)", "Next open", show=False, id="item.next-open"),
        Binding("O", "open(-1)", "Last open", show=False, tooltip="The open item before", id="item.last-open"),
        Binding("left,h", "fold(True)", "Fold", show=False, id="item.fold"),
        Binding("right", "fold(False)", "Unfold", show=False, id="item.unfold"),
        Binding("minus", "fold_all(True)", "Fold all", key_display="-", show=False, id="item.fold-all"),
        Binding("plus,equals_sign", "fold_all(False)", "Unfold all", key_display="+", show=False, id="item.unfold-all"),
        Binding("up,k", "move(-1)", "Up", show=False, id="item.up"),
        Binding("down,j", "move(1)", "Down", show=False, id="item.down"),
        Binding("pageup", "page(-1)", "Page up", show=False, id="item.page-up"),
        Binding("pagedown", "page(1)", "Page down", show=False, id="item.page-down"),
        Binding("home", f"move(-{_FAR})", "First", show=False, id="item.first"),
        Binding("end", f"move({_FAR})", "Last", show=False, id="item.last"),
    ]

    class Looked(Message):
        """The cursor stands on another item."""

        def __init__(self, item: Item) -> None:
            super().__init__()
            self.item = item

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self.desk: Desk | None = None
        self._roots: tuple[Item, ...] = ()
        self._states: Mapping[str, ItemState] = {}
        self._now = 0.0
        self._problem = ""
        self._sieve = ItemSieve()
        self._unfolded: set[str] = set()
        self._shut: set[str] = set()  # what is folded of what a filter left
        self._seen: set[str] = set()  # ids that were shown before: what is folded of them stays so
        self._parents: dict[str, Item | None] = {}  # in the order of the pages
        self._shown: list[_Row] = []
        self._cursor = 0
        self._wanted: str | None = None  # to be gone to as soon as it is there
        self._startable = False

    @property
    def item(self) -> Item | None:
        """The item under the cursor."""
        return self._shown[self._cursor].item if self._cursor < len(self._shown) else None

    @property
    def filter_words(self) -> str:
        return self._sieve.words

    def fill(
        self,
        roots: Sequence[Item],
        states: Mapping[str, ItemState],
        now: float,
        unfold: Iterable[str],
        problem: str | None = None,
    ) -> None:
        """Show these items.

        Args:
            unfold: ids of the nodes that are open when they are seen for the first time.
            problem: why these are not what stands in the files now.
        """
        self._states, self._now, self._problem = states, now, problem or ""
        if tuple(roots) != self._roots:
            self._roots = tuple(roots)
            self._parents = dict(_parents(self._roots))
            new = self._parents.keys() - self._seen
            self._unfolded |= new & set(unfold)
            self._seen |= new
            self._lay_out()
            if self._wanted in self._parents:
                self.select(self._wanted)
        elif self._sieve.on:
            self._lay_out()
        else:
            self.show(len(self._shown))

    def find(self, text: str) -> None:
        self._sieve.text = text.casefold()
        self._shut.clear()
        self._lay_out()
        if text and not self._hit(self._cursor):
            self._go(next((y for y in range(len(self._shown)) if self._hit(y)), self._cursor))

    def _hit(self, y: int) -> bool:
        """Whether the item of this row is one that is looked for, and not what such an item lies in."""
        item = self._shown[y].item if y < len(self._shown) else None
        state = self._states.get(item.id) if item is not None else None
        return item is not None and state is not None and item.leaf and self._sieve.found(item, state)

    def unfold(self, ids: Iterable[str]) -> None:
        """Open these nodes; the cursor stays where it is."""
        self._unfolded |= set(ids)
        self._lay_out()

    def select(self, item_id: str) -> None:
        """Set the cursor on an item, opening what it lies in; where a filter left it out, that is taken off."""
        if item_id not in self._parents:
            self._wanted = item_id
            return
        self._wanted = None
        self._open_above(item_id)
        self._lay_out()
        if all(row.item.id != item_id for row in self._shown):
            self._sieve.clear()
            self._lay_out()
        self._go(next(y for y, row in enumerate(self._shown) if row.item.id == item_id))

    def _open_above(self, item_id: str) -> None:
        above = self._parents[item_id]
        while above is not None:
            self._unfolded.add(above.id)
            self._shut.discard(above.id)
            above = self._parents[above.id]

    # What is shown

    def _lay_out(self) -> None:
        """Make the list of rows anew. The cursor stays on its item and on its line of the screen."""
        here, before = self.item, self._cursor
        left = self._left() if self._sieve.on else None
        rows: list[_Row] = []

        def add(item: Item, depth: int) -> None:
            if left is not None and item.id not in left:
                return
            opened = item.id in self._unfolded if left is None else item.id not in self._shut
            rows.append(_Row(item, depth, opened))
            if opened:
                for child in item.children:
                    add(child, depth + 1)

        for root in self._roots:
            add(root, 0)
        self._shown = rows
        places = {row.item.id: y for y, row in enumerate(rows)}
        nearest: Item | None = here
        while nearest is not None and nearest.id not in places:
            # What is folded away is represented by what it lies in.
            nearest = self._parents.get(nearest.id) if not self._sieve.on else None
        self._cursor = places[nearest.id] if nearest else max(0, min(before, len(rows) - 1))
        self.rows = len(rows)
        self.top = min(max(0, self.top + self._cursor - before), self.last_top)
        self._scroll_to_cursor()
        self.show(len(rows))
        self._looked(here)

    def _left(self) -> set[str]:
        """Ids of what the filter leaves."""
        mine = self.desk.changed_by_me() if self._sieve.sought == "mine" and self.desk is not None else ()
        return self._sieve.left(self._roots, self._states, mine)

    def fixed(self, y: int, width: int) -> Sequence[Span]:
        if self._problem:
            return [(" " + one_line(self._problem, width - 2), "bad")]
        left = self._filter_head() if self._sieve.on else self._tally()
        right = titles(width)
        used = sum(cell_len(text) for text, _ in left)
        return [*left, (right.rjust(max(0, width - used)), "faint")] if used + cell_len(right) < width else left

    def _tally(self) -> list[Span]:
        states = [state for root in self._roots if (state := self._states.get(root.id))]
        done, total = sum(state.done for state in states), sum(state.total for state in states)
        spans: list[Span] = [(f" {done:,}/{total:,} done", "title")] if total else []
        for count, word, role in (
            (sum(state.failing for state in states), "FAIL", "bad"),
            (sum(state.stale for state in states), "STALE", "warn"),
        ):
            spans += [(f"  {count:,} {word}", role)] if count else []
        return spans

    def _filter_head(self) -> list[Span]:
        spans: list[Span] = [(f" {self._sieve.sought} items" if self._sieve.sought != "all" else " items", "title")]
        if self._sieve.text:
            spans += [(" with ", "dim"), (one_line(f"'{self._sieve.text}'", 24), "title")]
        leaves = sum(row.item.leaf for row in self._shown)
        return [*spans, (f"  {leaves:,}", "dim")]

    def row(self, y: int, width: int) -> Sequence[Span]:
        if not self._shown:
            return self.message(self._empty(), y, width)
        if y >= len(self._shown):
            return []
        item, depth, unfolded = self._shown[y]
        state = self._states.get(item.id)
        if state is None:
            return []
        return item_line(item, state, width, self._now, depth=depth, unfolded=unfolded)

    def _empty(self) -> str:
        if not self._roots:
            return self._problem and "configs/checklists holds the checklists: mend the file and they are here"
        said = {"all": "no item", "open": "no open item: all is done", "failed": "nothing failed",
                "stale": "nothing is stale", "mine": "nothing that you changed"}[self._sieve.sought]  # fmt: skip
        words = f"{said} with '{self._sieve.text}'" if self._sieve.text else said
        return words + (
            "\n\n/ finds other words, escape there clears them" if self._sieve.text else "\n\nf goes on to others"
        )

    def base(self, y: int) -> Style:
        if y != self._cursor or not self._shown:
            return self.palette.base
        return self.palette.base + self.palette.style("cursor" if self.has_focus else "cursor-idle")

    # Where the cursor goes

    def _go(self, place: int) -> None:
        here = self.item
        self._cursor = max(0, min(place, len(self._shown) - 1))
        self._scroll_to_cursor()
        self.show()
        self._looked(here)

    def _looked(self, before: Item | None) -> None:
        item = self.item
        startable = self.check_action("ask", ("start",)) is True
        if startable != self._startable:
            self._startable = startable
            self.refresh_bindings()
        if item is not None and (before is None or item.id != before.id):
            self.post_message(self.Looked(item))

    def _scroll_to_cursor(self) -> None:
        if self._cursor < self.top:
            self.scroll_rows(self._cursor)
        elif self._cursor >= self.top + self.page:
            self.scroll_rows(self._cursor - self.page + 1)

    def on_resize(self) -> None:
        self._scroll_to_cursor()
        super().on_resize()

    def action_move(self, by: int) -> None:
        self._go(self._cursor + by)

    def action_page(self, direction: int) -> None:
        self._go(self._cursor + direction * max(1, self.page - 1))

    def action_open(self, way: int) -> None:
        """To the next item that is not done, or the one before, wherever it is folded away."""
        here = self.item
        ids = list(self._parents)
        start = ids.index(here.id) if here is not None else -1 if way > 0 else 0
        left = self._left() if self._sieve.on else self._parents
        leaves = {item.id for root in self._roots for item in root.walk() if item.leaf}
        for step in range(1, len(ids) + 1):
            id_ = ids[(start + way * step) % len(ids)]
            if id_ in leaves and id_ in left and self._states[id_].state != "done":
                self.select(id_)
                return
        self.notify("nothing is open here", timeout=2)

    def action_fold(self, fold: bool) -> None:
        item = self.item
        if item is None:
            return
        row = self._shown[self._cursor]
        if item.children and row.unfolded is fold:
            self._fold(item, fold)
        elif fold and (above := self._parents[item.id]) is not None:
            self._go(next(y for y, row in enumerate(self._shown) if row.item.id == above.id))
        elif not fold and item.children:
            self._go(self._cursor + 1)

    def action_fold_all(self, fold: bool) -> None:
        if self._sieve.on:
            self._shut = {root.id for root in self._roots} if fold else set()
        elif fold:
            self._unfolded.clear()
        else:
            self._unfolded |= self._parents.keys()
        self._lay_out()

    def _fold(self, item: Item, fold: bool) -> None:
        if self._sieve.on:
            (self._shut.add if fold else self._shut.discard)(item.id)
        else:
            (self._unfolded.discard if fold else self._unfolded.add)(item.id)
        self._lay_out()

    def on_click(self, event: events.Click) -> None:
        place = event.y - self.FIXED + self.top
        if event.y < self.FIXED or place >= len(self._shown):
            return
        again, row = place == self._cursor, self._shown[place]
        self._go(place)
        at = box_at(row.depth)
        if row.item.children and at - 2 <= event.x < at:
            self._fold(row.item, row.unfolded)
        elif row.item.leaf and at <= event.x < at + 3:
            self.action_ask("tick")
        elif again:
            self.action_ask("details")

    # What is asked

    async def on_key(self, event: events.Key) -> None:
        """Each key is answered before the next one is looked at. Textual looks a key up when it went all the way up to
        the program; what was typed behind it has been sent to the tree by then, dialog or not."""
        event.stop()
        event.prevent_default()
        front = self.app.screen
        if front is not self.screen:
            (front.focused or front).post_message(events.Key(event.key, event.character))
            return
        active = self.screen.active_bindings.get(event.key)
        if active is not None and active.enabled:
            await self.app.run_action(active.binding.action, active.node)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "ask" and parameters == ("start",):
            offer = offer_of(self.item) if self.item is not None else None
            return offer is not None and offer.action is not None
        return True

    def action_ask(self, verb: str) -> None:
        item = self.item
        if item is None:
            return
        if verb == "tick" and item.children:
            # A parent is done when its items are; the key that ticks an item opens it.
            self._fold(item, self._shown[self._cursor].unfolded)
            return
        if self.desk is not None:
            self.desk.asked(cast(Verb, verb), item)

    def action_undo(self, redo: bool) -> None:
        if self.desk is not None:
            self.desk.undo(redo=redo)

    def action_history(self) -> None:
        if self.desk is not None:
            self.desk.show_history()

    def action_filter(self) -> None:
        self._sieve.turn()
        self._shut.clear()
        self._lay_out()


def _parents(roots: Iterable[Item]) -> Iterable[tuple[str, Item | None]]:
    """Each node's id and what it lies in, in the order of the pages."""

    def below(item: Item, above: Item | None) -> Iterable[tuple[str, Item | None]]:
        yield item.id, above
        for child in item.children:
            yield from below(child, item)

    for root in roots:
        yield from below(root, None)
