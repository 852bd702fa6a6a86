"""`dpotui init` as a person uses it."""

from __future__ import annotations

from pathlib import Path

from core import checklist
from core.config import DPOConfig, SFTConfig, load_config
from core.demo import is_demo
from core.store import open_store, runs
from core.workspace import open_workspace
from tests.dpotui.test_gates_cli import Shell, outside

__all__ = ["outside"]  # fixture


def test_it_makes_a_workspace_that_everything_opens(outside: Shell) -> None:
    said = outside.run("init", "new")
    assert "new is a workspace" in said
    workspace = open_workspace(outside.folder / "new")
    db = open_store(workspace.database)
    assert runs.listing(db) == []
    db.close()
    assert len(checklist.load_tree(workspace)) == 8
    load_config(workspace.configs / "dpo_config.yaml", DPOConfig)
    load_config(workspace.configs / "sft_config.yaml", SFTConfig)
    assert not is_demo(workspace)


def test_twice_keeps_what_is_there(outside: Shell) -> None:
    outside.run("init", "new")
    config = outside.folder / "new/configs/dpo_config.yaml"
    config.write_text("mine: true\n")
    (outside.folder / "new/configs/sft_config.yaml").unlink()
    assert "was a workspace already" in outside.run("init", "new")
    assert config.read_text() == "mine: true\n"
    assert (outside.folder / "new/configs/sft_config.yaml").is_file()


def test_a_demo_is_ready_to_train(outside: Shell) -> None:
    said = outside.run("init", "zoo", "--demo")
    assert "next: dpotui demo" in said
    assert is_demo(open_workspace(outside.folder / "zoo"))


def test_a_file_in_the_way_and_no_folder_at_all(outside: Shell) -> None:
    (outside.folder / "taken").write_text("")
    assert "taken is a file" in outside.run("init", "taken", code=2)
    assert not Path(outside.folder / "taken/runs.db").exists()


def test_a_name_that_would_command_the_terminal_does_not(outside: Shell) -> None:
    said = outside.run("init", "a\x1b]0;gone\x07b")
    assert "\x1b" not in said
    assert "a␛]0;gone␇b is a workspace" in said
