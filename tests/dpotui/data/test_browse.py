"""`dpotui data browse` says what it cannot open before it takes the screen."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from core.errors import UserError
from core.workspace import Workspace
from dpotui import app
from dpotui.commands.data import browse
from tests.dpotui.browse.made import pair, write


def run(*arguments: object) -> None:
    CliRunner().invoke(browse.command, [str(word) for word in arguments], catch_exceptions=False, standalone_mode=False)


def test_what_cannot_be_browsed(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(workspace.data / "pairs.jsonl", [pair(1)])
    with pytest.raises(UserError, match="is no file: name a file of data"):
        run(workspace.data, "--workspace", workspace.root)
    monkeypatch.setenv("TERM", "dumb")
    with pytest.raises(UserError, match="browsing needs a terminal; 'dpotui data check"):
        run(path, "--workspace", workspace.root)


def test_the_workbench_is_opened_at_the_file(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(workspace.data / "pairs.jsonl", [pair(1)])
    asked: list[Workspace] = []
    monkeypatch.setattr(browse, "no_terminal", lambda: None)
    monkeypatch.setattr(app, "open_workbench", lambda space, *, opening: asked.append(space))
    run(path, "--workspace", workspace.data)
    assert [space.root for space in asked] == [workspace.root]
