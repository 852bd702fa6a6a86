"""`dpotui data decontaminate`: being built."""

from __future__ import annotations

import click


@click.command("decontaminate")
def command() -> None:
    """Being built."""
