"""A run of kind `evaluate`: the parts of an evaluation one after the other; what is done is not done again."""

from __future__ import annotations

from collections.abc import Callable

from core.config import EvalConfig, plan
from core.evaluation import benchmarks_part, final_part, perplexity_part, preference_part, samples_part, win_rate_part
from core.evaluation.session import STEPS, Session
from core.models.device import use_device
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


def run(context: Context) -> None:
    config = EvalConfig.model_validate(context.run.config)
    # One configuration serves both subjects; their files do not get into each other's way.
    beside = "-baseline" if config.evaluation.subject == "baseline" else ""
    folder = claim_output(context, config.logging.output_dir.rstrip("/") + beside)
    planned = plan(config.compute)
    dtype = use_device(planned)
    context.log(f"computes on the {planned.device.upper()}, weights in {planned.dtype}")
    context.set_steps(STEPS * len(config.parts))
    session = Session(context, config, folder, dtype)
    try:
        for number, part in enumerate(config.parts):
            session.part(number)
            if session.finished(part):
                context.log(f"{part}: done before")
                continue
            PARTS[part](session)
            session.finish(part)
        context.progress(STEPS * len(config.parts), STEPS * len(config.parts), "")
    finally:
        session.release()
