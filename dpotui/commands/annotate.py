"""`dpotui annotate`: being built."""

from __future__ import annotations

import click


@click.command("annotate")
def command() -> None:
    """Being built."""
