"""`dpotui runs list`: runs that an expression finds, sorted."""

from __future__ import annotations

import time
from pathlib import Path
from typing import get_args

import click

from core.runs.expression import All, Expression, Term, parse
from core.runs.query import NEWEST, Query, find
from core.store import runs
from core.store.runs import Kind, State
from dpotui.commands.runs.common import json_option, opened, print_json, workspace_option
from dpotui.commands.runs.show import line, summary


@click.command("list")
@click.option("--filter", "expression", default="", metavar="EXPR", help='Such as "kind=dpo kl<=0.1 tag:good".')
@click.option("--sort", default=NEWEST, metavar="FIELD", help="A column, fact or key; -FIELD: the largest first.")
@click.option("--kind", type=click.Choice(get_args(Kind)), help="Only runs of this kind.")
@click.option("--state", type=click.Choice(get_args(State)), multiple=True, help="Only runs in this state.")
@click.option("--archived", is_flag=True, help="Those in the archive, too.")
@click.option("-n", "--limit", type=click.IntRange(min=1), help="Only the first so many.")
@json_option
@workspace_option
def command(
    expression: str,
    sort: str,
    kind: str | None,
    state: tuple[str, ...],
    archived: bool,
    limit: int | None,
    as_json: bool,
    folder: Path,
) -> None:
    """List runs, newest first.

    EXPR is terms beside each other, as kind=dpo state=failed beta>0.1 kl<=0.1 lr<1e-5 tag:good name~persona since:2d,
    and words that stand anywhere; or, not and brackets. docs/runs.md has all of it.
    """
    narrowed: list[Expression] = [parse(expression)]
    narrowed += [Term("kind", "=", (kind,))] if kind else []
    narrowed += [Term("state", "=", state)] if state else []
    by, down = sort.removeprefix("-"), sort.startswith("-") or sort == NEWEST
    query = Query(All(tuple(narrowed)), by, down, archived=archived)
    with opened(folder) as (_, db):
        found = [runs.get(db, run) for run in find(db, query, time.time()).ids[:limit]]
        if as_json:
            print_json([summary(db, run) for run in found])
            return
        if not found:
            click.echo("no runs" if kind or state or expression else "no runs yet: 'dpotui train' starts one")
        for run in found:
            click.echo(line(run))
