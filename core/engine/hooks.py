"""The program that a person wants to be started when a run has ended. Never through a shell, never waited for."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable

from core.errors import UserError
from core.settings import load_settings
from core.store.log import Level
from core.store.runs import Run
from core.text import one_line
from core.workspace import Workspace

# A hook tells somebody; what takes longer than this hangs.
SECONDS = 30.0

Log = Callable[[str, Level, str], None]


class Hooks:
    """Starts `on_run_end` of the person's settings; what becomes of it stands in the log of the run."""

    def __init__(self, workspace: Workspace, log: Log, seconds: float = SECONDS) -> None:
        self._workspace, self._log, self._seconds = workspace, log, seconds
        self._threads: list[threading.Thread] = []

    def run_ended(self, run: Run) -> None:
        """Call when a run reads as ended. Returns at once."""
        try:
            command = load_settings().on_run_end
        except UserError as error:
            self._log(run.id, "warning", f"on_run_end: {error}")
            return
        if not command:
            return
        thread = threading.Thread(target=self._execute, args=(command, run), name="on_run_end")
        thread.start()
        self._threads = [*(each for each in self._threads if each.is_alive()), thread]

    def join(self) -> None:
        """Wait for what was started."""
        for thread in self._threads:
            thread.join()

    def _execute(self, command: tuple[str, ...], run: Run) -> None:
        known = {"run": run.id, "kind": run.kind, "state": run.state, "workspace": str(self._workspace.root)}
        arguments = [_filled(word, known) for word in command]
        told = {f"DPOTUI_{name.upper()}": value for name, value in known.items()}
        # Names and errors may be any text: they go where no program takes them for an option.
        told |= {"DPOTUI_NAME": run.name, "DPOTUI_ERROR": run.error or ""}
        environment = os.environ | {name: value.replace("\0", "") for name, value in told.items()}
        try:
            process = subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                cwd=self._workspace.root,
                env=environment,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            words = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            self._log(run.id, "warning", f"on_run_end: {one_line(command[0], 80)} cannot be started ({words})")
            return
        try:
            _, said = process.communicate(timeout=self._seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            self._log(run.id, "warning", f"on_run_end: ended by force after {self._seconds:g} s")
            return
        if process.returncode:
            last = said.decode("utf-8", "replace").strip().splitlines()[-1:] or [""]
            why = f": {one_line(last[0], 200)}" if last[0] else ""
            self._log(run.id, "warning", f"on_run_end: ended with {process.returncode}{why}")


def _filled(word: str, known: dict[str, str]) -> str:
    """{run}, {kind}, {state} and {workspace} in an argument; other braces stay what they are."""
    for name, value in known.items():
        word = word.replace(f"{{{name}}}", value)
    return word
