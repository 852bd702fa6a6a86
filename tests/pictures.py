"""Pictures of every mode at both sizes, of a workspace as it is: python -m tests.pictures WORKSPACE FOLDER.

Writes SVG, and PNG instead where there is a Chromium, which keeps the blanks that other converters drop. Those in
docs/screens are of the demo while it trains again.
"""

from __future__ import annotations

import asyncio
import math
import re
import shutil
import subprocess
import sys
from pathlib import Path

from textual.pilot import Pilot

from core.workspace import open_workspace
from dpotui.app import Workbench
from tests.dpotui import scene

SIZES = {"80x24": (80, 24), "200x60": (200, 60)}
# A mode's key, and what else is pressed to show what it is for.
MODES = {
    "plan": ("1",),
    "stage": ("2",),
    "gates": ("3",),
    "runs": ("4",),
    "data": ("5", "down", "down", "enter"),
    "config": ("6",),
    "hardware": ("7",),
    "report": ("8",),
}
NARROW = {"stage": ("tab",), "config": ("tab",)}


async def _still(pilot: Pilot[None], app: Workbench) -> None:
    """Until whatever is read has been read; a run that is on goes on meanwhile."""
    await scene.settled(pilot)
    for _ in range(100):
        await pilot.pause(0.1)
        if "reading …" not in scene.words(app) and "looking …" not in scene.words(app):
            break
    await pilot.pause(2.0)


async def _pictures(workspace: Path, folder: Path, size: str) -> None:
    app = Workbench(open_workspace(workspace), who="ana")
    async with app.run_test(size=SIZES[size]) as pilot:
        await _still(pilot, app)
        for name, keys in MODES.items():
            await pilot.press(*keys, *(NARROW.get(name, ()) if size == "80x24" else ()))
            await _still(pilot, app)
            (folder / f"{name}-{size}.svg").write_text(app.export_screenshot(), encoding="utf-8")


def main() -> None:
    workspace, folder = Path(sys.argv[1]), Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    for size in SIZES:
        asyncio.run(_pictures(workspace, folder, size))
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    for path in sorted(folder.glob("*.svg")) if browser else ():
        _png(str(browser), path)
        path.unlink()


def _png(browser: str, path: Path) -> None:
    """A PNG of an SVG at its own size, which stands in its viewBox."""
    found = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', path.read_text(encoding="utf-8"))
    assert found is not None
    size = ",".join(str(math.ceil(float(side))) for side in found.groups())
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--window-size={size}"]
    target = path.with_suffix(".png")
    command = [browser, *options, f"--screenshot={target}", path.resolve().as_uri()]
    subprocess.run(command, check=True, capture_output=True)


if __name__ == "__main__":
    main()
