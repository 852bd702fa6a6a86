"""`dpotui data`: what is done with files of preference data before they are trained on."""

from __future__ import annotations

import click

from dpotui.lazy import LazyGroup

COMMANDS = {
    "browse": ("dpotui.commands.data.browse", "Page through a file in the terminal."),
    "check": ("dpotui.commands.data.check", "Check a file line by line and measure it."),
    "gap": ("dpotui.commands.data.gap", "The preference gap, and where its scores come from."),
    "decontaminate": ("dpotui.commands.data.decontaminate", "Pairs that hold items of the benchmarks."),
    "filter": ("dpotui.commands.data.filter", "Pairs that a reward model finds bad, and a copy without them."),
    "resolve": ("dpotui.commands.data.resolve", "Settle conflicting preferences."),
    "split": ("dpotui.commands.data.split", "Training, validation and test files without leaks."),
    "convert": ("dpotui.commands.data.convert", "Between formats: ours, TRL's, conversational, Anthropic's."),
    "lineage": ("dpotui.commands.data.lineage", "What a data set was made of, by which commands."),
}


@click.group(cls=LazyGroup, table=COMMANDS)
def command() -> None:
    """What is done with files of preference data before they are trained on."""
