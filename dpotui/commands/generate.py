"""`dpotui generate`: being built."""

from __future__ import annotations

import click


@click.command("generate")
def command() -> None:
    """Being built."""
