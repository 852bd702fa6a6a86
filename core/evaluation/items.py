"""What a benchmark gives back: each item right or wrong, their share, and all that a comparison must hold alike."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.config.evaluate import STANDARD, Benchmark
from core.intervals import wilson

FOLDER = "benchmarks"  # of an evaluation's folder
Row = Mapping[str, Any]


class Unmeasured(Exception):
    """A benchmark cannot be measured here, for a reason that is safe to show: its fact says so, the others go on."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One benchmark.

    Attributes:
        value: the mean of `correct` over the items, 0 to 1.
        stderr: its standard error; None from fewer than two items.
        low, high: its 95 % interval.
        chance: the share that guessing gets; None where nothing can be guessed.
        conditions: see `conditions`.
        rows: {"id", "correct", "answer", "target", ...} of each item, in order.
        notes: what a person should know beside it, a sentence each.
    """

    value: float
    stderr: float | None
    low: float
    high: float
    n: int
    chance: float | None
    conditions: dict[str, Any]
    rows: Sequence[Row]
    seconds: float
    metric: str = "accuracy"
    notes: tuple[str, ...] = field(default=())

    @property
    def like_chance(self) -> bool:
        """Whether the interval holds what guessing gets: then it says nothing of the model, and cannot show a loss."""
        return self.chance is not None and self.low <= self.chance <= self.high


def measured(
    rows: Sequence[Row],
    *,
    conditions: dict[str, Any],
    chance: float | None,
    seconds: float,
    metric: str = "accuracy",
    stderr: float | None = None,
    notes: tuple[str, ...] = (),
) -> Measured:
    """The share of items that are right, from their rows.

    Args:
        rows: at least one.
        stderr: where a harness has one of its own; else the sample's standard deviation over √n, as lm-eval has it.
    """
    marks = [float(row["correct"]) for row in rows]
    n = len(marks)
    value = math.fsum(marks) / n
    if stderr is None and n > 1:
        stderr = math.sqrt(math.fsum((mark - value) ** 2 for mark in marks) / (n - 1) / n)
    low, high = wilson(math.fsum(marks), n)
    return Measured(value, stderr, low, high, n, chance, conditions, rows, seconds, metric, notes)


def fact_name(prefix: str, benchmark: str) -> str:
    """The fact of a benchmark: `sft.mmlu`, `eval.benchmark.NAME`."""
    return f"{prefix}.{benchmark}" if benchmark in STANDARD else f"{prefix}.benchmark.{benchmark}"


def conditions(
    benchmark: Benchmark,
    *,
    harness: str,
    version: str,
    task: str,
    task_version: str,
    seed: int,
    items: str,
    **more: Any,
) -> dict[str, Any]:
    """What must be the same for two results to be compared.

    Args:
        items: `items_hash` of what was asked.
        more: what else decides over an answer.
    """
    subset = benchmark.subset
    return {
        "harness": harness,
        "version": version,
        "task": task,
        "task_version": task_version,
        "shots": benchmark.num_shots,
        "subset": sorted(subset) if isinstance(subset, list) else subset,
        "limit": benchmark.limit,
        "seed": seed,
        "chat_template": benchmark.apply_chat_template,
        "max_tokens": benchmark.max_tokens,
        "metric": benchmark.metric,
        "items": items,
        **more,
    }


def items_hash(asked: Iterable[object]) -> str:
    """A hash of the items, of whatever JSON can hold, in order."""
    whole = hashlib.sha256()
    for one in asked:
        whole.update(json.dumps(one, ensure_ascii=True, sort_keys=True).encode() + b"\n")
    return whole.hexdigest()


def path(folder: Path, name: str) -> Path:
    """Where the items of a benchmark are written."""
    return folder / FOLDER / f"{name}.items.jsonl"


def write(folder: Path, name: str, rows: Iterable[Row]) -> Path:
    """Write the items of a benchmark, whole or not at all; returns the file."""
    target = path(folder, name)
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = target.with_suffix(".draft")
    handle = os.open(draft, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w", encoding="ascii") as file:
        # ASCII: terminals do nothing with what stands in it, and half characters are no UTF-8.
        file.writelines(json.dumps(row, ensure_ascii=True) + "\n" for row in rows)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(target)
    return target


def read(file: Path) -> list[dict[str, Any]]:
    """The items of a benchmark, as `write` wrote them."""
    with file.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]
