"""Programs of the system that are asked for readings: each is run, has to end in time, and is read."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Sequence

from core.monitor.reading import Reading, absent
from core.text import one_line

# How long a program that reads something may take: it is asked again two seconds later.
_PATIENCE = 5.0
# Where macOS has its programs and where packages go: a line over SSH has a short PATH.
_FOLDERS = ("/usr/sbin", "/usr/bin", "/opt/homebrew/bin", "/usr/local/bin", "/opt/local/bin")


def found(program: str) -> str | None:
    return shutil.which(program) or shutil.which(program, path=os.pathsep.join(_FOLDERS))


def reason_of(error: OSError) -> str:
    return one_line(error.strerror or str(error), 80)


class Printed:
    """A program that is run for each reading, or only for every so many of them."""

    def __init__(
        self,
        name: str,
        command: tuple[str, ...],
        parse: Callable[[str], Sequence[Reading]],
        keys: tuple[str, ...],
        every: int = 1,
    ) -> None:
        self._name, self._command, self._parse, self._keys, self._every = name, command, parse, keys, every
        self._last: Sequence[Reading] = ()
        self._turn = 0
        self._closed = False
        self._process: subprocess.Popen[bytes] | None = None

    def read(self) -> Sequence[Reading]:
        if self._turn % self._every == 0:
            try:
                self._last = self._parse(self._output())
            except OSError as error:
                self._last = [absent(key, self._name, f"{self._name}: {reason_of(error)}") for key in self._keys]
        self._turn += 1
        return self._last

    def _output(self) -> str:
        """What the program prints.

        Raises:
            OSError: it did not run, failed or did not end in time; the words say which.
        """
        pipe = subprocess.PIPE
        with subprocess.Popen(self._command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe) as process:
            self._process = process
            if self._closed:
                process.kill()
            try:
                told, complained = process.communicate(timeout=_PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                raise OSError(f"no answer in {_PATIENCE:.0f} s") from None
        if process.returncode != 0:
            words = (complained or told).decode("utf-8", "replace").strip().splitlines()
            raise OSError(one_line(words[-1], 80) if words else f"ended with status {process.returncode}")
        return told.decode("utf-8", "replace")

    def close(self) -> None:
        """End it, where it is being waited for. May be called from another thread."""
        self._closed = True
        process = self._process
        if process is not None and process.poll() is None:
            process.kill()
