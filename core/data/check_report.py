"""What a check found, in lines for people."""

from __future__ import annotations

from collections.abc import Callable

from core.data import quality as measuring
from core.data.check import Checked, Spread
from core.data.decontamination import score_text
from core.data.findings import FINDINGS
from core.text import one_line

_UNSHOWN = ("duplicate", "inverted")  # said by the lines about the whole set


def report(found: Checked, log: Callable[[str], None]) -> None:
    """A line each: rows, lengths, what was found by kind, the gap."""
    measuring.report(found.quality, log)
    if found.lengths is None:
        log(f"lengths in tokens unknown: {found.tokens_reason or 'the chat template refuses all messages'}")
        for name, spread in found.characters.items():
            log(f"{name}: {_spread(spread)} characters")
    else:
        for name, spread in found.lengths.items():
            log(f"{name}: {_spread(spread)} tokens")
    if found.limits is not None:
        log(
            f"cut by the limits of {found.limits.prompt} and {found.limits.response} tokens: {found.truncated} pairs"
            f" (prompt {found.counts['truncated_prompt']}, response {found.counts['truncated_response']})"
        )
    bias = found.bias
    if bias.share is not None:
        log(
            f"the longer response is chosen in {bias.share:.1%} [{bias.low:.1%}, {bias.high:.1%}] of"
            f" {bias.longer + bias.shorter} pairs; {bias.ties} of equal length"
        )
    for kind, count in found.counts.items():
        if not count or kind in _UNSHOWN or kind.startswith("truncated"):
            continue
        more = f" ({found.conflicts} conflict{'' if found.conflicts == 1 else 's'})" if kind == "conflict" else ""
        first = f"in {_first(found, kind)}" if count == 1 else f"the first in {_first(found, kind)}"
        log(f"{FINDINGS[kind].title}: {count} pair{'' if count == 1 else 's'}{more}, {first}")
    clean = [FINDINGS[kind].title for kind, count in found.counts.items() if not count]
    if clean:
        log(f"none: {', '.join(clean)}")
    for fact in found.facts:
        if fact.name in ("data.decontamination", "data.versioned"):
            value = "unknown" if fact.value is None else score_text(fact.value)
            log(f"{fact.name.removeprefix('data.')} {value}: {one_line(fact.source, 400)}")


def place(found: Checked, file: int, line: int) -> str:
    """A pair's place, in words."""
    return f"line {line}" if len(found.paths) == 1 else f"{one_line(found.paths[file].name, 60)}:{line}"


def _first(found: Checked, kind: str) -> str:
    entries = [found.index.entry(one.pair) for one in found.index.found(kind, 0, 3)]
    return ", ".join(place(found, entry.file, entry.line) for entry in entries)


def _spread(spread: Spread) -> str:
    return f"{spread.min} to {spread.max}, median {spread.median:g}, 95 % at most {spread.p95}"
