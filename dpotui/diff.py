"""Word differences: which parts of two texts are not in the other one, in bounded time however long they are."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import islice

Range = tuple[int, int]  # of characters: from, to

# Words of each text that are compared, after what both begin and end with. 4,000 take 12 ms, twice as many four times
# that; what comes after them is not compared and not marked. Reading a megabyte takes the rest of the 50 ms of a key.
WORDS = 4000

# Scripts without blanks between words are compared by character.
_SINGLE = "\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_SINGLE}]|[^\W{_SINGLE}]+|[^\w\s]")


def words(first: str, second: str) -> tuple[list[Range], list[Range]]:
    """The ranges of each text that are not in the other, in order, each from the start to the end of words.

    A longest common subsequence of words is left unmarked; a word or two that happen to be the same amid much that
    is not are marked too, because a text marked word by word cannot be read.
    """
    start = _shared_start(first, second)
    end = _shared_end(first, second, start)
    left = _words(first, start, len(first) - end)
    right = _words(second, start, len(second) - end)
    common = _common([first[a:b] for a, b in left], [second[a:b] for a, b in right])
    common = _drop_islands(common, (len(left), len(right)))
    return _ranges(left, {i for i, _ in common}), _ranges(right, {j for _, j in common})


def marked_share(text: str, ranges: Sequence[Range]) -> float:
    """How much of a text is marked, from 0 to 1."""
    return sum(stop - start for start, stop in ranges) / len(text) if text else 0.0


def _words(text: str, start: int, stop: int) -> list[Range]:
    return [found.span() for found in islice(_WORD.finditer(text, start, stop), WORDS)]


def _shared_start(first: str, second: str) -> int:
    """How many characters both begin with, up to the end of a word."""
    low, high = 0, min(len(first), len(second))
    while low < high:
        middle = (low + high + 1) // 2
        if first[low:middle] == second[low:middle]:
            low = middle
        else:
            high = middle - 1
    whole = low == len(first) == len(second)
    while low and not whole and _inside_word(first, low) | _inside_word(second, low):
        low -= 1
    return low


def _shared_end(first: str, second: str, start: int) -> int:
    """How many characters both end with, from the start of a word, beyond what both begin with."""
    low, high = 0, min(len(first), len(second)) - start
    while low < high:
        middle = (low + high + 1) // 2
        if first[len(first) - middle : len(first) - low] == second[len(second) - middle : len(second) - low]:
            low = middle
        else:
            high = middle - 1
    while low and _inside_word(first, len(first) - low) | _inside_word(second, len(second) - low):
        low -= 1
    return low


def _inside_word(text: str, at: int) -> bool:
    return 0 < at < len(text) and _is_word(text[at - 1]) and _is_word(text[at])


def _is_word(character: str) -> bool:
    return character.isalnum() or character == "_"


def _common(left: list[str], right: list[str]) -> list[Range]:
    """The indices, in both lists, of a longest common subsequence.

    Bits of one integer stand for the words of `left` (Hyyrö 2004): a row of the table is a few operations on it, and
    all rows are kept to find the way back.
    """
    masks: dict[str, int] = {}
    for index, word in enumerate(left):
        masks[word] = masks.get(word, 0) | 1 << index
    full = (1 << len(left)) - 1
    row, rows = full, []
    for word in right:
        matching = row & masks.get(word, 0)
        row = ((row + matching) | (row - matching)) & full
        rows.append(row)
    i, j = len(left), len(right)
    found: list[Range] = []
    while i and j:
        bit = 1 << (i - 1)
        if rows[j - 1] & bit:
            i -= 1
        elif j > 1 and not rows[j - 2] & bit:
            j -= 1
        else:
            i, j = i - 1, j - 1
            found.append((i, j))
    found.reverse()
    return found


# Words that are the same count as different where there are no more of them than this in a row, and more than this
# many times as many differ on both sides of them.
_ISLAND, _SEA = 2, 2


def _drop_islands(common: list[Range], lengths: Range) -> list[Range]:
    """The pairs of indices without those runs that are too short for the differences around them."""
    runs: list[list[Range]] = []
    for i, j in common:
        if runs and runs[-1][-1] == (i - 1, j - 1):
            runs[-1].append((i, j))
        else:
            runs.append([(i, j)])
    edges = [(-1, -1), *(pair for run in runs for pair in (run[0], run[-1])), lengths]
    kept: list[Range] = []
    for index, run in enumerate(runs):
        before = _between(edges[2 * index], run[0])
        after = _between(run[-1], edges[2 * index + 3])
        if len(run) > _ISLAND or min(before, after) <= _SEA * len(run):
            kept += run
    return kept


def _between(one: Range, other: Range) -> int:
    """How many words stand between two common ones, on the side that has more of them."""
    return max(other[0] - one[0], other[1] - one[1]) - 1


def _ranges(found: list[Range], same: set[int]) -> list[Range]:
    """The words that are not common, those side by side joined with what stands between them."""
    ranges: list[Range] = []
    before = -2
    for index, (start, stop) in enumerate(found):
        if index in same:
            continue
        if before == index - 1:
            ranges[-1] = (ranges[-1][0], stop)
        else:
            ranges.append((start, stop))
        before = index
    return ranges
