"""Rewards of both responses of each pair under a reward model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import mlx.core as mx

from core.data.jsonl import BadRow
from core.data.pairs import Pair
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
