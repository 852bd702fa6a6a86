"""`dpotui annotate`: people's votes on pairs and candidates."""

from __future__ import annotations

import click

from dpotui.lazy import LazyGroup

COMMANDS = {
    "vote": ("dpotui.commands.annotate.vote", "Vote blind in the terminal on the pairs or candidates of a file."),
    "status": ("dpotui.commands.annotate.status", "How far each annotator has come, and how fast."),
    "agreement": ("dpotui.commands.annotate.agreement", "How far annotators agree: kappa, and where they do not."),
    "export": ("dpotui.commands.annotate.export", "Write pairs by majority, or the votes themselves."),
    "import": ("dpotui.commands.annotate.importing", "Take in votes of another machine or tool."),
}


@click.group(cls=LazyGroup, table=COMMANDS)
def command() -> None:
    """People's votes on pairs and candidates."""
