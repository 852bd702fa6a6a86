"""What the program draws, in the characters that every terminal has: lines, bars, marks and signs, cell for cell.

Applied where the screen is painted, so that no screen has to know. Letters stay what they are: a prompt in Japanese is
Japanese in any terminal that shows it.
"""

from __future__ import annotations

import re
import unicodedata

_BRAILLE = range(0x2800, 0x2900)
# Dots of a braille character by row, from the top.
_ROWS = (0b00001001, 0b00010010, 0b00100100, 0b11000000)
_BOX = range(0x2500, 0x2580)

_SIGNS = {
    # cut, separate, point
    "…": "~", "·": "-", "•": "*", "–": "-", "—": "-", "−": "-", "‖": "|", "¦": "|", "\xa0": " ", "\xad": "-",
    "‘": "'", "’": "'", "“": '"', "”": '"', "«": '"', "»": '"', "‹": "<", "›": ">", "⟨": "<", "⟩": ">", "⧵": "\\",
    "←": "<", "→": ">", "↑": "^", "↓": "v", "↔": "-", "↕": "|", "↳": "`", "↵": "<", "⇧": "^",
    # states
    "●": "*", "○": "o", "◉": "*", "◐": "o", "■": "#", "□": ".", "▪": "*", "▫": ".", "◆": "*", "◇": "o", "★": "*",
    "▲": "^", "▼": "v", "▶": ">", "◀": "<", "▸": ">", "▾": "v", "◂": "<", "▴": "^", "△": "^", "▽": "v",
    "✓": "+", "✔": "+", "✗": "x", "✘": "x", "⚠": "!",
    # numbers
    "≤": "<", "≥": ">", "≈": "~", "≠": "!", "±": "~", "×": "x", "÷": "/", "°": "'", "µ": "u", "√": "V", "∞": "8",
    "½": "5", "¹": "1", "²": "2", "³": "3", "⁻": "-", "∑": "S", "∇": "d", "∂": "d", "∥": "|", "∓": "~",
    # what stands for characters that cannot be shown
    "\ufffd": "?",
    # blocks
    "▁": "_", "▂": "_", "▃": ".", "▄": "-", "▅": "=", "▆": "+", "▇": "*", "█": "#", "▀": '"', "▔": '"', "░": ".",
    "▒": ":", "▓": "%",
}  # fmt: skip

# As signs of ours they stand alone; within a Greek word they are letters.
_GREEK = str.maketrans("αβγδεθλμπρστφΔΣ", "abgdeOlmprstfDS")
_ALONE = re.compile("(?<![\u0370-\u03ff])[αβγδεθλμπρστφΔΣ](?![\u0370-\u03ff])")


def _braille(dots: int) -> str:
    """By the height at which its dots lie; denser ones darker."""
    rows = [index for index, row in enumerate(_ROWS) if dots & row]
    if not rows:
        return " "
    if len(rows) >= 3:
        return "#" if dots.bit_count() >= 6 else "|"
    return {(0,): "'", (1,): "-", (2,): "-", (3,): "_", (0, 1): '"', (1, 2): "=", (2, 3): ","}.get(tuple(rows), ":")


def _box(code: int) -> str:
    name = unicodedata.name(chr(code))
    if "DIAGONAL" in name:
        return "X" if "CROSS" in name else "/" if "UPPER RIGHT" in name else "\\"
    across = any(word in name for word in ("HORIZONTAL", "LEFT", "RIGHT"))
    down = any(word in name for word in ("VERTICAL", "UP", "DOWN"))
    if across and down:
        return "+"
    return "|" if down else "=" if "DOUBLE" in name else "-"


_TABLE = {
    **{code: _braille(code - _BRAILLE.start) for code in _BRAILLE},
    **{code: _box(code) for code in _BOX},
    **dict.fromkeys(range(0x2589, 0x25A0), "|"),
    **dict.fromkeys(range(0x2400, 0x2427), "?"),  # pictures of control characters
    **{ord(sign): stand_in for sign, stand_in in _SIGNS.items()},
}


def in_ascii(text: str) -> str:
    """The text with what is drawn in ASCII: the same number of characters, each in one cell as before."""
    if text.isascii():
        return text
    return _ALONE.sub(lambda found: found[0].translate(_GREEK), text.translate(_TABLE))
