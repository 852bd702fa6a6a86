"""Parts of an evaluation, measured on another host by the same code: what a run asks of a worker.

A benchmark is asked whole on one host, because what stands in a batch follows from all of its questions. Of the other
parts the groups of items that are computed together are dealt. So the figures are those of one machine, to the bit.
Only what was measured goes back; what it comes to is told by the run itself.
"""

from __future__ import annotations

import json
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from core.config import DPOConfig, EvalConfig, plan
from core.errors import UserError
from core.evaluation import (
    benchmarks_part,
    final_part,
    perplexity_part,
    preference_part,
    win_rate_answers,
    win_rate_judging,
    win_rate_part,
)
from core.evaluation.items import Unmeasured
from core.evaluation.origin import Origin
from core.evaluation.own_benchmarks import Own
from core.evaluation.references import Against
from core.evaluation.rows import Key, Rows
from core.evaluation.session import Session
from core.experiments import spread_verdicts
from core.generation.groups import Question
from core.generation.verdicts import Said
from core.models.device import use_device
from core.models.limits import limits
from core.store import open_store, runs
from core.store.writer import Writer
from core.text import printable
from core.training.context import Context
from core.workspace import Workspace

# The groups of a part are numbered; those that leave the same remainder are an item of the deal.
ITEMS = tuple(map(str, range(64)))

Say = Callable[[str, dict[str, Any]], None]


class _Share(Session):
    """A session that waits where the run is paused, and computes what it was dealt; nobody else asks anything of it."""

    wait: Callable[[], None]
    items: frozenset[str] = frozenset()
    known: Sequence[tuple[Key, Any]] = ()
    say_rows: Callable[[list[tuple[Key, Any]]], None]

    def between(self) -> None:
        self.wait()

    def say_said(self, said: list[tuple[Question, Said]]) -> None:
        self.say_rows([spread_verdicts.row_of(*one) for one in said])

    def rows(self, name: str) -> Rows:
        return _Told(self.folder / name, self)

    def mine(self, group: int) -> bool:
        return ITEMS[group % len(ITEMS)] in self.items


class _Told(Rows):
    """Rows that the run hears of as they come, beside those that it told of."""

    def __init__(self, path: Path, share: _Share) -> None:
        super().__init__(path)
        super().add(share.known)
        self._share = share

    def add(self, rows: Iterable[tuple[Key, Any]]) -> None:
        new = list(rows)
        super().add(new)
        # That a prompt cannot be asked each host finds by itself, and so does the run, which says why.
        if told := [(key, value) for key, value in new if not win_rate_answers.left_out(value)]:
            self._share.say_rows(told)


@contextmanager
def _session(workspace: Workspace, config: EvalConfig, between: Callable[[], None]) -> Iterator[_Share]:
    """A session in a folder that is gone afterwards."""
    planned = plan(config.compute)
    dtype = use_device(planned)
    with (
        tempfile.TemporaryDirectory(prefix="dpotui-share-") as folder,
        limits(config.compute.environment, planned.device),
    ):
        database = Path(folder) / "runs.db"
        with closing(open_store(database, create=True)) as db:
            run = runs.create(db, "evaluate", config=config.model_dump(mode="json"))
            writer = Writer(database)
            session = _Share(Context(workspace, db, run, writer, threading.Event()), config, Path(folder), dtype)
            session.wait = between
            try:
                yield session
            finally:
                session.release()
                writer.close()


def answer_benchmarks(
    workspace: Workspace,
    task: Mapping[str, Any],
    message: Mapping[str, Any],
    say: Say,
    between: Callable[[], None],
    note: Callable[..., None],
) -> None:
    """Answer the benchmarks of these names."""
    config = EvalConfig.model_validate(task["config"])
    with _session(workspace, config, between) as session:
        for name in message["items"]:
            say(name, _answered(session, workspace, config, name, task["of"][name], note))


