"""The figures of an evaluation that are one number each and no gate: perplexity, accuracy on held-out pairs."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len

from core.store import Database, facts
from core.store.facts import Fact
from core.store.runs import Run
from core.text import one_line, printable
from core.workspace import Workspace
from dpotui import say
from dpotui.results import Block
from dpotui.results.capability import BASELINE
from dpotui.results.subject import of_another
from dpotui.roles import Span
from dpotui.wrap import wrap

# Of the final model; the baseline's perplexity stands beside it.
_FINAL = (
    ("eval.perplexity", "perplexity, final model"),
    ("sft.perplexity", "perplexity, baseline"),
    ("eval.preference_accuracy", "accuracy on held-out pairs"),
)
_BASELINE = (("sft.perplexity", "perplexity, baseline"),)
_NAME, _VALUE, _INTERVAL, _N = 27, 8, 18, 6


def read(db: Database, workspace: Workspace, run: Run | None) -> Block | None:
    """Those of the run in hand, where it has them, else the newest ones."""
    names = _BASELINE if run is not None and run.stage == BASELINE else _FINAL
    newest, own = facts.latest(db), facts.of_run(db, run.id) if run is not None else {}
    found = [(title, known) for name, title in names if (known := own.get(name) or newest.get(name)) is not None]
    # The baseline's alone is no news of a final model.
    if not found or (names is _FINAL and all(known.name == "sft.perplexity" for _, known in found)):
        return None
    title = "Perplexity" if all("perplexity" in known.name for _, known in found) else "Perplexity and held-out pairs"
    # The baseline's stands beside that of each final model.
    shown = next((known.run for _, known in found if known.name.startswith("eval.")), None)
    other = of_another(db, run, shown)
    return Block(
        title,
        lambda width: [*([[(line, "warn")] for line in wrap(other, width)] if other else []), *_lines(found, width)],
    )


def _lines(found: Sequence[tuple[str, Fact]], width: int) -> list[Sequence[Span]]:
    head = f"{'figure':{_NAME}} {'value':>{_VALUE}} {'95 %':>{_INTERVAL}} {'n':>{_N}}  run"
    lines: list[Sequence[Span]] = [[(one_line(head, width), "dim")]]
    for title, known in found:
        if known.value is None:
            lines += [[(line, "warn")] for line in wrap(printable(f"{title}: unknown: {known.source}"), width)]
            continue
        interval = ""
        if known.low is not None and known.high is not None:
            interval = f"[{say.value(known.low)}, {say.value(known.high)}]"
        value = f"{say.value(known.value)}{' %' if known.unit == '%' else ''}"
        count = "" if known.n is None else str(known.n)
        cells = f" {interval:>{_INTERVAL}} {count:>{_N}}  "
        room = width - _NAME - 1 - _VALUE - cell_len(cells)
        run = one_line(known.run, room) if known.run and room > 3 else ""
        lines.append([(f"{title:{_NAME}} ", ""), (f"{value:>{_VALUE}}", "title"), (cells, "dim"), (run, "dim")])
        lines += [[(f"  {line}", "dim")] for line in wrap(printable(known.source), width - 2)[:2]]
    return lines
