"""Answers to whole benchmarks, given on another host by the same code: what an evaluation asks of a worker.

A benchmark is asked whole on one host, because what stands in a batch follows from all of its questions: so the answers
are those of one machine, to the bit. Only answers go back; what is right is told by the run itself.
"""

from __future__ import annotations

import json
import tempfile
import threading
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from core.config import EvalConfig, plan
from core.errors import UserError
from core.evaluation import benchmarks_part
from core.evaluation.items import Unmeasured
from core.evaluation.own_benchmarks import Own
from core.evaluation.session import Session
from core.models.device import use_device
from core.models.limits import limits
from core.store import open_store, runs
from core.store.writer import Writer
from core.training.context import Context
from core.workspace import Workspace


class _Waiting(Session):
    """A session that waits where the run is paused; nobody else asks anything of it."""

    wait: Callable[[], None]

    def between(self) -> None:
        self.wait()


def answer(
    workspace: Workspace,
    task: Mapping[str, Any],
    message: Mapping[str, Any],
    say: Callable[[str, dict[str, Any]], None],
    between: Callable[[], None],
    note: Callable[..., None],
) -> None:
    """Answer the benchmarks of these names, in a folder that is gone afterwards."""
    config = EvalConfig.model_validate(task["config"])
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
            session = _Waiting(Context(workspace, db, run, writer, threading.Event()), config, Path(folder), dtype)
            session.wait = between
            try:
                for name in message["items"]:
                    say(name, _answered(session, workspace, config, name, task["of"][name], note))
            finally:
                session.release()
                writer.close()


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
