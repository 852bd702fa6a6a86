"""Which answer is better, asked of a judge in both orders: every verdict on disk, and what they come to."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.config.judge import Judge
from core.data.jsonl import BadRow
from core.errors import UserError
from core.evaluation.session import Session
from core.evaluation.win_rate_compared import ANSWERS, BASELINE, POLICY, Compared
from core.generation.asking import ask_all, open_judge, opinion_of
from core.generation.endpoint import Endpoint
from core.generation.groups import Question, groups, questions
from core.generation.judges import Asked, Asking, Say
from core.generation.rubric import read_rubric
from core.generation.verdicts import NAME, Said, Verdicts, read_verdicts
from core.intervals import wilson
from core.models.load import resolve
from core.models.reward_folder import is_reward, refuse_other
from core.text import printable

_KEY = "alignment_evaluation.preference_validation.judge"
# What the judge is called in the file of verdicts.
WHO = "judge"
# A comparison of which one order alone can be read is not decided: it may be the position that spoke.
ONE_ORDER = "one_order"


@dataclass(frozen=True, slots=True)
class Heard:
    """What the judge did over all comparisons.

    Attributes:
        asked: questions; `unread` of them without a verdict.
        disagree: comparisons whose two orders say different things.
        first: how often the answer that was read first won, with its interval; None where order plays no part.
    """

    asked: int
    unread: int
    disagree: int
    first: tuple[float, float, float] | None


def refuse(session: Session, judge: Judge) -> None:
    """Whether a judge will do, before the answers that it is to compare are written.

    Raises:
        UserError: its model, rubric, address or key will not.
    """
    workspace = session.context.workspace
    try:
        if judge.kind == "endpoint":
            Endpoint(judge)
        elif judge.kind == "reward":
            refuse_other(resolve(workspace, judge.model))
        elif is_reward(resolve(workspace, judge.model)):
            raise UserError(f"{printable(judge.model)} is a reward model: set kind: reward, or name a language model")
        if judge.kind != "reward":
            read_rubric(workspace.path(judge.rubric_file))
    except UserError as error:
        raise UserError(f"{_KEY}: {error}") from error


def ask(session: Session, judge: Judge, rows: Sequence[Compared], share: tuple[int, int]) -> Heard:
    """Have the judge compare what is open, and write into `rows` what it says."""
    every = questions_of(session, judge)
    verdicts = Verdicts(session.folder / NAME)
    try:
        done = verdicts.of(WHO)
        session.stretch("judging", len(every), len(done), share=share)
        answer(session, judge, every, done, lambda said: session.advance(verdicts.append(WHO, said)))
    finally:
        verdicts.close()
    return _heard(session.folder / NAME, judge, every, done, rows)


def questions_of(session: Session, judge: Judge) -> list[Asked]:
    """What is asked of answers.jsonl: both orders of every two that differ, or of each of them how good it is."""
    kind = "scores" if judge.kind == "reward" else judge.ask
    # An answer that is empty is not shown to anybody.
    rows = [row for row in groups(session.folder / ANSWERS) if not isinstance(row, BadRow)]
    return [(question, row) for row in rows for question in questions(row, kind)]


def answer(session: Session, judge: Judge, every: list[Asked], done: Mapping[Question, Said], say: Say) -> None:
    """Have the judge say what is not done yet, in batches that are the same whatever of them is."""
    if all(question in done for question, _ in every):
        return
    session.release()
    context = session.context
    folder = None if judge.kind == "endpoint" else resolve(context.workspace, judge.model)
    try:
        asker = open_judge(context.workspace, WHO, judge, folder, session.config.compute, context.log)
    except UserError as error:
        raise UserError(f"{_KEY}: {error}") from error

    try:
        ask_all(asker, every, Asking(done, say, session.between, session.mine))
        session.between()
    finally:
        asker.close()
        del asker
        session.release()


def _heard(path: Path, judge: Judge, every: list[Asked], done: dict[Question, Said], rows: Sequence[Compared]) -> Heard:
    of_line: dict[int, dict[Question, Said]] = {}
    for question, _ in every:
        of_line.setdefault(question.line, {})[question] = done[question]
    texts = {(one["line"], one["first"], one["second"]): one["text"] for one in read_verdicts(path)}
    disagree = unread = 0
    first: list[float] = []
    for row in rows:
        said = of_line.get(row.place)
        if said is None:
            continue
        opinion = opinion_of(judge, 2, said)
        row.outcome = opinion.says(0, 1)
        row.told = [_told(judge, question, one, texts) for question, one in said.items()]
        missing = [one.why for one in said.values() if one.why]
        unread += len(missing)
        if row.outcome is None:
            row.why = missing[0] if len(missing) == len(said) or judge.kind == "reward" else ONE_ORDER
        disagree += opinion.counts["inconsistent"]
        first += opinion.first_wins
    pull = (math.fsum(first) / len(first), *wilson(math.fsum(first), len(first))) if first else None
    return Heard(len(every), unread, disagree, pull)


def _told(
    judge: Judge, question: Question, said: Said, texts: dict[tuple[int, int, int | None], str]
) -> dict[str, Any]:
    """One verdict, with the models in the place of letters and numbers."""
    names = (POLICY, BASELINE)
    text = texts.get((question.line, question.first, question.second), "")
    beside = {"why": said.why} if said.why else {}
    beside |= {"text": text} if text else {}
    if question.second is None:
        kind = "reward" if judge.kind == "reward" else "score"
        return {"of": names[question.first], kind: said.value, **beside}
    won = {"A": names[question.first], "B": names[question.second], "TIE": "tie"}
    told = {"first": names[question.first], "better": won[said.verdict] if said.verdict else None}
    return {**told, **({"log_odds": said.value} if said.value is not None else {}), **beside}
