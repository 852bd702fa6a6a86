"""What the judge of a win rate said, as rows that go from one host to another."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any, get_args

from core.evaluation import win_rate_answers
from core.evaluation.rows import Key
from core.evaluation.session import Session
from core.evaluation.win_rate_judging import WHO
from core.generation.groups import Question
from core.generation.rubric import kept
from core.generation.verdicts import NAME, REFUSED, TOO_LONG, UNPARSEABLE, Said, Verdict, Verdicts

VERDICT = "verdict"
_WHY = ("", UNPARSEABLE, TOO_LONG, REFUSED)


def row_of(question: Question, said: Said) -> tuple[Key, Any]:
    second = () if question.second is None else (question.second,)
    key = (VERDICT, question.line, question.first, *second)
    return key, [said.verdict, said.value, said.why, said.text]


def said_of(key: Iterable[Any], value: Any) -> tuple[Question, Said]:
    """What a row says.

    Raises:
        ValueError, TypeError: it is none as `row_of` makes it.
    """
    kind, *numbers = key
    if kind != VERDICT or len(numbers) not in (2, 3) or any(type(number) is not int for number in numbers):
        raise ValueError("a verdict on no question")
    verdict, number, why, text = value
    known = (verdict is None or verdict in get_args(Verdict)) and why in _WHY
    if type(text) is not str:
        raise ValueError("no words")
    if not known or not (number is None or (type(number) is float and math.isfinite(number))):
        raise ValueError("no verdict as this program writes it")
    # As it is written down: the judge may have said anything.
    return Question(*numbers), Said(verdict, number, why, kept(text))


class VerdictRows:
    """The verdicts of a run as rows that are added to; iterated, with the answers that they are on before them."""

    def __init__(self, session: Session) -> None:
        self._answers = session.rows(win_rate_answers.ROWS)
        self._verdicts = Verdicts(session.folder / NAME)

    def __enter__(self) -> VerdictRows:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._answers.__exit__(kind, error, trace)
        self._verdicts.close()

    def __contains__(self, key: Key) -> bool:
        return said_of(key, (None, None, "", ""))[0] in self._verdicts.of(WHO)

    def __iter__(self) -> Iterator[tuple[Key, Any]]:
        yield from self._answers
        for question, said in self._verdicts.of(WHO).items():
            yield row_of(question, said)

    def add(self, rows: Iterable[tuple[Key, Any]]) -> None:
        self._verdicts.append(WHO, [said_of(key, value) for key, value in rows])
