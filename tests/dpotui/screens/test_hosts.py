"""Hosts from the Hardware mode: asked for the file, each check as it is made, hostile words as text."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

import pytest

from core.config import DPOConfig
from core.experiments import cluster_check
from core.experiments.cluster_check import Check, Report
from core.experiments.hosts import Hosts
from dpotui.screens.hosts import HostsScreen
from tests.dpotui import scene
from tests.dpotui.screens.conftest import Scene

CHECKS = [
    Check("127.0.0.1", "reached", "PASS", "this machine, answers after 0.4 s"),
    Check("studio", "reached", "PASS", "by ssh, answers after 0.9 s"),
    Check("studio", "machine", "PASS", "Apple M3 Ultra, macOS 15.5, Metal"),
    Check("studio", "clock", "WARN", "90.1 s behind this one's, give or take 0.40 ms", "set both by the network"),
    Check("studio", "files", "FAIL", "data/pairs.jsonl is another one than here", "copy it there: rsync -aR ./data"),
    Check("all", "sum", "PASS", "5.2 MB (the gradients of this configuration) in 12 ms over the ring, 433 MB/s"),
]


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """In the place of looking at machines: what would be seen, and what was asked for."""
    asked: dict[str, Any] = {"checks": CHECKS, "times": 0}

    def check(hosts: Hosts, workspace: object, config: object, tell: Callable[[Check], None]) -> Report:
        asked.update(hosts=hosts.names, config=config, times=asked["times"] + 1)
        report = Report(hosts.names)
        for one in asked["checks"]:
            report.checks.append(one)
            tell(one)
        if "wait" in asked:
            asked["wait"].wait(10)
            tell(CHECKS[0])
            asked["went on"] = True
        return report

    monkeypatch.setattr(cluster_check, "check", check)
    return asked


def _hosts(busy: Scene, text: str = "") -> None:
    entries = [{"ssh": "127.0.0.1"}, {"ssh": "studio"}]
    (busy.workspace.root / "hosts.json").write_text(text or json.dumps({"hosts": entries}))


@pytest.mark.parametrize("size", [(80, 24), (200, 60)])
async def test_h_asks_for_the_file_and_shows_each_check(busy: Scene, looked: dict[str, Any], size: Any) -> None:
    _hosts(busy)
    async with scene.bench(busy.workspace).run_test(size=size) as pilot:
        app = await scene.settled(pilot)
        await pilot.press("7", "h")
        await scene.until(pilot, lambda: "Check hosts" in scene.words(app) and "hosts.json" in scene.words(app))
        await pilot.press("enter")
        await scene.until(pilot, lambda: "they cannot work together yet" in scene.prose(app))
        said = scene.prose(app)
        assert "files FAIL data/pairs.jsonl is another one than here → copy it there" in said
        assert "clock WARN" in said and "all together" in said
        assert looked["hosts"] == ("127.0.0.1", "studio") and isinstance(looked["config"], DPOConfig)
        await pilot.press("g")
        await scene.until(pilot, lambda: looked["times"] == 2)
        await pilot.press("escape")
        await scene.until(pilot, lambda: not app.screen.is_modal)


async def test_what_cannot_be_read_is_one_line(busy: Scene, looked: dict[str, Any]) -> None:
    async with scene.bench(busy.workspace).run_test(size=(80, 24)) as pilot:
        app = await scene.settled(pilot)
        await pilot.press("7", "h")
        await scene.until(pilot, lambda: "Check hosts" in scene.words(app))
        await pilot.press("enter")
        await scene.until(pilot, lambda: "is no file: mlx.distributed_config writes one" in scene.prose(app))
        _hosts(busy, "{")
        await pilot.press("enter")
        await scene.until(pilot, lambda: "no valid JSON" in scene.prose(app))
        assert looked["times"] == 0


async def test_closed_it_looks_no_further(busy: Scene, looked: dict[str, Any]) -> None:
    _hosts(busy)
    looked["wait"] = threading.Event()
    async with scene.bench(busy.workspace).run_test(size=(80, 24)) as pilot:
        app = await scene.settled(pilot)
        await pilot.press("7", "h")
        await scene.until(pilot, lambda: "Check hosts" in scene.words(app))
        await pilot.press("enter")
        await scene.until(pilot, lambda: "studio" in scene.words(app))
        await pilot.press("g")  # one look at a time
        await pilot.press("escape")
        await scene.until(pilot, lambda: not app.screen.is_modal)
        looked["wait"].set()
        await pilot.pause(0.2)
    assert looked["times"] == 1 and "went on" not in looked


async def test_words_of_other_machines_are_text(busy: Scene, looked: dict[str, Any]) -> None:
    _hosts(busy)
    hostile = "\x1b[31mred[bold]x\u202e\n"
    looked["checks"] = [Check(hostile, hostile, "FAIL", hostile, hostile)]
    async with scene.bench(busy.workspace).run_test(size=(80, 24)) as pilot:
        app = await scene.settled(pilot)
        await pilot.press("7", "h")
        await scene.until(pilot, lambda: "Check hosts" in scene.words(app))
        await pilot.press("enter")
        await scene.until(pilot, lambda: "FAIL" in scene.words(app))
        shown = scene.words(app)
        assert not [c for c in shown if c != "\n" and (ord(c) < 32 or 127 <= ord(c) < 160 or c == "\u202e")]
        assert "[bold]x" in shown


@pytest.mark.parametrize("size", [(80, 24), (200, 60)])
def test_how_it_looks(busy: Scene, looked: dict[str, Any], snap_compare: Any, size: tuple[int, int]) -> None:
    _hosts(busy)

    async def run_before(pilot: Any) -> None:
        app = await scene.settled(pilot)
        await pilot.press("7")
        app.push_screen(HostsScreen(busy.workspace.root / "hosts.json", None))
        await scene.until(pilot, lambda: "they cannot work together yet" in scene.prose(app))

    assert snap_compare(scene.bench(busy.workspace), terminal_size=size, run_before=run_before)
