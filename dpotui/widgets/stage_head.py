"""The lines above the panes of a stage: which stage, what can be done there, and its run in hand."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len

from core.store.runs import Run
from core.text import one_line
from dpotui import cards, roles, say
from dpotui.live import Snapshot, Watched
from dpotui.roles import Span
from dpotui.stages import COMPARED_IN, FILTERED_IN, RATED_IN, STAGES, VOTED_IN, Stage
from dpotui.widgets.lines import Lines

# What a run is followed by at a glance.
_FOLLOWED = (
    ("loss", "loss", ""),
    ("rewards/margins", "margin", ""),
    ("margin", "margin", ""),
    ("accuracy", "accuracy", ""),
    ("kl_divergence", "kl", ""),
    ("kl_guard_actions", "guard", ""),
    ("eval_perplexity", "perplexity", ""),
    ("examples_per_second", "", " ex/s"),
    ("tokens_per_second", "", " tok/s"),
    ("peak_memory_gb", "", " GB"),  # less than one is said in MB, as the log does
)
# An answer is news for so long; then what the run does comes first.
_NEWS = 60.0
_WIDE = 120


class StageHead(Lines):
    """Which stage, what can be done, and the run in hand."""

    DEFAULT_CSS = "StageHead { height: 3; }"

    def __init__(self) -> None:
        super().__init__()
        self._stage = STAGES[0]
        self._snapshot: Snapshot | None = None
        self._run: Run | None = None

    def fill(self, stage: Stage, snapshot: Snapshot, run: Run | None) -> None:
        self._stage, self._snapshot, self._run = stage, snapshot, run
        self.show()

    def row(self, y: int, width: int) -> Sequence[Span]:
        if self._snapshot is None:
            return []
        return (self._stages, self._action, self._progress)[y](self._snapshot, width)

    def _stages(self, snapshot: Snapshot, width: int) -> list[Span]:
        counts = {root.stage: snapshot.states[root.id] for root in snapshot.roots if root.stage is not None}
        spans: list[Span] = []
        for stage in STAGES:
            state = counts.get(stage.number)
            count = f" {state.done}/{state.total}" if state else ""
            if stage is self._stage:
                spans.append((f" {stage.number} {stage.title}{count} ", "here"))
            elif width >= 140:
                spans.append((f" {stage.number} {stage.short}{count} ", "dim"))
            else:
                done = state is not None and state.state == "done"
                spans.append((f" {stage.number}{'✓' if done else ' '} ", "dim"))
        keys = "[ ] stage "
        pad = width - sum(cell_len(text) for text, _ in spans) - len(keys)
        return [*spans, (" " * pad, ""), (keys, "faint")] if pad > 0 else spans

    def _action(self, snapshot: Snapshot, width: int) -> list[Span]:
        action = self._stage.action
        if action is None:
            return [(" " + one_line(self._stage.hint, width - 1), "dim")]
        spans: list[Span] = [(" g ", "key"), (f"start {action.title}", "")]
        others = "".join(f", or {each.title}" for each in self._stage.more)
        named: list[Span] = []
        if self._stage.number == VOTED_IN:
            named += [("   a ", "key"), ("vote, blind", ""), ("   d ", "key"), ("data", "")]
        if self._stage.number == FILTERED_IN:
            named += [("   F ", "key"), ("filter pairs", ""), ("   W ", "key"), ("most wrong", "")]
        if self._stage.number == COMPARED_IN:
            named += [("   a ", "key"), ("vote, blind", ""), ("   l ", "key"), ("lost", "")]
        if self._stage.number == RATED_IN:
            named += [("   h ", "key"), ("rate, blind", "")]
        # What can be done comes before what else can be started, and both before the file that it is started from.
        for words, role in ((others, "dim"), (f"  {action.config}", "dim")):
            if words and sum(cell_len(text) for text, _ in [*spans, *named]) + cell_len(words) <= width:
                spans.append((words, role))
        return [*spans, *named]

    def _progress(self, snapshot: Snapshot, width: int) -> list[Span]:
        run = self._run
        if run is None:
            return [(" no run of this stage yet", "dim")] if self._stage.kinds else []
        watched = snapshot.watched if snapshot.watched and snapshot.watched.run.id == run.id else None
        told = self._told(snapshot, watched, width) if watched else []
        # An evaluation has no loss to tell of, but says itself how fast it goes and how long it will take.
        room = 40 if told else width - cell_len(run.id) - 3
        # What is said of a run in its phase says that it runs.
        state = run.phase if run.state == "running" and run.phase and told else cards.state_words(run)
        spans: list[Span] = [(f" {run.id} ", "title"), (one_line(state, room), roles.STATES[run.state])]
        if run.state == "failed":
            why = f": {run.error or 'no reason was written'}" + (f" Try: {run.hint}" if run.hint else "")
            return [*spans, (one_line(why, width - sum(len(t) for t, _ in spans) - 1), "bad")]
        # The status line tells how far the live run has come; what it comes to stands here.
        if run.steps and (snapshot.live is None or run.id != snapshot.live.id):
            done, left = say.bar(run.step, run.steps, max(8, min(40, width // 5)))
            spans += [("  ", ""), (done, "bar"), (left, "faint"), (f" {cards.reached(run)}", "")]
        for words in told:
            left_over = width - sum(cell_len(text) for text, _ in spans) - 3
            if left_over > 8:
                spans.append((f"  {one_line(words, left_over)}", "dim"))
        return spans

    def _told(self, snapshot: Snapshot, watched: Watched, width: int) -> list[str]:
        """How the run does, and what the engine said to the last command: first, while that is news."""
        told = _newest(watched, width)
        live = snapshot.live is not None and snapshot.live.id == watched.run.id
        # The parts of an evaluation are of unlike sizes: it says itself what it knows.
        if (
            live
            and snapshot.eta is not None
            and watched.run.kind != "evaluate"
            and watched.run.step < watched.run.steps
        ):
            told.append(f"eta {say.span(snapshot.eta)}")
        command = watched.commands[0] if watched.commands else None
        if command is None:
            return told
        if command.obeyed is None:
            return [f"{command.verb} asked {say.clock(command.time)}, waits for the next step", *told]
        if watched.run.state not in ("paused", "running", "stopping"):
            return told
        answer = f"{command.verb}: {command.answer}"
        return [answer, *told] if snapshot.time - command.obeyed < _NEWS else [*told, answer]


def _newest(watched: Watched, width: int) -> list[str]:
    """The newest values of the metrics one looks at first: what is known of its speed has room beside them."""
    found = []
    for name, label, unit in _FOLLOWED:
        if name == "tokens_per_second" and width < _WIDE:
            continue
        points = watched.series.get(name, ())
        if points and (watched.run.state in ("running", "paused") or not unit):
            value = points[-1].mean
            if unit == " GB" and value < 1:
                value, unit = value * 1000, " MB"
            # Three digits of what is told for its size alone.
            found.append(
                f"{label} {say.number(value)}{unit}".strip()
                if label
                else f"{value:.0f}{unit}"
                if value >= 100
                else f"{value:.3g}{unit}"
            )
    return found
