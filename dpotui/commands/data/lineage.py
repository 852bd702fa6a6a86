"""`dpotui data lineage`: being built."""

from __future__ import annotations

import click


@click.command("lineage")
def command() -> None:
    """Being built."""
