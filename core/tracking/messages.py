"""A worker as its feeder sees it: a question, an answer within its time, or a process that is ended."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from contextlib import suppress
from types import TracebackType
from typing import IO, Any

import psutil

from core.text import one_line
from core.tracking.secrets import scrub

# Seconds that a call may take. The first loads the tracker's package and asks its server; the last sends what waits.
SECONDS = {"open": 120.0, "describe": 60.0, "send": 120.0, "summarize": 60.0, "close": 90.0}
# The end of what it prints, and the longest answer.
_SAID, _ANSWER = 4096, 1 << 20


class WorkerLost(Exception):
    """What a call came to instead of an answer. `final`: to try again would not help."""

    def __init__(self, words: str, *, final: bool = False) -> None:
        super().__init__(one_line(words, 600))
        self.final = final


class Worker:
    """Ends its process, and what that started, when left.

    Args:
        lock: a file that it holds open, and with it the lock on it, as long as it lives.
    """

    def __init__(self, tracker: str, lock: int) -> None:
        self._process = subprocess.Popen(
            # -P: a folder 'core' or 'wandb' in the workspace must not be taken for the program's.
            [sys.executable, "-P", "-m", "core.tracking.worker", tracker],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            pass_fds=(lock,),
            start_new_session=True,
        )
        self._said = ""
        self._hung = ""
        assert self._process.stderr is not None
        self._listener = threading.Thread(target=self._listen, args=(self._process.stderr,), daemon=True)
        self._listener.start()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        with suppress(OSError):
            self._process.stdin.close()
        if kind is None:
            # It has closed its tracker, and ends by itself.
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(5)
        self._kill()
        self._process.stdout.close()
        self._listener.join(1)

    def call(self, name: str, **arguments: Any) -> dict[str, Any]:
        """What it answers.

        Raises:
            WorkerLost: an error, no answer in time, or no process any more.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        seconds = SECONDS[name]
        line = ""
        timer = threading.Timer(seconds, self._hangs, (f"no answer to {name} within {seconds:g} s",))
        timer.daemon = True
        timer.start()
        try:
            self._process.stdin.write(json.dumps({"call": name, **arguments}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline(_ANSWER)
        except OSError:
            pass  # it is gone
        finally:
            timer.cancel()
        try:
            answer = json.loads(line)
        except ValueError:
            raise WorkerLost(self._hung or self._ended()) from None
        if not answer["ok"]:
            raise WorkerLost(answer["error"], final=answer["final"])
        found: dict[str, Any] = answer
        return found

    def _ended(self) -> str:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(2)
        self._listener.join(1)
        last = next((words for words in reversed(self._said.splitlines()) if words.strip()), "")
        status = self._process.returncode
        how = "closed its output" if status is None else f"ended by itself with status {status}"
        return f"its process {how}" + f": {scrub(last.strip())}" * bool(last)

    def _hangs(self, words: str) -> None:
        self._hung = words
        self._kill()

    def _kill(self) -> None:
        """With what it started: some have a process of their own that does the sending."""
        if self._process.poll() is not None and not self._hung:
            return
        with suppress(psutil.Error):
            for child in psutil.Process(self._process.pid).children(recursive=True):
                with suppress(psutil.Error):
                    child.kill()
        with suppress(OSError):
            self._process.kill()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(5)

    def _listen(self, stderr: IO[str]) -> None:
        """What it prints is read at once, however much it is, and only the end kept."""
        with stderr:
            while read := os.read(stderr.fileno(), 1 << 16):
                self._said = (self._said + read.decode("utf-8", "replace"))[-_SAID:]
