"""`dpotui annotate agreement`: how far annotators agree on a file, and the pairs on which they do not."""

from __future__ import annotations

import json
from pathlib import Path

import click

from core.data.votes import LOW_AGREEMENT, agreement_of, is_low
from core.store import votes
from core.store.votes import tally_of
from core.text import printable
from dpotui.commands.annotate.options import json_option, opened, voted_file, workspace_option


@click.command("agreement")
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option("--low", is_flag=True, help="List the pairs on which fewer than 60 % of the votes say the same.")
@json_option
@workspace_option
def command(file: Path | None, low: bool, as_json: bool, workspace: str | None) -> None:
    """Show how far those who voted on FILE (default: the one voted on last) agree.

    Kappa is 1 where all agree and 0 where chance alone would agree as well: Cohen's of two, Fleiss' of more who all
    voted on the same pairs. Skips say nothing; ties and rejections are answers.
    """
    with opened(workspace) as (place, db):
        relative = voted_file(place, db, file)
        cast = votes.of_file(db, relative)
    found = agreement_of(cast)
    tallies = tally_of(cast)
    lines = {vote.key: vote.line for vote in cast}
    disputed = sorted((key for key, tally in tallies.items() if is_low(tally)), key=lambda key: lines[key] or 0)
    notes = {key: [vote.note for vote in cast if vote.key == key and vote.note] for key in disputed}
    if as_json:
        document = {
            "file": relative, "kappa": found.kappa, "low": found.low, "high": found.high, "kind": found.kind,
            "annotators": found.coders, "pairs": found.items, "observed": found.observed, "reason": found.reason,
            "low_agreement": [
                {"line": lines[key], "key": key, "first": tallies[key].first, "second": tallies[key].second,
                 "tie": tallies[key].tie, "reject": tallies[key].reject, "agreement": tallies[key].agreement,
                 "notes": notes[key]}
                for key in disputed
            ],
        }  # fmt: skip
        click.echo(json.dumps(document, ensure_ascii=False))
        return
    click.echo(f"{printable(relative)}: {found.items:,} pairs judged by several of {found.coders} annotators")
    if found.kappa is None:
        click.echo(f"kappa      unknown: {found.reason}")
    else:
        interval = f" (95 % interval {found.low:.2f} to {found.high:.2f})" if found.low is not None else ""
        click.echo(f"kappa      {found.kappa:.3f}{interval}, {found.kind}")
        if found.reason:
            click.echo(f"           {found.reason}")
    if found.observed is not None:
        click.echo(f"observed   {100 * found.observed:.1f} % of the pairs of votes agree")
    several = sum(tally.votes > 1 for tally in tallies.values())
    click.echo(f"disputed   {len(disputed):,} of {several:,}: fewer than {100 * LOW_AGREEMENT:.0f} % say the same")
    if not low and disputed:
        click.echo("           --low lists them; 'annotate export' leaves them out (--min-agreement)")
    for key in disputed if low else ():
        tally = tallies[key]
        told = f"{tally.first} : {tally.second}, {tally.tie} ties, {tally.reject} rejected"
        said = "".join(f"  “{printable(note)}”" for note in notes[key])
        click.echo(f"  {printable(relative)}:{lines[key]}  {told}{said}")
