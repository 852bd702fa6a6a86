"""Who keeps a file of data as it lies there."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from core.data import versioned
from core.data.manifest import writing
from core.data.versioned import versioned_fact
from core.store.facts import Fact
from core.workspace import Workspace

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="no git here")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    (tmp_path / "data").mkdir()
    return Workspace(tmp_path)


@pytest.fixture
def data(workspace: Workspace) -> Path:
    path = workspace.data / "pairs [1]*.jsonl"
    path.write_text("{}\n")
    return path


def git(folder: Path, *command: str) -> None:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    author = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *author, *command], cwd=folder, check=True, capture_output=True, env=clean)


def fact(workspace: Workspace, *paths: Path) -> Fact:
    return versioned_fact(workspace, paths)


def test_a_manifest_keeps_a_file_until_it_changes(workspace: Workspace) -> None:
    path = workspace.data / "train.jsonl"
    with writing(path, command="data split", parameters={}) as out:
        out.line(b"{}")
    kept = fact(workspace, path)
    assert kept.value == 1.0 and "manifest of 'data split'" in kept.source
    assert set(kept.inputs) == {"data/train.jsonl", "data/train.jsonl.manifest.json"}
    assert kept.inputs["data/train.jsonl"] == hashlib.sha256(b"{}\n").hexdigest()
    path.write_text("{} \n")
    changed = fact(workspace, path)
    assert changed.value == 0.0 and "changed since its manifest" in changed.source


def test_nobody_keeps_it(workspace: Workspace, data: Path) -> None:
    found = fact(workspace, data)
    assert found.value == 0.0 and "commit it with git" in found.source


@needs_git
def test_git_keeps_what_is_committed(workspace: Workspace, data: Path) -> None:
    git(workspace.root, "init", "-q")
    assert "git does not track it" not in fact(workspace, data).source  # no commit yet: no git to speak of
    (workspace.root / "README").write_text("x")
    git(workspace.root, "add", "README")
    git(workspace.root, "commit", "-qm", "x")
    assert "git does not track it" in fact(workspace, data).source
    git(workspace.root, "add", "data")
    assert "staged in git, not committed" in fact(workspace, data).source
    git(workspace.root, "commit", "-qm", "y")
    kept = fact(workspace, data)
    assert kept.value == 1.0 and "git, as committed" in kept.source
    data.write_text("{} \n")
    changed = fact(workspace, data)
    assert changed.value == 0.0 and "changed since it was committed" in changed.source


@needs_git
def test_looking_starts_no_program_of_the_repository(workspace: Workspace, data: Path) -> None:
    touched = workspace.root / "touched"
    program = workspace.root / "program"
    program.write_text(f"#!/bin/sh\ntouch '{touched}'\ncat\n")
    program.chmod(0o755)
    git(workspace.root, "init", "-q")
    git(workspace.root, "add", "data")
    git(workspace.root, "commit", "-qm", "x")
    (workspace.root / ".gitattributes").write_text("* filter=evil\n")
    for key in ("core.fsmonitor", "filter.evil.clean", "filter.evil.smudge", "core.pager", "core.sshCommand"):
        git(workspace.root, "config", key, str(program))
    data.write_text("{ }\n")
    touched.unlink(missing_ok=True)
    assert fact(workspace, data).value == 0.0
    assert not touched.exists()


@needs_git
def test_lfs_keeps_a_file_by_its_pointer(workspace: Workspace, data: Path) -> None:
    content = data.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    git(workspace.root, "init", "-q")
    data.write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize {len(content)}\n")
    git(workspace.root, "add", "data")
    git(workspace.root, "commit", "-qm", "x")
    data.write_bytes(content)
    assert "git LFS" in fact(workspace, data).source
    data.write_bytes(content + b"\n")
    assert fact(workspace, data).value == 0.0


def test_without_git_and_in_a_git_that_hangs(workspace: Workspace, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(workspace.root))
    assert fact(workspace, data).value == 0.0
    slow = workspace.root / "git"
    slow.write_text("#!/bin/sh\nexec /bin/sleep 30\n")
    slow.chmod(0o755)
    monkeypatch.setattr(versioned, "GIT_SECONDS", 0.1)
    assert fact(workspace, data).value == 0.0


@pytest.mark.parametrize("plain", [True, False])
def test_dvc_keeps_a_file_by_its_md5(workspace: Workspace, plain: bool) -> None:
    path = workspace.data / "pairs.jsonl"
    path.write_bytes(b"{}\r\n")
    content = path.read_bytes() if plain else b"{}\n"
    digest = hashlib.md5(content).hexdigest()
    told = f"outs:\n- md5: {digest}\n  size: 3\n" + ("  hash: md5\n" if plain else "") + "  path: pairs.jsonl\n"
    (workspace.data / "pairs.jsonl.dvc").write_text(told)
    kept = fact(workspace, path)
    assert kept.value == 1.0 and "DVC" in kept.source and "data/pairs.jsonl.dvc" in kept.inputs
    path.write_bytes(b"{}\r\n\r\n")
    assert "changed since 'dvc add'" in fact(workspace, path).source


@pytest.mark.parametrize("text", ["", "outs: 3", "[", "outs: [{path: other, md5: x}]", "!!python/object:os.system {}"])
def test_a_dvc_file_that_is_none(workspace: Workspace, data: Path, text: str) -> None:
    data.with_name(data.name + ".dvc").write_text(text)
    found = fact(workspace, data)
    assert found.value == 0.0 and ".dvc does not speak of it" in found.source


def test_all_files_must_be_kept_and_be_there(workspace: Workspace, data: Path) -> None:
    path = workspace.data / "train.jsonl"
    with writing(path, command="data split", parameters={}) as out:
        out.line(b"{}")
    assert fact(workspace, path, data).value == 0.0
    gone = fact(workspace, path, workspace.data / "gone.jsonl")
    assert gone.value is None and "gone.jsonl is not there" in gone.source
    assert fact(workspace).value is None
