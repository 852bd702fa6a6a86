"""A group of commands whose modules are imported when they are called: nobody pays for what is not used."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import click


class LazyGroup(click.Group):
    """Commands by name: the module whose `command` it is (or `module:attribute`), and one line of help.

    Args:
        default: the command that is meant where none is named, also with options: `dpotui runs --json` is
            `dpotui runs list --json`.
    """

    def __init__(self, *args: Any, table: Mapping[str, tuple[str, str]], default: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.table, self._default = table, default

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if self._default and (not args or (args[0].startswith("-") and args[0] not in ctx.help_option_names)):
            args = [self._default, *args]
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.table)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in self.table:
            return None
        module, _, attribute = self.table[name][0].partition(":")
        command = getattr(importlib.import_module(module), attribute or "command")
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in self.table.items()])
