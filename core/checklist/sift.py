"""Which items a person looks for: those that are open, that failed, that went stale, or that the person changed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Literal

from core.checklist.state import ItemState
from core.checklist.tree import Item

Sought = Literal["all", "open", "failed", "stale", "mine"]
SOUGHT: tuple[Sought, ...] = ("all", "open", "failed", "stale", "mine")


def fits(item: Item, state: ItemState, sought: Sought, mine: Collection[str] = ()) -> bool:
    """Whether this one is looked for; what lies below it is another question.

    Args:
        mine: ids of the items that the person changed (`core.store.ticks.changed_by`).
    """
    if sought == "mine":
        return item.id in mine
    if not item.leaf:
        # A heading is as its items are. One with a value of its own can fail by itself.
        return sought == "all" or (sought == "failed" and state.verdict == "FAIL")
    match sought:
        case "open":
            return state.state != "done"
        case "failed":
            return state.verdict == "FAIL"
        case "stale":
            return state.verdict == "STALE" or any(evidence.stale for evidence in state.evidence)
    return True


def left(
    roots: Iterable[Item],
    states: Mapping[str, ItemState],
    sought: Sought,
    mine: Collection[str] = (),
    found: Callable[[Item, ItemState], bool] = lambda item, state: True,
) -> set[str]:
    """Ids of what is looked for, and of what it lies in.

    Args:
        found: whether an item has what else is sought; below a heading that has it all is looked for.
    """
    ids: set[str] = set()

    def add(item: Item, above: bool) -> bool:
        state = states.get(item.id)
        if state is None:
            return False
        here = above or found(item, state)
        below = [add(child, here) for child in item.children]
        if any(below) or (here and fits(item, state, sought, mine)):
            ids.add(item.id)
            return True
        return False

    for root in roots:
        add(root, False)
    return ids
