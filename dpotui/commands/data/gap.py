"""`dpotui data gap`: being built."""

from __future__ import annotations

import click


@click.command("gap")
def command() -> None:
    """Being built."""
