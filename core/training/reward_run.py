"""A run of kind `reward`: from a model and preference pairs to a reward model, and how often it is right."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten

from core.config import RewardConfig
from core.data.jsonl import BadRow
from core.data.pairs import Pair, read_pairs
from core.data.tokenize import refuse_unknown_tokens
from core.errors import UserError
from core.evaluation.reward_summary import FILE, write_summary
from core.models.adapters import make_trainable
from core.models.load import resolve
from core.models.reward_folder import LoadedReward, RewardSettings, save_reward, start_reward
from core.models.save import whole_folder
from core.training import checkpoints
from core.training.context import Context
from core.training.control import Stopped
from core.training.loop import Outcome, fit
from core.training.prepare import LeftOut, batch_limit, claim_output, evaluated, load_rows, plan_of, use_machine
from core.training.reward import Comparison, Reward, Scores, compare, rewards_of, summary
from core.training.reward_facts import SPLITS, Scored, record_data, record_facts, summarize, temperature_words
from core.training.sft_run import keep_earlier
from core.workspace import write_private

SCORES = "scores.jsonl"


def run(context: Context) -> None:
    """Train, write the reward model `model.checkpoint`, score pairs of both files, record stage 4's facts."""
    config = RewardConfig.model_validate(context.run.config)
    folder = claim_output(context, config.logging.output_dir)
    loaded = load_start(context, config)
    train = load_comparisons(context, loaded, config.data.train_file, config)
    validation = load_comparisons(context, loaded, config.data.validation_file, config)
    context.reads(config.data.train_file, config.data.validation_file)
    record_data(context, config, len(train), len(validation))
    mx.random.seed(config.training.seed)
    make_trainable(loaded.model.language_model, config.adapter)
    trainable = sum(value.size for _, value in tree_flatten(loaded.model.trainable_parameters()))
    context.log(f"{trainable:,} trainable parameters ({config.adapter.type}, and the score)")

    def write_model(target: Path) -> None:
        save_reward(loaded, config.adapter, target)

    objective = Reward(
        loaded.model,
        train,
        evaluated(validation, config.training.eval_pairs, config.training.seed),
        center=config.training.center_rewards_coefficient,
        batch_size=batch_limit(config),
        write_model=write_model,
        ranks=context.ranks,
    )
    outcome = fit(objective, plan_of(config), context, folder)
    # What follows is of this model, and need not be what the last step showed.
    why = "which has the lowest loss on the validation pairs" if outcome.eligible else "the last one"
    context.log(f"{outcome.best.name} is handed over, {why}")
    scored = score_both(context, config, loaded, outcome, (train, validation))
    write_scores(context, folder, scored)
    found = summarize(config, scored)
    for split, told in (("train", found.train), ("validation", found.validation)):
        context.log(
            f"{split}: calibration error {told.calibration.ece:.3f} [{told.calibration.low:.3f},"
            f" {told.calibration.high:.3f}], {temperature_words(told.calibration)}"
        )
    write_summary(folder, found)
    context.artifact("summary", f"{context.workspace.relative(folder)}/{FILE}")

    target = context.workspace.path(config.model.checkpoint)
    context.progress(outcome.state.step, config.training.max_steps, f"writing {config.model.checkpoint}")
    keep_earlier(context, target)
    with whole_folder(target) as part:
        write_model(part)
        measured = {
            f"{split}_{name}": value
            for split, (_, rewards) in scored.items()
            for name, value in summary(rewards).items()
        }
        pairs = {f"{split}_pairs": len(rewards) for split, (_, rewards) in scored.items()}
        checkpoints.write_metrics(part, {"run": context.run.id, "best": outcome.best.name, **measured, **pairs})
    context.artifact("model", config.model.checkpoint)
    record_facts(context, config, loaded, outcome, found)


