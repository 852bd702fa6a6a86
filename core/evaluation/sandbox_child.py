"""Runs inside the sandbox: a referee that checks, and a confined child of it in which the foreign program runs.

Given to `python -I -S -c` as text, so that it needs no file of ours in there; imports nothing of ours. The referee
reads the job from its standard input, forks the child, and only talks with it in JSON through two pipes: answers are
rebuilt here as plain values, so that nothing the program makes can claim to equal what it should. The check and the
token that says "passed" are still in the referee's own pipe when the child is forked, so that nothing of them is in its
memory: the check is read when the program is loaded, the token when the check is over. The referee cannot be traced or
read, and ends by itself when whoever started it is no longer there to end it.
"""

from __future__ import annotations

import _socket
import builtins
import contextlib
import ctypes
import errno
import json
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

NOBODY = 65534
LONGEST = 4 << 20  # bytes of one answer
MANY = 100_000  # elements of one answer that is an iterator
DEEP = 60
FILES = 2048  # files and folders of a program; each costs memory that no limit counts


class Refused(Exception):
    """The isolation that was promised is not there."""


class TooMany(BaseException):
    """The program takes more than it may; a check that catches exceptions does not catch this."""


# Values


def packed(value: Any, depth: int = 0) -> Any:
    """A value as JSON; what is no plain value of Python is refused.

    Raises:
        TypeError: it cannot be told.
    """
    if depth > DEEP:
        raise TypeError("the answer is nested too deep")
    if value is None or value is True or value is False:
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        return float.__float__(value)
    kinds: tuple[tuple[Any, str], ...] = (list, "list"), (tuple, "tuple"), (set, "set"), (frozenset, "frozenset")
    for kind, name in kinds:
        if isinstance(value, kind):
            return {name: [packed(one, depth + 1) for one in kind.__iter__(value)]}
    if isinstance(value, dict):
        return {"dict": [[packed(key, depth + 1), packed(one, depth + 1)] for key, one in dict.items(value)]}
    if isinstance(value, bytes | bytearray):
        return {"bytes": bytes(value).hex()}
    if isinstance(value, complex):
        return {"complex": [value.real, value.imag]}
    if isinstance(value, Fraction | Decimal):
        return {type(value).__name__: str(value)}
    if hasattr(type(value), "__iter__"):
        taken: list[Any] = []
        for one in value:
            if len(taken) == MANY:
                raise TypeError("the answer is an iterator without end")
            taken.append(packed(one, depth + 1))
        return {"iterator": taken}
    raise TypeError(f"the answer is a {type(value).__name__}, which cannot be held against anything")


_MADE_OF: dict[str, Callable[[list[Any]], Any]] = {
    "list": list,
    "tuple": tuple,
    "set": set,
    "frozenset": frozenset,
    "iterator": iter,
}


def unpacked(told: Any) -> Any:
    if not isinstance(told, dict):
        return told
    ((name, value),) = told.items()
    if name == "dict":
        return {unpacked(key): unpacked(one) for key, one in value}
    if name == "bytes":
        return bytes.fromhex(value)
    if name == "complex":
        return complex(*map(float, value))
    if name in ("Fraction", "Decimal"):
        return (Fraction if name == "Fraction" else Decimal)(value)
    return _MADE_OF[name]([unpacked(one) for one in value])


class Line:
    """One direction of talk: a line of JSON at a time, none longer than is allowed."""

    def __init__(self, reading: int, writing: int, look: Callable[[], None] | None = None) -> None:
        """
        Args:
            look: called over and over while an answer is waited for.
        """
        self._reading, self._writing, self._kept, self._look = reading, writing, b"", look

    def send(self, message: Any) -> None:
        data = json.dumps(message).encode() + b"\n"
        while data:
            data = data[os.write(self._writing, data) :]

    def receive(self) -> Any:
        """
        Raises:
            EOFError: the other side is gone.
        """
        while b"\n" not in self._kept:
            if len(self._kept) > LONGEST:
                raise ValueError("the answer is longer than 4 MB")
            while self._look is not None:
                self._look()
                if select.select([self._reading], [], [], 0.05)[0]:
                    break
            new = os.read(self._reading, 1 << 16)
            if not new:
                raise EOFError
            self._kept += new
        line, _, self._kept = self._kept.partition(b"\n")
        return json.loads(line)


# Confinement


def untraceable() -> None:
    """No other process of the same user may look into this one."""
    library = ctypes.CDLL(None)
    if sys.platform == "darwin":
        library.ptrace(31, 0, None, 0)  # PT_DENY_ATTACH
    else:
        library.prctl(4, 0, 0, 0, 0)  # PR_SET_DUMPABLE


