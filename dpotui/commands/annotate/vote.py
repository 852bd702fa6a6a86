"""`dpotui annotate vote`: the terminal, opened at the voting."""

from __future__ import annotations

import shlex
from contextlib import closing
from pathlib import Path

import click

from core.errors import UserError
from core.text import printable
from core.workspace import open_workspace
from dpotui.commands.annotate.options import found
from dpotui.commands.open import no_terminal


@click.command("vote")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--annotator", metavar="NAME", help="The name votes are kept under (default: you are asked).")
@click.option("--seed", type=click.IntRange(min=0), help="Draws order and sides (default: 42).")
@click.option("--sample", type=click.IntRange(min=1), metavar="N", help="Vote on N of the comparisons, drawn by seed.")
@click.option("-w", "--workspace", "folder", metavar="DIR", help="The workspace (default: here).")
def command(file: Path, annotator: str | None, seed: int | None, sample: int | None, folder: str | None) -> None:
    """Vote blind on the pairs of FILE, or on every two responses of a file of candidates.

    Keys: a and b say which is better, t tie, x reject both, s skip, 1-5 how sure, u undo, n note, g guidelines, ? all
    keys. Every vote is saved at once; the same command goes on where you left.
    """
    workspace = open_workspace(Path(folder or "."))
    path = found(workspace, file)
    from core.store import open_store, votes

    who = votes.voter(annotator) if annotator is not None else None
    reason = no_terminal()
    if reason is not None:
        raise UserError(f"{reason}: voting needs a terminal; 'dpotui annotate import' takes votes from elsewhere")
    from dpotui.app import open_workbench
    from dpotui.screens.vote import SEED, VoteScreen, Voting

    voting = Voting(path, who, SEED if seed is None else seed, sample)
    screen = VoteScreen(voting, leaves_program=True)
    again = ["dpotui", "annotate", "vote", str(file)]
    for name, value in (("--annotator", annotator), ("--seed", seed), ("--sample", sample), ("-w", folder)):
        again += [name, str(value)] if value is not None else []
    open_workbench(workspace, opening=lambda app: void(app.push_screen(screen)), again=shlex.join(again))
    session = screen.session
    if session is None or not session.cast_here:
        return
    from core.data.votes import facts_of, votes_words
    from core.evaluation.win_rate_people import record_votes

    with closing(open_store(workspace.database)) as db:
        rate = record_votes(db, workspace, session.file)
        on_file = facts_of(db, workspace, session.file)[0].text
    told = f"saved: {votes_words(session.cast_here)} of {session.who}; on the file there are {on_file}"
    click.echo(printable(told if rate is None else f"{told}\n{rate}"))


def void(result: object) -> None:
    """What a screen gives back is not waited for."""