def load_start(context: Context, config: RewardConfig) -> LoadedReward:
    dtype = use_machine(context, config)
    name = config.model.base_model
    context.progress(context.run.step, context.run.steps, f"loading {name}")
    path = resolve(context.workspace, name)
    context.reads(str(path))
    settings = RewardSettings(
        format=1,
        apply_chat_template=config.data.apply_chat_template,
        max_prompt_length=config.data.max_prompt_length,
    )
    return start_reward(
        path, settings, seed=config.training.seed, dtype=dtype, trust_remote_code=config.model.trust_remote_code
    )


def load_comparisons(context: Context, loaded: LoadedReward, relative: str, config: RewardConfig) -> list[Comparison]:
    """The pairs of a file as token ids with their margins; rows that cannot be used are counted and said."""
    data, training = config.data, config.training
    with_margin = 0

    def convert(pair: Pair) -> Comparison:
        nonlocal with_margin
        tokens = compare(
            loaded.tokenizer, pair, max_prompt_length=data.max_prompt_length, chat=data.apply_chat_template
        )
        longest = max(len(response) for response in tokens.responses)
        if longest > data.max_response_length:
            raise LeftOut(
                "too long",
                f"a response has {longest} tokens, more than data.max_response_length {data.max_response_length}",
            )
        if not all(tokens.responses):
            raise LeftOut("nothing to learn", "nothing is left of a response")
        refuse_unknown_tokens(tokens, loaded.vocabulary)
        margin = margin_of(pair, training.margin)
        with_margin += margin is not None
        return Comparison(pair.line, tokens, (margin or 0.0) * training.margin_scale)

    def read(path: Path) -> Iterator[Pair | BadRow]:
        return read_pairs(path, margins=training.margin == "field")

    found = load_rows(context, relative, read, convert)
    if training.margin == "scores" or with_margin:
        context.log(f"{relative}: {with_margin} of {len(found)} pairs have a margin ({training.margin}), the others 0")
    return found


def margin_of(pair: Pair, source: str) -> float | None:
    """By how much the chosen response should be ahead, before scaling; None where the row does not say."""
    if source == "field":
        return pair.margin
    if source == "scores" and pair.chosen_score is not None and pair.rejected_score is not None:
        return pair.chosen_score - pair.rejected_score
    return None


def score_both(
    context: Context,
    config: RewardConfig,
    loaded: LoadedReward,
    outcome: Outcome,
    splits: tuple[Sequence[Comparison], Sequence[Comparison]],
) -> Scored:
    """Rewards under the checkpoint that is handed over, of as many pairs of each file as `training.scored_pairs`."""
    training = config.training
    found: dict[str, tuple[Sequence[Comparison], Scores]] = {}
    for split, pairs in zip(SPLITS, splits, strict=True):
        drawn = evaluated(list(pairs), training.scored_pairs, training.seed)
        context.progress(outcome.state.step, training.max_steps, f"scoring {len(drawn)} {split} pairs")
        tokens = [pair.tokens for pair in drawn]
        rewards = rewards_of(loaded.model, tokens, batch_limit(config), context.control.wants_stop)
        if rewards is None:
            context.control.raise_if_stopping()
            raise Stopped(leaving=True)
        if not np.isfinite(rewards).all():
            raise UserError("a reward is no number: lower training.learning_rate, or set compute.dtype: float32")
        found[split] = (drawn, rewards)
        values = summary(rewards)
        context.log(
            f"{split}: accuracy {100 * values['accuracy']:.1f} % of {len(drawn)} pairs, margin {values['margin']:.3f}"
        )
    return found


def write_scores(context: Context, folder: Path, scored: Scored) -> None:
    """scores.jsonl in the run's folder: a line for each pair that was scored."""
    lines = [
        json.dumps({"split": split, "line": pair.line, "chosen_reward": chosen, "rejected_reward": rejected})
        for split, (pairs, rewards) in scored.items()
        for pair, (chosen, rejected) in zip(pairs, rewards.tolist(), strict=True)
    ]
    write_private(folder / SCORES, "".join(f"{line}\n" for line in lines))
    context.artifact("scores", f"{context.workspace.relative(folder)}/{SCORES}")
