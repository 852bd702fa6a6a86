"""Programs of the system that are asked for readings: each is run, has to end in time, and is read."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from core.monitor.reading import Reading, absent
from core.text import one_line

# How long a program that reads something may take: it is asked again two seconds later.
_PATIENCE = 5.0
# Where macOS has its programs and where packages go: a line over SSH has a short PATH.
_FOLDERS = ("/usr/sbin", "/usr/bin", "/opt/homebrew/bin", "/usr/local/bin", "/opt/local/bin")


def found(program: str) -> str | None:
    return shutil.which(program) or shutil.which(program, path=os.pathsep.join(_FOLDERS))


def output(*command: str) -> str:
    """What a program prints.

    Raises:
        OSError: it did not run, failed or did not end in time; the words say which.
    """
    try:
        done = subprocess.run(
            command, capture_output=True, timeout=_PATIENCE, stdin=subprocess.DEVNULL, start_new_session=True
        )
    except subprocess.TimeoutExpired:
        raise OSError(f"no answer in {_PATIENCE:.0f} s") from None
    if done.returncode != 0:
        words = (done.stderr or done.stdout).decode("utf-8", "replace").strip().splitlines()
        raise OSError(one_line(words[-1], 80) if words else f"ended with status {done.returncode}")
    return done.stdout.decode("utf-8", "replace")


def reason_of(error: OSError) -> str:
    return one_line(error.strerror or str(error), 80)


@dataclass(slots=True)
class Printed:
    """A program that is run for each reading, or only for every so many of them."""

    name: str
    command: tuple[str, ...]
    parse: Callable[[str], Sequence[Reading]]
    keys: tuple[str, ...]
    every: int = 1
    _last: Sequence[Reading] = ()
    _turn: int = 0

    def read(self) -> Sequence[Reading]:
        if self._turn % self.every == 0:
            try:
                self._last = self.parse(output(*self.command))
            except OSError as error:
                self._last = [absent(key, self.name, f"{self.name}: {reason_of(error)}") for key in self.keys]
        self._turn += 1
        return self._last

    def close(self) -> None:
        pass
