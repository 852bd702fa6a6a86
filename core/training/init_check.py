"""A run of kind `init_check`: is the policy what DPO may start from? Stage 3's items, each measured."""

from __future__ import annotations

import math
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten

from core.config import DPOConfig
from core.data.tokenize import Tokens
from core.errors import UserError
from core.models.adapters import adapter_weights
from core.models.load import LanguageModel, resolve
from core.models.reference import AdapterOff
from core.store import facts
from core.store.facts import Fact
from core.training.context import Context
from core.training.control import Stopped
from core.training.dpo_run import architecture_differences, objective_for, policy_and_reference
from core.training.losses import PairLoss
from core.training.optimization import global_norm, make_optimizer
from core.training.prepare import load_pairs, use_machine

# Validation pairs that are looked at.
PAIRS = 32


def run(context: Context) -> None:
    """Measure and record; what is wrong fails its fact and the run, with a word."""
    config = DPOConfig.model_validate(context.run.config)
    me = context.run.id
    problems: list[str] = []
    found: list[Fact] = []
    steps = 5
    context.set_steps(steps)

    def say(name: str, good: bool, source: str, value: float | None = None, **more: Any) -> None:
        found.append(Fact(name, float(good) if value is None else value, run=me, source=source, inputs=hashes, **more))
        context.log(f"{'ok' if good else 'NOT OK'}: {source}", "info" if good else "error")
        if not good:
            problems.append(source)

    hashes: dict[str, str] = {}
    dtype = use_machine(context, config)
    paths = [resolve(context.workspace, name) for name in (config.model.reference_model, config.model.policy_model)]
    hashes |= context.reads(*map(str, paths))
    say("init.config_valid", True, f"configuration accepted ({context.run.config_path or 'given by a program'})")
    different = architecture_differences(*paths)
    say("init.architectures_match", not different, _differ("architecture", different))
    if different:
        _finish(context, found, problems)
    context.progress(1, steps, "comparing tokenizers")
    policy, reference, _ = policy_and_reference(context, config, dtype)
    say("init.reference_loaded", True, f"{config.model.reference_model} loaded, {_size(policy)} parameters")
    different = _tokenizer_differences(policy, paths[0], config.model.trust_remote_code)
    say("init.tokenizers_match", not different, _differ("tokenizer", different))

    context.progress(2, steps, "comparing policy and reference")
    pairs = load_pairs(context, policy, config.data.validation_file, config)[:PAIRS]
    hashes |= context.reads(config.data.validation_file)
    objective = objective_for(context, config, policy, reference, pairs, pairs)
    policy.model.eval()
    difference = _largest_difference(policy, reference, pairs[:4])
    say(
        "init.policy_copied", difference == 0.0,
        f"largest difference of logits between policy and reference: {difference:.3g}",
    )  # fmt: skip

    context.progress(3, steps, "computing the initial KL")
    kl = objective.policy_kl(
        policy.tokenizer, min(8, config.training.kl_samples), min(64, config.training.kl_max_tokens),
        config.training.seed, context.control.wants_stop,
    )  # fmt: skip
    if kl is None:
        context.control.raise_if_stopping()
        raise Stopped(leaving=True)
    # The number stands as measured; the gate and the checklist hold it against their own limit.
    say(
        "init.kl_divergence", math.isfinite(kl.mean), f"exact KL on {kl.tokens} tokens sampled from the policy",
        value=kl.mean, unit="nats/token", n=kl.responses, low=kl.low, high=kl.high,
    )  # fmt: skip

    context.progress(4, steps, "starting the trainer")
    frozen_before = _fingerprint(policy, reference)
    loss, moved = _one_update(objective, config)
    function = PairLoss.of(config.training)
    expected = function.at_start(config.training.beta)
    started = math.isfinite(loss) and moved
    words = f"one update done, loss ({function}) before it {loss:.6f}"
    if expected is not None:
        started = started and (difference != 0.0 or math.isclose(loss, expected, rel_tol=1e-4, abs_tol=1e-4))
        words += f", where policy = reference it is {expected:.6f}"
    say("init.trainer_ready", started, words)
    frozen = frozen_before == _fingerprint(policy, reference)
    how = "adapter off" if isinstance(reference, AdapterOff) else "weights read from its folder"
    say("init.reference_frozen", frozen, f"reference ({how}) answers the same to the bit after an update of the policy")
    context.progress(steps, steps, "")
    _finish(context, found, problems)


def _finish(context: Context, found: list[Fact], problems: list[str]) -> None:
    facts.record(context.db, *found)
    if problems:
        raise UserError("; ".join(problems))


def _differ(what: str, different: list[str]) -> str:
    return f"{what} of reference and policy differ in {', '.join(different)}" if different else f"{what}s match"


def _size(loaded: LanguageModel) -> str:
    return f"{sum(v.size for _, v in tree_flatten(loaded.model.parameters())):,}"


def _tokenizer_differences(policy: LanguageModel, reference: Any, trust_remote_code: bool) -> list[str]:
    """What of the tokenizers decides ids and is not the same."""
    from mlx_lm.utils import load_tokenizer

    other = load_tokenizer(reference, {"trust_remote_code": trust_remote_code})
    a, b = policy.tokenizer, other
    different = []
    if a.get_vocab() != b.get_vocab():
        different.append("vocabulary")
    if a.eos_token_id != b.eos_token_id:
        different.append("end token")
    if getattr(a, "chat_template", None) != getattr(b, "chat_template", None):
        different.append("chat template")
    text = "A quick brown fox, 1 + 1 = 2;\n\tnaïve 日本."
    if a.encode(text) != b.encode(text):
        different.append("how text is split")
    return different


def _largest_difference(policy: LanguageModel, reference: Any, pairs: list[Tokens]) -> float:
    largest = 0.0
    for pair in pairs:
        ids = mx.array([pair.prompt + pair.responses[0]])
        own = policy.model(ids)
        mx.eval(own)
        with reference.on():
            theirs = policy.model(ids)
            mx.eval(theirs)
        largest = max(largest, float(mx.abs(own.astype(mx.float32) - theirs.astype(mx.float32)).max()))
    return largest


def _fingerprint(policy: LanguageModel, reference: Any) -> list[float]:
    """A few logits of the reference, compared bit by bit."""
    with reference.on():
        logits = policy.model(mx.arange(1, 9)[None])
        return [float(x) for x in logits[0, -1, :256].astype(mx.float32).tolist()]


def _one_update(objective: Any, config: DPOConfig) -> tuple[float, bool]:
    """The loss on a first batch, and whether an update with its gradient moved the trainable weights."""
    optimizer = make_optimizer(config.optimization)
    optimizer.init(objective.model.trainable_parameters())
    optimizer.learning_rate = config.training.learning_rate
    indices = list(range(min(config.training.batch_size, len(objective.lengths))))
    (loss, count, _), grads = nn.value_and_grad(objective.model, objective.loss)(*objective.batch(indices))
    norm = global_norm(grads)
    before = {name: mx.array(value) for name, value in adapter_weights(objective.model).items()}
    optimizer.update(objective.model, grads)
    mx.eval(objective.model.parameters(), loss, norm)
    after = adapter_weights(objective.model)
    moved = any(not mx.array_equal(before[name], after[name]).item() for name in before)
    return float(loss / count), moved and math.isfinite(float(norm))
