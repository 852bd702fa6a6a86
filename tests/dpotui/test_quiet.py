"""When nothing happens nothing is sent, in any mode: no clock, no cursor that blinks, no wheel that turns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from textual._compositor import ChopsUpdate, LayoutUpdate
from textual.screen import Screen

from dpotui import live
from dpotui.app import Workbench
from dpotui.paint import Painter
from tests.dpotui import scene

# The machine's load is what Hardware shows: it is never still.
STILL = "1234568"


@pytest.mark.parametrize("size", [(80, 24), (200, 60)])
async def test_nothing_is_sent_when_nothing_happens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    polls, sent = 0, []
    painter = Painter()
    look = live.Reader.look

    def counted(self: live.Reader, *arguments: Any, **options: Any) -> Any:
        nonlocal polls
        polls += 1
        return look(self, *arguments, **options)

    def display(self: Workbench, screen: Screen[Any], update: Any) -> None:
        if isinstance(update, LayoutUpdate | ChopsUpdate):
            sent.append(painter.paint(update))

    monkeypatch.setattr(live, "INTERVAL", 0.01)
    monkeypatch.setattr(live.Reader, "look", counted)
    monkeypatch.setattr(Workbench, "_display", display)
    made, db = scene.workspace(tmp_path)
    scene.busy(db)
    db.close()
    app = scene.bench(made)
    async with app.run_test(size=size) as pilot:
        await scene.settled(pilot)
        for key in STILL:
            await pilot.press(key)
            arrived = -1
            while arrived != len(sent):  # what is read in the background comes once
                arrived = len(sent)
                await scene.settled(pilot)
                await pilot.pause(0.8)
            before, began = "".join(sent), polls
            await scene.until(pilot, lambda began=began: polls - began >= 30)
            assert "".join(sent)[len(before) :] == "", f"mode {key}"
