"""What share of each batch a rank takes: as given, or measured by a few steps that change nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import mlx.core as mx

from core.data.batches import BatchStream, Size
from core.store import facts, runs
from core.store.facts import Fact
from core.store.ranks import shares_words
from core.training import checkpoints
from core.training.context import Context
from core.training.gradients import sum_gradients

if TYPE_CHECKING:
    from core.training.loop import Objective

# Batches that are timed, after as many that are not: kernels are compiled, references computed, files read.
TIMED = 3


def settle(
    objective: Objective, gradients: Callable[..., Any], size: Size, seed: int, scale: float, context: Context
) -> None:
    """Measure the shares where that is asked for; say what they are, and keep it with the run.

    All ranks call it together. Weights, random state and the place in the data are afterwards what they were.
    """
    ranks = context.ranks
    if ranks.alone:
        return
    if ranks.measure:
        words = checkpoints.random_words()
        context.progress(context.run.step, context.run.steps, "measuring what share each rank can take")
        rate = _rate(objective, gradients, BatchStream(objective.lengths, size, seed), scale)
        rates = [float(said["rate"]) for said in ranks.gather("rates", {"rate": rate})]
        checkpoints.set_random(words)
        ranks.shares = tuple(rate / sum(rates) for rate in rates)
        found = ", ".join(f"{name} {rate:.3g} a second" for name, rate in zip(ranks.names, rates, strict=True))
        ranks.why, ranks.measure = "measured", False
        context.log(f"shares: measured on {TIMED} batches: {found}")
    record(context)


def _rate(objective: Objective, gradients: Callable[..., Any], stream: BatchStream, scale: float) -> float:
    """Examples of whole batches a second, gradients and all."""
    batches = [stream.take() for _ in range(TIMED)]
    objective.model.train()
    seconds = 0.0
    for _ in range(2):  # the second time counts
        started = time.perf_counter()
        for batch in batches:
            mx.eval(sum_gradients(objective, gradients, objective.pieces(batch), scale))
        seconds = time.perf_counter() - started
    return sum(map(len, batches)) / seconds


def record(context: Context) -> None:
    """Keep with the run how it is distributed: log, configuration, and the fact that the checklist asks for."""
    ranks = context.ranks
    if not ranks.first:
        return
    context.log(f"trained by {ranks.size} ranks: {ranks}")
    for name, share in zip(ranks.names, ranks.shares, strict=True):
        context.log(f"  {name}: {100 * share:.1f} % of each batch", "debug")
    snapshot = dict(context.run.config)
    compute = dict(snapshot.get("compute", {}))
    compute["distributed"] = {
        **compute.get("distributed", {}),
        "shares": [round(100 * share, 3) for share in ranks.shares],
    }
    snapshot["compute"] = compute
    runs.update(context.db, context.run.id, config=snapshot)
    context.run = runs.get(context.db, context.run.id)
    if context.run.kind == "dpo":
        text = str(ranks)
        source = f"{shares_words(ranks.shares)}: {', '.join(ranks.names)}"
        facts.record(context.db, Fact("dpo.distribution", 1.0, text=text, run=context.run.id, source=source))