def _answered(
    session: Session, workspace: Workspace, config: EvalConfig, name: str, of: str, note: Callable[..., None]
) -> dict[str, Any]:
    benchmark = config.capability_benchmarks[name]
    with benchmarks_part.kept_answers(session, name, of) as kept:
        try:
            own = None
            if benchmark.answer is not None:
                own = Own(workspace.path, name, benchmark, config.evaluation.seed)
            benchmarks_part.answer(session, name, benchmark, own, (0, 1), kept)
        except (Unmeasured, UserError) as reason:
            note({"note": f"{name}: {reason}", "warning": True})
    lines = kept.path.read_text("utf-8").splitlines() if kept.path.exists() else []
    found = [json.loads(line) for line in lines]
    return {"answers": [[line["key"], line["said"]] for line in found]}


def measure(
    workspace: Workspace,
    task: Mapping[str, Any],
    message: Mapping[str, Any],
    say: Say,
    between: Callable[[], None],
    note: Callable[..., None],
) -> None:
    """Measure the groups of these items.

    Raises:
        UserError: they would be other ones here, or measured otherwise.
    """
    config = EvalConfig.model_validate(task["config"])
    here = plan(config.compute)
    if [here.device, here.dtype] != task["computes"]:
        raise UserError(f"it computes on the {here.device} in {here.dtype}, not on the {' in '.join(task['computes'])}")
    with _session(workspace, config, between) as session:
        for name, digest in task["reads"].items():
            if session.context.inputs(str(workspace.path(name))) != {name: digest}:
                raise UserError(f"{printable(name)} is not there, or another one: copy it there")
        session.items = frozenset(message["items"])
        session.known = [(tuple(key), value) for key, value in message["known"]]
        session.say_rows = lambda new: say("", {"rows": new})
        part, stage = task["part"], task["stage"]
        with session.rows(FILES[part]) as found:
            STAGES[part][stage](session, found, task)
    for item in message["items"]:
        say(item, {"rows": []})


def _perplexity(session: Session, found: Rows, task: Mapping[str, Any]) -> None:
    perplexity_part.fill(session, found, str(session.config.perplexity.validation_file))


def _preference(session: Session, found: Rows, task: Mapping[str, Any]) -> None:
    preference_part.fill(session, found, _against(task))


def _win_rate(session: Session, found: Rows, task: Mapping[str, Any]) -> None:
    settings = session.config.alignment_evaluation.preference_validation
    win_rate_answers.fill(session, found, settings, win_rate_part.draw(session).prompts, 2)


def _verdicts(session: _Share, found: Rows, task: Mapping[str, Any]) -> None:
    settings = session.config.alignment_evaluation.preference_validation
    prompts = win_rate_part.draw(session).prompts
    win_rate_answers.fill(session, found, settings, prompts, 3)  # what could not be asked
    win_rate_answers.write(session, found, prompts)
    done = dict(spread_verdicts.said_of(*row) for row in session.known if row[0][0] == spread_verdicts.VERDICT)
    assert settings.judge is not None
    every = win_rate_judging.questions_of(session, settings.judge)
    win_rate_judging.answer(session, settings.judge, every, done, session.say_said)


def _responses(session: Session, found: Rows, task: Mapping[str, Any]) -> None:
    final_part.fill_responses(session, found, _against(task))


def _kl(session: Session, found: Rows, task: Mapping[str, Any]) -> None:
    final_part.fill_kl(session, found, _against(task))


def _against(task: Mapping[str, Any]) -> Against:
    """The reference, and how the DPO run that wrote the model put its pairs together, as the run itself found them."""
    made = None if task["made"] is None else DPOConfig.model_validate(task["made"])
    return Against(Origin(None, made), task["reference"])


_Fill = Callable[[_Share, Rows, Mapping[str, Any]], None]
# What each part has measured, one stage after the other: a later one needs all rows of those before.
STAGES: dict[str, dict[str, _Fill]] = {
    "perplexity": {"examples": _perplexity},
    "preference": {"pairs": _preference},
    "win_rate": {"answers": _win_rate, "verdicts": _verdicts},
    "final": {"responses": _responses, "KL": _kl},
}
FILES = {
    "perplexity": perplexity_part.ROWS,
    "preference": preference_part.ROWS,
    "win_rate": win_rate_answers.ROWS,
    "final": final_part.ROWS,
}
