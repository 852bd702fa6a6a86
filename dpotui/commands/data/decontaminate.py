"""`dpotui data decontaminate`: pairs that hold items of benchmarks, and a copy of the file without them."""

from __future__ import annotations

import io
import json
import shutil
import sys
import textwrap
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from core.data.benchmarks import benchmarks_folder, names
from core.data.decontamination import (
    COVERAGE,
    NGRAM,
    NO_BENCHMARKS,
    Contamination,
    Hit,
    compared,
    decontamination_fact,
    find_benchmarks,
    findings,
    method,
    score_text,
)
from core.data.manifest import Writer, writing
from core.data.pairs import Pair
from core.errors import UserError
from core.store.facts import Fact
from core.text import printable
from core.workspace import Workspace
from dpotui.commands.data.recording import Ticker, hashes, record, unchanged, workspace_of


@click.command("decontaminate")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--benchmark",
    "benchmarks",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A benchmark file, JSONL; may be given again (default: all in data/benchmarks of the workspace).",
)
@click.option("--n", default=NGRAM, show_default=True, help="Words of an n-gram.")
@click.option("--coverage", default=COVERAGE, show_default=True, help="Share of an item that is too much.")
@click.option("--fix", "out", type=click.Path(path_type=Path), metavar="OUT", help="Write a copy without those pairs.")
@click.option(
    "--show",
    type=click.IntRange(0),
    default=5,
    show_default=True,
    help="Contaminated pairs to print beside their items.",
)
@click.option("--record", "recorded", is_flag=True, help="Record the score as a fact of the workspace, for its gates.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@click.option("-w", "--workspace", metavar="DIR", help="The workspace (default: around here).")
def command(
    file: Path,
    benchmarks: tuple[Path, ...],
    n: int,
    coverage: float,
    out: Path | None,
    show: int,
    recorded: bool,
    as_json: bool,
    workspace: str | None,
) -> None:
    """Find the pairs of FILE that hold items of the benchmarks you evaluate on.

    An item is contaminated by a pair when more than half of its words are covered by runs of 8 words that stand in the
    pair's prompt and response too. The score is 1 - contaminated pairs / pairs.

    Exit status: 0 no pair is contaminated (or a copy without them was written), 1 some are or there is nothing to
    compare with, 2 wrong use or bad input.
    """
    here = workspace_of(workspace, needed=recorded)
    against = list(benchmarks) or (find_benchmarks(here) if here else [])
    if out is not None and not against:
        raise UserError(f"nothing to compare with: {NO_BENCHMARKS}; or name --benchmark FILE")
    started = time.time()
    paths = [file, *against]
    if here is not None and against and not benchmarks:
        paths.append(benchmarks_folder(here))
    before = hashes(here, paths) if here else {}
    found = _compare(file, against, n, coverage, out, show)
    fact = decontamination_fact(found if against else None, [file], before)
    run = None
    if here is not None:
        unchanged(here, paths, before)
        if against:
            _index(here, file, found)
        run = record(here, "decontaminate", file, [fact], started) if recorded else None
    if as_json:
        # Names of files may hold what is no text.
        click.echo(json.dumps(_document(found, fact, out, run), indent=2, ensure_ascii=True, allow_nan=False))
    else:
        _people(found, fact, file, out, run)
    sys.exit(1 if not against or (found.contaminated and out is None) else 0)


def _compare(file: Path, against: list[Path], n: int, coverage: float, out: Path | None, show: int) -> Contamination:
    """One pass over the file; with `out`, what is clean is copied byte for byte as it comes by."""
    writer: Writer | None = None
    with ExitStack() as stack:
        ticker = stack.enter_context(Ticker("compared"))
        if out is not None:
            parameters: dict[str, Any] = {"n": n, "coverage": coverage}
            writer = stack.enter_context(
                writing(out, command="data decontaminate --fix", parameters=parameters, parents=[file, *against])
            )
        found = compared(
            file, against, n=n, coverage=coverage, clean=writer.line if writer else None,
            progress=ticker, examples=show,
        )  # fmt: skip
        if writer is not None:
            if not writer.rows:
                raise UserError(f"all {found.pairs} pairs of {printable(str(file))} are contaminated: nothing is left")
            writer.counts |= {"pairs": writer.rows, "contaminated": found.contaminated}
    return found


def _index(workspace: Workspace, file: Path, found: Contamination) -> None:
    """Into the index of the file, where it has one, so that the terminal leads to these pairs."""
    from core.data.index import existing

    index = existing([file], workspace.cache / "data")
    if index is not None:
        with index:
            index.add_findings("contaminated", findings(found))


def _document(found: Contamination, fact: Fact, out: Path | None, run: str | None) -> dict[str, Any]:
    known = bool(found.benchmarks)
    return {
        "pairs": found.pairs,
        "contaminated": found.contaminated if known else None,
        "score": found.score,
        "items": [
            {"line": hit.line, "benchmark": hit.benchmark, "item": hit.item.id, "coverage": hit.coverage}
            for hit in found.hits
        ],
        "benchmarks": [str(path) for path in found.benchmarks],
        "benchmark_items": found.items,
        "n": found.n,
        "coverage": found.coverage,
        "not_compared": found.skipped,
        "source": fact.source,
        "written": None if out is None else str(out),
        "run": run,
    }


# For people


def _people(found: Contamination, fact: Fact, file: Path, out: Path | None, run: str | None) -> None:
    name = printable(file.name)
    if fact.value is None:
        click.echo(f"decontamination unknown: {fact.source}")
    else:
        click.echo(
            f"{name}: {found.contaminated} of {found.pairs} pairs are contaminated, score {score_text(fact.value)}"
        )
        click.echo(f"compared with {found.items} items of {', '.join(names(found.benchmarks))}")
        click.echo(textwrap.fill(f"an item counts when {method(found.n, found.coverage)}", 80))
    if found.skipped:
        click.echo(f"rows that are no pairs and were not compared: {found.skipped} (dpotui data check tells why)")
    if found.examples:
        _side_by_side(found, name)
    rest = found.contaminated - len(found.examples)
    if rest > 0:
        more = "more " if found.examples else ""
        click.echo(
            f"\n{rest} {more}contaminated pair{'' if rest == 1 else 's'}: --show {found.contaminated}, or --json for"
            " all lines"
        )
    if out is not None:
        click.echo(f"{printable(str(out))}: {found.pairs - found.contaminated} pairs written, without the contaminated")
    if run is not None:
        click.echo(f"recorded as {run}")


def _side_by_side(found: Contamination, name: str) -> None:
    """The item on the left, the pair on the right; what both say stands between « and »."""
    from rich.console import Console
    from rich.table import Table

    width = max(40, min(shutil.get_terminal_size((80, 24)).columns, 160))
    terminal = sys.stdout.isatty()
    console = Console(
        file=io.StringIO(), width=width, force_terminal=terminal, highlight=False, emoji=False, markup=False
    )
    for pair, hits in found.examples:
        item, parts = _shown(pair, hits[0], found.n)
        table = Table.grid(padding=(0, 2), expand=True)
        table.add_column(ratio=1)
        table.add_column(ratio=1)
        table.add_row(item, parts)
        with console.capture() as captured:
            console.print(table)
        more = f", and {len(hits) - 1} more" if len(hits) > 1 else ""
        click.echo(f"\n{name}:{pair.line} holds {hits[0].coverage:.1%} of {printable(hits[0].item.id)}{more}")
        click.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))


