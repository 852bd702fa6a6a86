"""What a person asks of runs on any screen that shows one: start, pause, stop, checkpoint, resume."""

from __future__ import annotations

import asyncio
import shlex
from typing import ClassVar

from textual import work
from textual.binding import Binding, BindingType

from core.errors import UserError
from core.store import commands, runs
from core.store.commands import Verb
from core.store.runs import Run
from dpotui.screens.dialogs import Confirm
from dpotui.screens.hand_over import hand_over
from dpotui.screens.mode import ModeScreen
from dpotui.stages import ACTIONS, Action


class CommandsRuns(ModeScreen):
    """A mode in which one run is in hand."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("p", "pause", "Pause", id="run.pause"),
        Binding("s", "stop", "Stop", id="run.stop"),
        Binding("c", "checkpoint", "Save", tooltip="Write a checkpoint now", id="run.checkpoint"),
        Binding("r", "resume", "Resume", id="run.resume"),
        Binding("g", "start", "Start", id="run.start"),
        Binding("Q", "app.queue", "Queue", show=False, tooltip="What waits, in which order, and for what",
                id="run.queue"),
        Binding("E", "hand_over", "Hand over", show=False, tooltip="Export its model: for mlx-lm, llama.cpp, PEFT",
                id="run.hand-over"),
    ]  # fmt: skip

    def run_in_hand(self) -> Run | None:
        """The run that the keys speak of."""
        raise NotImplementedError

    def action_in_hand(self) -> Action:
        """What `start` offers first."""
        return ACTIONS["dpo"]

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys that would do nothing now are not in the footer."""
        if action not in ("pause", "stop", "checkpoint", "resume"):
            return True
        run = self.run_in_hand() if self.is_mounted and self.bench.snapshot else None
        if run is None:
            return False
        if action == "resume":
            return run.state in runs.RESUMABLE or run.state == "paused" or self._waits_for_nobody(run)
        if action == "pause":
            return run.state == "running"
        return run.state in runs.LIVE or (action == "stop" and run.state == "queued")

    def _waits_for_nobody(self, run: Run) -> bool:
        """Whether a run stands in the queue of an engine that is gone, as after the machine went down."""
        snapshot = self.bench.snapshot
        return run.state == "queued" and snapshot is not None and snapshot.engine.known and not snapshot.engine.alive

    def action_start(self) -> None:
        self.bench.start_run(self.action_in_hand())

    def action_hand_over(self) -> None:
        hand_over(self.bench, self.run_in_hand())

    def action_again(self) -> None:
        """Offer to start the run in hand once more, with what it was started with."""
        run = self.run_in_hand()
        if run is not None and run.kind == "sweep":
            self.bench.start_run(ACTIONS["sweep"], run.config_path)
        elif run is not None:
            self._again(run)

    @work(exclusive=True, group="again", exit_on_error=False)
    async def _again(self, run: Run) -> None:
        from core.runs.again import again  # what reads configurations is slow to load

        try:
            found = await asyncio.to_thread(again, self.bench.workspace, run)
        except UserError as error:
            self.bench.say(str(error).replace(f"{self.bench.workspace.root}/", "").splitlines()[0], "error")
            return
        if found.gone:
            self.bench.say(f"{found.gone} is gone: {found.config} is read in its place", "warning")
        if found.left:
            self.bench.say(f"not as they were then: {', '.join(found.left[:3])}", "warning")
        self.bench.start_run(ACTIONS[run.kind], found.config, " ".join(shlex.quote(each) for each in found.overrides))

    def action_pause(self) -> None:
        self._send("pause")

    def action_checkpoint(self) -> None:
        self._send("checkpoint")

    def action_stop(self) -> None:
        run = self.run_in_hand()
        if run is None:
            return
        words = f"{run.id} stops at the next step, writes a checkpoint and can be resumed later."
        if run.state == "queued":
            words = f"{run.id} is taken out of the queue."

        def answered(yes: bool | None) -> None:
            if yes:
                self._send("stop")

        self.app.push_screen(Confirm("Stop the run?", words), answered)

    def action_resume(self) -> None:
        run = self.run_in_hand()
        if run is None:
            return
        if run.state == "paused":
            self._send("resume")
            return
        if self._waits_for_nobody(run):
            self.bench.say(f"an engine is started for {run.id}")
            self._ensure_engine()
            return
        if run.part_of is not None and run.state == "interrupted":
            # What was lost together goes on together: the whole finds its part again.
            whole = runs.get(self.bench.db, run.part_of)
            run = whole if whole.state in runs.RESUMABLE else run
        try:
            runs.requeue(self.bench.db, run.id)
        except UserError as error:
            self.bench.say(str(error), "error")
            return
        self.bench.say(f"{run.id} goes on from its last checkpoint")
        self._ensure_engine()

    def _send(self, verb: Verb) -> None:
        run = self.run_in_hand()
        if run is None:
            return
        try:
            commands.send(self.bench.db, run.id, verb, self.bench.who)
        except UserError as error:
            self.bench.say(str(error), "error")
        else:
            self.bench.say(f"{verb} asked of {run.id}: answered at the next step")
        self.bench.written()

    @work(group="engine", exit_on_error=False)
    async def _ensure_engine(self) -> None:
        from core.engine import client

        if not self.bench.in_process:
            try:
                await asyncio.to_thread(client.ensure_engine, self.bench.workspace)
            except UserError as error:
                self.bench.say(str(error), "error")
        self.bench.written()
