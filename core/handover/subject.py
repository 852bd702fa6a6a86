"""What is handed over: the model that a run wrote, one of its checkpoints, or a folder; found without loading MLX."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import UserError
from core.evaluation.origin import run_named
from core.runs.lineage import writer
from core.store import Database, artifacts, files, iterations, runs
from core.store.iterations import Iteration
from core.store.runs import Run
from core.text import printable
from core.workspace import Workspace, path_from

# Kinds whose runs write a model.
KINDS = ("sft", "dpo")
_ADAPTER, _STATE = "adapter_config.json", "trainer_state.json"


@dataclass(frozen=True, slots=True)
class Subject:
    """`folder` holds a model or an adapter; `adapter` is the folder of the adapter that made it, where there is one."""

    folder: Path
    name: str  # as runs.db has it
    run: Run | None
    checkpoint: int | None = None
    adapter: Path | None = None
    no_adapter: str = ""  # why there is none

    @property
    def base(self) -> Path:
        """The model folder that holds its architecture and tokenizer."""
        return base_of(self.folder) or self.folder


def find(workspace: Workspace, db: Database, wanted: str, checkpoint: int | None = None) -> Subject:
    """
    Args:
        wanted: the id of a run, or a folder.
        checkpoint: the step of one of the run's checkpoints, in place of what it handed over.

    Raises:
        UserError: there is no such thing, it is not finished, or its files are not those that the run wrote.
    """
    known = db.execute("SELECT 1 FROM runs WHERE id = ?", [wanted]).fetchone() if wanted.isprintable() else None
    if known is None and workspace.path(wanted).is_dir():
        return _of_folder(workspace, db, wanted, checkpoint)
    return _of_run(workspace, db, runs.get(db, wanted), checkpoint)


def _of_run(workspace: Workspace, db: Database, run: Run, checkpoint: int | None) -> Subject:
    if run.kind == "iterate" and checkpoint is None:
        stands = _standing(db, run)
        if stands.dpo is not None:
            return _of_run(workspace, db, runs.get(db, stands.dpo), None)
        return _of_folder(workspace, db, str(stands.model), None)
    if run.kind not in KINDS:
        raise UserError(f"{run.id} is a run of kind {run.kind}: {_instead(db, run)}")
    if checkpoint is not None:
        name = f"{run.output_dir}/checkpoint-{checkpoint}"
        folder = workspace.path(name)
        if run.output_dir is None or not (folder / _STATE).is_file():
            raise UserError(f"--checkpoint {checkpoint}: {run.id} has {_checkpoints(workspace, run)}: name one of them")
    elif run.state != "finished":
        raise UserError(
            f"{run.id} is {run.state}: --checkpoint STEP takes a checkpoint, and it has {_checkpoints(workspace, run)}"
        )
    else:
        name = str(run.output_dir if run.kind == "dpo" else run.config["model"]["checkpoint"])
        folder = workspace.path(name)
    wrote = {artifact.path: artifact.sha256 for artifact in artifacts.of_run(db, run.id)}
    digest = files.sha256(db, workspace, name)
    if digest is None:
        raise UserError(f"{run.id} wrote {printable(name)}, which is gone: name the folder where the model is now")
    if wrote.get(name, digest) != digest:
        raise UserError(
            f"{printable(name)} is not what {run.id} wrote, it changed since: name a folder to hand over what lies in "
            f"it now, or --checkpoint STEP for one of {run.id}'s: it has {_checkpoints(workspace, run)}"
        )
    return Subject(folder, name, run, checkpoint, *_adapter(workspace, run, folder))


def _standing(db: Database, run: Run) -> Iteration:
    """The round whose model stands, by the newest decision that was carried out."""
    rounds = {each.number: each for each in iterations.listing(db, run.id)}
    for number in sorted(rounds, reverse=True):
        decided = iterations.decision(db, run.id, number)
        if decided is not None and decided.done is not None and decided.target in rounds:
            return rounds[decided.target]
    raise UserError(f"{run.id} has no model that stands yet: {_instead(db, run)}")


def _of_folder(workspace: Workspace, db: Database, wanted: str, checkpoint: int | None) -> Subject:
    if checkpoint is not None:
        raise UserError("--checkpoint is of a run: name a run, or the checkpoint's own folder")
    folder = workspace.path(wanted).resolve()
    name = workspace.relative(folder)
    if (folder / "reward_config.json").is_file():
        raise UserError(
            f"{printable(name)} is a reward model: it judges answers and is not handed over as one that writes"
        )
    if not any((folder / file).is_file() for file in ("config.json", _ADAPTER)):
        raise UserError(f"{printable(name)} has neither config.json nor {_ADAPTER}: name a model folder or a run")
    step = re.fullmatch(r"checkpoint-(\d+)", folder.name)
    run = _who_wrote(workspace, db, folder, name)
    if (folder / _ADAPTER).is_file() and not (folder / "config.json").is_file():
        return Subject(folder, name, run, int(step[1]) if step and run else None, folder)
    adapter, why = _adapter(workspace, run, folder) if run else (None, "which adapter made it is not known")
    return Subject(folder, name, run, int(step[1]) if step and run else None, adapter, why)


def _who_wrote(workspace: Workspace, db: Database, folder: Path, name: str) -> Run | None:
    """The run that these very bytes are of."""
    digest = files.sha256(db, workspace, name)
    named = run_named(folder)
    sql = (
        "SELECT run FROM artifacts JOIN runs ON runs.id = artifacts.run WHERE sha256 = ? AND (path = ? OR run = ?)"
        " AND runs.kind IN (SELECT value FROM json_each(?)) ORDER BY artifacts.id DESC LIMIT 1"
    )
    row = db.execute(sql, [digest, name, named, json.dumps(KINDS)]).fetchone()
    return runs.get(db, row[0]) if row else None


def _adapter(workspace: Workspace, run: Run, folder: Path) -> tuple[Path | None, str]:
    """The folder of the adapter that made a model, or why there is none."""
    if run.config.get("adapter", {}).get("type") == "full":
        return None, f"{run.id} trained every weight (adapter.type: full), so there is no adapter"
    if (folder / _ADAPTER).is_file() and not (folder / "config.json").is_file():
        return folder, ""
    best = _read(folder / "training_metrics.json").get("best")
    found = workspace.path(f"{run.output_dir}/{best}")
    if isinstance(best, str) and run.output_dir is not None and (found / _ADAPTER).is_file():
        return found, ""
    return None, f"the checkpoint of {run.id} with its adapter is not there any more"


def base_of(folder: Path) -> Path | None:
    """The model folder that an adapter folder stands on; None where the folder is no adapter, or does not say."""
    if not (folder / _ADAPTER).is_file() or (folder / "config.json").is_file():
        return None
    name = _read(folder / _ADAPTER).get("model")
    return path_from(folder, name) if isinstance(name, str) else None


def _checkpoints(workspace: Workspace, run: Run) -> str:
    folder = workspace.path(run.output_dir or "")
    places = folder.glob("checkpoint-*") if run.output_dir else ()
    steps = sorted(int(each.name[11:]) for each in places if each.name[11:].isdecimal() and (each / _STATE).is_file())
    return f"checkpoints at {', '.join(map(str, steps))}" if steps else "no checkpoint"


def _instead(db: Database, run: Run) -> str:
    """What can be handed over in its place."""
    if run.kind == "reward":
        return "a reward model judges answers, it is not handed over as one that writes; name an sft or dpo run"
    made = [part.id for part in runs.parts(db, run.id) if part.kind in KINDS and part.state == "finished"]
    if made:
        return f"name one of the runs that it is made of: {', '.join(made[-8:])}"
    subject = run.config.get("model", {}).get("final") if isinstance(run.config.get("model"), dict) else None
    made_by = writer(db, subject) if isinstance(subject, str) and run.kind == "evaluate" else None
    return f"it wrote no model; what it evaluated is of {made_by}" if made_by else "name an sft or dpo run, or a folder"


def _read(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
