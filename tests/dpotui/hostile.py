"""Text that tries to do something: made from a seed, for everything that shows what others wrote."""

from __future__ import annotations

import random
import re
import unicodedata

from rich.cells import cell_len

from dpotui.paint import _SIMPLE

# By what it tries.
POISON = {
    "colour": "\x1b[31mred\x1b[0m",
    "move": "\x1b[2J\x1b[1;1Hhome\x1b[10A",
    "mode": "\x1b[?1049l\x1b[?25h\x1b[?1000h\x1bc",
    "one-byte CSI": "\x9b31mred\x9b2J",
    "title": "\x1b]0;owned\x07",
    "link": "\x1b]8;;https://evil.example\x1b\\click\x1b]8;;\x1b\\",
    "clipboard": "\x1b]52;c;ZXZpbA==\x07",
    "notice": "\x1b]9;pay\x07\x1b]777;notify;a;b\x07",
    "device string": "\x1bP$q\"p\x1b\\\x1bPtmux;\x1b\x1b]52;c;eA==\x07\x1b\\",
    "application": "\x1b_Gf=100;AAAA\x1b\\\x90q\x9c\x9d0;t\x9c",
    "ask": "\x1b[6n\x1b[c\x1b[>c\x05\x1b]11;?\x07",
    "markup": "[bold red]x[/] [link=https://evil.example]y[/link] [/nothing] [@click=app.quit]z[/] [[[ ]] \\[",
    "format": "%s %n {0} {x!r} $HOME `id`",
    "nul": "a\0b\0\0c",
    "controls": "".join(map(chr, range(32))) + "\x7f" + "".join(map(chr, range(0x80, 0xA0))),
    "returns": "over\rwritten\x08\x08\x08\r\n\v\f\x85\u2028\u2029lines",
    "tabs": "a\tb\t\t\tc",
    "bidi": "\u202eright\u202c \u2066to\u2069 \u200fleft\u061c \u202a\u202b\u202d",
    "right to left": "\u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627 abc",
    "tower": "z" + "\u0301\u0335\u0489" * 40 + "y",
    "leading mark": "\u0301\u0308abc",
    "no width": "a\u200bb\u200cc\u200dd\u2060e\ufefff\U000e0041g\u115fh\u3164i\u1160j",
    "wide": "\u6f22\u5b57\u30ab\u30bf\u30ab\u30ca\uff21\uff22 \U0001f600\U0001f389",
    "joined": "\U0001f469\u200d\U0001f4bb\U0001f468\u200d\U0001f469\u200d\U0001f467 \u2764\ufe0f 1\ufe0f\u20e3"
    " \U0001f44d\U0001f3fd \U0001f1e9\U0001f1ea \u200d\u200d\ufe0f",
    "half a pair": "\ud83d \udc00 \udfff",
    "private": "\ue000\uf8ff\U000f0000\U0010ffff\ufffe",
    "korean": "\u1112\u1161\u11ab\u1100\u1173\u11af",
    "thai": "\u0e01\u0e33\u0e49\u0e35\u0e48",
    "long": "\u6f22" * 3000 + "x" * 3000,
}  # fmt: skip

_PIECES = [*POISON.values(), *(chr(code) for code in (*range(0x20), 0x7F, *range(0x80, 0xA0), 0x202E, 0x200D, 0xFE0F))]

# What the program itself writes while it paints: where, and how it looks.
_OWN = re.compile(r"\x1b\[(?:(\d+);(\d+)H|(\d+)G|(\d*)C|[0-9;]*m)")


def texts(seed: int, number: int) -> list[str]:
    """Mixes of all of it with plain words."""
    chance = random.Random(seed)
    words = ["loss", "kl 0.08", "prompt", " ", "  ", "ä", "漢"]
    return [
        "".join(chance.choice(_PIECES if chance.random() < 0.6 else words)[:400] for _ in range(chance.randrange(1, 9)))
        for _ in range(number)
    ]


def check_painted(data: str, width: int, height: int) -> int:
    """That this moves the cursor about the screen, sets styles, and writes what stays where it was put; nothing else.

    Returns how many characters it wrote.
    """
    x = y = 0
    at, written = 0, 0
    sure = True  # every terminal agrees where the cursor stands
    data.encode("utf-8", "replace")
    for found in _OWN.finditer(data + "\x1b[m"):
        for character in data[at : found.start()]:
            category = unicodedata.category(character)
            assert category not in ("Cc", "Cf", "Cs", "Zl", "Zp"), f"{character!r} reached the terminal"
            x += cell_len(character)
            sure = sure and _SIMPLE.fullmatch(character) is not None
            assert x <= width, f"written beyond the right edge of row {y + 1}"
            written += 1
        at = found.end()
        if found[1]:
            y, x = int(found[1]) - 1, int(found[2]) - 1
        elif found[3]:
            x = int(found[3]) - 1
        elif found[0].endswith("C"):
            assert sure, f"moved on in row {y + 1} from where terminals disagree"
            x += int(found[4] or 1)
        else:
            continue
        sure = True
        assert 0 <= y < height and 0 <= x < width
    return written
