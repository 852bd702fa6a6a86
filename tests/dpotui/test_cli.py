"""The entry point: what is printed where, exit statuses, and every command's help."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import click
import pytest

from core.workspace import Workspace
from dpotui import cli
from dpotui.cli import COMMANDS


def dpotui(*args: str, cwd: Path, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dpotui", *args],
        capture_output=True,
        text=True,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        timeout=60,
        **options,  # type: ignore[call-overload]
    )


def test_its_version_is_the_packages(tmp_path: Path) -> None:
    done = dpotui("--version", cwd=tmp_path)
    assert version("dpotui") in done.stdout
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(tmp_path: Path, command: str) -> None:
    done = dpotui(command, "--help", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Usage: " in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_the_help_names_every_command(tmp_path: Path) -> None:
    said = " ".join(dpotui("--help", cwd=tmp_path).stdout.split())
    for name, (_, line) in COMMANDS.items():
        assert f" {name} {line}" in said


def test_where_there_is_no_workspace_it_says_so_and_makes_nothing(tmp_path: Path) -> None:
    for words in ((), ("runs",), ("checklist", "show"), ("train", "dpo")):
        done = dpotui(*words, cwd=tmp_path)
        assert done.returncode == 2, words
        assert done.stderr.startswith("dpotui: ")
        assert "Traceback" not in done.stderr
        assert "dpotui init" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_option_exits_2_without_a_traceback(tmp_path: Path) -> None:
    done = dpotui("runs", "--bogus", cwd=tmp_path)
    assert done.returncode == 2
    assert "--bogus" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_error_that_quotes_a_file_cannot_command_the_terminal(tmp_path: Path) -> None:
    done = dpotui("runs", "-w", "\x1b[31mred", cwd=tmp_path)
    assert done.returncode == 2
    assert "\x1b" not in done.stderr
    assert "␛[31mred" in done.stderr


def test_a_reader_that_leaves_is_no_error(workspace: Workspace) -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", f"'{sys.executable}' -m dpotui checklist show | head -n 1"],
        capture_output=True,
        text=True,
        cwd=workspace.root,
        timeout=60,
    )
    assert "Traceback" not in done.stderr
    assert len(done.stdout.splitlines()) == 1


def test_without_a_terminal_the_workbench_prints_how_things_stand(workspace: Workspace) -> None:
    done = dpotui(".", cwd=workspace.root)
    assert done.returncode == 2
    assert "none yet" in done.stdout
    assert "needs a terminal" in done.stderr


def test_the_workspace_has_one_option_everywhere() -> None:
    def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
        with click.Context(group) as context:
            for name in group.list_commands(context):
                command = group.get_command(context, name)
                assert command is not None
                yield " ".join((*path, name)), command
                if isinstance(command, click.Group):
                    yield from commands(command, (*path, name))

    odd = [
        name
        for name, command in commands(cli.cli)
        for option in command.params
        if "--workspace" in option.opts and "-w" not in option.opts
    ]
    assert odd == []
