"""`dpotui annotate export`: pairs by majority, the votes or marks themselves, or a sheet for a rater."""

from __future__ import annotations

import json
from pathlib import Path

import click

from core.data.votes import LOW_AGREEMENT
from core.data.votes_exchange import Exported, export_pairs, export_votes
from core.errors import UserError
from core.evaluation.ratings.exchange import export_ratings, export_sheet
from core.evaluation.ratings.source import source_of
from core.store.votes import voter
from core.text import printable
from dpotui.commands.annotate.options import found, json_option, opened, workspace_option


@click.command("export")
@click.argument("file", type=click.Path(path_type=Path), required=False)
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
    "--format", "kind", type=click.Choice(["pairs", "votes", "ratings", "sheet"]), default="pairs", show_default=True,
    help="Preference pairs by majority; every vote with its texts; every mark with its texts; or what one rater rates,"
    " to be filled in elsewhere (CSV where OUT ends in .csv).",
)  # fmt: skip
@click.option("--as", "who", metavar="NAME", help="Whose sheet (--format sheet).")
@json_option
@workspace_option
def command(
    file: Path | None,
    out: Path,
    min_votes: int,
    min_agreement: float,
    kind: str,
    who: str | None,
    as_json: bool,
    workspace: str | None,
) -> None:
    """Write what people made of FILE: pairs whose chosen response is that of the majority, the votes, or the marks.

    Ties, rejections and pairs without a majority make no pair; they are counted. The scores of a pair are shares of
    its votes, so 'dpotui data gap' reads the preference gap from them. Marks and sheets are of the answers of the
    newest evaluation where no FILE is named.
    """
    if (who is None) == (kind == "sheet"):
        raise UserError(
            "--as NAME and --format sheet belong together: a sheet is for one rater, in an order of its own"
        )
    with opened(workspace) as (place, db):
        if kind in ("ratings", "sheet"):
            source = source_of(db, place, found(place, file) if file is not None else None)
            rows = export_ratings(db, source, out) if who is None else export_sheet(db, source, voter(who), out)
            _tell(out, kind, Exported(rows, {}), as_json)
            return
        if file is None:
            raise UserError("name the file of pairs or candidates that was voted on")
        path = found(place, file)
        if kind == "votes":
            done = export_votes(db, path, out)
        else:
            done = export_pairs(db, path, out, min_votes=min_votes, min_agreement=min_agreement)
    _tell(out, kind, done, as_json)


def _tell(out: Path, kind: str, done: Exported, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"file": str(out), "format": kind, "rows": done.rows, "left_out": done.left_out}))
        return
    click.echo(f"{printable(str(out))}: {done.rows:,} {'answers to rate' if kind == 'sheet' else kind}")
    for why, count in done.left_out.items():
        click.echo(f"  left out {count:7,}  {why}")
