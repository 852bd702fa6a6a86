"""The reward model of stage 4 as a judge: one number for each response."""

from __future__ import annotations

from collections.abc import Sequence

import mlx.core as mx
import numpy as np

from core.config.judge import Judge
from core.data.batches import collate
from core.data.messages import as_messages
from core.data.tokenize import Limits, TemplateRefusal, Tokens, refuse_unknown_tokens, tokenize
from core.errors import UserError
from core.generation.groups import Group, Question
from core.generation.judges import Asked, Asking
from core.generation.verdicts import REFUSED, TOO_LONG, Said
from core.models.reward_folder import LoadedReward
from core.training.reward import WHOLE


class RewardJudge:
    """A reward model in memory. Responses are tokenized as in its training, and never cut."""

    def __init__(self, judge: Judge, loaded: LoadedReward) -> None:
        self._judge = judge
        self._loaded = loaded

    def ask(self, window: Sequence[Asked], asking: Asking) -> None:
        asked: list[tuple[Question, Tokens]] = []
        for question, group in window:
            try:
                tokens = self._tokens(group, question.first)
            except TemplateRefusal as refusal:
                asking.say([(question, Said(None, None, REFUSED, f"the chat template refuses it ({refusal})"))])
                continue
            if tokens.length > self._judge.max_input_tokens:
                asking.say([(question, Said(None, None, TOO_LONG, f"{tokens.length} tokens"))])
            else:
                refuse_unknown_tokens(tokens, self._loaded.vocabulary)
                asked.append((question, tokens))
        asked.sort(key=lambda one: -one[1].length)
        size = self._judge.batch_size
        for number, start in enumerate(range(0, len(asked), size)):
            asking.between()
            batch = asked[start : start + size]
            if asking.wants(number, (question for question, _ in batch)):
                rewards = self._rewards([tokens for _, tokens in batch])
                asking.say([(question, Said(None, r)) for (question, _), r in zip(batch, rewards, strict=True)])

    def close(self) -> None:
        return

    def _tokens(self, group: Group, index: int) -> Tokens:
        settings, prompt, response = self._loaded.settings, group.prompt, group.responses[index]
        if isinstance(prompt, str) != isinstance(response, str):
            prompt, response = as_messages(prompt, "user"), as_messages(response, "assistant")
        limits = Limits(settings.max_prompt_length or WHOLE, WHOLE)
        chat = settings.apply_chat_template
        return tokenize(self._loaded.tokenizer, prompt, (response,), limits, chat=chat, closed=False)

    def _rewards(self, responses: list[Tokens]) -> list[float]:
        model = self._loaded.model
        batch = collate(responses, range(len(responses)))
        width = batch.ids.shape[1]
        positions = [
            row * width + model.last(tokens.prompt + tokens.responses[0]) for row, tokens in enumerate(responses)
        ]
        found = np.array(model(mx.array(batch.ids), mx.array(positions, mx.int32)), np.float64)
        if not np.isfinite(found).all():
            raise UserError(f"the rewards of {self._judge.model} are no numbers: its weights are broken")
        return [float(reward) for reward in found]
