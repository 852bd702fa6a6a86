"""The run that checks the preference data a DPO configuration names."""

from __future__ import annotations

from dataclasses import replace

from core.config import DPOConfig
from core.data.check import Tokenizing, check
from core.data.check_report import report
from core.data.index import Interrupted
from core.data.tokenize import Limits
from core.model_folder import find_folder
from core.store import facts
from core.training.context import Context
from core.workspace import Workspace

STEPS = 100


def tokenizing(workspace: Workspace, config: DPOConfig) -> Tokenizing:
    """The model whose tokenizer a configuration trains with, if it is on this machine, and the configured limits."""
    limits = Limits(config.data.max_prompt_length, config.data.max_response_length)
    name = config.model.base_model
    folder = find_folder(workspace, name)
    if folder is None or not (folder / "tokenizer.json").is_file():
        return Tokenizing(limits=limits, reason=f"the tokenizer of {name} is not on this machine")
    return Tokenizing(folder, config.data.apply_chat_template, limits, "")


def run(context: Context) -> None:
    """Check both files, log what was found, record the facts."""
    config = DPOConfig.model_validate(context.run.config)
    names = [config.data.train_file, config.data.validation_file]
    context.reads(*names)
    told = ""

    def progress(done: int, total: int, phase: str) -> None:
        nonlocal told
        what = phase.partition(", ")[0]
        if what != told:
            told = what
            context.log(what, "debug")
        context.writer.progress(context.run.id, STEPS * done // max(1, total), STEPS, phase)

    try:
        found = check(
            [context.workspace.path(name) for name in names],
            context.workspace.cache / "data",
            tokenizing=tokenizing(context.workspace, config),
            workspace=context.workspace,
            db=context.db,
            progress=progress,
            wants_stop=context.control.wants_stop,
        )
    except Interrupted:
        context.control.raise_if_stopping()
        raise
    with found.index:
        report(found, context.log)
    facts.record(context.db, *(replace(fact, run=context.run.id) for fact in found.facts))
    context.progress(STEPS, STEPS, "")
