"""The first two lines of every screen: how the workspace stands, and where one is in the program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.cells import cell_len

from core.store.runs import Run
from core.text import one_line
from dpotui import cards, roles, say
from dpotui.live import Engine, Snapshot
from dpotui.roles import Span
from dpotui.stages import STAGES
from dpotui.terminal import Link
from dpotui.widgets.lines import Lines

# By their keys.
MODES = {"1": "Plan", "2": "Stage", "3": "Gates", "4": "Runs", "5": "Data", "6": "Config", "7": "Hardware",
         "8": "Report"}  # fmt: skip

# Where not all of their names fit.
_SHORT = MODES | {"6": "Conf", "7": "Hard", "8": "Rep"}

# What gives way where there is little room, one after the other: the name's end, the steps, the stage.
_SPARED = ((13, True, True), (13, True, False), (6, True, False), (6, False, False))


class Status(Lines):
    """Workspace, stage, live run, progress, time left, engine and line."""

    DEFAULT_CSS = "Status { height: 1; background: $panel; }"

    def __init__(self) -> None:
        super().__init__()
        self._snapshot: Snapshot | None = None
        self._stage: int | None = None
        self._link = Link()

    def fill(self, snapshot: Snapshot, stage: int | None, link: Link = Link()) -> None:  # noqa: B008 - never changed
        """`stage`: the one on screen; None for that of the live run."""
        self._snapshot, self._stage, self._link = snapshot, stage, link
        self.show()

    def row(self, y: int, width: int) -> Sequence[Span]:
        snapshot = self._snapshot
        if snapshot is None:
            return [(" dpotui", "title"), ("  opening …", "dim")]
        right = [engine_words(snapshot.engine), ("  ", ""), link_words(self._link), (" ", "")]
        room = width - sum(cell_len(text) for text, _ in right)
        for name, staged, steps in _SPARED:
            left = self._left(snapshot, width, max(name, width // 6) if steps else name, staged, steps)
            pad = room - sum(cell_len(text) for text, _ in left)
            if pad > 0:
                return [*left, (" " * pad, ""), *right]
        words = one_line("".join(text for text, _ in left), max(1, room - 1))
        return [(words, ""), (" " * (room - cell_len(words)), ""), *right]

    def _left(self, snapshot: Snapshot, width: int, name: int, staged: bool, steps: bool) -> list[Span]:
        live = snapshot.live
        stage = snapshot.stage if self._stage is None else self._stage
        spans: list[Span] = [(" " + one_line(snapshot.workspace.root.name or "/", name), "title")]
        if stage is not None and staged:
            spans.append((f"  {stage} {STAGES[stage].title}" if width >= 110 else f"  stage {stage}", ""))
        if live is None:
            return [*spans, ("  nothing runs", "dim")]
        whole = snapshot.run(live.part_of)
        if whole is not None:
            spans += [("  ", ""), (f"{whole.id} {cards.reached(whole)}", "title"), (" ›", "dim")]
            spans.append((f" {live.id}" if width >= 110 else f" {live.kind}", ""))
        else:
            spans += [("  ", ""), (live.id, "title")]
        spans += [(" ● " if live.state == "running" else " ", "live")]
        if live.kind == "evaluate" and live.state == "running" and live.phase:
            return [*spans, *_part(live, steps)]
        word = one_line(live.phase, 20) if live.state == "running" and live.phase else live.state
        spans.append((word, roles.STATES[live.state]))
        if live.steps > 0:
            if width >= 140:
                done, left = say.bar(live.step, live.steps, 20)
                spans += [("  ", ""), (done, "bar"), (left, "faint")]
            share = f"{100 * live.step // live.steps}%"
            spans.append((f" {live.step}/{live.steps} {share}" if steps else f" {share}", ""))
        # What follows the last step is not reckoned: no time left is no news.
        if snapshot.eta is not None and live.step < live.steps:
            spans.append((f"  eta {say.span(snapshot.eta)}", ""))
        return spans


def _part(live: Run, share: bool) -> list[Span]:
    """What an evaluation is at. Its parts are of unlike sizes: what is left is known of the one in hand only, and the
    run says it itself, as "zoo_facts: answers 17/128, 2.58 items/s, ETA 0:00:43"."""
    word, _, pace = live.phase.partition(", ")
    spans: list[Span] = [(one_line(word, 30), roles.STATES[live.state])]
    if live.steps and share:
        spans.append((f"  {cards.reached(live)}", ""))
    if " ETA " in pace:
        left = pace.rpartition(" ")[2].removeprefix("0:")
        spans.append((f"  {'part ' if share else ''}eta {one_line(left, 8)}", ""))
    return spans


def engine_words(engine: Engine) -> Span:
    if not engine.known:
        return ("…", "dim")
    if not engine.alive:
        return ("no engine", "dim")
    if engine.heartbeat:
        return (f"engine silent {engine.heartbeat:.0f} s", "bad")
    return ("engine ok", "good")


def link_words(link: Link) -> Span:
    if link.state == "ok":
        return ("link ok", "good")
    return (f"link {link.state} {link.seconds:.0f} s", "warn" if link.state == "slow" else "bad")


class Tabs(Lines):
    """The modes by number, and on a narrow screen the panes of this one."""

    DEFAULT_CSS = "Tabs { height: 1; }"

    def __init__(self, mode: str) -> None:
        super().__init__()
        self._mode = mode
        self._panes: tuple[str, ...] = ()
        self._pane = ""
        self._note = ""
        # Where names stand in the row: column, "mode" or "pane", name.
        self.places: list[tuple[int, str, str]] = []

    def fill(self, panes: tuple[str, ...], pane: str, note: str = "") -> None:
        self._panes, self._pane, self._note = panes, pane, note
        self.show()

    def row(self, y: int, width: int) -> Sequence[Span]:
        right: list[Span] = []
        for pane in self._panes:
            right += [(f" {pane} ", "here" if pane == self._pane else "dim")]
        if self._note and not self._panes:
            right = [(self._note + " ", "dim")]
        # On a narrow screen with many panes the names of the other modes give way.
        for names, behind in ((MODES, " "), (MODES, ""), (_SHORT, ""), ({}, "")):
            spans = self._modes(names, behind)
            pad = width - sum(cell_len(text) for text, _ in [*spans, *right])
            if pad >= 0:
                return self._placed([*spans, (" " * pad, ""), *right])
        return self._placed(self._modes(MODES, " "))

    def _placed(self, spans: list[Span]) -> list[Span]:
        """The same, remembering where each mode and pane stands."""
        self.places, x = [], 0
        for text, _ in spans:
            word = text.strip()
            if word in MODES:
                self.places.append((x + 1, "mode", MODES[word]))
            elif word in self._panes and f" {word} " == text:
                self.places.append((x + 1, "pane", word))
            x += cell_len(text)
        return spans

    def _modes(self, names: Mapping[str, str], behind: str) -> list[Span]:
        spans: list[Span] = []
        for key, mode in MODES.items():
            here = mode == self._mode
            name = MODES[key] if here else names.get(key, "")
            spans += [(f" {key}", "mark" if here else "key")]
            spans += [(f" {name}{' ' if here else behind}", "mark" if here else "")] if name else []
        return spans
