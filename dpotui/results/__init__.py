"""What is special to a stage, read for its pane "Results": the capability table, win rate, marks by people, ..."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module

from core.errors import UserError
from core.store import Database
from core.store.runs import Run
from core.text import one_line
from core.workspace import Workspace
from dpotui.roles import Span


@dataclass(frozen=True, slots=True)
class Block:
    """One table or chart of the pane.

    Attributes:
        title: stands above it.
        lines: its rows at a width in cells. Called by the terminal's own thread whenever the width changes, so what is
            read from files or runs.db is read before.
    """

    title: str
    lines: Callable[[int], list[Sequence[Span]]]


SWEPT_IN = 5

# The modules that have something to show of a stage, in this order. Each has `read(db, workspace, run)`, which gives a
# Block or None: called by the thread that polls runs.db, only when something in it changed or another run is looked at.
# `run` is the one in hand, None where the stage has none. What a person did to a file is a UserError, never a crash.
PROVIDERS: dict[int, tuple[str, ...]] = {
    1: ("dpotui.results.ranks", "dpotui.results.capability", "dpotui.results.figures", "dpotui.results.samples"),
    4: ("dpotui.results.ranks", "dpotui.results.reward"),
    5: ("dpotui.results.sweep", "dpotui.results.ranks"),
    6: ("dpotui.results.iterations",),
    7: (
        "dpotui.results.capability",
        "dpotui.results.win_rate",
        "dpotui.results.figures",
        "dpotui.results.human",
        "dpotui.results.samples",
    ),
}


def provided(stage: int, run: Run | None) -> bool:
    """Whether a stage has results to show or to wait for; DPO has them in a sweep, and spread over hosts."""
    if stage == SWEPT_IN:
        from dpotui.results.ranks import spread
        from dpotui.results.sweep import of_sweep

        return spread(run) or of_sweep(run) is not None
    return stage in PROVIDERS


def read(db: Database, workspace: Workspace, stage: int | None, run: Run | None) -> tuple[Block, ...]:
    """All that there is to show of a stage with this run in hand."""
    blocks = []
    for name in PROVIDERS.get(stage, ()) if stage is not None else ():
        try:
            block: Block | None = import_module(name).read(db, workspace, run)
        except ModuleNotFoundError as error:
            if error.name != name:
                raise
            continue
        except (UserError, OSError) as error:
            block = _failed(name, str(error).replace(f"{workspace.root}/", ""))
        if block is not None:
            blocks.append(block)
    return tuple(blocks)


def _failed(name: str, words: str) -> Block:
    title = name.rpartition(".")[2].replace("_", " ")
    return Block(title, lambda width: [[(one_line(words, width), "bad")]])
