"""`dpotui annotate import`: votes and marks of another machine or tool, each taken in once."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from core.data.jsonl import Row, read_rows
from core.data.votes_exchange import import_votes
from core.evaluation.ratings.exchange import import_ratings
from core.evaluation.ratings.scores import record_facts
from core.evaluation.ratings.source import source_of
from core.store import Database
from core.store.votes import voter
from core.text import printable
from core.workspace import Workspace
from dpotui.commands.annotate.options import found, json_option, opened, workspace_option


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--of", "answers", type=click.Path(path_type=Path), help="Marks are of these answers (default: newest).")
@click.option("--as", "who", metavar="NAME", help="The rater of marks that name none.")
@json_option
@workspace_option
def command(file: Path, answers: Path | None, who: str | None, as_json: bool, workspace: str | None) -> None:
    """Take in the votes or marks of FILE (JSONL or CSV), as 'dpotui annotate export' writes them.

    Rows with a choice are votes, others marks. The same one is never counted twice; of two of a person on the same
    thing the newer one counts. Exit 1 where rows were no votes or marks.
    """
    with opened(workspace) as (place, db):
        path = found(place, file)
        first = next((row for row in read_rows(path) if isinstance(row, Row)), None)
        if answers is not None or who is not None or (first is not None and "choice" not in first.fields):
            _marks(place, db, file, found(place, answers) if answers is not None else None, who, as_json)
            return
        done = import_votes(db, path)
    if as_json:
        bad = [{"line": row.line, "field": row.field, "reason": row.reason} for row in done.bad]
        counts = {name: getattr(done, name) for name in ("new", "changed", "known", "older", "bad_rows")}
        click.echo(json.dumps({"file": str(file), **counts, "bad": bad}, ensure_ascii=False))
    else:
        click.echo(f"{done.new:,} new votes, {done.changed:,} in place of older ones")
        click.echo(f"{done.known:,} were there already, {done.older:,} are older than what stands here")
        for row in done.bad:
            click.echo(f"{printable(str(file))}:{row.line}: {row.reason}", err=True)
        if done.bad_rows > len(done.bad):
            click.echo(f"and {done.bad_rows - len(done.bad):,} more rows that are no votes", err=True)
    if done.bad_rows:
        sys.exit(1)


def _marks(place: Workspace, db: Database, file: Path, answers: Path | None, who: str | None, as_json: bool) -> None:
    source = source_of(db, place, answers)
    done = import_ratings(db, source, found(place, file), who=voter(who) if who is not None else None)
    if done.new or done.changed:
        record_facts(db, place, source)
    if as_json:
        bad = [{"line": row.line, "field": row.field, "reason": row.reason} for row in done.bad]
        names = ("rows", "empty", "new", "changed", "known", "older", "bad_rows")
        counts = {name: getattr(done, name) for name in names}
        click.echo(json.dumps({"file": str(file), "of": source.file, **counts, "bad": bad}, ensure_ascii=False))
    else:
        click.echo(f"{done.new:,} new marks and notes, {done.changed:,} in place of older ones")
        click.echo(f"{done.known:,} were there already, {done.older:,} are older than what stands here")
        if done.empty:
            click.echo(f"{done.empty:,} of {done.rows:,} rows are not filled in")
        for row in done.bad:
            click.echo(f"{printable(str(file))}:{row.line}: {row.reason}", err=True)
        if done.bad_rows > len(done.bad):
            click.echo(f"and {done.bad_rows - len(done.bad):,} more rows that hold no marks", err=True)
    if done.bad_rows:
        sys.exit(1)
