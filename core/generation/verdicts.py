"""What judges said, a line each, on disk before it counts: what was asked once is not asked again after a kill."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from core.appended import Appended
from core.errors import UserError
from core.generation.groups import Question
from core.text import printable

NAME = "verdicts.jsonl"

# Why a question has no verdict.
UNPARSEABLE, TOO_LONG, REFUSED = "unparseable", "too_long", "refused"


Verdict = Literal["A", "B", "TIE"]


@dataclass(frozen=True, slots=True)
class Said:
    """One verdict.

    Attributes:
        verdict: A, B or TIE of a comparison: the first, the second or neither is better. None where there is none.
        value: of a score 1 to 10; of a reward model the reward; of likelihoods the log-odds of A against B, in nats.
        why: why there is no verdict; "" where there is one.
        text: what the judge wrote, safe to show and bounded.
    """

    verdict: Verdict | None = None
    value: float | None = None
    why: str = ""
    text: str = ""


class Verdicts:
    """The file of a run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._said: dict[str, dict[Question, Said]] = {}
        self._lines = Appended(path, self._read)

    def __len__(self) -> int:
        return sum(map(len, self._said.values()))

    def close(self) -> None:
        self._lines.close()

    def of(self, judge: str) -> dict[Question, Said]:
        """What a judge said until now; texts are on disk alone."""
        return self._said.setdefault(judge, {})

    def append(self, judge: str, said: Iterable[tuple[Question, Said]]) -> int:
        """Write verdicts that are not there yet, and wait until they are on disk; returns how many were new."""
        before = self.of(judge)
        new = {question: one for question, one in said if question not in before}
        if not new:
            return 0
        self._lines.append(
            [json.dumps(_fields(judge, question, one), ensure_ascii=False) for question, one in new.items()]
        )
        before.update((question, Said(one.verdict, one.value, one.why)) for question, one in new.items())
        return len(new)

    def _read(self, number: int, offset: int, line: bytes) -> None:
        try:
            fields = json.loads(line)
            question = Question(fields["line"], fields["first"], fields["second"])
            said = Said(fields["verdict"], fields["value"], fields["why"])
            judge = fields["judge"]
        except (ValueError, KeyError, TypeError):
            raise UserError(
                f"{printable(str(self.path))}:{number}: is no verdict: the file was changed by another hand; put back"
                " what was there, or start a new run"
            ) from None
        self.of(judge)[question] = said


def _fields(judge: str, question: Question, said: Said) -> dict[str, Any]:
    return {
        "judge": judge,
        "line": question.line,
        "first": question.first,
        "second": question.second,
        "verdict": said.verdict,
        "value": said.value if said.value is None or math.isfinite(said.value) else None,
        "why": said.why,
        "text": said.text,
    }


def read_verdicts(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a file of verdicts, texts and all."""
    with path.open(encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)
