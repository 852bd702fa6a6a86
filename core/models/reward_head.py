"""A language model's body with one number for each sequence: transformers' *ForSequenceClassification in MLX."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from core.errors import UserError
from core.models.body import Body

Array = mx.array

# What transformers takes where a configuration names no `initializer_range`.
_SPREAD = 0.02


class RewardModel(nn.Module):  # type: ignore[misc]  # MLX's layers come without types
    """`model(ids, positions)` is the reward of each row, read off at its last token.

    Parameters are those of the language model without its output head, and `score.weight`, (1, D) in float32.

    Attributes:
        language_model: a model of mlx-lm; its output head is taken away, it would never be used.
        pad_token_id: what sequences are padded with in transformers, which decides where the last token is; None where
            none is known.
    """

    def __init__(self, language_model: nn.Module, weight: Array, pad_token_id: int | None) -> None:
        super().__init__()
        take_head_away(language_model)
        self.language_model = language_model
        self._body = Body(language_model)
        self.score = nn.Linear(weight.shape[-1], 1, bias=False)
        self.score.weight = weight.astype(mx.float32)
        self.pad_token_id = pad_token_id

    @property
    def layers(self) -> Any:
        return self.language_model.layers

    def __call__(self, ids: Array, positions: Array) -> Array:
        """(R, T) token ids, right-padded, and (R,) positions in the flattened R*T -> (R,) rewards in float32."""
        hidden = self._body(ids)
        rows = hidden.reshape(-1, hidden.shape[-1])[positions]
        rewards: Array = self.score(rows.astype(mx.float32))[:, 0]
        return rewards

    def last(self, sequence: Sequence[int]) -> int:
        """Where the reward of a sequence is read off: its last token that is not the padding token.

        As transformers finds it. Where EOS is also the padding token, that is the token before EOS.
        """
        if self.pad_token_id is None:
            return len(sequence) - 1
        return max((i for i, token in enumerate(sequence) if token != self.pad_token_id), default=0)


def take_head_away(language_model: nn.Module) -> None:
    """Leave only what holds the blocks."""
    for name, child in list(language_model.children().items()):
        modules = child.modules() if isinstance(child, nn.Module) else []
        if not any(module is language_model.layers[0] for module in modules):
            language_model.pop(name)


def width(language_model: nn.Module) -> int:
    """D, the numbers that the body gives for each token.

    Raises:
        UserError: this architecture has no body that can be called without its output head.
    """
    try:
        # Nothing is computed: the shape is known before.
        return int(Body(language_model)(mx.array([[0]])).shape[-1])
    except (AssertionError, AttributeError, TypeError, ValueError, LookupError, RuntimeError) as error:
        name = type(language_model).__module__.rsplit(".", 1)[-1]
        raise UserError(f"a reward model cannot be made of the architecture {name}: take another base model") from error


def new_score(config: dict[str, Any], size: int, seed: int) -> Array:
    """Fresh weights of the score, (1, size): normal with the standard deviation `initializer_range`."""
    spread = config.get("initializer_range")
    spread = float(spread) if isinstance(spread, int | float) and 0 < spread < 10 else _SPREAD
    # A key of its own: the score does not change with what else is drawn before it.
    return spread * mx.random.normal((1, size), key=mx.random.key(seed))


def padding(tokenizer: Any) -> int | None:
    """The padding token as TRL chooses it: the tokenizer's own, else EOS."""
    pad = tokenizer.pad_token_id
    pad = tokenizer.eos_token_id if pad is None else pad
    return None if pad is None else int(pad)
