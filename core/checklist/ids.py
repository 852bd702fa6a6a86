"""Ids of items that carry none: made of their own words, so that they survive whatever happens to their neighbours.

Two items of one checklist with the same words are both told apart by the words of their parents. Neither keeps the
short id: if one did, inserting the other above it would silently move a tick from one to the other.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

# An id that is written in a file: words, joined by dots, dashes or underscores.
WRITTEN = re.compile(r"\w[\w.-]*")

LONGEST = 60


def slug(text: str) -> str:
    """`Licence of the corpus checked` -> `licence-of-the-corpus-checked`, cut at a word."""
    whole = "-".join(re.findall(r"[^\W_]+", unicodedata.normalize("NFKC", text).casefold()))
    if not whole:
        return "item-" + hashlib.sha256(text.encode()).hexdigest()[:8]
    if len(whole) <= LONGEST:
        return whole
    return whole[: LONGEST + 1].rpartition("-")[0] or whole[:LONGEST]


def assign(root: str, paths: Sequence[Sequence[str]], taken: set[str]) -> list[str]:
    """An id for each item from its words and those of its parents, the nearest first.

    Args:
        root: id of the checklist, in front of every id.
        paths: for each item the slugs of itself, its parent, its parent's parent, ...
        taken: the ids that stand in the file.
    """
    depth = [1] * len(paths)
    while True:
        ids = [".".join((root, *reversed(path[:d]))) for path, d in zip(paths, depth, strict=True)]
        count = Counter(ids)
        deeper = [i for i, name in enumerate(ids) if (count[name] > 1 or name in taken) and depth[i] < len(paths[i])]
        if not deeper:
            break
        for i in deeper:
            depth[i] += 1
    # The same words under the same parents: nothing but their order tells them apart.
    used = set(taken)
    for i, name in enumerate(ids):
        unique, number = name, 1
        while unique in used:
            number += 1
            unique = f"{name}-{number}"
        ids[i] = unique
        used.add(unique)
    return ids
