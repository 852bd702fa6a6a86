"""The model that stands after a decision: its files where later steps read them, and its facts as the newest ones."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from core.errors import UserError
from core.models.load import resolve
from core.models.save import recover, whole_folder
from core.store import benchmarks, facts
from core.store.facts import Fact
from core.store.iterations import Decided, Iteration
from core.text import printable
from core.training.context import Context
from core.workspace import write_private

# In the folder of the model that stands: of which round it is.
RECORD = "iteration.json"


def refuse_foreign(folder: Path, shown: str) -> None:
    """What is not ours is not replaced.

    Raises:
        UserError: other files stand in the folder.
    """
    if folder.exists() and not (folder.is_dir() and ((folder / RECORD).is_file() or not any(folder.iterdir()))):
        raise UserError(
            f"logging.model_dir: {printable(shown)} holds something else, which would be replaced: name another folder"
        )


def adopt(context: Context, rounds: Sequence[Iteration], decided: Decided, model_dir: str) -> None:
    """Let the model of the round that was decided for stand: in `model_dir`, and in what facts say.

    Done again it changes nothing but the time of the facts.
    """
    workspace, target = context.workspace, rounds[decided.target]
    assert target.model is not None
    folder = workspace.path(model_dir)
    recover(folder)
    refuse_foreign(folder, model_dir)
    source = resolve(workspace, target.model)
    with whole_folder(folder) as part:
        for file in sorted(source.iterdir()):
            # Checkpoints and a base that was fused lie in folders of their own, and stay where they are.
            if file.is_file():
                shutil.copyfile(file, part / file.name)
        record = {
            "run": context.run.id, "iteration": target.number, "model": target.model, "dpo": target.dpo,
            "evaluation": target.evaluation, "decision": decided.choice, "reason": decided.reason,
        }  # fmt: skip
        write_private(part / RECORD, json.dumps(record, indent=2, sort_keys=True) + "\n")
    context.artifact("model", model_dir)
    if target is not rounds[-1]:
        _restore(context, rounds, target)


def _restore(context: Context, rounds: Sequence[Iteration], target: Iteration) -> None:
    """Say again what was measured of the round's model: what was measured since is of a model that was left."""
    db, now = context.db, time.time()
    back = f"{context.run.id} went back to " + (f"iteration {target.number}" if target.number else "the start")
    own: dict[str, Fact] = {}
    for run in (target.dpo, target.evaluation):
        own |= facts.of_run(db, run) if run is not None else {}
    later = {
        name for one in rounds for run in (one.dpo, one.evaluation) if run is not None for name in facts.of_run(db, run)
    }
    again = [replace(fact, time=now, source=f"{fact.source}; {back}" if fact.source else back) for fact in own.values()]
    gone = [Fact(name, None, run=context.run.id, source=f"not measured: {back}") for name in sorted(later - set(own))]
    facts.record(db, *again, *gone)
    for result in benchmarks.of_run(db, target.evaluation) if target.evaluation is not None else ():
        benchmarks.record(db, replace(result, time=now))
