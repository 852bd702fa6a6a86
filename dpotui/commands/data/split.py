"""`dpotui data split`: being built."""

from __future__ import annotations

import click


@click.command("split")
def command() -> None:
    """Being built."""
