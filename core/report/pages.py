"""A report as a file: its lines, and behind them a comment from which each figure can be found and held against
runs.db again.

The comment holds, as JSON, a hash of every line and for each figure its line, its key, what it is exactly and how it
reads. It is sealed by a hash of its own.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from core.report import html, markdown
from core.report.document import Figure, Report
from core.report.line import Written

BEGIN, END = "<!-- dpotui-figures", "-->"
_HEX = 12  # digits of the hash of a line
_EXACT = re.compile(r"(?:[-+0-9.e(), ]|None|nan|inf|\b[0-9a-f]{16,64}\b)*")


class Format(NamedTuple):
    render: Callable[[Report], Iterator[Written]]
    shown: Callable[[Figure], str]  # a figure as it stands in a line


FORMATS: dict[str, Format] = {
    ".md": Format(markdown.render, markdown.shown),
    ".html": Format(html.render, html.shown),
}


def page(report: Report, suffix: str) -> str:
    """The whole file, for a name that ends so."""
    lines = list(FORMATS[suffix].render(report))
    figures = [
        [number, list(figure.key), kept(figure), figure.shown, figure.stale]
        for number, line in enumerate(lines)
        for figure in line.figures
    ]
    hashes = "".join(line_hash(line.text) for line in lines)
    return (
        "\n".join(line.text for line in lines) + "\n" + comment({"format": suffix, "lines": hashes, "figures": figures})
    )


def kept(figure: Figure) -> str:
    """What a figure is exactly, as a file may hold it: a number or hash as it is, other words as their hash.

    How it reads is cleaned of what nobody else should read; its words before that are not.
    """
    if figure.raw == figure.shown or _EXACT.fullmatch(figure.raw):
        return figure.raw
    return "sha256:" + hashlib.sha256(figure.raw.encode("utf-8", "surrogatepass")).hexdigest()[:_HEX]


def figures_of(report: Report) -> list[Figure]:
    """Every figure of a report once, in its order."""
    found = {figure.key: figure for line in markdown.render(report) for figure in line.figures}
    return list(found.values())


def line_hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_HEX]


def split_hashes(hashes: str) -> list[str]:
    return [hashes[start : start + _HEX] for start in range(0, len(hashes), _HEX)]


def seal(document: dict[str, Any]) -> str:
    bare = {key: value for key, value in document.items() if key != "seal"}
    return hashlib.sha256(json.dumps(bare, sort_keys=True).encode()).hexdigest()


def comment(document: dict[str, Any]) -> str:
    """The machine-readable part. Nothing in it can end the comment that it stands in."""
    whole = document | {"seal": seal(document)}
    # A figure a line: two reports can be compared by any tool that compares lines.
    figures = ",\n".join(json.dumps(figure) for figure in whole["figures"])
    rest = json.dumps({key: value for key, value in whole.items() if key != "figures"}, sort_keys=True)
    text = f'{rest[:-1]}, "figures": [\n{figures}\n]}}'
    for mark in "<>&":
        text = text.replace(mark, f"\\u{ord(mark):04x}")
    return f"{BEGIN}\n{text.replace('--', chr(92) + 'u002d' + chr(92) + 'u002d')}\n{END}\n"
