"""`dpotui runs`: find runs and put them in order, see what they came to, ask things of them, start them again."""

from __future__ import annotations

import click

from dpotui.lazy import LazyGroup

_HERE = "dpotui.commands.runs"
COMMANDS = {
    "list": (f"{_HERE}.listing", "List runs, newest first; by an expression, sorted."),
    "show": (f"{_HERE}.show", "All that is known of a run."),
    "log": (f"{_HERE}.logs", "The log of a run."),
    "samples": (f"{_HERE}.watching:samples_", "What a run wrote to validation prompts, beside the reference."),
    "gradients": (f"{_HERE}.watching:gradients_", "Gradient norms by module of a run's next step, or of earlier ones."),
    "compare": (f"{_HERE}.compare", "Two to eight runs side by side: configuration and facts."),
    "lineage": (f"{_HERE}.lineage", "What a run was made from, and what was made from it."),
    "export": (f"{_HERE}.export", "The metrics of runs as CSV, or all that is known of them as JSON."),
    "rerun": (f"{_HERE}.rerun", "A run once more, with changes."),
    "rename": (f"{_HERE}.ordering:rename", "Give a run a name."),
    "tag": (f"{_HERE}.ordering:tag", "Add tags to a run."),
    "untag": (f"{_HERE}.ordering:untag", "Take tags off a run."),
    "note": (f"{_HERE}.ordering:note", "Write a note on a run."),
    "archive": (f"{_HERE}.ordering:archive", "Put runs out of sight; nothing is lost."),
    "unarchive": (f"{_HERE}.ordering:unarchive", "Bring archived runs back into the list."),
    "undo": (f"{_HERE}.ordering:undo", "Take back the last name, tags or archiving that you changed."),
    "stop": (f"{_HERE}.asking:stop", "Stop a run with a checkpoint; take a queued one out of the queue."),
    "pause": (f"{_HERE}.asking:pause", "Hold a run after the step it is in."),
    "checkpoint": (f"{_HERE}.asking:checkpoint", "Have a run write a checkpoint now."),
    "resume": (f"{_HERE}.asking:resume", "Go on with a run that is paused or ended early."),
}


@click.group(cls=LazyGroup, default="list", table=COMMANDS)
def command() -> None:
    """Find, compare, command and repeat runs. Without a command: list."""
