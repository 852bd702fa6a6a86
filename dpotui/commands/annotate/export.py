"""`dpotui annotate export`: pairs by majority, or the votes themselves."""

from __future__ import annotations

import json
from pathlib import Path

import click

from core.data.votes import LOW_AGREEMENT
from core.data.votes_exchange import export_pairs, export_votes
from core.text import printable
from dpotui.commands.annotate.options import found, json_option, opened, workspace_option


@click.command("export")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="Where they are written.")
@click.option("--min-votes", type=click.IntRange(min=1), default=1, show_default=True, help="Fewer make no pair.")
@click.option(
    "--min-agreement",
    type=click.FloatRange(0.0, 1.0),
    default=LOW_AGREEMENT,
    show_default=True,
    help="Pairs on which a smaller share of the votes says the same are left out.",
)
@click.option(
    "--format", "kind", type=click.Choice(["pairs", "votes"]), default="pairs", show_default=True,
    help="Preference pairs by majority, or every vote with its texts (CSV where OUT ends in .csv).",
)  # fmt: skip
@json_option
@workspace_option
def command(
    file: Path, out: Path, min_votes: int, min_agreement: float, kind: str, as_json: bool, workspace: str | None
) -> None:
    """Write what people made of FILE: pairs whose chosen response is that of the majority, or the votes.

    Ties, rejections and pairs without a majority make no pair; they are counted. The scores of a pair are shares of
    its votes, so 'dpotui data gap' reads the preference gap from them.
    """
    with opened(workspace) as (place, db):
        path = found(place, file)
        if kind == "votes":
            done = export_votes(db, path, out)
        else:
            done = export_pairs(db, path, out, min_votes=min_votes, min_agreement=min_agreement)
    if as_json:
        click.echo(json.dumps({"file": str(out), "format": kind, "rows": done.rows, "left_out": done.left_out}))
        return
    click.echo(f"{printable(str(out))}: {done.rows:,} {kind}")
    for why, count in done.left_out.items():
        click.echo(f"  left out {count:7,}  {why}")