def confine(limits: dict[str, int], *, alone: bool) -> None:
    """Limits of this process; `alone`: it may start no other, and no thread."""
    wanted = {
        "RLIMIT_CORE": 0,
        "RLIMIT_CPU": limits["cpu"],
        "RLIMIT_FSIZE": limits["file"],
        "RLIMIT_NOFILE": limits["files"],
        "RLIMIT_AS": limits["memory"],
    }
    if alone:
        wanted["RLIMIT_NPROC"] = 1
    for name, most in wanted.items():
        kind = getattr(resource, name, None)
        if kind is None:
            continue
        try:
            hard = resource.getrlimit(kind)[1]
            # At the first limit of time comes a signal that tells why; who ignores it is killed at the second.
            last = most + (name == "RLIMIT_CPU")
            last = last if hard == resource.RLIM_INFINITY else min(last, hard)
            resource.setrlimit(kind, (min(most, last), last))
        except (ValueError, OSError):
            continue  # whether it holds is tried below


def refuse_calls(code: str) -> None:
    """Give up rights and calls of the kernel for good. Whether it worked is tried by what is tried below.

    Args:
        code: a filter as hexadecimal, for Linux; may be empty.
    """
    if sys.platform != "linux":
        return
    library = ctypes.CDLL(None, use_errno=True)
    library.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS: no sudo
    # The superuser's rights, where it could not be left: version 3 of the header, this process; three words, twice.
    library.capset((ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)())
    filter_ = bytes.fromhex(code)
    if filter_:
        held = ctypes.create_string_buffer(filter_, len(filter_))

        class Program(ctypes.Structure):
            _fields_ = (("len", ctypes.c_ushort), ("filter", ctypes.c_void_p))

        program = Program(len(filter_) // 8, ctypes.cast(held, ctypes.c_void_p))
        library.prctl(22, 2, ctypes.byref(program), 0, 0)  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER


def overfull(limits: dict[str, int]) -> None:
    """
    Raises:
        TooMany: files, on a file system of the program's own; a disk's are counted from outside.
    """
    place = os.statvfs(".")
    if place.f_frsize * place.f_blocks <= 2 * limits["disk"] and place.f_files - place.f_ffree > FILES:
        raise TooMany(f"made more than {FILES} files")


def _fails(what: Callable[[], Any]) -> bool:
    try:
        what()
    except (OSError, MemoryError):
        return True
    return False


def _connects(port: int) -> None:
    one = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
    try:
        one.settimeout(0.5)
        one.connect(("127.0.0.1", port))
    finally:
        one.close()


def _writes(path: str, at: int = 0) -> None:
    handle = os.open(path, os.O_CREAT | os.O_WRONLY, 0o600)
    try:
        os.lseek(handle, at, os.SEEK_SET)
        os.write(handle, b"x")
    finally:
        os.close(handle)
        os.unlink(path)  # noqa: PTH108 - pathlib is slow to import, and this starts for every item


def _forks() -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)


def _lists(folder: str, but: list[str]) -> None:
    """`but`: what of it Python itself needs."""
    if not set(os.listdir(folder)).difference(but):  # noqa: PTH208
        raise OSError(errno.ENOENT, "there is nothing to see")


def holding(job: dict[str, Any], referee: int) -> list[str]:
    """What of the isolation is really there: each thing is tried."""
    limits = job["limits"]
    size = os.statvfs(".")
    known = {"HOME", "LANG", "PATH", "LC_CTYPE", "PWD", "__CF_USER_TEXT_ENCODING"}
    tried: dict[str, bool] = {
        "user": os.geteuid() != 0,
        "environment": set(os.environ) <= known
        and _fails(lambda: os.close(os.open(f"/proc/{job['parent']}/environ", os.O_RDONLY))),
        "network": _fails(lambda: _connects(job["port"])),
        "home": _fails(lambda: _lists(job["home"], job["known"])),
        "writing": _fails(lambda: _writes(os.path.join(job["outside"], f"w{os.getpid()}"))),  # noqa: PTH118
        "others": _fails(lambda: os.kill(job["parent"], 0)),
        "referee": _fails(lambda: os.close(os.open(f"/proc/{referee}/mem", os.O_RDONLY))),
        "processes": _fails(_forks),
        "memory": _fails(lambda: bytearray(limits["memory"] + (64 << 20))),
        "file": _fails(lambda: _writes("size", limits["file"])),
        "disk": size.f_frsize * size.f_blocks <= 2 * limits["disk"],
        "time": resource.getrlimit(resource.RLIMIT_CPU)[0] == limits["cpu"],
    }
    return [name for name, held in tried.items() if held]


# The foreign program


def serve(job: dict[str, Any], line: Line, referee: int) -> None:
    """Confine this process, say what holds, and on a word load the program and answer calls to it."""
    confine(job["limits"], alone=True)
    refuse_calls(job["refused_calls"])
    line.send(holding(job, referee))
    if line.receive() != "go":
        return
    source = job["program"]
    job.clear()
    space: dict[str, Any] = {"__name__": "solution"}
    try:
        exec(compile(source, "<program>", "exec"), space)  # noqa: S102 - that is what the sandbox is for
    except BaseException as error:
        line.send({"error": [type(error).__name__, _said(error)]})
        return
    line.send({"loaded": True})
    while True:
        name, arguments, keywords = line.receive()
        try:
            given = [unpacked(one) for one in arguments]
            answer = space[name](*given, **{key: unpacked(one) for key, one in keywords.items()})
            message: Any = {"answer": packed(answer)}
            json.dumps(message)  # a number of more digits than Python writes out fails here
        except BaseException as error:
            message = {"error": [type(error).__name__, _said(error)]}
        line.send(message)


