"""`dpotui data resolve`: being built."""

from __future__ import annotations

import click


@click.command("resolve")
def command() -> None:
    """Being built."""
