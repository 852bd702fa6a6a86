"""Every key that is named works: in the footer and under `?`, on each pane of each mode, at both sizes.

A key that is named is pressed as a person would, on a workbench that has just been brought to that place; what is
proved is that the very action of its binding was carried out by somebody. What the actions do is tested elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from textual.pilot import Pilot

from dpotui.app import Workbench
from dpotui.stages import STAGES
from tests.dpotui import scene
from tests.dpotui.screens.conftest import Scene

MODES = ("Plan", "Stage", "Gates", "Runs", "Data", "Config", "Hardware", "Report")
# They end the program, which is tested on its own.
_ENDS = {"app.leave", "app.leave-now"}


class Carried:
    """Which actions were carried out."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.actions: list[str] = []
        dispatch = Workbench._dispatch_action

        async def listen(app: Workbench, namespace: Any, name: str, parameters: Any) -> bool:
            done = await dispatch(app, namespace, name, parameters)
            if done:
                self.actions.append(f"{name}({', '.join(map(repr, parameters))})" if parameters else name)
            return done

        monkeypatch.setattr(Workbench, "_dispatch_action", listen)


@pytest.fixture
def carried(monkeypatch: pytest.MonkeyPatch) -> Carried:
    return Carried(monkeypatch)


@pytest.fixture
def rich(busy: Scene) -> Iterator[Scene]:
    """A workspace with a file of data, a calibration and a finished run in hand, so that most keys have something."""
    (busy.workspace.data / "pairs.jsonl").write_text(
        "".join(f'{{"prompt": "p{i}", "chosen": "a {i}", "rejected": "b {i}"}}\n' for i in range(30))
    )
    scene.add_calibration(busy.db)
    yield busy


def _named(app: Workbench) -> dict[str, tuple[str, str]]:
    """Keys that are named here and now: binding id and key -> (key, action)."""
    found = {}
    for active in app.screen.active_bindings.values():
        binding = active.binding
        if active.enabled and binding.id and binding.description and binding.id not in _ENDS:
            found[f"{binding.id} {binding.key}"] = (binding.key, binding.action)
    return found


async def _go(pilot: Pilot[None], app: Workbench, mode: str, stage: int | None) -> None:
    """Bring the workbench to a mode or stage, from wherever a key has led."""
    while app.screen is not app.mode_screen:
        app.pop_screen()
        await pilot.pause()
    if stage is not None:
        await app.open_stage(stage)
    else:
        await app.action_mode(mode)


async def _place(pilot: Pilot[None], app: Workbench, mode: str, stage: int | None, pane: str) -> None:
    await _go(pilot, app, mode, stage)
    app.mode_screen.pane = pane
    app.mode_screen.query_one(f"#{pane}").focus()
    await pilot.pause()


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
async def test_every_key_that_is_named_is_answered(rich: Scene, carried: Carried, mode: str) -> None:
    app = scene.bench(rich.workspace)
    pressed: set[str] = set()
    async with app.run_test(size=(80, 24)) as pilot:
        await scene.settled(pilot)
        stages: list[int | None] = [stage.number for stage in STAGES] if mode == "Stage" else [None]
        for stage in stages:
            await _go(pilot, app, mode, stage)
            screen = app.mode_screen
            await scene.settled(pilot)
            for _, pane in screen.panes_here:
                await _place(pilot, app, mode, stage, pane)
                named = _named(app)
                for name, (key, action) in named.items():
                    if name in pressed:
                        continue  # the same binding on another pane
                    pressed.add(name)
                    await _place(pilot, app, mode, stage, pane)
                    if name not in _named(app):
                        continue  # an earlier key has used it up: a run that was stopped cannot be stopped
                    carried.actions.clear()
                    await pilot.press(key)
                    await pilot.pause()
                    assert app.is_running, f"{mode} {stage} {pane}: {key} ended the program"
                    assert _same(action, carried.actions), f"{mode} {stage} {pane}: {key} ({action}): {carried.actions}"
    assert len(pressed) > 15


def _same(action: str, carried: list[str]) -> bool:
    """Whether an action was carried out, however its parameters are spelt."""
    wanted = action.replace("screen.", "").replace("app.", "").replace('"', "'").replace(" ", "")
    return wanted in [each.replace('"', "'").replace(" ", "") for each in carried]
