"""The training loop: micro-batches to updates, reports, evaluations, checkpoints, commands. To be read from the top."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim

from core.config.models import Optimization
from core.data.batches import BatchStream, Size
from core.errors import LostNumbers, UserError
from core.models.gradient_checkpointing import gradient_checkpointing
from core.store import artifacts, runs
from core.store import gradients as norms
from core.training import checkpoints, rank_report, rank_state
from core.training.checkpoints import TrainerState
from core.training.context import Context
from core.training.control import Stopped
from core.training.gradients import LossScale, broken_in, gradient_function, norms_by_module, sum_gradients
from core.training.guard import Guard, told
from core.training.optimization import clip, global_norm, learning_rate, make_optimizer
from core.training.rank_shares import settle
from core.training.ranks import ALONE, Ended, LostRank, Ranks
from core.training.schedules import BetaSchedule

Array = mx.array


class Objective(Protocol):
    """What is trained. All sums run over examples (pairs, or tokens for SFT), so that every example weighs the same.

    Attributes:
        model: its trainable parameters are updated.
        lengths: tokens of each training example, by which batches are made.
        doing: what a step does just now, as a run's phase says it.
    """

    model: nn.Module
    lengths: list[int]

    @property
    def doing(self) -> str: ...

    def pieces(self, indices: list[int]) -> list[list[int]]:
        """A micro-batch in the parts that are computed one after the other: less memory, and no more time."""
        ...

    def batch(self, indices: list[int]) -> tuple[Any, ...]:
        """The arguments of `loss` for these examples: arrays, or dictionaries of arrays."""
        ...

    def loss(self, *arrays: Any) -> tuple[Array, Array, dict[str, Array]]:
        """Loss summed over examples, the number of examples, and metrics summed over examples."""
        ...

    def tokens(self, indices: list[int]) -> int:
        """Real tokens in a batch, for the throughput."""
        ...

    def evaluate(self, step: int, interrupted: Callable[[], bool]) -> dict[str, float] | None:
        """Validation metrics under their `eval_` names; None when `interrupted` said so on the way."""
        ...

    def score(self, evaluation: dict[str, float]) -> float | None:
        """How good (higher is better) a model with this evaluation is; None when it may not become the best one."""
        ...

    def write_model(self, folder: Path) -> None:
        """The files by which other programs load what has been trained so far."""
        ...


@runtime_checkable
class HasBeta(Protocol):
    """An objective whose β the loop sets: before each update by the plan, before an evaluation to where it starts."""

    beta: float


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how fast; the names are the configuration's."""

    learning_rate: float
    batch_size: Size
    gradient_accumulation_steps: int
    max_steps: int
    warmup_steps: int
    logging_steps: int
    eval_steps: int
    save_steps: int
    save_total_limit: int
    early_stopping_patience: int
    seed: int
    optimization: Optimization
    gradient_checkpointing: bool
    beta: BetaSchedule | None = None
    guard: Guard | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a finished run ended.

    `best` is the checkpoint to hand on, whose weights the model now has: the best eligible one, else the last;
    `evaluation` is its own.
    """

    state: TrainerState
    best: Path
    eligible: bool
    evaluation: dict[str, float]


def fit(
    objective: Objective,
    plan: Plan,
    context: Context,
    folder: Path,
    sampler: Callable[[int], bool] | None = None,
) -> Outcome:
    """Train from the newest checkpoint in `folder`, or from the start, to `plan.max_steps` or an early stop.

    Args:
        sampler: called in each evaluation with its step, the model in evaluation mode; False where it was interrupted.

    Raises:
        Stopped: a person or the engine ended it; a checkpoint is on disk.
        LostNumbers: the loss is no number any more.
        LostRank: another rank is gone; a checkpoint of what was trained is on disk.
        Ended: training is over, and this rank is not the first one, which does the rest.
    """
    model, control, ranks = objective.model, context.control, context.ranks
    optimizer = make_optimizer(plan.optimization)
    optimizer.init(model.trainable_parameters())
    state = TrainerState(loss_scale=LossScale.of(model))
    earlier = checkpoints.listing(folder)
    if earlier:
        state = checkpoints.restore(earlier[-1][1], model, optimizer)
        context.log(f"resumed from {earlier[-1][1].name}: goes on with step {state.step + 1}")
    state = rank_state.same_start(ranks, state, model, optimizer)
    stream = BatchStream(objective.lengths, plan.batch_size, plan.seed, state.position)
    # A step is compiled where kernels are launched one by one; on the CPU that gains nothing.
    on_gpu = mx.default_device() == mx.Device(mx.gpu)
    gradients = gradient_function(objective, compiled=on_gpu, scaled=state.loss_scale.value > 0)
    settle(objective, gradients, plan.batch_size, plan.seed, state.loss_scale.value, context)
    relative_folder = context.workspace.relative(folder)
    # The checkpoint on disk knows of this step and of this evaluation.
    saved = (state.step, state.evaluated) if earlier else None

    def save() -> Path:
        nonlocal saved
        if saved == (state.step, state.evaluated) or not ranks.first:
            return folder / checkpoints.name(state.step)
        state.position = stream.position
        # A resume does not repeat the steps before this one: what they reported must be on disk first.
        context.writer.flush()
        context.progress(state.step, plan.max_steps, "writing a checkpoint")
        metrics: dict[str, Any] = {"step": state.step, "epoch": stream.epoch, **_shown(state.last_eval)}
        back_at = state.guard.back_at
        evaluated = state.evaluated if back_at is None else back_at
        metrics |= {"evaluated_at_step": evaluated, "measured_on": "validation file", **told(plan.guard, state.guard)}
        path = checkpoints.save(folder, state, model, optimizer, metrics, objective.write_model)
        context.artifact("checkpoint", f"{relative_folder}/{path.name}", state.step)
        keep = {state.best_step, state.guard.good_step if plan.guard and plan.guard.keeps_good else None}
        for gone in checkpoints.prune(folder, plan.save_total_limit, keep):
            artifacts.forget(context.db, context.run.id, f"{relative_folder}/{gone.name}")
        saved = (state.step, state.evaluated)
        return path

    def obey() -> None:
        """Do what was asked since the last step. Ends the run by `Stopped`."""
        for command in control.pending():
            match command.verb:
                case "checkpoint":
                    control.answer(command, f"{save().name} written")
                case "pause":
                    control.pause(command, lambda: f"{save().name} written", ranks.paused)
                case "resume":
                    control.answer(command, "it is not paused")
        stops = [command for command in control.pending() if command.verb == "stop"]
        if stops or control.leaving:
            runs.update(context.db, context.run.id, state="stopping")
            path = save()
            for command in stops:
                control.answer(command, f"stopped after step {state.step}, {path.name} written")
            raise Stopped(leaving=not stops)

    def evaluate() -> None:
        """Evaluate where that is due; an interrupted evaluation leaves no trace and is done again after a resume."""
        due = state.step % plan.eval_steps == 0 or state.step == plan.max_steps
        if not due or state.evaluated == state.step:
            return
        context.progress(state.step, plan.max_steps, "evaluating")
        model.eval()
        if rank_state.keep_alike(ranks, model, optimizer):
            context.log(f"step {state.step}  weights of the ranks differed in their last bits: all took rank 0's")
        if plan.beta is not None and isinstance(objective, HasBeta):
            objective.beta = plan.beta.start
        found = objective.evaluate(state.step, control.wants_stop)
        if found is not None and not math.isfinite(found["eval_loss"]):
            # Before the first step no setting of the training is to blame.
            raise (LostNumbers if state.step else UserError)(
                f"step {state.step}: the validation loss is {found['eval_loss']}: "
                + ("lower training.learning_rate, or set compute.dtype: float32" if state.step else _BROKEN)
            )
        interrupted = found is None or (ranks.first and sampler is not None and not sampler(state.step))
        interrupted = ranks.decide(interrupted)
        model.train()
        if found is None or interrupted:
            return
        state.evaluated, state.last_eval = state.step, found
        state.first_eval = state.first_eval or found
        context.metrics(state.step, _shown(found))
        context.log(f"step {state.step}  validation  {_line(found)}")
        score = objective.score(found) if state.step else None
        if score is not None and (state.best_score is None or score > state.best_score):
            state.best_score, state.best_step, state.stale_evaluations = score, state.step, 0
            state.best_eval = found
        elif state.step:
            state.stale_evaluations += 1
        if plan.guard is not None:
            guard(plan.guard, found)
        if context.prune is not None and 0 < state.step < plan.max_steps and (why := context.prune(state.step, found)):
            context.log(f"step {state.step}: {why}", "warning")
            raise Stopped(leaving=False)

    def guard(watch: Guard, found: dict[str, float]) -> None:
        """Do what the evaluation calls for: the weights may go back, the steps and the data never do."""
        action = watch.judge(state.guard, state.step, found, last=state.step >= plan.max_steps)
        context.metrics(state.step, {"kl_guard_actions": state.guard.actions})
        if action is None:
            return
        context.log(f"step {state.step}  KL guard: {action.words}", "warning")
        if action.back_to is not None:
            if ranks.first:
                checkpoints.go_back(folder / checkpoints.name(action.back_to), model, optimizer)
            rank_state.adopt(ranks, model, optimizer)
            state.last_eval = state.guard.good_eval

    def good() -> bool:
        """Whether the guard may want to come back to here."""
        return plan.guard is not None and plan.guard.keeps_good and state.guard.good_step == state.step

    def step(*, measure: bool) -> int:
        """One update; where a rank is lost in it, all is as it was before it."""
        before = None if ranks.alone else (stream.position, checkpoints.random_words())
        try:
            return _step(objective, gradients, optimizer, plan, stream, state, context, measure=measure, ranks=ranks)
        except LostRank:
            if before is not None:
                stream.position = before[0]
                checkpoints.set_random(before[1])
            raise

    model.train()
    try:
        with gradient_checkpointing(model, plan.gradient_checkpointing):
            while True:
                evaluate()
                if state.step == state.best_step or good() or (state.step and state.step % plan.save_steps == 0):
                    save()
                obey()
                patience = plan.early_stopping_patience
                if patience and state.stale_evaluations >= patience:
                    context.log(f"early stop: {patience} evaluations without a better one")
                    break
                if state.step >= plan.max_steps or state.guard.stopped:
                    break
                asked = [command for command in control.pending() if command.verb == "gradients"]
                measured = step(measure=bool(asked))
                for command in asked:
                    control.answer(command, f"gradient norms of step {state.step} measured: {measured} modules")
                if state.step % plan.logging_steps == 0 or state.step == plan.max_steps:
                    _report(plan, stream, state, context)
                context.progress(state.step, plan.max_steps, objective.doing)
    except LostRank as lost:
        if ranks.first:
            lost.args = (f"{lost}; {save().name} is written and holds all {state.step} steps",)
        raise
    if not ranks.first:
        raise Ended
    for command in control.pending():
        if command.verb == "gradients":
            control.answer(command, f"training ended with step {state.step}: no step follows to be measured")
    if state.window:
        _report(plan, stream, state, context)
    last = save()
    model.eval()
    eligible = state.best_step is not None
    best = folder / checkpoints.name(state.best_step) if state.best_step is not None else last
    if best != last:
        checkpoints.load_weights(best, model)
    return Outcome(state, best, eligible, state.best_eval if eligible else state.last_eval)


def _step(
    objective: Objective,
    gradients: Callable[..., Any],
    optimizer: optim.Optimizer,
    plan: Plan,
    stream: BatchStream,
    state: TrainerState,
    context: Context,
    *,
    measure: bool = False,
    ranks: Ranks = ALONE,
) -> int:
    """One update: the sum of the gradients of all examples in the micro-batches, divided by their number.

    Args:
        measure: keep the gradient's norm of each module with the run; also done where it is no number.

    Returns:
        How many modules were measured.
    """
    started = time.perf_counter()
    if plan.beta is not None and isinstance(objective, HasBeta):
        objective.beta = plan.beta.at(state.step, state.guard.beta_factor)
    rank_state.own_random(ranks, plan.seed, state.step)
    taken: list[list[int]] = []
    batches: list[list[int]] = []
    for _ in range(plan.gradient_accumulation_steps):
        position = stream.position
        taken.append(stream.take())
        mine = ranks.mine(taken[-1], position)
        batches += objective.pieces(mine) if mine else []
    while True:
        total, sums = sum_gradients(objective, gradients, batches, state.loss_scale.value, ranks)
        gradient_norm = float(norm := global_norm(total))
        if math.isfinite(gradient_norm) or not math.isfinite(float(sums["loss"])) or not state.loss_scale.shrink():
            break
        # The same pairs again: none is left out of an epoch.
        context.log(f"step {state.step + 1}: float16 overflowed, again with the loss times {state.loss_scale.value:g}")
    scheduler = plan.optimization.lr_scheduler
    rate = learning_rate(plan.learning_rate, scheduler, plan.warmup_steps, plan.max_steps, state.step)
    rate *= state.guard.rate_factor
    optimizer.learning_rate = rate
    modules: dict[str, float] = {}
    if measure or not math.isfinite(gradient_norm):
        modules = norms_by_module(total)
        norms.record(context.db, context.run.id, state.step + 1, modules)
    if not math.isfinite(gradient_norm):
        raise LostNumbers(
            f"step {state.step + 1}: the gradient is {gradient_norm} ({broken_in(modules)}), training cannot go on: "
            "lower training.learning_rate, or set compute.dtype: float32"
        )
    optimizer.update(objective.model, clip(total, norm, plan.optimization.max_grad_norm))
    mx.eval(objective.model.trainable_parameters(), optimizer.state)
    state.loss_scale.keep()
    state.step += 1
    window = state.window
    for key, value in sums.items():
        window[key] = window.get(key, 0.0) + float(value)
    window["grad_norm"] = window.get("grad_norm", 0.0) + gradient_norm
    window["learning_rate"] = rate
    if plan.beta is not None and plan.beta.moves:
        window["beta"] = plan.beta.at(state.step - 1, state.guard.beta_factor)
    seconds = time.perf_counter() - started
    tokens, sequences = sum(map(objective.tokens, taken)), sum(map(len, taken))
    counted = {"tokens": tokens, "sequences": sequences, "updates": 1, "seconds": seconds}
    for key, number in {**counted, **rank_report.sums(ranks)}.items():
        window[key] = window.get(key, 0.0) + number
    return len(modules)


def _report(plan: Plan, stream: BatchStream, state: TrainerState, context: Context) -> None:
    """Write the means since the last report: per example, or per update for the gradient's norm."""
    window = dict(state.window)
    state.window.clear()
    examples, updates = window.pop("examples"), window.pop("updates")
    seconds, tokens, sequences = window.pop("seconds"), window.pop("tokens"), window.pop("sequences")
    norm = window.pop("grad_norm")
    by_rank = rank_report.report(context, state.step, window)
    newest = {key: window.pop(key) for key in _NEWEST if key in window}
    values = {key: value / examples for key, value in window.items()}
    values |= {
        "grad_norm": norm / updates,
        **newest,
        **by_rank,
        "epoch": stream.epoch,
        "examples_per_second": sequences / seconds,
        "tokens_per_second": tokens / seconds,
        "peak_memory_gb": mx.get_peak_memory() / 1e9,
    }
    context.metrics(state.step, values)
    context.log(f"step {state.step}/{plan.max_steps}  {_line(values)}")


# Of what a report says the last value, not the mean.
_NEWEST: tuple[str, ...] = ("learning_rate", "beta")

_BROKEN = "the model gives no numbers before it was trained: set compute.dtype: float32, or look at its weights"

# What a line of the log says of each metric, short enough for 80 columns.
_WORDS = {
    "loss": "loss",
    "rewards/margins": "margin",
    "rewards/accuracies": "acc",
    "margin": "margin",
    "accuracy": "acc",
    "perplexity": "perplexity",
    "kl_divergence": "KL",
    "grad_norm": "grad",
    "learning_rate": "lr",
    "beta": "β",
    "examples_per_second": "ex/s",
}


def _shown(values: dict[str, float]) -> dict[str, float]:
    """Without the names that begin with an underscore: notes of the objective to itself."""
    return {key: value for key, value in values.items() if not key.startswith("_")}


def _line(values: dict[str, float]) -> str:
    plain = {key.removeprefix("eval_"): value for key, value in values.items()}
    return "  ".join(f"{word} {plain[key]:.3g}" for key, word in _WORDS.items() if key in plain)
