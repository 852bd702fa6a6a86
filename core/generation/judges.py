"""What every judge is to a run: somebody who answers questions in windows, and is heard as the answers come."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from core.config.judge import Judge
from core.generation.endpoint import Answers, Endpoint, NoAnswer
from core.generation.groups import Group, Question
from core.generation.rubric import Rubric, kept, read_score, read_verdict
from core.generation.verdicts import REFUSED, UNPARSEABLE, Said

Asked = tuple[Question, Group]
Say = Callable[[list[tuple[Question, Said]]], None]


@dataclass(frozen=True, slots=True)
class Asking:
    """How judges are asked.

    Attributes:
        done: what was answered before.
        say: takes verdicts as they come; they may repeat what is done.
        between: is called at moments when the run may pause or stop.
        mine: whether to answer the questions of the window's batch of this number; the batches are the same ones
            wherever they are answered.
    """

    done: Mapping[Question, Said]
    say: Say
    between: Callable[[], None]
    mine: Callable[[int], bool] = lambda number: True

    def wants(self, number: int, questions: Iterable[Question]) -> bool:
        """Whether a batch is to be answered: some of it is not, and here."""
        return any(question not in self.done for question in questions) and self.mine(number)


class Asker(Protocol):
    """One judge."""

    def ask(self, window: Sequence[Asked], asking: Asking) -> None:
        """Answer what is not done yet.

        The same window must give the same verdicts whatever of it is done: who resumes gets what one who was never
        stopped would have got.
        """
        ...

    def close(self) -> None:
        """Let go of memory and connections."""
        ...


def question_text(rubric: Rubric, question: Question, group: Group, marks: Sequence[str] = ()) -> str:
    first = group.responses[question.first]
    if question.second is None:
        return rubric.rate(group.prompt, first, marks)
    return rubric.compare(group.prompt, first, group.responses[question.second], marks)


def said(question: Question, answer: str, redact: Callable[[str], str] = lambda text: text) -> Said:
    """What a written answer says, by its last line."""
    text = kept(answer, redact)
    if question.second is None:
        score = read_score(answer)
        return Said(None, None, UNPARSEABLE, text) if score is None else Said(None, float(score), "", text)
    verdict = read_verdict(answer)
    return Said(None, None, UNPARSEABLE, text) if verdict is None else Said(verdict, None, "", text)


class EndpointJudge:
    """A judge behind an endpoint."""

    def __init__(self, judge: Judge, rubric: Rubric, endpoint: Endpoint) -> None:
        self._rubric = rubric
        self._endpoint = endpoint
        self._answers = Answers(endpoint, judge.concurrency)

    def ask(self, window: Sequence[Asked], asking: Asking) -> None:
        open_ = [one for number, one in enumerate(window) if asking.wants(number, (one[0],))]

        def answered(number: int, answer: str | NoAnswer) -> None:
            question = open_[number][0]
            if isinstance(answer, NoAnswer):
                asking.say([(question, Said(None, None, REFUSED, kept(str(answer), self._endpoint.redact)))])
            else:
                asking.say([(question, said(question, answer, self._endpoint.redact))])

        self._answers.ask([question_text(self._rubric, *one) for one in open_], answered, asking.between)

    def close(self) -> None:
        self._answers.__exit__()
