"""Send runs to a tracker from the list: whom to, then a process in the background. Nothing here waits for it."""

from __future__ import annotations

import asyncio
from contextlib import closing
from typing import TYPE_CHECKING

from core.errors import UserError
from core.store import open_store, runs
from core.store.tracked import TITLES
from dpotui.screens.pick import Pick

if TYPE_CHECKING:
    from dpotui.app import Workbench

# What is offered: a tracker, and the mode of W&B.
_OFFERED = {
    "tensorboard": ("tensorboard", {}, "event files in this workspace"),
    "mlflow": ("mlflow", {}, "its database in this workspace, or MLFLOW_TRACKING_URI"),
    "wandb offline": ("wandb", {"mode": "offline"}, "a folder in this workspace"),
    "wandb online": ("wandb", {"mode": "online"}, "configuration and metrics leave this machine"),
}


def send(bench: Workbench, ids: list[str]) -> None:
    """Ask whom to, and leave it to a process of its own."""
    from core.config.trackers import install_line, installed

    lines = {}
    for name, (tracker, _, where) in _OFFERED.items():
        title = f"{TITLES[tracker]}{name.removeprefix(tracker)}"
        lines[f"{title}: {where if installed(tracker) else install_line(tracker)}"] = name

    def chosen(line: str | None) -> None:
        if line is None:
            return
        tracker, options, _ = _OFFERED[lines[line]]
        if not installed(tracker):
            bench.say(f"{TITLES[tracker]} is not installed: {install_line(tracker)}", "warning")
            return
        bench.run_worker(_begin(bench, ids, tracker, dict(options)), group="track", exit_on_error=False)

    what = ids[0] if len(ids) == 1 else f"{len(ids)} runs"
    bench.push_screen(Pick(f"Send {what} to", list(lines), next(iter(lines))), chosen)


async def _begin(bench: Workbench, ids: list[str], tracker: str, options: dict[str, str]) -> None:
    def begin() -> None:
        from core.tracking import feeding
        from core.tracking.start import spawn

        with closing(open_store(bench.workspace.database)) as db:
            for run in ids:
                feeding.begun(bench.workspace, db, runs.get(db, run), tracker, options)
                spawn(bench.workspace, run, (tracker,))

    try:
        await asyncio.to_thread(begin)
    except (UserError, OSError) as error:
        bench.say(str(error), "error")
        return
    told = ids[0] if len(ids) == 1 else f"{len(ids)} runs"
    bench.say(f"{told}: being sent to {TITLES[tracker]}; Details and 'dpotui track' say how far")
