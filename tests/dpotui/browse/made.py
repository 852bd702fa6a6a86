"""Small files of data for the tests of browsing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any


def pair(number: int, **changed: Any) -> dict[str, Any]:
    return {
        "prompt": f"What is {number} and one?",
        "chosen": f"It is {number + 1}, because one more than {number} is that.",
        "rejected": f"It is {number + 2}.",
        "chosen_score": 0.9,
        "rejected_score": 0.9 - (number % 5) / 10,
        **changed,
    }


def write(path: Path, rows: Iterable[Mapping[str, Any] | str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    path.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    return path
