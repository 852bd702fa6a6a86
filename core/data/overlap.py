"""Where a pair and an item of a benchmark say the same: the places of their shared n-grams in both texts."""

from __future__ import annotations

from dataclasses import dataclass

from core.data.decontamination import NGRAM, texts
from core.data.pairs import Pair
from core.data.words import words_with_places

Span = tuple[int, int]  # from, to, in characters
Word = tuple[str, int, int]


@dataclass(frozen=True, slots=True)
class Overlap:
    """The item's text and the parts of the pair (prompt, chosen, rejected), each with the spans that both have."""

    item: list[Span]
    parts: dict[str, tuple[str, list[Span]]]


def overlap(pair: Pair, item: str, n: int = NGRAM) -> Overlap:
    """What of an item's text stands in a pair, and where. An item of fewer than `n` words counts as one n-gram."""
    said = words_with_places(item)
    size = max(1, min(n, len(said)))
    parts = {name: "\n".join(texts(getattr(pair, name))) for name in ("prompt", "chosen", "rejected")}
    spelled = {name: words_with_places(text) for name, text in parts.items()}
    wanted = {gram: place for place, gram in enumerate(_grams(said, size))}
    in_item: set[int] = set()
    in_parts: dict[str, set[int]] = {name: set() for name in parts}
    for response in ("chosen", "rejected"):
        # An n-gram may begin in the prompt and end in the response.
        whole = [("prompt", place) for place in range(len(spelled["prompt"]))]
        whole += [(response, place) for place in range(len(spelled[response]))]
        for at, gram in enumerate(_grams(spelled["prompt"] + spelled[response], size)):
            if gram in wanted:
                for name, place in whole[at : at + size]:
                    in_parts[name].add(place)
                in_item.add(wanted[gram])
    grams = _grams(said, size)
    found = {grams[place] for place in in_item}
    covered = {place + shift for place, gram in enumerate(grams) if gram in found for shift in range(size)}
    return Overlap(
        _spans(said, covered),
        {name: (text, _spans(spelled[name], in_parts[name])) for name, text in parts.items()},
    )


def _grams(spelled: list[Word], size: int) -> list[tuple[str, ...]]:
    return [tuple(word for word, _, _ in spelled[at : at + size]) for at in range(len(spelled) - size + 1)]


def _spans(spelled: list[Word], places: set[int]) -> list[Span]:
    """Runs of words as one span each."""
    found: list[Span] = []
    last = -2
    for place in sorted(places):
        _, begin, end = spelled[place]
        if place == last + 1:
            found[-1] = (found[-1][0], end)
        else:
            found.append((begin, end))
        last = place
    return found
