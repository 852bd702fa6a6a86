"""Stage: its checklist, what can be started from it, its run with charts and log, its gates."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from textual import on
from textual.binding import Binding, BindingType
from textual.reactive import reactive
from textual.widget import Widget
from textual.widgets import Input

from core.store.runs import LIVE, Run
from dpotui import cards, charts, why
from dpotui.live import Snapshot, Watched
from dpotui.log_pages import LogPages
from dpotui.results import PROVIDERS, provided
from dpotui.screens.acting import ActsInStage
from dpotui.screens.dialogs import CardScreen
from dpotui.screens.ticking import TicksItems
from dpotui.stages import SAMPLED_IN, STAGES, Stage
from dpotui.widgets import gates
from dpotui.widgets.charts import Charts
from dpotui.widgets.checklist import ChecklistTree
from dpotui.widgets.find import FindBar
from dpotui.widgets.gates import GateTable
from dpotui.widgets.log import Log
from dpotui.widgets.results import Results
from dpotui.widgets.samples import Samples
from dpotui.widgets.stage_head import StageHead
from dpotui.widgets.table import Table

# From this width on results have room beside the charts; on a less wide screen they stand under them.
_BESIDE = 180

# A gate of the template that stands only where a person gave it a threshold.
_NO_GATES = {
    1: "no gates here\n\nquality_thresholds.perplexity.max in configs/eval_config.yaml gives perplexity a threshold",
}


def _subtitle(widget: Widget, words: str) -> None:
    """Setting it repaints the whole widget, even where it stays the same."""
    if widget.border_subtitle != words:
        widget.border_subtitle = words


class StageScreen(TicksItems, ActsInStage):
    MODE = "Stage"
    PANES = (
        ("Checklist", "checklist"),
        ("Charts", "charts"),
        ("Samples", "samples"),
        ("Results", "results"),
        ("Gates", "stage-gates"),
        ("Log", "log"),
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left_square_bracket", "stage(-1)", "Last stage", show=False, priority=True, id="stage.last"),
        Binding("right_square_bracket", "stage(1)", "Next stage", show=False, priority=True, id="stage.next"),
        # In the checklist the arrows do so, too.
        Binding("left", "turn(-1)", "Last stage", show=False, priority=True, id="stage.turn-back"),
        Binding("right", "turn(1)", "Next stage", show=False, priority=True, id="stage.turn-on"),
    ]  # fmt: skip
    DEFAULT_CSS = """
    StageScreen {
        &.-wide > #panes { layout: grid; grid-size: 2 3; grid-columns: 2fr 3fr; grid-rows: 5fr 2fr 2fr; }
        &.-wide #checklist { row-span: 3; }
        #results, #samples { display: none; }
        &.-narrow #results.-shown { display: block; }
        &.-narrow #samples.-shown { display: block; }
        &.-wide > #panes.-results { grid-size: 2 4; grid-rows: 4fr 4fr 2fr 2fr; }
        &.-wide > #panes.-results > #results { display: block; }
        &.-wide > #panes.-results > #checklist { row-span: 4; }
        &.-wide > #panes.-samples > #samples { display: block; row-span: 2; }
        &.-wide > #panes.-samples > #checklist { row-span: 1; }
        &.-wide.-beside > #panes.-results { grid-size: 3 3; grid-columns: 2fr 3fr 5fr; grid-rows: 5fr 2fr 2fr; }
        &.-wide.-beside > #panes.-results > #checklist { row-span: 3; }
        &.-wide.-beside > #panes.-results > #stage-gates { column-span: 2; }
        &.-wide.-beside > #panes.-results > #log { column-span: 2; }
    }
    """

    stage: reactive[int] = reactive(0, init=False)

    def __init__(self) -> None:
        super().__init__()
        self._placed = False  # a stage was chosen
        self._finds: dict[str, str] = {}
        self._laid_out: tuple[Any, ...] | None = None  # what the checklist was laid out for
        self._sampled: tuple[str | None, tuple[int, ...], str] | None = None
        self._offered: tuple[Any, ...] = ()  # what the keys in the footer were offered for

    def head(self) -> Iterable[Widget]:
        return (StageHead(),)

    def panes(self) -> Iterable[Widget]:
        return ChecklistTree(), Charts(), Samples(), Results(), GateTable(), Log(LogPages(self.bench.workspace))

    @property
    def checklist(self) -> ChecklistTree:
        return self.query_one(ChecklistTree)

    @property
    def pane_at_first(self) -> str:
        # Whoever comes back to a run wants to see how it does.
        return "charts" if self.bench.watching else super().pane_at_first

    def stage_shown(self) -> int | None:
        return self.stage

    def on_resize(self) -> None:
        self.set_class(self.size.width >= _BESIDE, "-beside")
        super().on_resize()
        self.refresh_all()

    def show_run(self, run: Run) -> None:
        """Turn to the stage of a run, with this run in hand."""
        self._wanted = run
        self.stage = run.stage
        self.pane = "charts"
        self.refresh_all()

    @property
    def stage_in_hand(self) -> int:
        return self.stage

    def results_of(self) -> int | None:
        return self.stage if self.stage in PROVIDERS else None

    @property
    def panes_here(self) -> tuple[tuple[str, str], ...]:
        absent = set() if provided(self.stage, self.run_in_hand() if self.is_mounted else None) else {"results"}
        hidden = self.wide and not self.query_one("#panes").has_class("-samples")
        absent |= {"samples"} if hidden or self.stage not in SAMPLED_IN else set()
        return tuple(pane for pane in self.PANES if pane[1] not in absent)

    def fill(self, snapshot: Snapshot) -> None:
        stage, run = STAGES[self.stage], self.run_in_hand()
        self.query_one(StageHead).fill(stage, snapshot, run)
        root = next((root for root in snapshot.roots if root.stage == self.stage), None)
        # The checklist is long: it is laid out anew where it changed, and once a minute for the ages in it.
        laid_out = (self.stage, snapshot.roots, snapshot.states, snapshot.problem, snapshot.time // 60)
        if self._laid_out is None or not all(a is b or a == b for a, b in zip(laid_out, self._laid_out, strict=True)):
            self._laid_out = laid_out
            items = root.children if root else ()
            ids = [item.id for top in items for item in top.walk()]
            self.checklist.fill(items, snapshot.states, snapshot.time, ids, snapshot.problem)
            if root is not None:
                state = snapshot.states[root.id]
                _subtitle(self.checklist, f"{state.done}/{state.total}")
        watched = snapshot.watched if snapshot.watched and run and snapshot.watched.run.id == run.id else None
        self._results(snapshot, run)
        self._run(stage, run, watched, snapshot)
        self._gates(snapshot)
        offered = (self.stage, run.id if run else None, run.state if run else None, snapshot.engine.alive)
        if offered != self._offered:
            self._offered = offered
            self.refresh_bindings()

    def _run(self, stage: Stage, run: Run | None, watched: Watched | None, snapshot: Snapshot) -> None:
        empty = "reading …"
        if run is None:
            empty = "no run of this stage yet"
            empty += f"\n\ng starts {stage.action.title} from {stage.action.config}" if stage.action else ""
            empty += "".join(f", and ^t turns to {each.title}" for each in stage.more[:1])
        elif watched is not None:
            empty = why.nothing_yet(run, snapshot.live, snapshot.engine)
        chart = self.query_one(Charts)
        plots = charts.plots(watched, chart.seen) if watched else []
        # Where nothing was written the failure is said in its place.
        chart.fill(plots, empty, run.id if run else None, why.failed(run) if plots and run else ())
        others = ", ".join(other.id for other, _ in watched.beside) if watched else ""
        _subtitle(chart, (f"{run.id} beside {others}" if others else run.id) if run else "")
        # On a wide screen results come before samples where there are both.
        sampled = bool(watched and watched.sampled) and self.stage in SAMPLED_IN
        self._with("-samples", sampled and not self.query_one("#panes").has_class("-results"))
        samples = (run.id if run else None, watched.sampled if watched else (), empty)
        if samples != self._sampled:
            self._sampled = samples
            self.query_one(Samples).fill(*samples)
        log = self.query_one(Log)
        log.fill(watched.log if watched else (), empty)

    def _results(self, snapshot: Snapshot, run: Run | None) -> None:
        if not provided(self.stage, run):
            self._with("-results", False)
            return
        found, of = snapshot.results, run.id if run else None
        read = found is not None and (found.stage, found.run) == (self.stage, of)
        blocks = found.blocks if found is not None and read else ()
        if read:  # until then the panes stay as they are
            self._with("-results", bool(blocks))
        self.query_one(Results).fill(blocks, self._unmeasured(run) if read else "reading …")

    def _with(self, what: str, there: bool) -> None:
        """A place for what not every stage has. On a narrow screen one pane is seen at a time, and the rules of style
        need not be gone through: that takes longer than a key may."""
        if self.wide:
            self.query_one("#panes").set_class(there, what)

    def _unmeasured(self, run: Run | None) -> str:
        """What to do where there are no results."""
        words = "nothing is measured here yet"
        if run is not None and run.state in LIVE:
            return f"{words}\n\n{run.id} is at it"
        # What measures is the last of what can be started here: a baseline is trained before.
        first, *more = (each for each in (STAGES[self.stage].action, *STAGES[self.stage].more) if each is not None)
        return f"{words}\n\ng starts {first.title}" + "".join(f", and ^t turns to {each.title}" for each in more)

    def _gates(self, snapshot: Snapshot) -> None:
        table = self.query_one(GateTable)
        results = [result for result in snapshot.gates if result.gate.stage == self.stage]
        words = self._finds.get("stage-gates", "").casefold()
        shown = [r for r in results if words in f"{r.verdict} {r.gate.title}".casefold()]
        empty = snapshot.problem or _NO_GATES.get(self.stage, "this stage has no gates: configs/gates.yaml names them")
        empty = empty if snapshot.judged else "reading …"
        table.fill_gates(shown, snapshot.time, grouped=False, empty=empty, problem=snapshot.problem)
        _subtitle(table, gates.tally(results))

    def narrowed(self) -> str:
        return self.checklist.filter_words

    @on(Table.Chosen)
    def _gate_chosen(self, event: Table.Chosen) -> None:
        snapshot = self.bench.snapshot
        result = next((r for r in snapshot.gates if gates.key(r) == event.key), None) if snapshot else None
        if snapshot is not None and result is not None:
            self.app.push_screen(CardScreen("Gate", cards.of_gate(result, snapshot.time)))

    def watch_stage(self) -> None:
        self._placed = True
        if self.pane not in [id_ for _, id_ in self.panes_here]:
            self.action_first_pane()
        self.refresh_all()

    def refresh_all(self) -> None:
        snapshot = self.bench.snapshot
        if snapshot is not None and not self._placed and (snapshot.live or snapshot.judged):
            self._placed = True
            self.set_reactive(StageScreen.stage, snapshot.stage or 0)
        super().refresh_all()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "stage":
            return not isinstance(self.focused, Input)
        if action == "turn":
            return self._arrows_turn()
        return super().check_action(action, parameters)

    def _arrows_turn(self) -> bool:
        """Whether the arrows turn stages: in the tree alone, where they fold, which h does too. Elsewhere they move
        a cursor, or are pressed by one who thinks so."""
        return isinstance(self.focused, ChecklistTree)

    def action_turn(self, by: int) -> None:
        self.action_stage(by)

    def action_stage(self, by: int) -> None:
        self._wanted = None
        self.stage = (self.stage + by) % len(STAGES)

    @on(Charts.Moved)
    def _looked_closer(self) -> None:
        """Another part of the run is wanted in detail."""
        self.refresh_all()

    @on(FindBar.Changed)
    def _find(self, event: FindBar.Changed) -> None:
        """Narrows the pane that was in front."""
        self._finds[self.pane] = event.text
        if self.pane == "log":
            self.query_one(Log).find(event.text)
        elif self.pane == "checklist":
            self.checklist.find(event.text)
        self.refresh_all()
