"""An item of a checklist on one line: box, words with their values, and on the right what fits of the rest."""

from __future__ import annotations

from rich.cells import cell_len

from core.checklist import Item, ItemState
from core.text import ELLIPSIS, one_line
from dpotui import roles, say
from dpotui.commands.checklist_view import MARKS, text_of
from dpotui.roles import Span

_BOXES = {"done": "good", "partial": "warn", "open": ""}
# From which width of the list on there is room for each, in the order of what matters: verdict, who says so, how long
# ago, the target where the words do not name it, note and evidence.
_BY, _AGE, _TARGET, _REMARKS = 60, 76, 100, 110
_BAR = 100
_WIDTHS = {"verdict": 9, "by": 11, "age": 5}
_INDENT = 2
# What is left of the words whatever stands beside them.
_LEAST = 4


def titles(width: int) -> str:
    """What stands over the columns on the right, to be set flush right."""
    if width < _BY:
        return ""
    age = f"{'age':>{_WIDTHS['age']}}" if width >= _AGE else ""
    return f" {'verdict':<{_WIDTHS['verdict'] - 1}} {'by':<{_WIDTHS['by'] - 1}}{age} "


def box_at(depth: int) -> int:
    """The column at which the box of an item begins; the mark that folds stands before it."""
    return depth * _INDENT + 2


def item_line(item: Item, state: ItemState, width: int, now: float, *, depth: int, unfolded: bool) -> list[Span]:
    fold = ("▾ " if unfolded else "▸ ") if item.children else "  "
    head: list[Span] = [(" " * (depth * _INDENT), ""), (fold, "faint"), (f"{MARKS[state.state]} ", _BOXES[state.state])]
    tail = _said(item, state, width, now) if item.leaf else _counts(item, state, width)
    stage = f"{item.stage} " if item.kind == "stage" and item.stage is not None else ""
    words, value = stage + _title(item, state), _beside(item, state, width)
    room = max(_LEAST, width - _cells(head) - _cells(value) - _cells(tail) - 2)
    shown = one_line(words, room)
    if shown.endswith(ELLIPSIS) and item.blanks and state.value is not None:
        # The value stands in the words that were cut.
        value = [*value, (one_line(state.value, 16) + " ", "")]
        shown = one_line(words, max(_LEAST, width - _cells(head) - _cells(value) - _cells(tail) - 2))
    role = "title" if item.kind != "item" else "dim" if state.state == "done" else ""
    pad = " " * max(1, width - _cells(head) - cell_len(shown) - _cells(value) - _cells(tail) - 1)
    return [*head, (shown, role), (pad, ""), *value, *tail, (" ", "")]


def _cells(spans: list[Span]) -> int:
    return sum(cell_len(text) for text, _ in spans)


def _title(item: Item, state: ItemState) -> str:
    text = text_of(item, state)
    # "Stage 5: DPO Optimization" reads "5 DPO Optimization" in a list of stages.
    return text.split(":", 1)[1].strip() if item.kind == "stage" and text.startswith("Stage ") and ":" in text else text


def _beside(item: Item, state: ItemState, width: int) -> list[Span]:
    """What the words do not say themselves: the value where they have no blank, the target."""
    spans: list[Span] = []
    if state.value is not None and not item.blanks:
        spans.append((one_line(state.value, 16) + " ", ""))
    target = str(item.target) if item.target is not None and width >= _TARGET else ""
    if target and target not in item.text:
        spans.append((target + " ", "dim"))
    return spans


def _counts(item: Item, state: ItemState, width: int) -> list[Span]:
    spans: list[Span] = []
    if state.failing:
        spans.append((f"{state.failing} FAIL  ", "bad"))
    if state.stale:
        spans.append((f"{state.stale} STALE  ", "warn"))
    if item.kind == "stage" and width >= _BAR:
        done, left = say.bar(state.done, state.total, 12)
        spans += [(done, "bar"), (left, "faint")]
    return [*spans, (f"{state.done}/{state.total}".rjust(7), "good" if state.state == "done" else "dim")]


def _said(item: Item, state: ItemState, width: int, now: float) -> list[Span]:
    """Remarks, verdict, who said it and when. Where nothing was said and room is short the words have it."""
    remarks = _remarks(state) if width >= _REMARKS else ""
    spans: list[Span] = [(remarks, "dim")] if remarks else []
    verdict = "OVERRIDE" if state.override else state.verdict or ""
    by = _source(state)
    if not verdict and not by and width < _TARGET:
        return spans
    wide = width >= _BY
    if verdict or wide:
        role = "warn" if state.override else roles.VERDICTS.get(verdict, "")
        spans.append((f" {verdict:<{_WIDTHS['verdict'] - 1}}", role))
    if wide:
        room = _WIDTHS["by"] - 1
        shown = one_line(by, room)
        spans.append((" " + shown + " " * (room - cell_len(shown)), "dim"))
    if width >= _AGE:
        age = say.age(now, state.time) if state.by else ""
        spans.append((f"{age:>{_WIDTHS['age']}}", "faint"))
    return spans


def _remarks(state: ItemState) -> str:
    own = len(state.evidence)
    parts = ["note"] if state.note else []
    parts += [f"{own} evidence"] if own else []
    return " · ".join(parts) + " " if parts else ""


def _source(state: ItemState) -> str:
    """Who said it: the run that measured it, or the person."""
    if state.by == "fact":
        return (state.fact.run if state.fact else None) or "fact"
    if state.by is None and state.verdict and state.fact:
        return state.fact.run or "fact"
    return state.by or ""
