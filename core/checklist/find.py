"""Find the item that a person means: by id, by the end of an id, by stage or by the first words."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable

from core.checklist.tree import Item
from core.errors import UserError
from core.text import one_line

MOST_NAMED = 8


def find(roots: Iterable[Item], meant: str) -> Item:
    """The one item that `meant` names.

    Tried in this order: its id, the number of a stage, the last parts of an id (`gates.kl_divergence`), the end of an
    id, the first words of a text (case aside), any piece of an id (`gates.kl`).

    Raises:
        UserError: no such item (the nearest ids are named), or several (they are listed).
    """
    items = [item for root in roots for item in root.walk()]
    words = " ".join(meant.split()).casefold()
    if not words:
        raise UserError("name an item: its id, the end of its id or its first words")
    tests: tuple[Callable[[Item], bool], ...] = (
        lambda item: item.id == meant,
        lambda item: item.kind == "stage" and str(item.stage) == meant,
        lambda item: item.id.endswith(f".{meant}"),
        lambda item: item.id.endswith(meant),
        lambda item: " ".join(item.text.split()).casefold().startswith(words),
        lambda item: meant in item.id,
    )
    for test in tests:
        found = [item for item in items if test(item)]
        if len(found) == 1:
            return found[0]
        if found:
            shown = ", ".join(f"{item.id} ({one_line(item.text, 40)})" for item in found[:MOST_NAMED])
            more = f" and {len(found) - MOST_NAMED} more" if len(found) > MOST_NAMED else ""
            raise UserError(f"'{one_line(meant, 60)}' means several items: {shown}{more}")
    near = difflib.get_close_matches(meant, [item.id for item in items], 3, 0.5)
    hint = f"did you mean {', '.join(near)}?" if near else "'dpotui checklist show --ids' lists them"
    raise UserError(f"no item '{one_line(meant, 60)}': {hint}")
