"""`dpotui annotate rate`: the terminal, opened at the rating; and what the marks come to."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from core.errors import UserError
from core.text import one_line, printable
from core.workspace import Workspace, open_workspace
from dpotui.commands.annotate.options import found, json_option
from dpotui.commands.open import no_terminal

if TYPE_CHECKING:
    from core.evaluation.ratings.scores import Summary
    from core.store.facts import Fact

# Notes that are told one by one.
_NOTES = 10


@click.command("rate")
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option("--as", "who", metavar="NAME", help="The name marks are kept under (default: you are asked).")
@click.option("--size", type=click.IntRange(min=1), metavar="N", help="Answers of the final model (default: config).")
@click.option("--seed", type=click.IntRange(min=0), help="Draws sample and order (default: the evaluation's).")
@click.option("--count", is_flag=True, help="Rate nothing: count the marks, show and record what they come to.")
@click.option("--assess", metavar="WORDS", help="Rate nothing: write the qualitative assessment of stage 7.")
@json_option
@click.option("-w", "--workspace", "folder", metavar="DIR", help="The workspace (default: here).")
def command(
    file: Path | None,
    who: str | None,
    size: int | None,
    seed: int | None,
    count: bool,
    assess: str | None,
    as_json: bool,
    folder: str | None,
) -> None:
    """Rate answers blind to the model: those of the newest evaluation, or of FILE (candidates).

    Criteria, scale and sample size stand in configs/eval_config.yaml (alignment_evaluation.human_eval). Keys: a digit
    is a mark and goes on (0 is 10), x passes over a criterion, s the answer, u undo, n note, arrows choose a
    criterion, ? all keys. Every mark is saved at once; the same command goes on where you left.
    """
    workspace = open_workspace(Path(folder or "."))
    path = found(workspace, file) if file is not None else None
    if assess is not None:
        _assess(workspace, path, assess, who)
        return
    if count or as_json:
        if size is not None or seed is not None:
            raise UserError("--size and --seed are for rating: the sample that is counted is that of the configuration")
        _count(workspace, path, as_json)
        return
    from core.evaluation.ratings.source import source_of
    from core.store import open_store, votes

    who = votes.voter(who) if who is not None else None
    with closing(open_store(workspace.database)) as db:
        source_of(db, workspace, path).catalogue()  # what cannot be rated is said before the screen opens
    reason = no_terminal()
    if reason is not None:
        raise UserError(
            f"{reason}: rating needs a terminal; 'dpotui annotate export --format sheet' writes a sheet to fill in"
        )
    from dpotui.app import open_workbench
    from dpotui.screens.rate import RateScreen, Rating, marks_words

    screen = RateScreen(Rating(path, who, size, seed), leaves_program=True)
    again = ["dpotui", "annotate", "rate", *([str(file)] if file is not None else [])]
    for name, value in (("--as", who), ("--size", size), ("--seed", seed), ("-w", folder)):
        again += [name, str(value)] if value is not None else []
    open_workbench(workspace, opening=lambda app: _void(app.push_screen(screen)), again=shlex.join(again))
    session = screen.session
    if session is None or not session.changed_here:
        return
    from core.evaluation.ratings.scores import record_facts

    with closing(open_store(workspace.database)) as db:
        record_facts(db, workspace, session.source)
    told = f"saved: {marks_words(session.given_here)} of {session.who} on {session.source.file}"
    click.echo(printable(f"{told}, {session.done} of {session.total} answers done"))


def _assess(workspace: Workspace, path: Path | None, words: str, who: str | None) -> None:
    from getpass import getuser

    from core.evaluation.ratings.assessment import ITEM, assess
    from core.evaluation.ratings.source import source_of
    from core.store import open_store, votes

    with closing(open_store(workspace.database)) as db:
        assess(db, workspace, source_of(db, workspace, path), words, votes.voter(who or getuser()))
    click.echo(f"{ITEM}: {printable(words)}" if words.strip() else f"{ITEM}: taken back")


def _count(workspace: Workspace, path: Path | None, as_json: bool) -> None:
    from core.evaluation.ratings.scores import as_json as document
    from core.evaluation.ratings.scores import record_facts
    from core.evaluation.ratings.source import source_of
    from core.store import open_store

    with closing(open_store(workspace.database)) as db:
        counted, measured = record_facts(db, workspace, source_of(db, workspace, path))
    if as_json:
        click.echo(json.dumps(document(counted, measured), ensure_ascii=False))
        return
    for line in _lines(counted, measured):
        click.echo(line)


def _lines(counted: Summary, measured: Sequence[Fact]) -> list[str]:
    from core.evaluation.ratings.scores import by_role
    from dpotui.results.human import agreement_words, table

    source = counted.source
    sampled = f"a sample of {counted.planned:,} answers, seed {source.seed}"
    lines = [f"{printable(source.file)}: {counted.marks:,} marks, {sampled}"]
    for one in counted.raters:
        notes = f"{one.notes:,} note{'' if one.notes == 1 else 's'}"
        told = f"{one.marks:5,} marks on {one.answers:,} answers, {one.passed:,} passed over, {notes}"
        lines.append(f"  {one_line(one.who, 20):20} {told}")
    if counted.lost:
        lines.append(f"  {counted.lost:,} marks are of answers that the file does not hold any more")
    lines += ["", *("".join(text for text, _ in row).rstrip() for row in table(counted, 80))]
    lines += ["", agreement_words(counted)]
    if counted.notes:
        lines += ["", f"notes, newest first ({min(len(counted.notes), _NOTES)} of {len(counted.notes)})"]
        for note in counted.notes[:_NOTES]:
            where = f"{printable(source.file)}:{note.line} {one_line(by_role(counted, note), 24)}"
            lines.append(f"  {one_line(note.who, 12)}  {where}  “{one_line(note.note, 200)}”")
    lines.append("")
    for fact in measured:
        value = "unknown" if fact.value is None else f"{fact.value:.4g}{fact.unit}"
        lines.append(f"{fact.name} {value}: {printable(fact.source)}")
    return lines


def _void(result: object) -> None:
    """What a screen gives back is not waited for."""
