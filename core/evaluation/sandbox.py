"""Code that a model wrote, run in a child process with limits, apart from this machine as far as the system allows."""

from __future__ import annotations

import json
import os
import secrets
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import psutil

from core.errors import UserError
from core.evaluation.sandbox_calls import refusing
from core.evaluation.sandbox_commands import Kind, anyone_reads, command, python_in
from core.evaluation.sandbox_places import end_at_home_in, places, size, tidy
from core.text import one_line

# How often what the system does not limit by itself is looked at, in seconds.
_LOOK = 0.1
# A program that prints more than this is ended.
_FLOOD = 16 << 20

# What can be enforced: in words where it is, and where it is not.
_WORDS = {
    "network": ("no network", "the network can be reached"),
    "home": ("the home folder cannot be seen", "the home folder can be read"),
    "writing": ("nothing outside of its own folder can be written", "files outside of its folder can be written"),
    "others": ("other processes cannot be signalled", "processes of the same user, this one too, can be ended"),
    "referee": ("the process that checks cannot be looked into", "the process that checks can be looked into"),
    "processes": ("no process and no thread can be started", "processes can be started until the time is up"),
    "memory": ("memory", "memory is only looked at ten times a second"),
    "disk": ("disk", "what is written is only counted ten times a second"),
    "file": ("size of a file", "the size of a file is not limited"),
    "time": ("time", "processor time is not limited, only the time on the clock"),
    "environment": ("no environment can be read", "the environment of this person's processes can be read"),
    "user": ("not the superuser", "runs as the superuser"),
}
# Run to try a sandbox: what Python brings must be found in there.
_TRIED = """\
import collections, functools, hashlib, itertools, math, random, re, string, typing

def twice(number):
    return 2 * number
"""
# Without these it is limits, and no isolation.
_ISOLATION = ("network", "home", "writing")


@dataclass(frozen=True, slots=True)
class Limits:
    """What one program may use.

    Attributes:
        seconds: on the clock, with the start of the sandbox. OpenAI gives a problem of HumanEval 3 s without it.
        cpu: seconds of processor time.
        memory: bytes of address space.
        file: bytes of its longest file.
        disk: bytes of all its files.
        files: that are open at a time.
        output: bytes of what it prints that are kept.
    """

    seconds: float = 12.0
    cpu: int = 8
    memory: int = 1 << 30
    file: int = 1 << 20
    disk: int = 16 << 20
    files: int = 32
    output: int = 16 << 10


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a program.

    Attributes:
        passed: a check was run against it, and held.
        why: where it did not, in a line.
        output: what it printed, cut.
    """

    passed: bool
    why: str = ""
    output: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A way to run foreign programs that was tried on this machine.

    Attributes:
        kind: by what they are kept apart.
        enforced, missing: what was found to hold in there, and what does not, in words.
        holds: names of what holds; a run that does not get all of it is refused.
        refused: better ways that did not work here, with the reason.
    """

    kind: Kind
    enforced: tuple[str, ...]
    missing: tuple[str, ...]
    holds: frozenset[str] = frozenset()
    refused: tuple[str, ...] = ()

    @property
    def isolates(self) -> bool:
        """Whether a program in it can neither reach the network nor see or change what is this person's."""
        return self.holds.issuperset(_ISOLATION)

    def words(self) -> list[str]:
        """What a person should know before anything is run, a line each."""
        lines = [f"code that a model wrote runs in a sandbox ({self.kind}): {'; '.join(self.enforced)}"]
        lines += [f"NOT enforced on this machine: {one}" for one in self.missing]
        return lines

    def run(self, program: str, limits: Limits | None = None, check: str | None = None) -> Outcome:
        """Run a program.

        Args:
            program: Python source.
            check: Python source that holds it to something, in a process that the program cannot reach. There
                `program("name")` is a function of the program; arguments and answers go over as plain values.

        Raises:
            UserError: the isolation that was found by `probe` is not there now; nothing was run.
        """
        told = _execute(self.kind, program, limits or Limits(), check, sorted(self.holds))
        if told.refused is not None:
            raise UserError(
                f"the sandbox ({self.kind}) does not isolate as it did when it was tried ({told.refused}):"
                " nothing was run; see 'dpotui evaluate --sandbox'"
            )
        return told.outcome


@dataclass(frozen=True, slots=True)
class _Told:
    outcome: Outcome
    held: frozenset[str] | None = None  # what the child found to hold; None when it did not come so far
    refused: str | None = None


