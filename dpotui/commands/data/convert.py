"""`dpotui data convert`: being built."""

from __future__ import annotations

import click


@click.command("convert")
def command() -> None:
    """Being built."""
