"""The environment of a run in this process: set before it, told once in its log, put back after it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from core import environment
from core.config import plan
from core.config.models import Compute
from core.store import environments, facts
from core.store.environments import Setting
from core.store.facts import Fact

if TYPE_CHECKING:
    from core.training.context import Context

FACT = "dpo.environment"


@contextmanager
def surroundings(context: Context, variables: list[Setting]) -> Iterator[None]:
    """The limits of the run's configuration; `variables` are as they were set before MLX was loaded.

    Raises:
        UserError: Metal refuses a limit.
    """
    from core.models.limits import limits

    run = context.run
    device = str((run.config.get("compute") or {}).get("device", "auto"))
    planned = plan(Compute.model_validate({"device": device}))
    with limits(environment.environment_in(run.config), planned.device) as found:
        every = [*variables, *found]
        environments.record(context.db, run.id, every)
        for one in every:
            if one.asked or one.value is not None or one.effect is not None:
                context.log(one.sentence(), "warning" if one.asked and one.effect == "not yet" else "info")
        if run.kind == "dpo":
            value, text, source = environment.summary(every)
            facts.record(context.db, Fact(FACT, value, run=run.id, source=source, text=text or None))
        yield