def _shown(pair: Pair, hit: Hit, n: int) -> tuple[Any, Any]:
    from rich.text import Text

    from core.data.overlap import overlap

    same = overlap(pair, hit.item.text, n)
    left = Text("item\n", style="dim")
    left.append_text(_marked(hit.item.text, same.item, whole=True))
    right = Text()
    for part, (text, spans) in same.parts.items():
        if spans:
            right.append(f"{part}\n" if not right else f"\n{part}\n", style="dim")
            right.append_text(_marked(text, spans))
    return left, right


_AROUND = 40  # characters of the text beside what is shared
_LONGEST = 1000


def _marked(text: str, spans: list[tuple[int, int]], *, whole: bool = False) -> Any:
    """A text with its spans marked; what lies far from all of them, or far behind the first one, is cut."""
    from rich.text import Text

    around = _LONGEST if whole else _AROUND
    shown = Text()
    at = 0
    for number, (first, last) in enumerate(spans):
        _gap(shown, text[at:first], 0 if number == 0 else around, around)
        shown.append(f"«{_foreign(text[first : min(last, first + _LONGEST)])}»", style="bold")
        at = last
        if len(shown) > _LONGEST:
            break
    _gap(shown, text[at:], around, 0)
    return shown


def _gap(shown: Any, text: str, begin: int, end: int) -> None:
    """What no item holds: so many characters from its beginning and from its end."""
    if len(text) <= begin + end + 10:
        shown.append(_foreign(text))
        return
    shown.append(_foreign(text[:begin].rstrip()) + " … " + _foreign(text[len(text) - end :].lstrip()))


def _foreign(text: str) -> str:
    return printable(text).expandtabs(4)
