"""A training spread over hosts: what each rank did and waited for, and the shares that would balance it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.cells import cell_len

from core.store import Database, ranks
from core.store.ranks import CLOSE, Balance, Part, shares_words
from core.store.runs import Run
from core.text import one_line, printable
from core.workspace import Workspace
from dpotui.results import Block
from dpotui.roles import Span

# Of so many reports the table is; older ones may be of another load of the machines.
_REPORTS = 20
_LEAST_HOST, _MOST_HOST = 6, 24
# From here on the imbalance is told as a warning.
_UNEVEN = 0.1
_BARS = " ▁▂▃▄▅▆▇█"


def spread(run: Run | None) -> bool:
    """Whether a run names hosts to train on."""
    compute: Any = run.config.get("compute") if run is not None else None
    distributed: Any = compute.get("distributed") if isinstance(compute, dict) else None
    return isinstance(distributed, dict) and distributed.get("hosts") is not None


def read(db: Database, workspace: Workspace, run: Run | None) -> Block | None:
    """Those of the run in hand; None where one machine trained it."""
    if run is None:
        return None
    parts = ranks.of_run(db, run.id)
    if not parts:
        return None if not spread(run) else Block("Ranks", lambda width: [[(one_line(_NONE, width), "dim")]])
    newest = ranks.latest(parts, _REPORTS)
    found = ranks.balance(newest)
    assert found is not None
    history = imbalances(parts)
    title = f"{len(found.ranks)} ranks of {run.id}"
    return Block(title, lambda width: lines(found, history, newest[0].step, newest[-1].step, width))


_NONE = "nothing is reported yet: the first comes after training.logging_steps"


def imbalances(parts: Sequence[Part]) -> list[float]:
    """By how much the slowest rank was behind, from report to report."""
    steps = sorted({part.step for part in parts})
    by_step: dict[int, list[Part]] = {step: [] for step in steps}
    for part in parts:
        by_step[part.step].append(part)
    return [found.imbalance for step in steps if (found := ranks.balance(by_step[step])) is not None]


def lines(found: Balance, history: Sequence[float], first: int, last: int, width: int) -> list[Sequence[Span]]:
    """The table, what it comes to, and what to try."""
    names = [printable(part.host) for part in found.ranks]
    room = max(_LEAST_HOST, min(_MOST_HOST, max(map(cell_len, names)), width - 62))
    head = f"rank {'host':{room}} {'share':>6} {'pairs/s':>8} {'busy':>6} {'waits':>6}"
    shown: list[Sequence[Span]] = [[(one_line(head, width), "dim")]]
    slowest = max(found.ranks, key=lambda part: part.computing)
    for part, name in zip(found.ranks, names, strict=True):
        whole = part.computing + part.waiting
        busy = 100 * part.computing / whole if whole else 0.0
        name = one_line(name, room)
        row = f"{part.rank:<4} {name}{' ' * (room - cell_len(name))} {100 * part.share:5.1f}% {part.rate:8.3g}"
        row += f" {busy:5.0f}% {100 - busy:5.0f}%"
        late = part is slowest and found.imbalance >= _UNEVEN
        shown.append([(one_line(row, width), ""), *([("  the others wait for it", "warn")] if late else [])])
    uneven = found.imbalance >= _UNEVEN
    where = f"steps to {last}" if first == last else f"steps {first} to {last}"
    said = f"imbalance {100 * found.imbalance:.0f} % ({where}): the slowest computes so much longer than the mean"
    shown += [[], [(one_line(said, width), "warn" if uneven else "")]]
    if len(history) > 1:
        shown.append([(one_line(f"from report to report {sparkline(history, width - 24)}", width), "dim")])
    advice = advise(found)
    shown += [[(one_line(advice, width), "good" if not uneven else "")]] if advice else []
    return shown


def advise(found: Balance) -> str:
    """What shares would let all be ready at once."""
    if found.better is None:
        return "a rank took no pairs: nothing is known of what it can do"
    now = [part.share for part in found.ranks]
    if max(abs(a - b) for a, b in zip(now, found.better, strict=True)) < CLOSE:
        return f"{shares_words(now)} is balanced"
    better = shares_words(found.better)
    return f"try {better}: stop it, then 'dpotui runs resume RUN --hosts FILE --shares {better.replace('/', ',')}'"


def sparkline(values: Sequence[float], width: int) -> str:
    """From 0 to the largest, the newest at the right."""
    kept = list(values)[-max(1, width) :]
    top = max(kept) or 1.0
    return "".join(_BARS[min(8, max(1, round(8 * value / top)))] for value in kept)
