"""The options of commands whose work several machines can share: --hosts, --backend, --shares."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from core.workspace import Workspace

# In the place of a hosts file: one machine.
NONE = "none"


def distributed_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds hosts, backend and shares."""
    for option in reversed(
        (
            click.option("--hosts", metavar="FILE", help="Train on the hosts of mlx.launch's JSON; none: on this one."),
            click.option("--backend", metavar="NAME", help="How they talk: ring, jaccl, jaccl-ring, mpi, nccl."),
            click.option("--shares", metavar="A,B", help="What each takes: 65,35; measure; chips; equal."),
        )
    ):
        command = option(command)
    return command


def chosen(workspace: Workspace, hosts: str | None, backend: str | None, shares: str | None) -> list[str]:
    """These options as overrides of a configuration.

    Raises:
        UserError: the shares are none.
    """
    found = []
    if hosts is not None:
        # A file that is named from where the person stands; a workspace names its own from its top.
        stands = hosts != NONE and Path(hosts).is_file()
        path = workspace.relative(Path(hosts).resolve()) if stands else hosts
        found = [f"compute.distributed.hosts={json.dumps(None if hosts == NONE else path)}"]
    if backend is not None:
        found.append(f"compute.distributed.backend={backend}")
    if shares is not None:
        from core.experiments.hosts import parse_shares

        words = shares in ("measure", "chips", "equal")
        found.append(f"compute.distributed.shares={shares if words else json.dumps(parse_shares(shares))}")
    return found
