"""Gradient norms by layer and module: asked of the run in training, and those of the steps that were measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, cast

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content

from core.errors import UserError
from core.store import commands, gradients, runs
from core.store.gradients import Norms
from core.text import one_line
from dpotui import say
from dpotui.gradients import Module, Order, Table, short, table
from dpotui.roles import Span
from dpotui.screens.modal import Modal
from dpotui.widgets.lines import Lines

if TYPE_CHECKING:
    from dpotui.app import Workbench

# How often it is asked whether runs.db has changed (seconds): microseconds, and nothing is painted where it has not.
_LOOK = 0.25
# Cells of a column of norms, of the column of names, and of what stands behind: norm, share, times before.
_CELL, _NAME, _TAIL = 10, 12, 29
# In lists.
_LONGEST_NAME = 34
_LEAST_BAR = 6


class GradientLines(Lines, can_focus=True):
    """Layers by kinds of module where there is room for a column each, else a list of modules with bars."""

    FIXED = 3

    def __init__(self) -> None:
        super().__init__()
        self._table: Table | None = None
        self._order: Order = "layer"
        self._words: tuple[Span, Span] = (("", ""), ("", ""))
        self._empty = ""
        self._body: list[list[Span]] = []
        self._head: list[Span] = []

    def fill(self, found: Table | None, order: Order, words: tuple[Span, Span], empty: str) -> None:
        """Show these norms under two lines of words; `empty` is said where there are none."""
        self._table, self._order, self._words, self._empty = found, order, words, empty
        self.show()

    def _make(self) -> None:
        # Laid out for the very size that is painted: else a first frame would say that there is nothing.
        self._lay_out()
        self.rows = len(self._body)
        self.top = min(self.top, self.last_top)
        super()._make()

    def fixed(self, y: int, width: int) -> Sequence[Span]:
        if y < 2:
            words, role = self._words[y]
            return [(" " + one_line(words, width - 2), role)]
        return self._head

    def row(self, y: int, width: int) -> Sequence[Span]:
        if not self._body:
            return self.message(self._empty, y, width)
        return self._body[y] if y < len(self._body) else []

    def _lay_out(self) -> None:
        width = self.size.width - 1  # a cell for the scroll bar
        self._head, self._body = [], []
        if self._table is None or width <= 0:
            return
        if self._table.kinds and _NAME + _CELL * len(self._table.kinds) + _TAIL <= width:
            self._by_layer(self._table, width)
        else:
            self._by_module(self._table, width)

    def _by_layer(self, found: Table, width: int) -> None:
        names = short(found.kinds)
        head = f" {'layer':<{_NAME - 1}}" + "".join(
            f"{one_line(names[kind], _CELL - 1):>{_CELL}}" for kind in found.kinds
        )
        self._head = [(f"{head}{'norm':>{_CELL}}{'share':>8}{'× before':>9}", "dim")]
        largest = max((module.norm for module in found.modules if not module.lost), default=0.0)
        rows = found.layers(self._order)
        longest = max((layer.norm for layer, _ in rows if not layer.lost), default=0.0)
        for layer, own in rows:
            name = str(layer.layer) if layer.layer is not None else layer.kind
            spans: list[Span] = [(f" {_padded(one_line(name, _NAME - 2), _NAME - 1)}", "")]
            for kind in found.kinds:
                module = own.get(kind)
                if module is None:
                    spans.append((f"{'·' if own else '':>{_CELL}}", "faint"))
                    continue
                text, role = _norm(module)
                spans.append((f"{text:>{_CELL}}", "title" if module.norm == largest else role))
            self._body.append([*spans, *_tail(layer, width - _NAME - _CELL * len(found.kinds) - _TAIL, longest)])

    def _by_module(self, found: Table, width: int) -> None:
        largest = max((module.norm for module in found.modules if not module.lost), default=0.0)
        name = min(
            max((len(_called(module)) for module in found.modules), default=0),
            _LONGEST_NAME,
            max(10, width - _TAIL - _LEAST_BAR - 2),
        )
        self._head = [(f" {'module':<{name}} {'norm':>{_CELL}}{'share':>8}{'× before':>9}", "dim")]
        for module in found.ordered(self._order):
            called = one_line(_called(module), name)
            self._body.append([(f" {_padded(called, name)} ", ""), *_tail(module, width - name - 2 - _TAIL, largest)])


class GradientsScreen(Modal[None]):
    """Opened on a run in training it asks for the norms of the next step, and shows them when they are there."""

    DEFAULT_CSS = """
    GradientsScreen {
        align: center middle;
        & > GradientLines {
            width: 95%; max-width: 180; height: 90%; background: $surface; border: round $primary;
            border-title-color: $primary; border-title-style: bold; border-subtitle-color: $dim;
        }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "dismiss", "Close", key_display="esc", id="gradients.close"),
        Binding("G", "ask", "Measure", tooltip="Measure the next step", id="gradients.ask"),
        Binding("s", "sort", "Sort", tooltip="By layer, or the largest first", id="gradients.sort"),
        Binding("less_than_sign,comma", "step(-1)", "Earlier", key_display="<", tooltip="The measured step before",
                id="gradients.earlier"),
        Binding("greater_than_sign,full_stop", "step(1)", "Later", key_display=">", tooltip="The next measured step",
                id="gradients.later"),
        Binding("up,k", "move(-1)", "Up", show=False, id="gradients.up"),
        Binding("down,j", "move(1)", "Down", show=False, id="gradients.down"),
        Binding("pageup", "move(-10)", "Page up", show=False, id="gradients.page-up"),
        Binding("pagedown", "move(10)", "Page down", show=False, id="gradients.page-down"),
        Binding("home", "move(-1000000)", "First", show=False, id="gradients.first"),
        Binding("end", "move(1000000)", "Last", show=False, id="gradients.last"),
    ]  # fmt: skip

    def __init__(self, run: str) -> None:
        super().__init__()
        self._run = run
        self._asked: int | None = None  # the command that is waited for
        self._refused = ""
        self._at: int | None = None  # the step that was gone to; None: the newest
        self._order: Order = "layer"
        self._steps: list[int] = []
        self._known: dict[int, Norms | None] = {}
        self._version = -1

    @property
    def bench(self) -> Workbench:
        return cast("Workbench", self.app)

    def compose(self) -> ComposeResult:
        lines = GradientLines()
        lines.border_title = Content(f"Gradients of {self._run}")
        lines.border_subtitle = "G measure · < > step · s sort · esc close"
        yield lines

    def on_mount(self) -> None:
        self.query_one(GradientLines).focus()
        run = runs.get(self.bench.db, self._run)
        if run.state in runs.LIVE:
            self.action_ask()
        else:
            self._refused = f"{run.id} is {run.state}: no step follows to be measured"
            self._look()
        self.set_interval(_LOOK, self._look_again)

    def _look_again(self) -> None:
        if self._version != self._newest_version():
            self._look()

    def _newest_version(self) -> int:
        """Another number when another program, or another thread of this one, wrote to runs.db."""
        return int(self.bench.db.execute("PRAGMA data_version").fetchone()[0])

    def _look(self) -> None:
        """Show what is known now: a few rows."""
        self._version = self._newest_version()
        self._steps = gradients.steps(self.bench.db, self._run)
        step = self._step()
        found = None
        if step is not None:
            norms, before = self._norms(step), self._norms(self._step_before(step))
            found = table(norms.modules, before.modules if before else None) if norms else None
        words = (self._headline(step, found), self._state())
        empty = "none of its steps was measured yet\n\nG measures the next one while the run trains"
        self.query_one(GradientLines).fill(found, self._order, words, empty)

    def _norms(self, step: int | None) -> Norms | None:
        if step is None:
            return None
        if self._known.get(step) is None:
            self._known[step] = gradients.at(self.bench.db, self._run, step)
        return self._known[step]

    def _step(self) -> int | None:
        if not self._steps:
            return None
        return self._at if self._at in self._steps else self._steps[-1]

    def _step_before(self, step: int) -> int | None:
        index = self._steps.index(step)
        return self._steps[index - 1] if index else None

    def _headline(self, step: int | None, found: Table | None) -> Span:
        if step is None or found is None:
            return "", ""
        place = f"step {say.steps(step)}, {self._steps.index(step) + 1} of {len(self._steps)}"
        if lost := found.lost:
            where = ", ".join(_called(module) for module in lost[:3]) + (" …" if len(lost) > 3 else "")
            return f"{place}: NO NUMBER in {len(lost)} of {len(found.modules)} modules: {where}", "bad"
        order = "by layer" if self._order == "layer" else "largest first"
        return f"{place}: norm {say.number(found.total)} of {len(found.modules)} modules, {order}", "title"

    def _state(self) -> Span:
        """What is waited for, or what came of it."""
        if self._refused:
            return self._refused, "dim"
        mine = next((c for c in commands.of_run(self.bench.db, self._run) if c.id == self._asked), None)
        if mine is None:
            return "", ""
        if mine.answer is not None:
            return mine.answer, "dim"
        run = runs.get(self.bench.db, self._run)
        asked = f"asked {say.clock(mine.time)}"
        if run.state == "paused":
            return f"{asked}: measured once {run.id}, which is paused, goes on (r)", "warn"
        return f"{asked}: the next step is measured; now: {run.phase or 'training'}", "accent"

    def action_ask(self) -> None:
        waiting = [c for c in commands.pending(self.bench.db, self._run) if c.verb == "gradients"]
        try:
            self._asked = waiting[0].id if waiting else self._send()
        except UserError as error:
            self._refused = str(error)
        else:
            self._refused = ""
            self._at = None
        self._look()

    def _send(self) -> int:
        sent = commands.send(self.bench.db, self._run, "gradients", self.bench.who)
        self.bench.written()
        return sent

    def action_sort(self) -> None:
        self._order = "norm" if self._order == "layer" else "layer"
        self._look()

    def action_step(self, by: int) -> None:
        step = self._step()
        if step is None:
            return
        index = min(max(0, self._steps.index(step) + by), len(self._steps) - 1)
        self._at = None if index == len(self._steps) - 1 else self._steps[index]
        self._look()

    def action_move(self, by: int) -> None:
        lines = self.query_one(GradientLines)
        lines.scroll_rows(lines.top + by)


def _padded(text: str, width: int) -> str:
    return text + " " * (width - cell_len(text))


def _called(module: Module) -> str:
    return module.kind if module.layer is None else f"{module.layer} {module.kind}"


def _norm(module: Module) -> Span:
    """A norm in words: what is no number stands out without colour too."""
    return ("!! NaN", "bad") if module.lost else (say.number(module.norm), "")


def _tail(module: Module, room: int, largest: float) -> list[Span]:
    """Norm, share of the whole, times what it was before; beside the largest norm as a bar, where there is room."""
    text, role = _norm(module)
    share = "—" if module.share is None else f"{100 * module.share:.1f}%"
    times = f"×{module.times:.3g}" if module.times is not None and math.isfinite(module.times) else ""
    spans: list[Span] = [(f"{text:>{_CELL}}", role), (f"{share:>8}", "dim"), (f"{times:>9}  ", "dim")]
    if room >= _LEAST_BAR and largest > 0 and not module.lost:
        spans.append(("━" * round(module.norm / largest * room), "bar"))
    return spans
