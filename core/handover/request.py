"""From what a person asks for to a queued run of kind `export`; what cannot be is refused here, before it starts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import UserError
from core.handover import forms
from core.handover.inventory import RECORD, is_export
from core.handover.subject import Subject, base_of, find
from core.store import Database, runs
from core.store.runs import Run
from core.text import printable
from core.workspace import Workspace

if TYPE_CHECKING:
    from core.config.export import Bits, ExportConfig, GroupSize, Type


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked for; `output` None takes the usual folder, `pairs` None the run's own validation rows."""

    what: str
    output: str | None = None
    checkpoint: int | None = None
    quantize: Bits | None = None
    group_size: GroupSize | None = None
    dtype: Type | None = None
    gguf: bool = False
    peft: bool = False
    pairs: str | None = None
    force: bool = False


def plan(workspace: Workspace, db: Database, wish: Wish) -> ExportConfig:
    """The configuration of the run.

    Raises:
        UserError: it cannot be done: one line, and what to change.
    """
    from core.config.export import ExportConfig
    from core.config.load import problems

    subject = find(workspace, db, wish.what, wish.checkpoint)
    if wish.group_size is not None and wish.quantize is None:
        raise UserError("--group-size is of quantized weights: add --quantize 4 or 8")
    _refuse_forms(subject, wish)
    run = subject.run
    values: dict[str, Any] = {
        "what": wish.what,
        "model": subject.name,
        "run": run.id if run else None,
        "checkpoint": wish.checkpoint,
        "adapter": workspace.relative(subject.adapter) if wish.peft and subject.adapter else None,
        "output": _output(workspace, subject, wish),
        "replace": wish.output is not None and wish.force,
        "quantize": wish.quantize,
        "group_size": wish.group_size or 64,
        "dtype": wish.dtype,
        "gguf": wish.gguf,
        "peft": wish.peft,
        **_rows(workspace, run, wish),
        "trust_remote_code": bool(run.config.get("model", {}).get("trust_remote_code")) if run else False,
    }
    if wrong := problems(ExportConfig, values):
        path, sentence = wrong[0]
        raise UserError(f"{'.'.join(map(str, path))}: {sentence}")
    return ExportConfig.model_validate(values)


def submit(workspace: Workspace, db: Database, wish: Wish) -> Run:
    """Queue the run.

    Raises:
        UserError: as `plan`.
    """
    config = plan(workspace, db, wish)
    name = f"export of {config.run or config.model}"
    return runs.create(db, "export", config=config.model_dump(mode="json"), name=name)


def _refuse_forms(subject: Subject, wish: Wish) -> None:
    base = subject.base
    if wish.gguf and (why := forms.no_gguf(base)):
        raise UserError(f"--gguf: {why}: leave it out")
    if not wish.peft:
        return
    if subject.adapter is None:
        raise UserError(f"--peft: {subject.no_adapter}: leave it out")
    stands_on = base_of(subject.adapter)
    if stands_on is None or not (stands_on / "config.json").is_file():
        raise UserError(f"--peft: {subject.adapter.name} names no model that it stands on: leave it out")
    if why := forms.no_transformers(stands_on):
        raise UserError(
            f"--peft: an adapter is for a model that transformers opens, and of this one {why}: leave it out"
        )


def _output(workspace: Workspace, subject: Subject, wish: Wish) -> str:
    if wish.output is None:
        stem = subject.run.id if subject.run else subject.folder.name
        step = f"-step-{subject.checkpoint}" if subject.checkpoint is not None else ""
        return f"outputs/{stem}{step}-export"
    folder = workspace.path(wish.output)
    shown = printable(wish.output)
    refuse_place(folder, shown, wish.force)
    if subject.folder.resolve().is_relative_to(folder.resolve()):
        raise UserError(f"{shown} holds the model that is handed over: name another folder")
    return workspace.relative(folder)


def refuse_place(folder: Path, shown: str, force: bool) -> None:
    """
    Raises:
        UserError: something lies there that an export does not replace.
    """
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise UserError(f"{shown} is no folder: name another one")
    if not folder.exists() or not any(folder.iterdir()):
        return
    if not is_export(folder):
        raise UserError(f"{shown} is not empty and holds no export (no {RECORD} of one): name another folder")
    if not force:
        raise UserError(f"{shown} holds an export already: --force replaces it, or name another folder")


def _rows(workspace: Workspace, run: Run | None, wish: Wish) -> dict[str, Any]:
    """The rows that the result is scored on, cut as the run cut them."""
    data = run.config.get("data", {}) if run else {}
    limits = {key: data.get(key) for key in ("max_prompt_length", "max_response_length")}
    limits["apply_chat_template"] = bool(data.get("apply_chat_template"))
    own = data.get("validation_file")
    pairs = wish.pairs or own or _usual(workspace)
    if pairs is None:
        raise UserError("which rows to score the result on is not known: --pairs FILE names preference pairs")
    if not workspace.path(pairs).is_file():
        raise UserError(f"{printable(pairs)} is not there: --pairs FILE names pairs to score the result on")
    examples = run is not None and run.kind == "sft" and wish.pairs is None
    return {"pairs": workspace.relative(workspace.path(pairs)), "examples": examples, **limits}


def _usual(workspace: Workspace) -> str | None:
    """The validation pairs of the workspace's own DPO configuration."""
    from core.config import DPOConfig, load_config

    try:
        found = load_config(workspace.configs / "dpo_config.yaml", DPOConfig).data.validation_file
    except UserError:
        return None
    return found if workspace.path(found).is_file() else None
