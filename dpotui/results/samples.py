"""Answers to the same prompts side by side: the final model's, the baseline's and the base model's."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from rich.cells import cell_len

from core.errors import UserError
from core.store import Database, facts, runs
from core.store.runs import Run
from core.text import one_line
from core.workspace import Workspace
from dpotui.results import Block
from dpotui.results.subject import of_another
from dpotui.roles import Span
from dpotui.wrap import wrap

# From so many cells on answers stand side by side.
_BESIDE = 90
_GAP = 3
# What is shown of one answer and one prompt; the file has all of it.
_LINES, _PROMPT_LINES, _CHARACTERS = 12, 3, 4000
_PROMPTS = 20
# Of a file that another hand made longer no more is read.
_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class _Answer:
    """`text` is None where the model could not be asked; then `note` says why."""

    who: str
    text: str | None
    note: str


@dataclass(frozen=True, slots=True)
class _Sample:
    prompt: str
    answers: tuple[_Answer, ...]


def read(db: Database, workspace: Workspace, run: Run | None) -> Block | None:
    """The samples of the evaluation in hand, else of the newest one of its stage that has some."""
    if run is None:
        return None
    found = _folder(db, workspace, run)
    if found is None:
        return None
    name, path = found
    samples, total = _samples(path)
    of = f" (the first {len(samples)} of {total})" if total > len(samples) else ""
    other = of_another(db, run, name)

    def lines(width: int) -> list[Sequence[Span]]:
        said = [[(line, "warn")] for line in wrap(other, width)] if other else []
        return [*said, *_lines(samples, width)]

    return Block(f"Samples of {name}{of}", lines)


def _folder(db: Database, workspace: Workspace, run: Run) -> tuple[str, Path] | None:
    """The run that is shown and its file."""
    candidates = [run] if run.kind == "evaluate" else []
    known = facts.latest(db).get("sft.samples" if run.stage == 1 else "eval.samples")
    if known is not None and known.run is not None and known.value is not None:
        candidates += [one for one in runs.listing(db, kind="evaluate") if one.id == known.run]
    for one in candidates:
        if one.output_dir is not None and (path := workspace.path(one.output_dir) / "samples.jsonl").is_file():
            return one.id, path
    return None


def _samples(path: Path) -> tuple[list[_Sample], int]:
    with path.open("rb") as file:
        lines = file.read(_BYTES).splitlines()
        whole = not file.read(1)
    found = []
    for number, line in enumerate(lines[:_PROMPTS], 1):
        try:
            row = json.loads(line)
            answers = tuple(_answer(answer) for answer in row["answers"])
            found.append(_Sample(_prompt(row["prompt"]), answers))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            if number == len(lines) and not whole:
                break
            raise UserError(f"{path}:{number}: no sample: 'dpotui evaluate --only samples' writes them anew") from None
    return found, len(lines)


def _prompt(prompt: Any) -> str:
    """Plain text, or the last turn of a chat."""
    return str(prompt if isinstance(prompt, str) else prompt[-1]["content"])[:_CHARACTERS]


def _answer(answer: dict[str, Any]) -> _Answer:
    who, text = one_line(str(answer["who"]), 20), answer["text"]
    if text is None:
        return _Answer(who, None, one_line(str(answer.get("why", "")), 200))
    note = f"cut at {int(answer['tokens'])} tokens" if answer.get("finish") == "length" else ""
    return _Answer(who, str(text)[:_CHARACTERS], note)


def _lines(samples: list[_Sample], width: int) -> list[Sequence[Span]]:
    found: list[Sequence[Span]] = []
    for number, sample in enumerate(samples, 1):
        if found:
            found.append([])
        label = f"{number}. "
        prompt = _wrapped(sample.prompt, width - len(label), _PROMPT_LINES)
        found += [[(label if not place else " " * len(label), "dim"), (line, "key")] for place, line in
                  enumerate(prompt)]  # fmt: skip
        if width >= _BESIDE:
            found += _side_by_side(sample, width)
        else:
            found += _stacked(sample, width)
    return found


def _stacked(sample: _Sample, width: int) -> list[Sequence[Span]]:
    found: list[Sequence[Span]] = []
    for answer in sample.answers:
        note = f"  {answer.note}" if answer.text is not None and answer.note else ""
        found.append([("  ", ""), (answer.who, "accent"), (note, "dim")])
        found += [[("    ", ""), span] for span in _body(answer, width - 4)]
    return found


def _side_by_side(sample: _Sample, width: int) -> list[Sequence[Span]]:
    room = (width - _GAP * (len(sample.answers) - 1)) // max(1, len(sample.answers))
    heads: list[Span] = []
    for answer in sample.answers:
        note = f"  {answer.note}" if answer.text is not None and answer.note else ""
        heads.append((one_line(answer.who + note, room), "accent"))
    columns = [[head, *_body(answer, room)] for head, answer in zip(heads, sample.answers, strict=True)]
    found: list[Sequence[Span]] = []
    for row in zip_longest(*columns, fillvalue=("", "")):
        spans: list[Span] = []
        for place, (text, role) in enumerate(row):
            if place:
                spans.append((" │ ", "faint"))
            spans += [(text, role), (" " * max(0, room - cell_len(text)), "")]
        found.append(spans)
    return found


def _body(answer: _Answer, width: int) -> list[Span]:
    """An answer in lines of at most so many cells."""
    if answer.text is None:
        return [(line, "dim") for line in _wrapped(f"not asked: {answer.note}", width, _PROMPT_LINES)]
    if not answer.text.strip():
        return [("(empty)", "dim")]
    return [(line, "") for line in _wrapped(answer.text.strip(), width, _LINES)]


def _wrapped(text: str, width: int, most: int) -> list[str]:
    """At most so many lines; what cannot stand in them is not looked at."""
    lines = wrap(text[: (most + 1) * max(1, width)], width)
    return lines if len(lines) <= most else [*lines[: most - 1], "…"]
