"""`dpotui data convert`: preference pairs from one format to another."""

from __future__ import annotations

import json
from pathlib import Path

import click

from core.data.convert import FORMATS, convert
from core.text import printable
from dpotui.commands.data.recording import Ticker

_SHOWN = 5


@click.command("convert", epilog="Formats: " + "; ".join(f"{name}: {what}" for name, what in FORMATS.items()) + ".")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--to", required=True, type=click.Choice(list(FORMATS)), help="The format to write.")
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="JSONL file to write.")
@click.option(
    "--score",
    metavar="FIELD",
    help="Which score decides, where a row has several (default: overall_score of UltraFeedback, helpfulness of"
    " HelpSteer).",
)
@click.option("--prompt", metavar="FIELD", help="The field that holds the prompt, such as question (default: prompt).")
@click.option(
    "--common-text",
    is_flag=True,
    help="Rows of text without a prompt: take what chosen and rejected both begin with, as TRL does.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def command(
    file: Path, to: str, out: Path, score: str | None, prompt: str | None, common_text: bool, as_json: bool
) -> None:
    """Write the pairs of FILE in another format.

    FILE is any that 'data check' reads (JSONL, also gzip; CSV; Parquet), or a set of scored responses: UltraFeedback,
    distilabel, HelpSteer; of those the best and the worst response to each prompt become a pair. A row is left out
    where the other format has no place for it, or where it would be read back as something else.
    """
    with Ticker("rows converted") as ticker:
        done = convert(file, out, to, score=score, prompt=prompt, common_text=common_text, progress=ticker)
    if as_json:
        rows = [{"line": bad.line, "kind": bad.kind, "reason": bad.reason} for bad in done.examples]
        document = {"rows": done.rows, "written": done.written, "left_out": done.left_out, "examples": rows}
        click.echo(json.dumps({**document, "file": str(out)}, indent=2))
        return
    click.echo(f"{printable(str(out))}: {done.written} of {done.rows} pairs written as {to}")
    for bad in done.examples[:_SHOWN]:
        click.echo(f"{printable(file.name)}:{bad.line}: left out: {bad.reason}")
    if done.left_out:
        click.echo("left out: " + ", ".join(f"{count} {kind}" for kind, count in done.left_out.items()))
