"""`dpotui report`: the evaluation report, the decision on the model, and whether a report still holds."""

from __future__ import annotations

import getpass
import json
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from core.errors import UserError
from core.store import Database, open_store
from core.store.decisions import CHOICES, Choice
from core.text import one_line, printable
from core.workspace import Workspace, open_workspace

if TYPE_CHECKING:
    from core.report import Checked

_LISTED = 40


@click.command("report")
@click.option("-o", "--output", "outputs", multiple=True, type=click.Path(path_type=Path), metavar="FILE",
              help="Write FILE.md, FILE.html or FILE.json; may be given several times.")  # fmt: skip
@click.option("--verify", "verified", type=click.Path(path_type=Path), metavar="FILE",
              help="Whether every figure of this report is still what runs.db and the files say.")  # fmt: skip
@click.option("--decide", type=click.Choice(CHOICES), help="Sign what becomes of the model; needs --note.")
@click.option("--note", metavar="TEXT", help="Why it was decided so.")
@click.option("--against", multiple=True, metavar="NAME",
              help="With deploy: an unmet criterion, by name, against which it is deployed all the same.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@click.option("-w", "--workspace", "folder", type=click.Path(path_type=Path), default=Path(), help="Default: here.")
def command(
    outputs: tuple[Path, ...],
    verified: Path | None,
    decide: Choice | None,
    note: str | None,
    against: tuple[str, ...],
    as_json: bool,
    folder: Path,
) -> None:
    """Write the evaluation report: what was measured, what was not, and what was decided.

    \b
    dpotui report                                     as Markdown on stdout
    dpotui report -o report.md -o report.html
    dpotui report --decide iterate --note "win rate below half on long prompts"
    dpotui report --verify report.html

    The same runs.db and files give the same bytes. A decision is written to outputs/report/ where no file is named.
    Exit status: 0 done, 1 --verify found a figure that is not what it was, 2 wrong use.
    """
    if verified is not None and (outputs or decide or note or against):
        raise UserError("--verify reads a report: leave out -o, --decide, --note and --against")
    if decide is None and (note is not None or against):
        raise UserError("--note and --against go with --decide deploy, iterate or reject")
    if decide is not None and not (note or "").strip():
        raise UserError('--decide needs --note "TEXT": say why')
    workspace = open_workspace(folder)
    with closing(open_store(workspace.database)) as db:
        if verified is not None:
            sys.exit(_verify(db, workspace, verified, as_json))
        _write(db, workspace, [path.expanduser().absolute() for path in outputs], decide, note, against, as_json)


def _write(
    db: Database,
    workspace: Workspace,
    paths: list[Path],
    choice: Choice | None,
    note: str | None,
    against: tuple[str, ...],
    as_json: bool,
) -> None:
    from core.report import Sources, build, decide, page, written
    from core.report.as_json import document
    from core.report.save import export, refuse, usual

    if choice is not None and not paths:
        paths = usual(workspace)
    # A decision is not kept when its report could not be.
    for path in paths:
        refuse(path)
    said: list[str] = []
    if choice is not None:
        said = decide(db, workspace, choice, note or "", getpass.getuser(), against)[1]
    sources = Sources(db, workspace)
    report = build(sources)
    if paths:
        export(sources, report, paths)
        said += written(db, workspace, paths, getpass.getuser())
    if as_json:
        files = [{"path": str(path), "bytes": path.stat().st_size} for path in paths]
        _print_json(document(sources, report) | {"files": files, "left_alone": said})
        return
    if not paths:
        click.echo(page(report, ".md").encode("utf-8", "backslashreplace").decode(), nl=False)
    for path in paths:
        click.echo(printable(str(path)))
    if choice is not None:
        click.echo(f"decided: {choice}")
    for sentence in said:
        click.echo(printable(sentence), err=True)


def _verify(db: Database, workspace: Workspace, file: Path, as_json: bool) -> int:
    from core.report import Sources, verify
    from core.report.holding import OUTCOMES

    checked = verify(Sources(db, workspace), file)
    if as_json:
        _print_json(
            {
                "file": str(file),
                "good": checked.good,
                "sealed": checked.sealed,
                "whole": checked.whole,
                "counts": {outcome: checked.count(outcome) for outcome in OUTCOMES},
                "lines": list(checked.lines),
                "figures": [
                    {"id": h.id, "line": h.line, "outcome": h.outcome, "was": h.was, "is": h.now, "why": h.why or None}
                    for h in checked.figures
                ],
            }
        )
    else:
        for line in _said(file, checked):
            click.echo(line)
    return 0 if checked.good else 1


def _said(file: Path, checked: Checked) -> list[str]:
    from core.report.holding import OUTCOMES

    name = printable(str(file))
    wrong = [held for held in checked.figures if held.outcome != "same"]
    lines = []
    for held in wrong[:_LISTED]:
        words = f"was {one_line(held.was, 60)}" + (f", is {one_line(held.now, 60)}" if held.now != held.was else "")
        why = f" ({one_line(held.why, 100)})" if held.why else ""
        lines.append(f"{held.outcome:<9} line {held.line}: {one_line(held.id, 90)}: {words}{why}")
    if len(wrong) > _LISTED:
        lines.append(f"… and {len(wrong) - _LISTED} more: --json lists them all")
    if checked.lines:
        shown = ", ".join(map(str, checked.lines[:12])) + (" …" if len(checked.lines) > 12 else "")
        lines.append(f"tampered  text was changed by hand in line {shown}")
    if not checked.sealed:
        lines.append("tampered  the machine-readable part was changed by hand")
    counts = ", ".join(f"{checked.count(outcome)} {outcome}" for outcome in OUTCOMES if checked.count(outcome))
    end = "it is what would be written now" if checked.whole else "other parts would be written otherwise now"
    return [*lines, f"{name}: {counts or 'no figures'}" + (f"; {end}" if checked.good else "")]


def _print_json(document: Any) -> None:
    # On a terminal no character of it can be a command.
    click.echo(json.dumps(document, indent=2, ensure_ascii=sys.stdout.isatty(), allow_nan=False))
