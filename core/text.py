"""Foreign text made safe to show: nothing in it can move the cursor, recolour, reorder or resize what stands beside it.

Text of data sets, models, file names and logs passes through here on its way to a screen or a pipe. Console markup
(`[red]`) is no concern of this module: it is text here, and must be shown by calls that do not interpret it.
"""

from __future__ import annotations

import re

from rich.cells import get_character_cell_size

# Terminals answer to C0 (ESC, BEL, CR, ...), DEL and C1 (0x9b is CSI in one byte). Bidi controls make text read other
# than it is written; U+2028 and U+2029 break lines in some places and not in others; a lone surrogate cannot be
# encoded, so that printing it raises.
_CONTROLS = {code: chr(0x2400 + code) for code in range(0x20) if chr(code) not in "\n\t"} | {0x7F: "\u2421"}
_REPLACED = "\ufffd"
_FOREIGN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
# What joins emoji into one picture, or asks for a wider one: terminals disagree on the cells that it takes then, and
# some draw it over what stands beside it. Neither can be seen itself.
_JOINING = str.maketrans("", "", "\u200d\ufe0f")
_FOLD = re.compile(r" *[\n\t][ \n\t]*")

ELLIPSIS = "…"


def printable(text: str) -> str:
    """The text with control characters as visible stand-ins (`␛` for ESC, `�` where there is no picture).

    Newlines and tabs stay; CRLF becomes a newline, a carriage return alone becomes `␍`. Joined emoji become their
    parts.
    """
    if "\u200d" in text or "\ufe0f" in text:
        text = text.translate(_JOINING)
    return _FOREIGN.sub(lambda found: _CONTROLS.get(ord(found[0]), _REPLACED), text.replace("\r\n", "\n"))


def one_line(text: str, width: int) -> str:
    """The text on one line of at most `width` cells: newlines and tabs folded to a space, `…` where it was cut.

    Wide characters (CJK, emoji) take two cells.
    """
    if width <= 0:
        return ""
    # A cell holds a character and a few marks on it. More than that is not looked at: a response of ten megabytes costs
    # no more than its first line, and a tower of combining marks ends.
    head = text[: 8 * width + 64]
    line = _FOLD.sub(" ", printable(head)).strip()
    cut = len(head) < len(text)
    room, last_fit, end = width, 0, 0
    for character in line:
        room -= get_character_cell_size(character)
        if room < 0:
            break
        end += 1
        if room >= 1:
            last_fit = end
    if end == len(line) and not cut:
        return line
    # The mark needs a cell of its own: after the last character that left one.
    return line[:last_fit].rstrip() + ELLIPSIS
