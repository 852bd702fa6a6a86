"""`dpotui data resolve`: settle preferences that contradict each other."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

import click

from core.data.messages import Text
from core.data.resolve import (
    Ask,
    By,
    Conflict,
    Decision,
    Resolved,
    decision_row,
    export_decisions,
    read_decisions,
    resolve,
)
from core.errors import UserError
from core.store import facts, files, open_store, runs, transaction
from core.store.facts import Fact
from core.text import printable
from core.workspace import Workspace, open_workspace, write_private
from dpotui.commands.data.recording import Ticker

# Of each text, before "m" shows all of it.
_SHOWN = 1500
_ANSWERS: dict[str, Decision | None] = {"a": "first", "b": "second", "d": "drop", "s": None}


@click.command("resolve")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("-o", "--out", type=click.Path(path_type=Path), help="JSONL file to write.")
@click.option(
    "--by",
    type=click.Choice(["majority", "newest", "drop", "hand"]),
    help="majority: the way that more rows have, none of them where there are as many; newest: the way of the later"
    " row; drop: none of them; hand: you say.",
)
@click.option("--time-field", metavar="FIELD", help="With newest: the field that says when (default: the later line).")
@click.option(
    "--decisions",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="With hand: decisions made before; those made now are added to it at once.",
)
@click.option(
    "--export",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write the conflicts for somebody to decide, and nothing else: first, second or drop at each 'decision'.",
)
@click.option("--collapse", is_flag=True, help="Keep one of the rows that say the same.")
@click.option("--record", is_flag=True, help="Record the conflicts left in what was written, for the gates.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@click.option("-w", "--workspace", metavar="DIR", help="The workspace to record in (default: here).")
def command(
    file: Path,
    out: Path | None,
    by: str | None,
    time_field: str | None,
    decisions: Path | None,
    export: Path | None,
    collapse: bool,
    record: bool,
    as_json: bool,
    workspace: str | None,
) -> None:
    """Write the pairs of FILE without conflicts: the same two responses to the same prompt, preferred both ways.

    Rows stay as they are, byte for byte, and in their order; rows that are no pairs are left out ('data check
    --fix OUT' keeps those aside).

    Exit status: 0 no conflict is left, 1 some are, 2 FILE cannot be read.
    """
    if export is not None:
        _refuse_with_export(out, by, record)
        with Ticker("rows") as ticker:
            count = export_decisions(file, export, ticker)
        told = {"conflicts": count, "file": str(export)}
        click.echo(json.dumps(told) if as_json else f"{printable(str(export))}: {count} conflicts to decide")
        return
    if out is None or by is None:
        raise UserError("name what to write and how: -o FILE and --by majority, newest, drop or hand")
    if decisions is not None and by != "hand":
        raise UserError(f"--decisions are made by hand: it goes with --by hand, not {by}")
    here = open_workspace(Path(workspace or ".")) if record else None
    with Ticker("rows") as ticker:
        ask = _by_hand(decisions, ticker, quiet=as_json) if by == "hand" else None
        done = resolve(
            file, out, cast(By, by), ask=ask, decided=decisions, time_field=time_field, collapse=collapse,
            progress=ticker,
        )  # fmt: skip
    run = _record(here, out, done, by) if here is not None else None
    if as_json:
        click.echo(json.dumps({**asdict(done), "file": str(out), "run": run}, indent=2))
    else:
        _people(file, out, by, done, run)
    sys.exit(1 if done.left else 0)


def _refuse_with_export(out: Path | None, by: str | None, record: bool) -> None:
    if out is not None or by is not None or record:
        raise UserError("--export writes conflicts to decide and nothing else: leave out -o, --by and --record")


def _people(file: Path, out: Path, by: str, done: Resolved, run: str | None) -> None:
    click.echo(f"{printable(file.name)}: {done.conflicts} conflicts in {done.conflict_rows} of {done.rows} rows")
    if done.tied:
        click.echo(f"as many rows on both sides, so all of them go: {done.tied} conflicts")
    if done.conflicts:
        click.echo(f"rows dropped by {by}: {done.dropped}")
    if done.left:
        click.echo(f"conflicts left as they are: {done.left}")
    if done.collapsed:
        click.echo(f"rows that said the same as another: {done.collapsed}")
    if done.bad_rows:
        click.echo(f"rows that are no pairs, left out: {done.bad_rows} ('dpotui data check' names them)")
    click.echo(f"{printable(str(out))}: {done.written} pairs written")
    if run is not None:
        click.echo(f"recorded as {run}")


def _record(workspace: Workspace, out: Path, done: Resolved, by: str) -> str:
    """Write the finished run and its fact at once: no engine ever sees it queued."""
    db = open_store(workspace.database)
    try:
        name = workspace.relative(out.expanduser().absolute())
        inputs = files.fingerprints(db, workspace, name)
        fact = Fact(
            "data.conflicts", float(done.left), "conflicts", n=done.written, inputs=inputs, time=time.time(),
            source=f"same two responses preferred both ways in {printable(out.name)};"
            f" {done.conflicts - done.left} settled by {by}",
        )  # fmt: skip
        with transaction(db):
            config: dict[str, Any] = {"data": {"train_file": name, "validation_file": None}}
            run = runs.create(db, "data_check", config=config, name=f"resolve {name}", steps=1)
            facts.record(db, replace(fact, run=run.id))
            runs.update(db, run.id, state="finished", step=1, inputs=inputs, started=fact.time, ended=time.time())
        return run.id
    finally:
        db.close()


# By hand


def _by_hand(path: Path | None, ticker: Ticker, *, quiet: bool) -> Ask:
    """Decisions from a file, and from whoever sits at the terminal for those that it lacks."""
    known = read_decisions(path) if path is not None and path.exists() else {}
    person = sys.stdin.isatty() and sys.stdout.isatty() and not quiet
    if not person and (path is None or not path.exists()):
        raise UserError(
            "by hand needs a terminal, or decisions in a file: 'dpotui data resolve FILE --export DECISIONS' writes"
            " one to fill in, --decisions DECISIONS reads it"
        )

    def ask(conflict: Conflict) -> Decision | None:
        decision = known.get(conflict.key)
        if decision is not None or not person:
            return decision
        ticker.clear()
        decision = ask_person(conflict, click.echo, click.getchar)
        if path is not None:
            _append(path, conflict, decision)
        return decision

    return ask


def ask_person(conflict: Conflict, echo: Callable[[str], None], key: Callable[[], str]) -> Decision | None:
    """Show a conflict and wait for a key.

    Raises:
        UserError: they stopped.
    """
    _show(conflict, echo, _SHOWN)
    while True:
        echo("a A is better   b B is better   d drop its rows   s leave it   m show all   q stop")
        pressed = key().lower()
        if pressed in _ANSWERS:
            return _ANSWERS[pressed]
        if pressed == "m":
            _show(conflict, echo, None)
        elif pressed in ("q", "\x03", "\x04", ""):
            raise UserError("stopped, and nothing written; decisions made with --decisions FILE are kept there")


def _show(conflict: Conflict, echo: Callable[[str], None], limit: int | None) -> None:
    echo(f"\nconflict {conflict.number} of {conflict.total}, first in line {conflict.line}\n")
    parts = (
        ("prompt", conflict.prompt),
        (f"A, preferred by {_rows(conflict.for_first)}", conflict.first),
        (f"B, preferred by {_rows(conflict.for_second)}", conflict.second),
    )
    for title, text in parts:
        words = _words(text)
        echo(f"── {title} " + "─" * max(0, 60 - len(title)))
        if limit is not None and len(words) > limit:
            echo(printable(words[:limit]) + f"\n… of {len(words)} characters (m shows all)\n")
        else:
            echo(printable(words) + "\n")


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count} rows"


def _words(text: Text) -> str:
    if isinstance(text, str):
        return text
    if len(text) == 1:
        return str(text[0]["content"])
    return "\n\n".join(f"{turn['role']}: {turn['content']}" for turn in text)


def _append(path: Path, conflict: Conflict, decision: Decision | None) -> None:
    if decision is None:
        return
    try:
        before = path.read_text("utf-8") if path.exists() else ""
        row = json.dumps(decision_row(conflict, decision), ensure_ascii=False)
        write_private(path, before + ("" if not before or before.endswith("\n") else "\n") + row + "\n")
    except OSError as error:
        raise UserError(f"{printable(str(path))} cannot be written ({error.strerror}): name another file") from error
