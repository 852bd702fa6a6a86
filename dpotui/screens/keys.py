"""All keys of a screen, read from its bindings: what is listed works."""

from __future__ import annotations

from collections.abc import Iterable

from textual.binding import ActiveBinding

from dpotui.screens.dialogs import CardScreen
from dpotui.screens.names import key_name
from dpotui.widgets.card import BLANK, Entry

_GROUPS = (
    ("Runs", ("run", "runs", "compare", "queue")),
    ("Stages", ("stage",)),
    ("Items", ("item",)),
    ("Charts", ("charts",)),
    ("Samples", ("samples",)),
    ("Gradients", ("gradients",)),
    ("Sweep", ("sweep",)),
    ("Log", ("log",)),
    ("Data", ("data",)),
    ("Pair", ("pair",)),
    ("Configuration", ("config",)),
    ("Voting", ("vote",)),
    ("Rating", ("rate",)),
    ("Filter", ("filter",)),
    ("Report", ("report",)),
    ("Hosts", ("hardware", "hosts")),
    ("Lists", ("list", "card", "results")),
    ("Everywhere", ("app", "screen")),
)


def keys_screen(active: Iterable[ActiveBinding]) -> CardScreen:
    """The keys that would be answered now, by what they belong to."""
    found: dict[str, tuple[str, list[str]]] = {}
    for entry in active:
        binding = entry.binding
        id_ = binding.id
        if id_ is None or not binding.description:
            continue
        keys = found.setdefault(id_, (entry.tooltip or binding.description, []))[1]
        name = binding.key_display or key_name(binding.key)
        if name not in keys:  # plus and the key that it is on have one name
            keys.append(name)
    entries: list[Entry] = []
    for title, owners in _GROUPS:
        rows = [(keys, words) for id_, (words, keys) in found.items() if id_.split(".")[0] in owners]
        if not rows:
            continue
        entries += [BLANK] if entries else []
        entries.append(Entry("", title, "title"))
        entries += [Entry(" ".join(keys), words) for keys, words in rows]
    return CardScreen("Keys", entries)
