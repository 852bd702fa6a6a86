"""A person's regular expression on what a model wrote, in a child process: some patterns need ages for some texts.

Python's `re` cannot be interrupted, and holds up all threads while it searches; a process can be ended.
"""

from __future__ import annotations

import json
import select
import subprocess
import sys
import time
from types import TracebackType
from typing import Self

from core.errors import UserError
from core.text import one_line

# Seconds for one text, and for the child to begin.
SECONDS, START = 2.0, 30.0

_CHILD = """
import json, re, sys
try:
    pattern = re.compile(sys.argv[1])
except Exception as error:
    print(json.dumps(["wrong", str(error)]), flush=True)
    sys.exit()
print(json.dumps(["ready", pattern.groups]), flush=True)
for line in sys.stdin:
    found = pattern.search(json.loads(line))
    print(json.dumps(["found", None if found is None else found[1] if pattern.groups else found[0]]), flush=True)
"""


class TooSlow(Exception):
    """The pattern was not done with a text in time."""


class Pattern:
    """One pattern.

    Raises:
        UserError: it is none, or Python needs ages to read it.
    """

    def __init__(self, pattern: str, seconds: float = SECONDS) -> None:
        self._pattern = pattern
        self._seconds = seconds
        self._child: subprocess.Popen[bytes] | None = None
        self._open()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child.communicate()
            self._child = None

    def first(self, text: str) -> str | None:
        """Its first group where it matches first, the whole match where it has no group; None where it does not.

        Raises:
            TooSlow: it took too long.
        """
        if self._child is None:
            self._open()
        assert self._child is not None and self._child.stdin is not None
        try:
            self._child.stdin.write(json.dumps(text).encode() + b"\n")
            self._child.stdin.flush()
            answer = self._answer(self._seconds)
        except BrokenPipeError:  # it is gone: no memory was left for the search
            answer = None
        if answer is None:
            self.close()
            raise TooSlow
        return answer[1] if isinstance(answer[1], str) else None

    def _open(self) -> None:
        shown = one_line(self._pattern, 60)
        self._child = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _CHILD, self._pattern],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        answer = self._answer(START)
        if answer is None or answer[0] == "wrong":
            self.close()
            why = "Python cannot read it in time" if answer is None else one_line(str(answer[1]), 80)
            raise UserError(f"pattern: '{shown}' is no regular expression ({why}): mend it")

    def _answer(self, seconds: float) -> list[object] | None:
        """What the child says; None where it does not in time, or is gone."""
        assert self._child is not None and self._child.stdout is not None
        said, until = b"", time.monotonic() + seconds
        while not said.endswith(b"\n"):
            left = until - time.monotonic()
            if left <= 0 or not select.select([self._child.stdout], [], [], left)[0]:
                return None
            part = self._child.stdout.read1(1 << 16)  # type: ignore[attr-defined]
            if not part:
                return None
            said += part
        found: list[object] = json.loads(said)
        return found
