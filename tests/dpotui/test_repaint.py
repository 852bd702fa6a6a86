"""A key repaints what it changes: nothing goes through the whole screen, and no list is made anew that stands."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from textual._compositor import Compositor

from dpotui.widgets.lines import Lines
from tests.dpotui import scene


async def test_another_pane_repaints_the_two_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: Counter[str] = Counter()
    make, whole = Lines._make, Compositor.render_full_update

    def counted(self: Lines) -> None:
        done[type(self).__name__] += 1
        make(self)

    def repainted(self: Compositor, *arguments: Any, **options: Any) -> Any:
        done["whole screen"] += 1
        return whole(self, *arguments, **options)

    made, db = scene.workspace(tmp_path)
    scene.busy(db)
    db.close()
    app = scene.bench(made)
    async with app.run_test(size=(200, 60)) as pilot:
        await scene.settled(pilot)
        await pilot.press("2")
        await scene.settled(pilot)
        await pilot.press("tab")
        await scene.settled(pilot)
        await pilot.pause(0.3)
        monkeypatch.setattr(Lines, "_make", counted)
        monkeypatch.setattr(Compositor, "render_full_update", repainted)
        await pilot.press("tab")
        await pilot.pause(0.1)
        assert app.screen.focused is not None and app.screen.focused.id == "stage-gates"
        assert set(done) == {"Charts", "GateTable", "Keys", "Tabs"} and max(done.values()) <= 2
