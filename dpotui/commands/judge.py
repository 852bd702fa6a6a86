"""`dpotui judge`: being built."""

from __future__ import annotations

import click


@click.command("judge")
def command() -> None:
    """Being built."""
