"""Rewards of both responses of each pair under a reward model."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import mlx.core as mx

from core.data.jsonl import BadRow
from core.data.pairs import Pair, read_pairs
from core.data.reward_cache import RewardCache, Rewarded, pair_key
from core.data.tokenize import TemplateRefusal, Tokens, refuse_unknown_tokens
from core.errors import UserError
from core.models.reward_folder import LoadedReward, load_reward
from core.training.reward import compare, rewards_of


@dataclass(frozen=True, slots=True)
class RewardScore:
    """Of one pair. Only the difference means something: σ(chosen - rejected) is how surely the chosen one is better."""

    chosen_reward: float
    rejected_reward: float


def reward_scores(
    model_folder: Path,
    pairs: Iterable[Pair | BadRow],
    *,
    name: str = "the pairs",
    batch_size: int = 4,
    max_prompt_length: int | None = None,
    chat: bool | None = None,
) -> list[RewardScore]:
    """Score pairs in their order, in float32.

    Args:
        model_folder: a reward model, as `load_reward` takes it.
        pairs: such as `read_pairs` gives.
        name: where they come from, for errors.
        max_prompt_length: cut prompts to this from the left; None takes what the model was trained with.
        chat: put plain text into the chat template; None takes what the model was trained with.

    Raises:
        UserError: the model cannot be loaded, or a pair cannot be scored (scores must stay in line with the file).
    """
    loaded = load_reward(model_folder, dtype=mx.float32)
    settings = loaded.settings
    examples = list(
        _examples(
            loaded,
            pairs,
            name,
            settings.max_prompt_length if max_prompt_length is None else max_prompt_length,
            settings.apply_chat_template if chat is None else chat,
        )
    )
    rewards = rewards_of(loaded.model, examples, batch_size)
    assert rewards is not None, "nothing interrupts"
    return [RewardScore(chosen, rejected) for chosen, rejected in rewards.tolist()]


def _examples(
    loaded: LoadedReward, pairs: Iterable[Pair | BadRow], name: str, max_prompt_length: int | None, chat: bool
) -> Iterator[Tokens]:
    for pair in pairs:
        if isinstance(pair, BadRow):
            raise UserError(f"{name}:{pair.line}: {pair.reason}: mend it, or 'dpotui data check {name}' lists all")
        try:
            tokens = compare(loaded.tokenizer, pair, max_prompt_length=max_prompt_length, chat=chat)
        except TemplateRefusal as refusal:
            raise UserError(f"{name}:{pair.line}: the chat template refuses it ({refusal}): mend the row") from refusal
        refuse_unknown_tokens(tokens, loaded.vocabulary)
        yield tokens


# Batches whose rewards are put on disk together: what a person who stops loses.
_BATCHES = 4


def score_into(
    cache: RewardCache,
    model_folder: Path,
    pairs: Path,
    *,
    batch_size: int = 4,
    progress: Callable[[int], None] | None = None,
) -> int:
    """Score what the cache lacks of a file, a few batches at a time, in float32 and as in the model's training.

    A pair that the model cannot read (its chat template refuses it) is remembered as such. Returns how many were new.

    Raises:
        UserError: the model cannot be loaded, or gives no numbers.
    """
    loaded = load_reward(model_folder, dtype=mx.float32)
    settings = loaded.settings
    done = 0
    for window in _lacking(cache, pairs, batch_size * _BATCHES):
        told: list[tuple[bytes, Rewarded]] = []
        ready: list[tuple[bytes, Tokens]] = []
        for key, pair in window.items():
            try:
                tokens = compare(
                    loaded.tokenizer,
                    pair,
                    max_prompt_length=settings.max_prompt_length,
                    chat=settings.apply_chat_template,
                )
            except TemplateRefusal as refusal:
                told.append((key, Rewarded(None, None, f"the chat template refuses it ({refusal})")))
                continue
            if not all(tokens.responses):
                told.append((key, Rewarded(None, None, "nothing is left of a response")))
                continue
            refuse_unknown_tokens(tokens, loaded.vocabulary)
            ready.append((key, tokens))
        if ready:
            rewards = rewards_of(loaded.model, [tokens for _, tokens in ready], batch_size)
            assert rewards is not None, "nothing interrupts"
            for (key, _), (chosen, rejected) in zip(ready, rewards.tolist(), strict=True):
                if not math.isfinite(chosen - rejected):
                    raise UserError(f"the rewards of {model_folder} are no numbers: its weights are broken")
                told.append((key, Rewarded(chosen, rejected)))
        cache.add(told)
        done += len(told)
        if progress is not None:
            progress(done)
    return done


def _lacking(cache: RewardCache, path: Path, size: int) -> Iterator[dict[bytes, Pair]]:
    """Windows of pairs that are not scored, each of them once."""
    window: dict[bytes, Pair] = {}
    for pair in read_pairs(path):
        if isinstance(pair, BadRow):
            continue
        key = pair_key(pair)
        if key not in window and cache.known([key])[0] is None:
            window[key] = pair
        if len(window) == size:
            yield window
            window = {}
    if window:
        yield window
