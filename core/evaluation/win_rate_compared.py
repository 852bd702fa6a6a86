"""Two answers to one prompt as a comparison: read from answers.jsonl, and decided by rule where nothing is asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.data.comparisons import comparison_key
from core.data.jsonl import BadRow, read_rows
from core.data.messages import Refused, Text, text_key, text_of
from core.errors import UserError
from core.text import printable

ANSWERS = "answers.jsonl"
POLICY, BASELINE = "policy", "baseline"

# Why nobody is asked.
IDENTICAL, EMPTY = "identical", "empty"
# Nobody has voted on it yet.
OPEN = "open"


@dataclass(slots=True)
class Compared:
    """A prompt with both answers, and what was said of them.

    Attributes:
        place: line of answers.jsonl, by which verdicts know it.
        line: line of the test set.
        tokens: of the policy's and of the baseline's answer.
        outcome: 1 where the policy's answer is better, 0 where the baseline's is, 0.5 where neither; between them where
            a judge gives a probability; None where it is not decided.
        why: how it was decided where nobody was asked, or why it was not.
        told: what each judge said in each order, or each person.
    """

    place: int
    line: int
    prompt: Text
    policy: str
    baseline: str
    category: str = ""
    tokens: tuple[int, int] = (0, 0)
    outcome: float | None = None
    why: str = ""
    told: list[dict[str, Any]] = field(default_factory=list)

    @property
    def key(self) -> str:
        """By which votes know it."""
        return comparison_key(self.prompt, self.policy, self.baseline)

    @property
    def lengths(self) -> tuple[int, int]:
        """Characters of both answers."""
        return len(self.policy), len(self.baseline)


def settle(row: Compared) -> bool:
    """Decide what needs nobody: the same answer twice is a tie, and an answer is better than none."""
    policy, baseline = text_key(row.policy), text_key(row.baseline)
    if policy == baseline:
        row.outcome, row.why = 0.5, IDENTICAL
    elif not policy or not baseline:
        row.outcome, row.why = float(bool(policy)), EMPTY
    return row.outcome is not None


def read_answers(path: Path) -> list[Compared]:
    """The rows of answers.jsonl.

    Raises:
        UserError: it is not there, or another hand changed it.
    """
    shown = printable(str(path))
    if not path.is_file():
        raise UserError(f"{shown} is not there: run the part again with 'dpotui evaluate --only win_rate'")
    found = []
    for row in read_rows(path):
        try:
            found.append(_compared(row.line, {} if isinstance(row, BadRow) else row.fields))
        except (KeyError, IndexError, TypeError, ValueError, Refused):
            raise UserError(
                f"{shown}:{row.line}: not as this program writes it: put back what was there, or evaluate anew"
            ) from None
    return found


def _compared(place: int, fields: Mapping[str, Any]) -> Compared:
    policy, baseline = fields["responses"]
    for response, who in ((policy, POLICY), (baseline, BASELINE)):
        if not isinstance(response["text"], str) or response["recipe"] != who:
            raise ValueError
    return Compared(
        place,
        int(fields["line"]),
        text_of(fields["prompt"], "prompt"),
        policy["text"],
        baseline["text"],
        str(fields["category"]),
        (int(policy["tokens"]), int(baseline["tokens"])),
    )
