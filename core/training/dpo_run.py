"""A run of kind `dpo`: train the policy, pick the best checkpoint within the KL limit, measure what the gates judge."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten

from core.config import DPOConfig
from core.data.batches import examples_per_batch
from core.data.tokenize import Tokens
from core.errors import UserError
from core.intervals import mean_interval, wilson
from core.models.adapters import make_trainable, save_adapters
from core.models.load import LanguageModel, resolve
from core.models.reference import AdapterOff, Reference, WeightsFromDisk
from core.models.save import save
from core.store import facts, metrics, runs, tracked
from core.store.facts import Fact
from core.training import checkpoints
from core.training.caches import frozen_trunk, reference_cache
from core.training.context import Context
from core.training.control import Stopped
from core.training.dpo import DPO, PolicyKL
from core.training.guard import Guard, told
from core.training.loop import Outcome, fit
from core.training.losses import PairLoss
from core.training.prepare import (
    batch_limit,
    claim_output,
    evaluated,
    load_for,
    load_pairs,
    plan_of,
    standing_alone,
    use_machine,
)
from core.training.reference_cache import ReferenceCache
from core.training.samples import sampler_of
from core.training.schedules import BetaSchedule


def policy_and_reference(
    context: Context, config: DPOConfig, dtype: mx.Dtype, folder: Path | None = None
) -> tuple[LanguageModel, Reference, dict[str, str]]:
    """The policy ready to be trained, its reference, and the hashes of both folders.

    One model in memory: with an adapter on the reference's own weights the reference is the adapter switched off;
    otherwise (full fine-tuning, or a policy that starts from other weights) its answers are read in from its folder.

    Args:
        folder: the run's; a policy that is itself an adapter is written there fused, for the new adapter to stand on.
    """
    names = (config.model.reference_model, config.model.policy_model)
    reference_path, policy_path = (resolve(context.workspace, name) for name in names)
    hashes = context.reads(str(reference_path), str(policy_path))
    same = len(set(hashes.values())) == 1
    if not same:
        refuse_other_architecture(reference_path, policy_path)
    policy = load_for(context, config.model.policy_model, config, dtype)
    if folder is not None:
        policy = standing_alone(context, policy, policy_path, config, folder)
    mx.random.seed(config.training.seed)
    make_trainable(policy.model, config.adapter)
    trainable = sum(v.size for _, v in tree_flatten(policy.model.trainable_parameters()))
    context.log(f"{trainable:,} trainable parameters ({config.adapter.type})")
    if same and config.adapter.type != "full":
        return policy, AdapterOff(policy.model), hashes
    return policy, WeightsFromDisk(policy.model, reference_path, dtype, config.model.trust_remote_code), hashes


def refuse_other_architecture(reference: Path, policy: Path) -> None:
    """Reference and policy must have the same shapes and tokens, or their log-probs cannot be compared."""
    different = architecture_differences(reference, policy)
    if different:
        raise UserError(
            f"model.policy_model differs from model.reference_model in {', '.join(different)}: "
            "start the policy from a model of the same architecture"
        )


def architecture_differences(reference: Path, policy: Path) -> list[str]:
    """The keys of config.json that decide shapes and tokens and are not the same in both folders."""
    from core.models.load import read_config

    keys = (
        "model_type", "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
        "num_key_value_heads", "head_dim", "tie_word_embeddings", "quantization",
    )  # fmt: skip
    a, b = read_config(reference), read_config(policy)
    return [key for key in keys if a.get(key) != b.get(key)]


def objective_for(
    context: Context,
    config: DPOConfig,
    policy: LanguageModel,
    reference: Reference,
    train: list[Tokens],
    validation: list[Tokens],
    known: ReferenceCache | None = None,
) -> DPO:
    def write_model(target: Path) -> None:
        if config.adapter.type != "full":
            save_adapters(policy.model, config.adapter, policy.path.resolve(), target)
        else:
            save(policy, target)

    return DPO(
        policy.model,
        reference,
        train,
        validation,
        loss=PairLoss.of(config.training),
        beta=config.training.beta,
        batch_size=batch_limit(config),
        kl_target=config.constraints.kl_target,
        write_model=write_model,
        known=known,
        ranks=context.ranks,
    )


def run(context: Context) -> None:
    """Train, hand over the best checkpoint in the run's folder, record stage 5's facts."""
    config = DPOConfig.model_validate(context.run.config)
    me = context.run.id
    folder = claim_output(context, config.logging.output_dir)
    dtype = use_machine(context, config)
    policy, reference, model_hashes = policy_and_reference(context, config, dtype, folder)
    train = load_pairs(context, policy, config.data.train_file, config)
    validation = load_pairs(context, policy, config.data.validation_file, config)
    data_hashes = context.reads(config.data.train_file, config.data.validation_file)
    limit = batch_limit(config)
    together = limit if isinstance(limit, int) else examples_per_batch([pair.length for pair in train], limit)
    pairs_a_step = together * config.training.gradient_accumulation_steps
    source = f"{'batch_size' if isinstance(limit, int) else 'batch_tokens'} x gradient_accumulation_steps"
    facts.record(
        context.db,
        Fact("dpo.config_valid", 1.0, run=me, source=context.run.config_path or "configuration accepted"),
        Fact("dpo.batch_size", pairs_a_step, unit="pairs", run=me, source=source),
        Fact("dpo.checkpoints", config.training.save_steps, unit="steps", run=me, source="save_steps and the best one"),
        _logging(context, "began"),
        Fact("dpo.started", 1.0, run=me, source=f"{len(train)} pairs", inputs={**model_hashes, **data_hashes}),
    )
    if context.ranks.alone:  # else it is recorded where their shares are settled
        facts.record(context.db, Fact("dpo.distribution", 1.0, text="one machine", run=me, source="no hosts are named"))
    held_out = evaluated(validation, config.training.eval_pairs, config.training.seed)
    context.log(f"loss: {PairLoss.of(config.training)}; {BetaSchedule.of(config.training)}")
    known = reference_cache(context, config, dtype)
    objective = objective_for(context, config, policy, reference, train, held_out, known)
    with frozen_trunk(context, config, objective, [*train, *held_out], dtype):
        if isinstance(reference, WeightsFromDisk):
            precompute(context, objective)
        sampler = sampler_of(context, config, policy, reference.on)
        outcome = fit(objective, plan_of(config), context, folder, sampler)

        context.progress(outcome.state.step, config.training.max_steps, "sampling responses for the KL of the gate")
        kl = objective.policy_kl(
            policy.tokenizer,
            config.training.kl_samples,
            config.training.kl_max_tokens,
            config.training.seed,
            context.control.wants_stop,
        )
        if kl is None:
            context.control.raise_if_stopping()
            raise Stopped(leaving=True)
    hand_over(context, folder, outcome, kl, told(Guard.of(config), outcome.state.guard))
    record_facts(context, config, outcome, kl, len(held_out), {**model_hashes, **data_hashes})
    advise(context, config, outcome, kl)


def advise(context: Context, config: DPOConfig, outcome: Outcome, kl: PolicyKL) -> None:
    """Say with the run what to try where its KL went beyond the limit: it finished, and is not what was wanted."""
    limit, guard = config.constraints.kl_target, Guard.of(config)
    if not outcome.eligible:
        last = outcome.evaluation["kl_divergence"]
        why = f"no checkpoint kept KL within {limit:g}, the last has {last:.3g}"
    elif outcome.state.guard.stopped:
        why = f"the KL guard stopped training after step {outcome.state.step}; {outcome.best.name} is within the limit"
    elif kl.mean > limit:
        why = f"{outcome.best.name} is within the KL limit {limit:g} on the data, and at {kl.mean:.3g} in its own words"
    else:
        return
    context.log(why, "warning")
    rate, beta = config.training.learning_rate, config.training.beta
    tries = [f"training.learning_rate={rate / 2:g}", f"training.beta={beta * 2:g}"]
    tries += ["kl_guard.action=rollback"] if guard is None else []
    runs.update(context.db, context.run.id, hint=f"{why}: try {', or '.join(tries)}")


def precompute(context: Context, objective: DPO) -> None:
    """Reference log-probs of every pair, with the reference's weights in place once."""

    def progress(done: int, total: int) -> None:
        context.progress(0, context.run.steps, f"reference log-probs, {done} of {total} pairs")

    if not objective.precompute(context.control.wants_stop, progress):
        context.control.raise_if_stopping()