def probe(kind: Kind | None = None) -> Sandbox:
    """The best sandbox of this machine, found by trying: a program is run in it that tries to get out.

    Args:
        kind: only this one.

    Raises:
        UserError: it does not work here.
    """
    tidy()
    kinds: tuple[Kind, ...] = ("bubblewrap", "namespaces", "sandbox-exec", "limits") if kind is None else (kind,)
    refused: list[str] = []
    for one in kinds:
        reason = _absent(one)
        if reason is None:
            told = _execute(one, _TRIED, Limits(), f"{_TRIED}\nassert program('twice')(21) == 42", [])
            if told.held is None or not told.outcome.passed:
                reason = told.outcome.why or "does not start"
            elif one != "limits" and not told.held.issuperset(_ISOLATION):
                lost = [_WORDS[name][1] for name in _ISOLATION if name not in told.held]
                reason = "in it " + " and ".join(lost)
            else:
                return _found(one, told.held, tuple(refused))
        refused.append(f"{one}: {reason}")
    raise UserError("code cannot be run here: " + "; ".join(refused))


@cache
def here() -> Sandbox:
    """The best sandbox of this machine; tried once in the life of this process."""
    return probe()


def _absent(kind: Kind) -> str | None:
    """Why a kind need not be tried."""
    on_mac = sys.platform == "darwin"
    if kind == "bubblewrap":
        return "is for Linux" if on_mac else (None if shutil.which("bwrap") else "bwrap is not installed")
    if kind == "namespaces":
        return "are for Linux" if on_mac else None
    if kind == "sandbox-exec":
        return None if on_mac else "is for macOS"
    return None


def _found(kind: Kind, held: frozenset[str], refused: tuple[str, ...]) -> Sandbox:
    limits = Limits()
    amounts = {
        "memory": f"at most {limits.memory >> 20} MB of memory",
        "disk": f"at most {limits.disk >> 20} MB of files",
        "file": f"at most {limits.file >> 20} MB a file",
        "time": f"at most {limits.cpu} s of processor time, {limits.seconds:g} s on the clock",
    }
    enforced = tuple(amounts.get(name, words[0]) for name, words in _WORDS.items() if name in held)
    missing = tuple(words[1] for name, words in _WORDS.items() if name not in held)
    return Sandbox(kind, enforced, missing, held, refused)


# One run


def _execute(kind: Kind, program: str, limits: Limits, check: str | None, required: list[str]) -> _Told:
    token = secrets.token_hex(16)
    began = time.monotonic()
    drop = os.geteuid() == 0 and (kind != "limits" or anyone_reads(Path(sys.base_prefix)))
    with places(drop) as (folder, outside), socket.create_server(("127.0.0.1", 0)) as door:
        inside = folder if kind in ("limits", "sandbox-exec") else Path("/tmp/work")  # noqa: S108 - its own, in there
        job = {
            "program": program,
            "checked": check is not None,
            "refused_calls": (refusing() or b"").hex(),
            "seconds": limits.seconds + 2,
            "limits": {name: value for name, value in asdict(limits).items() if name != "seconds"},
            "required": required,
            "folder": str(inside),
            "outside": str(outside),
            "home": str(Path.home()),
            "known": python_in(Path.home()),
            "parent": os.getpid(),
            "port": door.getsockname()[1],
            "drop": drop,
        }
        parts = (json.dumps(job).encode(), (check or "").encode("utf-8", "replace"))
        environment = {"HOME": str(inside), "LANG": "C.UTF-8", "PATH": ""}
        try:
            process = subprocess.Popen(
                command(kind, folder, inside, limits.disk),
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                start_new_session=True, env=environment, cwd=folder,
            )  # fmt: skip
        except OSError as error:
            return _Told(Outcome(False, f"cannot be started ({error.strerror})"))
        guard = _Guard(process, limits, folder if kind in ("limits", "sandbox-exec") else None)
        try:
            # Check and token wait in the pipe until the referee asks for them, after the program was started.
            data = b"".join(b"%08x" % len(part) + part for part in parts)
            verdict, output = guard.talk(data + token.encode())
        finally:
            guard.end()
    return _told(verdict, output, token, guard.why, limits, time.monotonic() - began)


