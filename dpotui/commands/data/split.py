"""`dpotui data split`: training, validation and test files without leaks between them."""

from __future__ import annotations

import json
import textwrap
import time
from pathlib import Path
from typing import Any

import click

from core.data.splits import TEST, TRAIN, VALIDATION, Split, split, split_facts
from core.errors import UserError
from core.store.facts import Fact
from core.text import printable
from dpotui.commands.data.recording import Ticker, hashes, record, workspace_of

_ENDS = {TRAIN: "_train.jsonl", VALIDATION: "_val.jsonl", TEST: "_test.jsonl"}


@click.command("split")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--out-dir", type=click.Path(path_type=Path), metavar="DIR", help="Where they go (default: beside FILE).")
@click.option("--train", type=click.Path(path_type=Path), metavar="FILE", help="Default: FILE's name with _train.")
@click.option("--validation", type=click.Path(path_type=Path), metavar="FILE", help="Default: FILE's name with _val.")
@click.option("--test", type=click.Path(path_type=Path), metavar="FILE", help="Default: FILE's name with _test.")
@click.option("--validation-share", default=0.2, show_default=True, help="Share of the pairs; 0 for no such file.")
@click.option("--test-share", default=0.0, show_default=True, help="Share of the pairs; 0 for no such file.")
@click.option("--seed", default=42, show_default=True, help="Which prompts go where.")
@click.option("--threshold", default=0.8, show_default=True, help="Jaccard from which two prompts are one.")
@click.option("--record", "recorded", is_flag=True, help="Record share and leaks as facts of the workspace.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@click.option("-w", "--workspace", metavar="DIR", help="The workspace (default: around here).")
def command(
    file: Path,
    out_dir: Path | None,
    train: Path | None,
    validation: Path | None,
    test: Path | None,
    validation_share: float,
    test_share: float,
    seed: int,
    threshold: float,
    recorded: bool,
    as_json: bool,
    workspace: str | None,
) -> None:
    """Deal the pairs of FILE into training, validation and test files.

    All pairs of one prompt, and of prompts that are nearly the same, go to one file; shares are met as closely as that
    allows. Rows are copied byte for byte, in the order of FILE; the same seed gives the same files. What was written
    is searched for prompts on two sides before it gets its name.

    Exit status: 0 done, 2 wrong use or bad input (nothing is written then).
    """
    here = workspace_of(workspace, needed=recorded)
    shares = _shares(validation_share, test_share, test)
    if not 0.3 <= threshold <= 1:
        raise UserError(f"--threshold {threshold:g}: a Jaccard from 0.3 to 1 is wanted, such as 0.8")
    named = {TRAIN: train, VALIDATION: validation, TEST: test}
    folder = out_dir or file.parent
    targets = [(name, named[name] or folder / f"{_stem(file)}{_ENDS[name]}", share) for name, share in shares]
    started = time.time()
    with Ticker("pairs") as ticker:
        done = split(file, targets, seed=seed, threshold=threshold, progress=ticker)
    found: list[Fact] = []
    run = None
    if recorded:
        assert here is not None
        found = split_facts(done, hashes(here, [part.path for part in done.parts]))
        run = record(here, "split", file, found, started)
    if as_json:
        # Names of files may hold what is no text.
        click.echo(json.dumps(_document(done, run), indent=2, ensure_ascii=True, allow_nan=False))
        return
    _people(done, run)


def _shares(validation: float, test: float, test_file: Path | None) -> list[tuple[str, float]]:
    for option, share in (("--validation-share", validation), ("--test-share", test)):
        if not 0 <= share < 1:
            raise UserError(f"{option} {share:g}: a share from 0 to less than 1 is wanted, such as 0.2")
    if not validation and not test:
        raise UserError("both shares are 0: there is nothing to split off; give --validation-share 0.2")
    if validation + test >= 1:
        raise UserError(f"the shares add up to {validation + test:g}: nothing is left for training")
    if test_file is not None and not test:
        raise UserError("--test names a file, and --test-share is 0: give it a share, such as 0.1")
    shares = [(TRAIN, 1 - validation - test), (VALIDATION, validation), (TEST, test)]
    return [(name, share) for name, share in shares if share]


def _stem(file: Path) -> str:
    name = file.name
    for end in (".gz", ".jsonl", ".json", ".parquet", ".csv", ".tsv"):
        name = name.removesuffix(end)
    return name or "pairs"


def _document(done: Split, run: str | None) -> dict[str, Any]:
    return {
        "pairs": done.pairs,
        "prompts": done.prompts,
        "groups": done.groups,
        "largest_group": done.largest,
        "seed": done.seed,
        "threshold": done.threshold,
        "parts": [
            {
                "name": part.name,
                "file": str(part.path),
                "pairs": part.pairs,
                "prompts": part.prompts,
                "groups": part.groups,
                "share": done.share(part),
                "wanted": part.wanted,
                "sha256": part.sha256,
            }
            for part in done.parts
        ],
        "leaks": {
            "prompts": done.leaks.exact,
            "near_duplicate_prompts": done.leaks.near,
            "complete": done.leaks.complete,
            "search": done.leaks.method,
            "certainty": done.leaks.certainty,
        },
        "notes": done.notes,
        "run": run,
    }


def _people(done: Split, run: str | None) -> None:
    click.echo(f"{printable(done.source.name)}: {done.pairs} pairs on {done.prompts} prompts")
    click.echo(f"{done.groups} groups of near-duplicate prompts, the largest with {done.largest} pairs")
    for part in done.parts:
        click.echo(
            f"{part.name:<11}{part.pairs:>9} pairs {done.share(part):7.2%}  {part.prompts:>8} prompts"
            f"  {printable(part.path.name)}"
        )
    for note in done.notes:
        click.echo(textwrap.fill(f"note: {note}", 80))
    leaks = done.leaks
    click.echo(f"searched after writing: {leaks.exact} prompts in two files, {leaks.near} near-duplicates")
    click.echo(textwrap.fill(f"(near-duplicates: a Jaccard of {done.threshold:g} or more; {leaks.search})", 80))
    if run is not None:
        click.echo(f"recorded as {run}")
