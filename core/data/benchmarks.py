"""Benchmark files as they come: each row an item with an id that stays and the text that makes it this item."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.data.jsonl import BadRow, Row, read_rows
from core.data.words import words
from core.errors import UserError
from core.text import one_line, printable
from core.workspace import Workspace

FOLDER = "benchmarks"  # of the data of a workspace
_ENDS = (".jsonl", ".jsonl.gz")

# An id of its own, under the names that benchmarks use.
_IDS = ("task_id", "id", "question_id", "item_id", "doc_id", "idx")

# What is asked, under the names that benchmarks use; the first that is there.
_QUESTIONS = (
    "question", "Question", "prompt", "problem", "instruct_prompt", "instruction", "query", "input", "inputs", "goal",
    "sentence", "ctx", "text", "content", "statement",
)  # fmt: skip
# What it is asked about. Without it, "How many yards was the longest field goal?" would be no item.
_CONTEXTS = ("passage", "context", "body", "Body", "article", "premise", "story")
_CHOICES = ("choices", "options", "endings")


@dataclass(frozen=True, slots=True)
class Item:
    """One task of a benchmark.

    Attributes:
        benchmark: the file it stands in.
        id: its `task_id` or the like where it has one, else the file and the line.
        text: what counts as the item. See `read_benchmark`.
    """

    benchmark: Path
    line: int
    id: str
    text: str


def benchmarks_folder(workspace: Workspace) -> Path:
    """Where they lie. Among the inputs of a fact it tells of files that came later."""
    return workspace.data / FOLDER


def find_benchmarks(workspace: Workspace) -> list[Path]:
    """The benchmark files of a workspace: JSONL, plain or gzip, in `data/benchmarks`."""
    folder = benchmarks_folder(workspace)
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.name.lower().endswith(_ENDS) and path.is_file())


def read_benchmarks(paths: Iterable[Path], short: int = 8) -> list[Item]:
    """The items of several files; two of one id tell their files apart by `benchmark`.

    Raises:
        UserError: as `read_benchmark`.
    """
    once = list({path.resolve(): path for path in paths}.values())
    return [item for path, name in zip(once, names(once), strict=True) for item in read_benchmark(path, short, name)]


def names(paths: Sequence[Path]) -> list[str]:
    """What to call files so that each is told from the others: as few of the last parts of their paths as it takes."""
    shown: list[str] = []
    for path in paths:
        others = [other for other in paths if other != path]
        parts = path.absolute().parts
        size = 1
        while size < len(parts) and any(other.absolute().parts[-size:] == parts[-size:] for other in others):
            size += 1
        shown.append(printable("/".join(parts[-size:])))
    return shown


def read_benchmark(path: Path, short: int = 8, called: str = "") -> list[Item]:
    """The items of a benchmark file.

    What counts as an item is its question alone: `question` of MMLU and GSM8K, `prompt` of HumanEval, with the passage
    it is asked about where it has one. That is what Tulu 3 looks for. The answer does not belong to it: a question that
    a model was trained on is spoilt whichever answer stood there, and the options of multiple choice ("True, False")
    and test code are shared by many items. A question of fewer than `short` words that several items ask with other
    choices ("Which of the following is true?") says nothing by itself: there the choices belong to it.

    Raises:
        UserError: it cannot be read, or a row is no item; an item that was not compared would look like a clean one.
    """
    name = printable(str(path))
    found: list[tuple[Row, str, str]] = []
    asked: dict[str, set[str]] = {}  # short questions -> the choices they stand with
    for row in read_rows(path):
        if isinstance(row, BadRow):
            raise UserError(f"{name}:{row.line}: {row.reason}: mend the benchmark file")
        question = _question(row.fields)
        if question is None:
            has = one_line(", ".join(row.fields), 80)
            raise UserError(
                f"{name}:{row.line}: no text to compare (the row has {has}): rename the question's field to question"
            )
        key, choices = words(question), _choices(row.fields)
        asked_as = " ".join(key) if len(key) < short else ""
        if asked_as:
            asked.setdefault(asked_as, set()).add(choices)
        found.append((row, question, asked_as))
    return [
        Item(
            path,
            row.line,
            _id(row, called or printable(path.name)),
            f"{question}\n{_choices(row.fields)}" if asked_as and len(asked[asked_as]) > 1 else question,
        )
        for row, question, asked_as in found
    ]


def _id(row: Row, file: str) -> str:
    for name in _IDS:
        value = row.fields.get(name)
        if isinstance(value, str | int) and not isinstance(value, bool) and str(value).strip():
            return one_line(str(value), 80)
    return f"{file}:{row.line}"


def _question(fields: dict[str, Any]) -> str | None:
    """What is asked; None where the row holds no text at all."""
    for name in _QUESTIONS:
        question = _text(fields.get(name))
        if question:
            context = [text for text in (_text(fields.get(about)) for about in _CONTEXTS) if text]
            return "\n".join([*context, question])
    turns = _text(fields.get("messages") or fields.get("turns"))
    if turns:
        return turns
    # A set of unknown make: all its text. Single words are names, labels and categories.
    texts = [text for text in map(_text, fields.values()) if text and len(words(text)) > 1]
    return "\n".join(texts) or None


def _text(value: Any) -> str:
    """Text of a field: as it is, or what the user says in a chat."""
    if isinstance(value, str):
        return value if words(value) else ""
    if not isinstance(value, list):
        return ""
    turns = [turn for turn in value if isinstance(turn, str)]
    for turn in value:
        if isinstance(turn, dict) and turn.get("role") in ("user", "human") and isinstance(turn.get("content"), str):
            turns.append(turn["content"])
    return "\n".join(turns)


def _choices(fields: dict[str, Any]) -> str:
    for name in _CHOICES:
        value = fields.get(name)
        if isinstance(value, dict):
            value = value.get("text") or list(value.values())
        if isinstance(value, Sequence) and not isinstance(value, str):
            return "\n".join(str(choice) for choice in value)
    return ""
