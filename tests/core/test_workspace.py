"""Workspaces: made private and complete, found from inside, never over what stands there."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from core.errors import UserError
from core.store import open_store
from core.workspace import (
    FOLDERS,
    Workspace,
    create_workspace,
    open_workspace,
    private_folder,
    templates,
    write_private,
)


def test_a_new_workspace_has_its_folders_and_the_templates(tmp_path: Path) -> None:
    made = create_workspace(tmp_path / "deep" / "er" / "w")
    assert {path.name for path in made.root.iterdir()} == set(FOLDERS)
    for path in templates().rglob("*"):
        if path.is_file() and not path.name.startswith((".", "__")):
            assert (made.configs / path.relative_to(templates())).read_bytes() == path.read_bytes()
    assert len(list(made.checklists.glob("*.md"))) == 8


def test_all_of_it_is_private_whatever_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o000)
    try:
        made = create_workspace(tmp_path / "w")
        open_store(made.database, create=True).close()
    finally:
        os.umask(old)
    for path in (made.root, *made.root.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_a_folder_is_private_with_those_above_it_that_were_missing(tmp_path: Path) -> None:
    old = os.umask(0o022)
    try:
        private_folder(tmp_path / "cache" / "data")
    finally:
        os.umask(old)
    for path in (tmp_path / "cache", tmp_path / "cache" / "data"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700, path


def test_what_stands_there_is_kept_with_its_rights(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o755)
    (tmp_path / "configs").mkdir(mode=0o755)
    (tmp_path / "configs" / "dpo_config.yaml").write_text("mine: true\n")
    (tmp_path / "thesis.tex").write_text("x")
    tmp_path.chmod(0o755)
    create_workspace(tmp_path)
    assert (tmp_path / "configs" / "dpo_config.yaml").read_text() == "mine: true\n"
    assert (tmp_path / "thesis.tex").read_text() == "x"
    assert [stat.S_IMODE(p.stat().st_mode) for p in (tmp_path, tmp_path / "data")] == [0o755, 0o755]


def test_it_is_found_from_below(workspace: Workspace) -> None:
    assert open_workspace(workspace.data) == workspace
    assert open_workspace(workspace.checklists) == workspace


def test_what_is_none_says_how_to_make_one(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(UserError, match="dpotui init"):
            open_workspace(folder)
    assert list(tmp_path.iterdir()) == []


def test_a_typo_inside_a_workspace_does_not_open_the_one_around_it(workspace: Workspace) -> None:
    with pytest.raises(UserError, match="no folder"):
        open_workspace(workspace.root / "typo")


def test_a_file_in_the_way_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "w").write_text("")
    with pytest.raises(UserError, match="is a file"):
        create_workspace(tmp_path / "w")
    (tmp_path / "v").mkdir()
    (tmp_path / "v" / "data").write_text("")
    with pytest.raises(UserError, match="data cannot be made") as caught:
        create_workspace(tmp_path / "v")
    assert "\n" not in str(caught.value)


def test_paths_are_meant_from_the_workspace(workspace: Workspace) -> None:
    assert workspace.path("data/x") == workspace.root / "data/x"
    assert workspace.path("/elsewhere/x") == Path("/elsewhere/x")
    assert workspace.path("~/x") == Path.home() / "x"
    assert workspace.relative(workspace.root / "data" / ".." / "models" / "m") == "models/m"
    assert workspace.relative(Path("/elsewhere/x")) == "/elsewhere/x"
    assert workspace.relative(workspace.root / ".." / "x") == (workspace.root.parent / "x").as_posix()


def test_a_private_file_is_private_also_where_it_was_not(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("longer than what follows")
    path.chmod(0o644)
    write_private(path, "ü\n")
    assert path.read_text("utf-8") == "ü\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
