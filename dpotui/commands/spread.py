"""The options of commands whose items several hosts can share: --hosts, --shares."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from core.workspace import Workspace
from dpotui.commands.distributed import chosen


def hosts_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds hosts and shares."""
    shares = click.option("--shares", metavar="A,B", help="What each host takes: 65,35; chips; equal.")
    words = "Let the hosts of this file (JSON) do it, each its share; none: this machine alone."
    return click.option("--hosts", metavar="FILE", help=words)(shares(command))


def over_hosts(workspace: Workspace, hosts: str | None, shares: str | None) -> tuple[str, ...]:
    """Those options as overrides of a configuration, whose paths are meant from the workspace."""
    return tuple(chosen(workspace, hosts, None, shares))
