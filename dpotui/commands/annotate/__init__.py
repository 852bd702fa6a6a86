"""`dpotui annotate`: people's votes on pairs and candidates, and their marks of answers."""

from __future__ import annotations

import click

from dpotui.lazy import LazyGroup

COMMANDS = {
    "vote": ("dpotui.commands.annotate.vote", "Vote blind in the terminal on the pairs or candidates of a file."),
    "rate": ("dpotui.commands.annotate.rate", "Rate answers blind to the model, by criteria, and count the marks."),
    "status": ("dpotui.commands.annotate.status", "How far each annotator has come, and how fast."),
    "agreement": ("dpotui.commands.annotate.agreement", "How far annotators agree: kappa, and where they do not."),
    "export": ("dpotui.commands.annotate.export", "Write pairs by majority, votes, marks, or a sheet for a rater."),
    "import": ("dpotui.commands.annotate.importing", "Take in votes or marks of another machine or tool."),
}


@click.group(cls=LazyGroup, table=COMMANDS)
def command() -> None:
    """People's votes on pairs and candidates, and their marks of answers."""
