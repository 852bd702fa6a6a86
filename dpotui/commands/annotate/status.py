"""`dpotui annotate status`: how far each annotator has come with a file, and how fast."""

from __future__ import annotations

import json
import time
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

import click
from rich.cells import cell_len

from core.data import votes as counting
from core.data.votes import is_low
from core.data.votes_order import Stopped, gather
from core.errors import UserError
from core.store import votes
from core.store.facts import Fact
from core.store.votes import tally_of
from core.text import one_line, printable
from dpotui import say
from dpotui.commands.annotate.options import json_option, opened, voted_file, workspace_option

# A file of a million pairs takes longer to count; what was voted on is known without that.
_PATIENCE = 3.0


@click.command("status")
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option("--record", is_flag=True, help="Record votes, agreement and guidelines as facts of the workspace.")
@json_option
@workspace_option
def command(file: Path | None, record: bool, as_json: bool, workspace: str | None) -> None:
    """Show how far each annotator has come with FILE (default: the one voted on last), and how fast.

    Times between votes count up to five minutes; longer ones were pauses.
    """
    with opened(workspace) as (place, db):
        relative = voted_file(place, db, file)
        found = votes.of_file(db, relative)
        people = counting.progress(found)
        tallies = tally_of(found)
        recorded = counting.record_facts(db, place, relative) if record else []
        whole = _comparisons(place.path(relative))
    low = sum(is_low(tally) for tally in tallies.values())
    several = sum(tally.votes > 1 for tally in tallies.values())
    total = sum(tally.votes for tally in tallies.values())
    if as_json:
        document = {
            "file": relative, "votes": total, "pairs": len(tallies), "of_pairs": whole,
            "pairs_with_several_votes": several, "low_agreement": low,
            "annotators": [asdict(person) for person in people],
            "recorded": [{"name": f.name, "value": f.value, "text": f.text, "source": f.source} for f in recorded],
        }  # fmt: skip
        click.echo(json.dumps(document, ensure_ascii=False))
        return
    of = f" of {whole:,}" if whole is not None else ""
    click.echo(f"{printable(relative)}: {counting.votes_words(total)} on {len(tallies):,}{of} pairs")
    if several:
        click.echo(f"{several:,} pairs with several votes, {low:,} of them of low agreement")
    head = f"{'annotator':12} {'votes':>6} {'ties':>4} {'reject':>6} {'skip':>4} {'A':>5} {'sure':>4}"
    click.echo(f"{head} {'/min':>5} {'time':>8}  last")
    for one in people:
        a = f"{100 * one.a_share:.0f} %" if one.a_share is not None else "–"
        sure = f"{one.confidence:.1f}" if one.confidence is not None else "–"
        rate = f"{one.rate:.1f}" if one.rate is not None else "–"
        click.echo(
            f"{_padded(one.who)} {one.votes:6,} {one.ties:4,} {one.rejects:6,} {one.skips:4,} {a:>5} {sure:>4}"
            f" {rate:>5} {say.span(one.seconds):>8}  {say.date(one.last)}"
        )
    for fact in recorded:
        click.echo(f"recorded {fact.name} {_value(fact)}: {printable(fact.source)}")


def _padded(name: str) -> str:
    name = one_line(name, 12)
    return name + " " * (12 - cell_len(name))


def _comparisons(path: Path) -> int | None:
    """How many pairs there are to vote on; None where that cannot be told, or not soon."""
    until = time.monotonic() + _PATIENCE
    try:
        with closing(gather(path, seed=0, wants_stop=lambda: time.monotonic() > until)) as found:
            return found.whole
    except (UserError, OSError, Stopped):
        return None


def _value(fact: Fact) -> str:
    return "unknown" if fact.value is None else f"{fact.value:.4g}"
