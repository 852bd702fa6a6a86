"""`dpotui annotate import`: votes of another machine or tool, each taken in once."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from core.data.votes_exchange import import_votes
from core.text import printable
from dpotui.commands.annotate.options import found, json_option, opened, workspace_option


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@json_option
@workspace_option
def command(file: Path, as_json: bool, workspace: str | None) -> None:
    """Take in the votes of FILE (JSONL or CSV), as 'dpotui annotate export --format votes' writes them.

    The same vote is never counted twice; of two votes of a person on the same responses the newer one counts. Exit 1
    where rows were no votes.
    """
    with opened(workspace) as (place, db):
        path = found(place, file)
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
