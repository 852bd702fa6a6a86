"""Whether data is under version control as it lies there: by its manifest, by git, or by DVC."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from core.data.manifest import file_sha256, manifest_path, read_manifest
from core.errors import UserError
from core.store.facts import Fact
from core.text import one_line, printable
from core.workspace import Workspace

GIT_SECONDS = 10.0
_POINTER = b"version https://git-lfs.github.com/spec/"
_SMALL = 64 * 1024  # of files that say something about data: pointers, .dvc


@dataclass(frozen=True, slots=True)
class Version:
    """Who keeps a file as it is now: "manifest", "git" or "dvc"; "" where nobody does, and `said` is why."""

    path: Path
    by: str
    said: str


def versioned_fact(workspace: Workspace, paths: Sequence[Path]) -> Fact:
    """`data.versioned`: 1 when each of the files is kept, as it is now, by its manifest, git or DVC, else 0.

    The inputs are the files and what speaks for them. A file that is not there makes it UNKNOWN.
    """
    found: list[Version] = []
    inputs: dict[str, str] = {}
    for path in paths:
        path = workspace.path(path)
        try:
            digest = file_sha256(path)
            if digest is None:
                return Fact("data.versioned", None, source=f"{printable(path.name)} is not there")
            inputs[workspace.relative(path)] = digest
            version = version_of(path, digest)
            for witness in _witnesses(path, version.by):
                inputs[workspace.relative(witness)] = file_sha256(witness) or ""
        except OSError as error:
            reason = f"{printable(path.name)} cannot be read: {error.strerror or error}"
            return Fact("data.versioned", None, source=reason)
        found.append(version)
    if not found:
        return Fact("data.versioned", None, source="no files of data are named")
    kept = all(version.by for version in found)
    source = "; ".join(f"{printable(version.path.name)}: {version.said}" for version in found)
    return Fact("data.versioned", float(kept), n=len(found), source=source, inputs=inputs)


def version_of(path: Path, sha256: str) -> Version:
    """Who keeps a file whose hash is `sha256`."""
    against: list[str] = []
    for name, look in (("manifest", _manifest), ("git", _git), ("dvc", _dvc)):
        known, said = look(path, sha256)
        if known:
            return Version(path, name, said)
        if said:
            against.append(said)
    if not against:
        against.append("no manifest, not in git, no .dvc: commit it with git, or write it with a dpotui command")
    return Version(path, "", "; ".join(against))


def _witnesses(path: Path, by: str) -> list[Path]:
    if by == "manifest":
        return [manifest_path(path)]
    return [_dvc_path(path)] if by == "dvc" else []


def _manifest(path: Path, sha256: str) -> tuple[bool, str]:
    try:
        manifest = read_manifest(path)
    except UserError:
        return False, "its manifest cannot be read"
    if manifest is None:
        return False, ""
    if manifest.sha256 != sha256:
        return False, "it changed since its manifest was written"
    return True, f"manifest of '{one_line(manifest.command, 60)}'"


# git


def _git(path: Path, sha256: str) -> tuple[bool, str]:
    """Whether the last commit holds the file with these bytes.

    The bytes are hashed here and compared with the tree of HEAD. `git status` would do more than is wanted: filters
    and monitors that a repository's configuration names are programs, and looking at data must not start them.
    """
    path = path.resolve()
    listed = _ask_git(path.parent, "ls-tree", "-z", "HEAD", "--", path.name)
    if listed is None:
        return False, ""
    entry = listed.split(b"\0")[0].partition(b"\t")[0].split()
    if len(entry) != 3 or entry[1] != b"blob":
        tracked = _ask_git(path.parent, "ls-files", "-z", "--", path.name)
        return False, "it is staged in git, not committed" if tracked else "git does not track it"
    blob = entry[2].decode("ascii", "replace")
    if _blob_id(path, len(blob)) == blob:
        return True, f"git, as committed ({_commit(path.parent)})"
    content = _ask_git(path.parent, "cat-file", "blob", blob) if _small(path.parent, blob) else None
    if content and content.startswith(_POINTER) and f"oid sha256:{sha256}\n".encode() in content:
        return True, f"git LFS, as committed ({_commit(path.parent)})"
    return False, "it changed since it was committed to git"


def _commit(folder: Path) -> str:
    found = _ask_git(folder, "rev-parse", "--short", "HEAD")
    return one_line((found or b"?").decode("ascii", "replace").strip(), 20)


def _small(folder: Path, blob: str) -> bool:
    size = _ask_git(folder, "cat-file", "-s", blob)
    return size is not None and size.strip().isdigit() and int(size) <= _SMALL


def _blob_id(path: Path, digits: int) -> str:
    """What git would call these bytes: by SHA-1, or SHA-256 where its names are that long."""
    with path.open("rb") as file:
        digest = hashlib.sha1(usedforsecurity=False) if digits == 40 else hashlib.sha256()
        digest.update(b"blob %d\0" % os.fstat(file.fileno()).st_size)
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _ask_git(folder: Path, *command: str) -> bytes | None:
    """What git says of the repository around a folder; None where there is none, no git, or no answer in time."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    # Nothing is fetched, locked or asked for.
    environment |= {
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_ALLOW_PROTOCOL": "none",
        "GIT_TERMINAL_PROMPT": "0",
        "LC_ALL": "C",
    }
    settings = ("-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null")
    try:
        done = subprocess.run(
            ["git", "--no-pager", "--literal-pathspecs", *settings, *command],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=GIT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


# DVC


def _dvc_path(path: Path) -> Path:
    return path.with_name(path.name + ".dvc")


def _dvc(path: Path, _: str) -> tuple[bool, str]:
    file = _dvc_path(path)
    if not file.is_file():
        return False, ""
    try:
        with file.open("rb") as opened:
            text = opened.read(_SMALL + 1)
        outs = yaml.safe_load(text)["outs"] if len(text) <= _SMALL else []
        entries = [out for out in outs if isinstance(out, dict) and out.get("path") == path.name]
    except (OSError, ValueError, TypeError, KeyError, RecursionError, yaml.YAMLError):
        entries = []
    if not entries:
        return False, "its .dvc does not speak of it"
    # Before DVC 3 text was hashed with its CRLF made LF; `hash: md5` says that it was not.
    plain = entries[0].get("hash") == "md5"
    if entries[0].get("md5") == _md5(path, unix=False) or (
        not plain and entries[0].get("md5") == _md5(path, unix=True)
    ):
        return True, "DVC, as its .dvc says"
    return False, "it changed since 'dvc add'"


def _md5(path: Path, *, unix: bool) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            while unix and block.endswith(b"\r"):
                more = file.read(1)
                block += more
                if not more:
                    break
            digest.update(block.replace(b"\r\n", b"\n") if unix else block)
    return digest.hexdigest()
