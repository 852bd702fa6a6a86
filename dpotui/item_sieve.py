"""What a person looks for in the checklists: items of a kind, or with some words."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping

from core.checklist import SOUGHT, Item, ItemState, Sought, left
from core.checklist.values import filled


class ItemSieve:
    def __init__(self) -> None:
        self.text = ""
        self.sought: Sought = "all"
        self._words: dict[str, tuple[tuple[object, ...], str]] = {}

    @property
    def on(self) -> bool:
        """Whether anything is left out."""
        return bool(self.text) or self.sought != "all"

    @property
    def words(self) -> str:
        """What it leaves, in words."""
        words = [self.sought] if self.sought != "all" else []
        return " ".join([*words, *([f"'{self.text}'"] if self.text else [])])

    def turn(self) -> None:
        """The next kind of items."""
        self.sought = SOUGHT[(SOUGHT.index(self.sought) + 1) % len(SOUGHT)]

    def clear(self) -> None:
        self.text, self.sought = "", "all"

    def left(self, roots: Iterable[Item], states: Mapping[str, ItemState], mine: Collection[str]) -> set[str]:
        """Ids of what is looked for, and of what it lies in."""
        return left(roots, states, self.sought, mine, self.found)

    def found(self, item: Item, state: ItemState) -> bool:
        """Whether the item itself has the words. A heading has them where one of its words begins with them: all below
        it is found with it, which no letters within "Checklist" should do."""
        if not self.text:
            return True
        words = self._words_of(item, state)
        if item.leaf:
            return self.text in words
        return re.search(rf"(?<!\w){re.escape(self.text)}", words) is not None

    def _words_of(self, item: Item, state: ItemState) -> str:
        """What an item is found by: its words, id, facts, note, and who ticked it or measured it."""
        said = (state.values, state.note, state.by, state.fact.run if state.fact else None)
        known = self._words.get(item.id)
        if known is None or known[0] != said:
            rest = (item.id, *item.facts, state.note or "", state.by or "", str(said[3] or ""))
            words = filled(item, state.values) if any(state.values) else item.text
            known = said, "\n".join((words, *rest)).casefold()
            self._words[item.id] = known
        return known[1]
