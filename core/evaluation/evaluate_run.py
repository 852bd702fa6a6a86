"""A run of kind `evaluate`: the parts of an evaluation one after the other; what is done is not done again."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from core.config import EvalConfig, plan
from core.errors import UserError
from core.evaluation import (
    benchmarks_part,
    final_part,
    perplexity_part,
    preference_part,
    samples_part,
    win_rate_judging,
    win_rate_part,
)
from core.evaluation.session import STEPS, Session
from core.models.device import use_device
from core.models.reward_folder import is_reward
from core.text import printable
from core.training.context import Context
from core.training.prepare import claim_output

# Each leaves in the session's folder what it needs to go on, and records its facts itself.
PARTS: dict[str, Callable[[Session], None]] = {
    "benchmarks": benchmarks_part.run,
    "perplexity": perplexity_part.run,
    "samples": samples_part.run,
    "preference": preference_part.run,
    "win_rate": win_rate_part.run,
    "final": final_part.run,
}


def _refuse(session: Session) -> None:
    """What would end the run hours later ends it now.

    Raises:
        UserError: a model that is to write or to judge is none that can.
    """
    reads = session.config.reads()
    for key in ("model.final", "model.baseline", "model.base"):
        if key in reads and is_reward(session.context.workspace.path(reads[key])):
            raise UserError(
                f"{key}: {printable(reads[key])} is a reward model, which writes nothing: name a language model"
            )
    judge = session.config.alignment_evaluation.preference_validation.judge
    if judge is not None and "win_rate" in session.config.parts and not session.finished("win_rate"):
        win_rate_judging.refuse(session, judge)


def run(context: Context, parts: Mapping[str, Callable[[Session], None]] = PARTS) -> None:
    """`parts`: what does each of them."""
    config = EvalConfig.model_validate(context.run.config)
    # One configuration serves both subjects; their files do not get into each other's way.
    beside = "-baseline" if config.evaluation.subject == "baseline" else ""
    folder = claim_output(context, config.logging.output_dir.rstrip("/") + beside)
    planned = plan(config.compute)
    dtype = use_device(planned)
    context.log(f"computes on the {planned.device.upper()}, weights in {planned.dtype}")
    context.set_steps(STEPS * len(config.parts))
    session = Session(context, config, folder, dtype)
    _refuse(session)
    try:
        for number, part in enumerate(config.parts):
            session.part(number)
            if session.finished(part):
                context.log(f"{part}: done before")
                continue
            parts[part](session)
            session.finish(part)
        context.progress(STEPS * len(config.parts), STEPS * len(config.parts), "")
    finally:
        session.release()
