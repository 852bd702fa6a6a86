"""How each kind of sandbox is started: the command of bubblewrap, of namespaces made here, of macOS' sandbox-exec."""

from __future__ import annotations

import json
import os
import shutil
import stat
import sys
from pathlib import Path
from typing import Literal

Kind = Literal["bubblewrap", "namespaces", "sandbox-exec", "limits"]

_DEVICES = ("/dev/null", "/dev/urandom")


def anyone_reads(folder: Path) -> bool:
    """Whether a user without rights could start Python from here."""
    return all(one.stat().st_mode & stat.S_IXOTH for one in (folder, *folder.parents))


def python_in(home: Path) -> list[str]:
    """The folder of the home folder in which Python itself lies, where it does."""
    prefix = Path(sys.base_prefix).resolve()
    return [prefix.relative_to(home.resolve()).parts[0]] if prefix.is_relative_to(home.resolve()) else []


def _source(name: str) -> str:
    return Path(__file__).with_name(name).read_text("utf-8")


def _python() -> str:
    """The interpreter itself, not the environment it was called from: in there only the standard library is."""
    return os.path.realpath(sys.executable)


def _needed() -> tuple[list[str], list[tuple[str, str]]]:
    """What Python needs of the file system: folders and files, and links by name."""
    binds: list[str] = []
    links: list[tuple[str, str]] = []
    for name in ("/usr/lib", "/usr/lib32", "/usr/lib64", "/lib", "/lib32", "/lib64", "/nix/store"):
        path = Path(name)
        if path.is_symlink():
            links.append((name, str(path.readlink())))
        elif path.is_dir():
            binds.append(name)
    prefix = Path(sys.base_prefix).resolve()
    for one in (prefix / "lib", prefix / "lib64", Path(_python()), Path("/etc/ld.so.cache")):
        inside = any(one.is_relative_to(known) for known in binds)
        if one.exists() and not one.is_symlink() and not inside:
            binds.append(str(one))
    return binds, links


def command(kind: Kind, folder: Path, inside: Path, disk: int) -> list[str]:
    start = [_python(), "-I", "-S", "-u", "-X", "utf8", "-c", _source("sandbox_child.py")]
    if kind == "limits":
        return start
    if kind == "sandbox-exec":
        return ["/usr/bin/sandbox-exec", "-p", _profile(folder), *start]
    binds, links = _needed()
    if kind == "namespaces":
        plan = {
            "root": str(folder), "binds": [*binds, *_DEVICES], "links": links, "folder": str(inside),
            "disk": disk,
        }  # fmt: skip
        first = [_python(), "-I", "-S", "-c", _source("sandbox_namespaces.py"), json.dumps(plan)]
        return [*first, *start]
    command = [str(shutil.which("bwrap")), "--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL"]
    if os.geteuid() == 0:
        # It gives itself up for a user without rights, which has to be one that is known in there.
        command.remove("--unshare-all")
        command += ["--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts"]
        command += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    made: set[Path] = set()
    for path in binds:
        for parent in reversed(Path(path).parents[:-1]):
            # Those it makes by itself can be entered by their owner only.
            command += [] if parent in made else ["--perms", "0755", "--dir", str(parent)]
            made.add(parent)
        command += ["--ro-bind", path, path]
    for name, target in links:
        command += ["--symlink", target, name]
    # Not `--dev`: with it comes /dev/shm, which is as large as half of the memory.
    command += ["--perms", "0755", "--dir", "/dev"]
    for device in _DEVICES:
        command += ["--dev-bind", device, device]
    command += ["--perms", "0777", "--size", str(disk), "--tmpfs", str(inside)]
    return [*command, "--remount-ro", "/", "--chdir", str(inside), *start]


def _profile(folder: Path) -> str:
    """What sandbox-exec of macOS keeps from a program; of several rules the last one that fits counts."""
    home = Path.home().resolve()
    prefix = Path(sys.base_prefix).resolve()
    quoted = {name: json.dumps(str(path)) for name, path in (("home", home), ("prefix", prefix), ("folder", folder))}
    ancestors = "".join(f" (literal {json.dumps(str(path))})" for path in prefix.parents)
    return f"""(version 1)
(allow default)
(deny network*)
(deny file-write*)
(allow file-write* (subpath {quoted["folder"]}) (literal "/dev/null"))
(deny file-read* (subpath {quoted["home"]}) (subpath "/Users") (subpath "/Volumes"))
(allow file-read-metadata{ancestors})
(allow file-read* (subpath {quoted["prefix"]}) (subpath {quoted["folder"]}))
(deny process-exec*)
(allow process-exec* (subpath {quoted["prefix"]}))
(deny signal (target others))
(deny process-info* (target others))
(deny mach-priv* (target others))
(deny mach-lookup)
(deny mach-register)
(deny ipc-posix*)
(deny appleevent-send)
"""
