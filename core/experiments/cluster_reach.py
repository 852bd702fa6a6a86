"""A program on a host of the hosts file: started there by ssh, or here without, and asked line by line."""

from __future__ import annotations

import json
import os
import queue
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Any

from core.errors import UserError
from core.experiments.hosts import Host
from core.text import one_line

# No question is asked of a person, and a host that is silent is given up.
SSH = (
    "ssh", "-T", "-oBatchMode=yes", "-oConnectTimeout=10", "-oServerAliveInterval=5", "-oServerAliveCountMax=4",
)  # fmt: skip
GREETS = 45.0
# What a shell may say before the program does.
_BANNER_LINES = 500
_LONGEST_LINE = 64 << 20


class Unreachable(UserError):
    """The host or the program there does not answer. `mend` is what to do about it."""

    def __init__(self, text: str, mend: str) -> None:
        super().__init__(f"{text}: {mend}" if mend else text)
        self.text, self.mend = text, mend


def workspace_on(host: Host, root: Path) -> str:
    return host.cwd or str(root)


def command_on(host: Host, root: Path, module: str, environment: tuple[str, ...] = ()) -> list[str]:
    """What starts a module on a host: directly on this one, by ssh on another."""
    words = ["-P", "-m", module, workspace_on(host, root)]
    python = host.python or sys.executable
    if host.here:
        return [str(Path(python).expanduser()), *words]
    # A path from ~ is the shell's to read there.
    program = f'"$HOME"/{shlex.quote(python[2:])}' if python.startswith("~/") else shlex.quote(python)
    given = f"env {shlex.join(environment)} " if environment else ""
    return [*SSH, host.ssh, f"exec {given}{program} {shlex.join(words)}"]


class Conversation:
    """A module that runs on a host and answers JSON lines with others. One thread may tell while another hears."""

    def __init__(self, host: Host, root: Path, module: str, environment: tuple[str, ...] = ()) -> None:
        """Start it and wait for its greeting.

        Raises:
            Unreachable: it does not come up.
        """
        own = dict(entry.split("=", 1) for entry in environment) if host.here else {}
        self._host = host
        self._said: deque[str] = deque(maxlen=40)
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        began = time.perf_counter()
        try:
            self._process = subprocess.Popen(
                command_on(host, root, module, environment),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                encoding="utf-8",
                errors="replace",
                env=os.environ | own,
                cwd="/",
                start_new_session=True,
            )
        except OSError as error:
            what = host.python or sys.executable if host.here else "ssh"
            raise Unreachable(
                f"{what} cannot be started ({error.strerror})", "name the 'python' of that host"
            ) from None
        self._errors = threading.Thread(target=self._hear, daemon=True)
        self._errors.start()
        threading.Thread(target=self._read, daemon=True).start()
        try:
            for _ in range(_BANNER_LINES):
                line = self._next(GREETS)
                if line.startswith('{"dpotui"'):
                    self.seconds = time.perf_counter() - began
                    return
            raise Unreachable("its shell talks on and on", "let it say nothing to programs (~/.zshenv, ~/.bashrc)")
        except BaseException:
            self.close()
            raise

    def ask(self, seconds: float, /, **request: Any) -> dict[str, Any]:
        """The answer to one question.

        Raises:
            Unreachable: there is none in time, or the program is gone.
        """
        self.tell(request)
        return self.hear(seconds)

    def tell(self, message: dict[str, Any]) -> None:
        """Say something to which no answer is awaited here.

        Raises:
            Unreachable: the program is gone.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
        except (OSError, ValueError):
            raise self._gone() from None

    def hear(self, seconds: float) -> dict[str, Any]:
        """The next line it says."""
        line = self._next(seconds)
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise Unreachable(f"it answers '{one_line(line, 60)}'", "is another program in its place?")
        return found

    def close(self) -> None:
        """End it, and what it started."""
        with suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(2)
        if self._process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._errors.join(2)
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                with suppress(OSError):
                    stream.close()

    def __enter__(self) -> Conversation:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _next(self, seconds: float) -> str:
        try:
            line = self._lines.get(timeout=seconds)
        except queue.Empty:
            raise Unreachable(f"no answer in {seconds:.0f} s", "is the host awake, and not at its limit?") from None
        if line is None:
            raise self._gone()
        return line

    def _read(self) -> None:
        assert self._process.stdout is not None
        with suppress(OSError, ValueError):
            while line := self._process.stdout.readline(_LONGEST_LINE):
                self._lines.put(line)
        self._lines.put(None)

    def _hear(self) -> None:
        assert self._process.stderr is not None
        with suppress(OSError, ValueError):
            while line := self._process.stderr.readline(4096):
                self._said.append(line)

    def _gone(self) -> Unreachable:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(2)
        self._errors.join(2)
        words = [said for said in self._said if said.strip()]
        return _reason(self._host, words, self._process.poll())


def _reason(host: Host, words: list[str], status: int | None) -> Unreachable:
    """Why it ended, by what it said last; those are the words of another machine."""
    last = one_line(words[-1], 160) if words else f"it ended with status {status}"
    everything = " ".join(words)
    python = host.python or sys.executable
    mends = {
        "Permission denied": f"let this account in without a password: ssh-copy-id {host.ssh}",
        "Host key verification failed": f"look at its key once by hand: ssh {host.ssh}",
        "REMOTE HOST IDENTIFICATION": f"if its key was changed: ssh-keygen -R {host.ssh}, then ssh {host.ssh}",
        "Could not resolve": "name it as ssh knows it (~/.ssh/config), or by its address",
        "Connection refused": "on a Mac: System Settings, General, Sharing, Remote Login",
        "timed out": "is it on, awake and in the same network?",
        "No route to host": "is it on, awake and in the same network?",
        "nknown option": f"{python} there is older than 3.11: name a newer 'python' in the hosts file",
        "No module named": f"install this dpotui there, for {python}, or name its 'python' in the hosts file",
        "not found": f"there is no {python} there: name its 'python' in the hosts file",
        "No such file": f"there is no {python} there: name its 'python' in the hosts file",
    }
    mend = next((mend for said, mend in mends.items() if said in everything), "try it by hand: ssh " + host.ssh)
    return Unreachable(last, mend)