def hand_over(context: Context, folder: Path, outcome: Outcome, kl: PolicyKL, more: dict[str, Any]) -> None:
    """Copy the best checkpoint's model files to the run's folder, with the metrics that the gates read, and `more`."""
    written = {
        "run": context.run.id,
        "checkpoint": outcome.best.name,
        "within_kl_target": outcome.eligible,
        "kl_divergence": kl.mean,
        "kl_divergence_low": kl.low,
        "kl_divergence_high": kl.high,
        "kl_source": f"{kl.responses} responses sampled from the policy, {kl.tokens} tokens",
        **{k: v for k, v in outcome.evaluation.items() if not k.startswith("_") and k != "kl_divergence"},
        "kl_divergence_chosen": outcome.evaluation["kl_divergence"],
        **more,
    }
    private = {checkpoints.STATE, checkpoints.WEIGHTS, checkpoints.METRICS}
    for file in outcome.best.iterdir():
        if file.name not in private:
            shutil.copyfile(file, folder / file.name)
            (folder / file.name).chmod(0o600)
    for target in (folder, outcome.best):
        checkpoints.write_metrics(target, written)
    relative = context.workspace.relative(folder)
    context.artifact("model", relative)
    context.artifact("metrics", f"{relative}/{checkpoints.METRICS}")


