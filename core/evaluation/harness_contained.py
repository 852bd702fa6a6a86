"""lm-evaluation-harness inside of an engine: no code out of templates, no hub unless asked, nothing on the log."""

from __future__ import annotations

import logging
import os
import random
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from typing import Any

import datasets.config
import lm_eval.api.task
import lm_eval.evaluator
import lm_eval.utils
import numpy as np
from huggingface_hub import constants, get_session
from jinja2 import BaseLoader, StrictUndefined, Template
from jinja2.sandbox import SandboxedEnvironment

from core.errors import UserError
from core.text import one_line

# Seconds to wait for the hub's first word. Without a network its client would try for half a minute.
_PATIENCE = 5


class Templates(SandboxedEnvironment):
    """What the harness renders templates with, but so that a template cannot reach Python through attributes.

    Each is compiled once, where the harness does so for each item: 100 prompts of MMLU take 0.02 s to build, not 0.8.
    """

    def __init__(self, filters: dict[str, Any]) -> None:
        super().__init__(loader=BaseLoader(), undefined=StrictUndefined, keep_trailing_newline=True)
        self.filters.update(filters)
        self._compiled = lru_cache(maxsize=256)(super().from_string)

    def from_string(self, source: Any, *args: Any, **options: Any) -> Template:
        return super().from_string(source, *args, **options) if args or options else self._compiled(source)


def hub_answers() -> bool:
    """Whether the Hugging Face hub can be asked now."""
    if constants.HF_HUB_OFFLINE:
        return False
    try:
        get_session().head(constants.ENDPOINT, timeout=_PATIENCE)
    except Exception:  # whatever the HTTP client of the day raises
        return False
    return True


@contextmanager
def contained(seed: int, *, hub: bool) -> Iterator[Templates]:
    """While this lasts the harness may be used.

    Args:
        seed: of the global generators that tasks draw from; they are put back as they were.
        hub: let it talk to the hub; else what wants to fails at once.
    """
    templates = Templates({"regex_replace": lm_eval.utils.env.filters["regex_replace"]})
    python, numbers = random.getstate(), np.random.get_state()
    with ExitStack() as stack:
        stack.enter_context(_instead(lm_eval.utils, env=templates))
        stack.enter_context(_instead(lm_eval.api.task, tqdm=lambda items, **_: items))
        # They start programs (git, pip, nvidia-smi) to describe a machine that runs.db knows.
        stack.enter_context(_instead(lm_eval.evaluator, get_git_commit_hash=lambda: None, add_env_info=lambda _: None))
        # Without it the harness forks this process, threads and all, to bootstrap.
        stack.enter_context(_environment(DISABLE_MULTIPROC="1"))
        if hub:
            # Its metrics are scripts of the hub, run where they are loaded: the harness' own are enough.
            import evaluate

            stack.enter_context(_instead(evaluate, load=_refuse_script))
        else:
            stack.enter_context(_instead(constants, HF_HUB_OFFLINE=True))
            stack.enter_context(_instead(datasets.config, HF_HUB_OFFLINE=True))
        stack.enter_context(_silent("lm_eval", "datasets", "evaluate", "huggingface_hub", "mlx_lm"))
        random.seed(seed)
        np.random.seed(seed)
        try:
            yield templates
        finally:
            random.setstate(python)
            np.random.set_state(numbers)


def _refuse_script(name: object = "", *_: object, **__: object) -> None:
    raise UserError(
        f"it wants to run a script of the hub (evaluate.load('{one_line(str(name), 60)}')), which is not done"
    )


@contextmanager
def _instead(owner: Any, **values: Any) -> Iterator[None]:
    """Attributes of a module are these, for as long as it lasts."""
    before = {name: getattr(owner, name) for name in values}
    try:
        for name, value in values.items():
            setattr(owner, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(owner, name, value)


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _silent(*names: str) -> Iterator[None]:
    """Errors are raised; what else these libraries have to say is for those who write tasks."""
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    bars = datasets.are_progress_bars_disabled()
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    datasets.disable_progress_bars()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        if not bars:
            datasets.enable_progress_bars()
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
