"""What is drawn has a stand-in in ASCII of the same width; letters stay letters."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from rich.cells import cell_len

from dpotui.ascii import in_ascii


@pytest.mark.parametrize(
    ("drawn", "shown"),
    [
        ("╭─ loss ─╮ │┃┏╋┛╱╲╳═", "+- loss -+ ||+++/\\X="),
        ("▁▂▃▄▅▆▇█ ▐ ░", "__.-=+*# | ."),
        ("⠉⠒⠤⣀⣿⡇⠀", "'--_#| "),
        ("● run ▸ ≤0.1 ±2 β0.1 µs … a · b — c", "* run > <0.1 ~2 b0.1 us ~ a - b - c"),
        ("Ελληνικά 日本 naïve", "Ελληνικά 日本 naïve"),
    ],
)
def test_stand_ins(drawn: str, shown: str) -> None:
    assert in_ascii(drawn) == shown
    assert cell_len(drawn) == cell_len(shown)


def test_all_that_the_screens_draw_has_one() -> None:
    missing: dict[str, str] = {}
    root = Path(__file__).parents[2]
    for path in set((root / "dpotui").rglob("*.py")) - {
        root / "dpotui" / "paint.py"
    }:  # it names ranges, and draws none
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                left = [c for c in in_ascii(node.value) if not c.isascii() and cell_len(c) == 1 and not c.isalpha()]
                missing.update((c, str(path)) for c in left if c.isprintable())
    assert not missing
