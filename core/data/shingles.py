"""Texts as sets of neighbouring words, as numbers: what two texts have in common is what their sets share."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
from rensa import RMinHash

from core.data.near_duplicates import PART

Numbers = np.ndarray[Any, np.dtype[np.uint64]]
Places = np.ndarray[Any, np.dtype[np.int64]]

_ASCII = re.compile(r"[a-z0-9]+")
# In scripts that set no spaces a character is a word.
_ANY = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W_]+")
_FIRST, _SECOND, _ALONE = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93), np.uint64(0xA0761D6478BD642F)
_SALT: Numbers = np.random.default_rng(20240607).integers(1, 2**64, 256, dtype=np.uint64)


@dataclass(frozen=True, slots=True)
class Shingled:
    """Several texts: the numbers of all, where those of each begin and end, and a hash of each text's words."""

    numbers: Numbers
    offsets: Places
    content: Numbers


def shingle(texts: Sequence[str]) -> Shingled:
    """The sets of these texts.

    A text is lower-cased and cut into words of letters and digits. Its set holds every two neighbouring words, a single
    word where there is no other, and its marks where there is no word at all. What stands in different parts (see PART)
    is never the same.
    """
    words: list[str] = []
    part_of: list[int] = []  # where the words of each part end
    owner: list[int] = []
    rank: list[int] = []
    for number, text in enumerate(texts):
        for place, part in enumerate(text.lower().split(PART)):
            found = (_ASCII if part.isascii() else _ANY).findall(part)
            words += found or [part.strip().encode("utf-8", "replace").decode()]
            part_of.append(len(words))
            owner.append(number)
            rank.append(place % len(_SALT))
    if not words:
        return Shingled(np.zeros(0, np.uint64), np.zeros(1, np.int64), np.zeros(0, np.uint64))
    hashes = np.array(RMinHash.hash_token_sets([words])[0], np.uint64)
    ends = np.array(part_of, np.int64)
    begins = np.concatenate([[0], ends[:-1]])
    # The number of a word and its neighbour; that of the last word of a part is none, unless it is the only one.
    values = hashes * _FIRST
    values[:-1] ^= (hashes[1:] + _ALONE) * _SECOND
    alone = ends - begins == 1
    values[begins[alone]] = hashes[begins[alone]] * _ALONE
    keep = np.ones(len(values), bool)
    keep[ends[~alone] - 1] = False
    salt = np.repeat(_SALT[np.array(rank, np.int64)], ends - begins)
    values = _mix(values ^ salt)[keep]
    last_part = np.flatnonzero(np.diff(np.array([*owner, len(texts)], np.int64)))
    offsets = np.concatenate([[0], np.cumsum(keep)[ends[last_part] - 1]]).astype(np.int64)
    data = values.tobytes()
    content = np.array([_digest(data[8 * a : 8 * b]) for a, b in itertools.pairwise(offsets)], np.uint64)
    return Shingled(values, offsets, content)


def sets(text: str) -> list[frozenset[int]]:
    """The set of each part of a text."""
    return [frozenset(shingle([part]).numbers.tolist()) for part in text.split(PART)]


def _mix(values: Numbers) -> Numbers:
    values = values ^ (values >> np.uint64(32))
    values = values * _SECOND
    return values ^ (values >> np.uint64(29))


def _digest(data: bytes) -> int:
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "little")
