"""Pictures of screens, whose differences can be read."""

from __future__ import annotations

import difflib
import html
import re
from collections.abc import Iterator
from typing import Any

from pytest_textual_snapshot import SVGImageExtension

_TEXT = re.compile(r'<text class="[^"]*-(r\d+)" x="([\d.]+)" y="([\d.]+)"[^>]*>(.*?)</text>')


class Pictures(SVGImageExtension):
    """The rows of the screen that differ, each stretch with its style; not the SVG."""

    def diff_lines(self, serialized_data: Any, snapshot_data: Any) -> Iterator[str]:
        before, now = _rows(str(snapshot_data)), _rows(str(serialized_data))
        if before == now:  # the same words on another ground
            before, now = (str(data).replace("><", ">\n<").splitlines() for data in (snapshot_data, serialized_data))
        yield from difflib.unified_diff(before, now, "snapshot", "received", lineterm="", n=0)


def _rows(picture: str) -> list[str]:
    rows: dict[float, list[tuple[float, str]]] = {}
    for style, x, y, text in _TEXT.findall(picture):
        rows.setdefault(float(y), []).append((float(x), f"{style}|{html.unescape(text)}"))
    return [" ".join(text for _, text in sorted(row)) for _, row in sorted(rows.items())]