def _told(verdict: bytes, output: bytes, token: str, ended: str, limits: Limits, seconds: float) -> _Told:
    text = output[: limits.output].decode("utf-8", "replace")
    try:
        said = json.loads(verdict)
    except ValueError:
        said = {}
    said = said if isinstance(said, dict) else {}
    if "refused" in said:
        return _Told(Outcome(False, "refused", text, seconds), refused=one_line(str(said["refused"]), 200))
    passed = not ended and secrets.compare_digest(str(said.get("token", "")).encode(), token.encode())
    why = "" if passed else ended or str(said.get("why") or "") or text.strip().rpartition("\n")[2]
    held = said.get("held")
    return _Told(
        Outcome(passed, one_line(why or ("" if passed else "it ended without a word"), 200), text, seconds),
        frozenset(name for name in held if name in _WORDS) if isinstance(held, list) else None,
    )


class _Guard:
    """Talks with the child, watches what the system does not limit, and ends all of it."""

    def __init__(self, process: subprocess.Popen[bytes], limits: Limits, folder: Path | None) -> None:
        self._process, self._limits, self._folder = process, limits, folder
        self.why = ""  # why it was ended from here
        self._session = process.pid
        self._seen: dict[int, psutil.Process] = {}

    def talk(self, data: bytes) -> tuple[bytes, bytes]:
        """Hand over the job; what comes back as the verdict, and what the program printed."""
        process, deadline = self._process, time.monotonic() + self._limits.seconds
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        found = {process.stdout: bytearray(), process.stderr: bytearray()}
        flood = 0
        with selectors.DefaultSelector() as ways:
            for pipe in (process.stdin, *found):
                os.set_blocking(pipe.fileno(), False)
                ways.register(pipe, selectors.EVENT_WRITE if pipe is process.stdin else selectors.EVENT_READ)
            look = time.monotonic() + _LOOK
            while process.stdout in ways.get_map():
                now = time.monotonic()
                if now >= deadline:
                    self.why = f"ran longer than {self._limits.seconds:g} s"
                elif flood > _FLOOD:
                    self.why = f"printed more than {_FLOOD >> 20} MB"
                elif now >= look:
                    look = now + _LOOK
                    self.why = self._too_much()
                if self.why:
                    break
                for key, _ in ways.select(min(look, deadline) - now):
                    if key.fileobj is process.stdin:
                        data = self._hand_over(ways, data)
                        continue
                    new = os.read(key.fd, 1 << 16)
                    if not new:
                        ways.unregister(key.fileobj)
                    elif key.fileobj is process.stdout:
                        found[process.stdout] += new[: max(0, 65536 - len(found[process.stdout]))]
                    else:
                        flood += len(new)
                        found[process.stderr] += new[: max(0, self._limits.output - len(found[process.stderr]))]
            # What was printed last.
            if process.stderr in ways.get_map() and not self.why:
                with suppress(BlockingIOError):
                    found[process.stderr] += os.read(process.stderr.fileno(), self._limits.output)
        return bytes(found[process.stdout]), bytes(found[process.stderr])

    def _hand_over(self, ways: selectors.DefaultSelector, data: bytes) -> bytes:
        """The end of the pipe stays open until all is over: a child of the referee cannot tell by it where it is."""
        pipe = self._process.stdin
        assert pipe is not None
        try:
            data = data[os.write(pipe.fileno(), data) :]
        except BrokenPipeError:
            data = b""
        if not data:
            ways.unregister(pipe)
        return data

    def _family(self) -> list[psutil.Process]:
        """The child and all that came from it; those seen once are remembered, for they may leave it."""
        try:
            child = psutil.Process(self._process.pid)
            for one in (child, *child.children(recursive=True)):
                self._seen.setdefault(one.pid, one)
        except psutil.Error:
            pass
        return [one for one in self._seen.values() if one.is_running()]

    def _too_much(self) -> str:
        if self._folder is None:
            return ""
        used = 0
        for one in self._family():
            try:
                used += one.memory_info().rss
            except psutil.Error:
                continue
        if used > self._limits.memory:
            return f"used more than {self._limits.memory >> 20} MB of memory"
        if size(self._folder) > self._limits.disk:
            return f"wrote more than {self._limits.disk >> 20} MB"
        return ""

    def end(self) -> None:
        """End the child, its group, and what escaped from it."""
        family = self._family() if self._folder is not None else []
        for stop in (self._kill_group, *(one.kill for one in family)):
            try:
                stop()
            except (ProcessLookupError, PermissionError, psutil.Error):
                continue
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:
                    continue
        if self._folder is not None:
            end_at_home_in(self._folder)

    def _kill_group(self) -> None:
        os.killpg(self._session, signal.SIGKILL)