def _said(error: BaseException) -> str:
    try:
        return str(error)[:200]
    except BaseException:
        return ""


# The referee


class Program:
    """The foreign program, seen from the check."""

    def __init__(self, line: Line) -> None:
        self._line = line

    def result(self) -> Any:
        told = self._line.receive()
        if not isinstance(told, dict) or not told.keys() <= {"answer", "error", "loaded"}:
            raise ValueError("the program wrote into the talk of the referee")
        if "error" in told:
            name, words = told["error"]
            kind = getattr(builtins, str(name), None)
            if isinstance(kind, type) and issubclass(kind, Exception) and not issubclass(kind, UnicodeError):
                raise kind(str(words))
            raise RuntimeError(f"{name}: {words}")
        return unpacked(told.get("answer"))

    def function(self, name: str) -> Callable[..., Any]:
        """A function of the program by its name."""

        def call(*arguments: Any, **keywords: Any) -> Any:
            named = {key: packed(one) for key, one in keywords.items()}
            self._line.send([name, [packed(one) for one in arguments], named])
            return self.result()

        call.__name__ = name
        return call


def judge(job: dict[str, Any], line: Line) -> None:
    """Returns where the program holds the check.

    Raises:
        Refused: the isolation is not there; the program was not run.
        BaseException: whatever the check or the program raised.
    """
    held = line.receive()
    job["held"] = held
    lacking = [name for name in job["required"] if name not in held]
    if lacking:
        raise Refused(", ".join(lacking))
    line.send("go")
    program = Program(line)
    program.result()
    check = _told()
    if not job["checked"]:
        raise EOFError
    exec(compile(check, "<check>", "exec"), {"__name__": "check", "program": program.function})  # noqa: S102


def _exactly(count: int) -> bytes:
    found = b""
    while len(found) < count:
        new = os.read(0, count - len(found))
        if not new:
            raise SystemExit(3)
        found += new
    return found


def _told() -> str:
    """The next part of what the referee is given."""
    return _exactly(int(_exactly(8), 16)).decode()


def main() -> None:
    job: dict[str, Any] = json.loads(_told())
    if job["drop"]:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    os.chdir(job["folder"])
    untraceable()
    # The verdict leaves by a way that the child never had; what the check prints goes where the program's output goes.
    verdict = os.dup(1)
    os.dup2(2, 1)
    (asks, asked), (answers, answered) = os.pipe(), os.pipe()
    referee = os.getpid()
    child = os.fork()
    if child == 0:
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        for handle in (verdict, asked, answers, null):
            os.close(handle)
        try:
            serve(job, Line(asks, answered), referee)
        finally:
            os._exit(0)
    os.close(asks)
    os.close(answered)
    _end_in(job["seconds"], child)
    confine({**job["limits"], "cpu": job["limits"]["cpu"] + 1}, alone=False)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    said: dict[str, Any] = {}
    try:
        judge(job, Line(answers, asked, lambda: overfull(job["limits"])))
    except Refused as error:
        said["refused"] = str(error)
    except TooMany as error:
        said["why"] = str(error)
    except (EOFError, BrokenPipeError):
        said["why"] = f"the program {_ended(child, job['limits']['cpu'])}" if job["checked"] else "the program ended"
    except BaseException as error:
        said["why"] = f"{type(error).__name__}: {_said(error)}".rstrip(": ")
    else:
        said["token"] = _exactly(32).decode()
    said["held"] = job.get("held")
    with contextlib.suppress(OSError):
        os.kill(child, signal.SIGKILL)
    os.write(verdict, json.dumps(said).encode())
    os._exit(0)


def _end_in(seconds: float, child: int) -> None:
    """Whoever started this ends it in time; where that one was killed, nobody else would."""

    def end(*_: object) -> None:
        with contextlib.suppress(OSError):
            os.kill(child, signal.SIGKILL)
        os._exit(6)

    signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)


def _ended(child: int, cpu: int) -> str:
    """How the program ended, in words. The pipe closes a moment before the process is gone."""
    for _ in range(100):
        try:
            done, status = os.waitpid(child, os.WNOHANG)
        except OSError:
            break
        if done:
            if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU:
                return f"used more than {cpu} s of processor time"
            if os.WIFSIGNALED(status):
                return f"was ended by {signal.Signals(os.WTERMSIG(status)).name}"
            return f"ended before the check was over (exit code {os.WEXITSTATUS(status)})"
        time.sleep(0.01)
    return "stopped to answer"


if __name__ == "__main__":
    main()