def record_facts(
    context: Context, config: DPOConfig, outcome: Outcome, kl: PolicyKL, pairs: int, inputs: dict[str, str]
) -> None:
    """Stage 5's facts, of the checkpoint handed over; `pairs` validation pairs were looked at."""
    me, found = context.run.id, outcome.evaluation
    context.writer.flush()
    relative = str(context.run.output_dir)
    inputs = {**inputs, **context.inputs(relative)}
    where = f"{outcome.best.name} on {pairs} validation pairs"
    margin = mean_interval(found["eval_rewards/margins"], found["_margins_deviation"], pairs)
    accuracy = found["eval_rewards/accuracies"]
    interval = wilson(accuracy * pairs, pairs)
    first = outcome.state.first_eval["eval_rewards/accuracies"]
    losses = [point.value for point in metrics.since(context.db, me, "loss")]
    quarter = max(1, len(losses) // 4)
    early, late = sum(losses[:quarter]) / quarter, sum(losses[-quarter:]) / quarter
    rates = [point.value for point in metrics.since(context.db, me, "examples_per_second")]
    length = f"{outcome.state.step} steps" + ", stopped by the KL guard" * outcome.state.guard.stopped
    facts.record(
        context.db,
        Fact(
            "dpo.kl_divergence", kl.mean, unit="nats/token", run=me, low=kl.low, high=kl.high, n=kl.responses,
            source=f"exact, {outcome.best.name}, {kl.tokens} tokens sampled from the policy", inputs=inputs,
        ),
        Fact(
            "dpo.preference_gap", found["eval_rewards/margins"], run=me, low=margin[0], high=margin[1], n=pairs,
            source=f"reward margin, {where}", inputs=inputs,
        ),
        Fact(
            "dpo.preference_accuracy", 100 * accuracy, unit="%", run=me, low=100 * interval[0], high=100 * interval[1],
            n=pairs, source=where, inputs=inputs,
        ),
        Fact(
            "dpo.accuracy_trend", float(accuracy > first), run=me, text=f"{100 * first:.0f} % → {100 * accuracy:.0f} %",
            source="validation, before training and at the checkpoint handed over", inputs=inputs,
        ),
        Fact(
            "dpo.loss_trend", float(late < early), run=me, text=f"{early:.3f} → {late:.3f}",
            source="training loss, mean of the first and of the last quarter of the reports", inputs=inputs,
        ),
        Fact(
            "dpo.throughput", len(rates) / sum(1 / rate for rate in rates), unit="examples/sec", run=me, n=len(rates),
            source="training steps, evaluation and saving excluded", inputs=inputs,
        ),
        Fact("dpo.validated", 1.0, run=me, n=pairs, source=where, inputs=inputs),
        Fact(
            "dpo.best_checkpoint", 1.0 if outcome.eligible else 0.0, run=me, text=f"{relative}/{outcome.best.name}",
            source="largest validation margin within the KL limit" if outcome.eligible
            else f"no checkpoint kept KL within {config.constraints.kl_target:g}: the last one was taken",
            inputs=inputs,
        ),
        Fact("dpo.finished", 1.0, run=me, source=length, inputs=inputs),
        Fact("dpo.logs_saved", 1.0, run=me, source="log and metrics in runs.db"),
        _logging(context, "ended"),
    )  # fmt: skip


def _logging(context: Context, moment: str) -> Fact:
    """Where the run is written down; of trackers that go on, how it was when the run began or ended."""
    told = tracked.of_run(context.db, context.run.id)
    goes_on = [f"so when the run {moment}"] if any(one.state in tracked.ON for one in told) else []
    words = "; ".join(["runs.db", *(one.words for one in told), *goes_on])
    return Fact("dpo.logging", 1.0, run=context.run.id, source=words)
