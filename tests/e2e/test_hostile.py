"""Text that tries to command the terminal, in everything that has text: no byte of it that commands gets there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from textual._compositor import LayoutUpdate
from textual.geometry import Region
from textual.screen import Screen

from dpotui.paint import Painter
from tests.dpotui import scene
from tests.dpotui.hostile import check_painted
from tests.e2e import hostile
from tests.e2e.terminal import Terminal

MODES = "12345678"

# What Textual says to a terminal when it takes and leaves it; OSC 9 is ours, with its words checked.
_SETTING = re.compile(
    r"\x1b\[\?\d+[hl]|\x1b\[\?20(?:26|48)\$p|\x1b\[>\d*u|\x1b\[<u|\x1b\]22;\w+\x07"
    r"|\x1b\]9;dpotui: [^\x00-\x1f\x7f-\x9f]*\x07|\x07"
)


def check(screen: Screen[Any]) -> None:
    """The screen as it would be written."""
    width, height = screen.size
    strips = screen._compositor.render_strips()
    assert [strip.cell_length for strip in strips] == [width] * height
    painter = Painter()
    update = LayoutUpdate([[strip] for strip in strips], Region(0, 0, width, height))
    assert check_painted(painter.paint(update), width, height) > 100
    assert [len(row) for row in painter._rows.values()] == [width] * height


@pytest.mark.slow
@pytest.mark.parametrize("size", [(80, 24), (200, 60)])
async def test_every_pane_of_every_mode(tmp_path: Path, size: tuple[int, int]) -> None:
    app = scene.bench(hostile.workspace(tmp_path))
    async with app.run_test(size=size) as pilot:
        await scene.settled(pilot)
        for key in MODES:
            await pilot.press(key)
            await pilot.pause(0.1)
            screen = app.mode_screen
            for _ in screen.panes_here:
                await pilot.press("down", "enter")
                check(app.screen)
                await pilot.press("escape", "tab")
        for press in ("question_mark", "ctrl+p", "ctrl+o"):
            await pilot.press(press)
            await pilot.pause(0.2)
            check(app.screen)
            await pilot.press("escape")
        await pilot.press("ctrl+p", *"hostile")
        await pilot.pause(0.5)
        check(app.screen)


@pytest.mark.parametrize(
    ("size", "env"), [((80, 24), {}), ((200, 60), {}), ((80, 24), {"TERM": "vt100"})], ids=["narrow", "wide", "vt100"]
)
def test_what_reaches_the_terminal(tmp_path: Path, size: tuple[int, int], env: dict[str, str]) -> None:
    made = hostile.with_hostile_gates(hostile.workspace(tmp_path))
    terminal = Terminal(str(made.root), columns=size[0], rows=size[1], env=env)
    try:
        terminal.until("? Keys")
        terminal.read(1)
        for key in MODES:
            for press in (key, "\t", "\x1b[B", "\r", "\x1b", "\t", "\x1b[F"):
                terminal.press(press)
                terminal.read(0.1)
        terminal.press("\x03")
        assert terminal.wait() == 0
        assert terminal.restored
    finally:
        terminal.close()
    sent = bytes(terminal.received).decode("utf-8")
    painted, left, farewell = sent.rpartition("\x1b[?1049l")
    assert left
    assert check_painted(_SETTING.sub("", painted), *size) > 3000
    assert not re.search("[\x00-\x09\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", _SETTING.sub("", farewell))
