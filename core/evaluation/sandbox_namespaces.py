"""Runs before the sandbox: puts what follows into namespaces of its own, where there is Python and nothing else.

Given to `python -I -S -c` as text. What bubblewrap does, for machines without it: own users, mounts, network, processes
and IPC. What cannot be had ends it with the reason; nothing is run then.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from typing import Any

_NEWNS, _NEWUTS, _NEWIPC, _NEWUSER, _NEWPID, _NEWNET = 1 << 17, 1 << 26, 1 << 27, 1 << 28, 1 << 29, 1 << 30
_RDONLY, _NOSUID, _NODEV, _NOEXEC, _REMOUNT, _BIND, _REC, _PRIVATE = 1, 2, 4, 8, 32, 4096, 16384, 1 << 18
# Flags of a mount as statvfs tells them, and as mount(2) wants them: what a mount came with may not be taken off.
_KEPT = ((2, 2), (4, 4), (8, 8), (1024, 1024), (2048, 2048), (4096, 1 << 21))
_DETACH = 2
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41, "riscv64": 41}
_PDEATHSIG, _NO_NEW_PRIVS = 1, 38

_libc = ctypes.CDLL(None, use_errno=True)


def _call(name: str, *arguments: Any) -> None:
    if getattr(_libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def _mount(source: str | None, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    texts = [None if text is None else text.encode() for text in (source, target, kind)]
    _call("mount", *texts, ctypes.c_ulong(flags), None if data is None else data.encode())


def _write(path: str, text: str) -> None:
    handle = os.open(path, os.O_WRONLY)
    os.write(handle, text.encode())
    os.close(handle)


def _apart() -> None:
    """Leave the namespaces of the others. The machine's root needs no user namespace, and gives itself up later."""
    user, group = os.geteuid(), os.getegid()
    every = _NEWNS | _NEWUTS | _NEWIPC | _NEWPID | _NEWNET
    if user == 0:
        try:
            _call("unshare", every)
        except OSError:
            pass
        else:
            return
    _call("unshare", every | _NEWUSER)
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", f"{user} {user} 1")
    _write("/proc/self/gid_map", f"{group} {group} 1")


def _bind(path: str, root: str) -> None:
    target = root + path
    if os.path.isdir(path):  # noqa: PTH112 - pathlib is slow to import, and this starts for every item
        os.makedirs(target, exist_ok=True)  # noqa: PTH103
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)  # noqa: PTH103, PTH120
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o644))
    _mount(path, target, None, _BIND | _REC)
    flags = sum(wanted for told, wanted in _KEPT if os.statvfs(target).f_flag & told)
    _mount(None, target, None, _BIND | _REMOUNT | _RDONLY | flags)


def main() -> None:
    plan: dict[str, Any] = json.loads(sys.argv[1])
    os.umask(0o022)
    _apart()
    root: str = plan["root"]
    _mount(None, "/", None, _REC | _PRIVATE)
    _mount("tmpfs", root, "tmpfs", _NOSUID | _NODEV, "size=1m,mode=755")
    for path in plan["binds"]:
        _bind(path, root)
    for name, target in plan["links"]:
        os.symlink(target, root + name)  # noqa: PTH211
    folder: str = plan["folder"]
    os.makedirs(root + folder)  # noqa: PTH103
    _mount("tmpfs", root + folder, "tmpfs", _NOSUID | _NODEV | _NOEXEC, f"size={plan['disk']},nr_inodes=1024,mode=777")
    os.chdir(root)
    number = _PIVOT_ROOT[os.uname().machine]
    if _libc.syscall(ctypes.c_long(number), b".", b".") != 0:
        raise OSError(ctypes.get_errno(), "pivot_root: " + os.strerror(ctypes.get_errno()))
    _call("umount2", b".", _DETACH)
    _mount(None, "/", None, _BIND | _REMOUNT | _RDONLY | _NOSUID | _NODEV)
    os.chdir(folder)
    child = os.fork()
    if child == 0:
        _libc.prctl(_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        _libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0)
        os.execv(sys.argv[2], sys.argv[2:])  # noqa: S606
    # The first process of its namespace: with it all others in there end.
    os.close(0)
    os.close(1)
    _, status = os.waitpid(child, 0)
    os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


if __name__ == "__main__":
    try:
        main()
    except (OSError, KeyError) as error:
        os.write(2, f"namespaces: {error}\n".encode())
        os._exit(4)
