"""mlx-lm's model class for lm-evaluation-harness, whose requests the project's own answerer takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from mlx_lm.evaluate import MLXLM

from core.errors import UserError
from core.evaluation.answering import Answerer, Completion, Likelihood
from core.models.load import LanguageModel


class AnsweredLM(MLXLM):  # type: ignore[misc]
    """One model in memory, asked through `Answerer`: every answer is on disk before it counts, beginnings that
    requests have in common are computed once, and a text ends where it is to end instead of being cut afterwards.

    Args:
        begin: called with what is asked now, before it is: how many requests, and how many of them are on disk.
        max_tokens: the longest text, whatever the task says.
        stop: words that end a text beside those of the task.
    """

    def __init__(
        self,
        loaded: LanguageModel,
        answerer: Answerer,
        *,
        begin: Callable[[int, int], None],
        max_tokens: int,
        stop: Sequence[str] = (),
        use_chat_template: bool = False,
    ) -> None:
        LM.__init__(self)  # MLXLM's own loads a model from its folder
        self._model = loaded.model
        self.tokenizer = loaded.tokenizer
        self._max_tokens = self._longest = max_tokens
        self.use_chat_template = use_chat_template
        self._answerer = answerer
        self._begin = begin
        self._stop = tuple(stop)

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        asked = [Likelihood(*request.args) for request in requests]
        self._say(asked)
        return [(answer.logprob, answer.greedy) for answer in self._answerer.likelihoods(asked)]

    def generate_until(self, requests: list[Instance]) -> list[str]:
        asked = [self._completion(*request.args) for request in requests]
        self._say(asked)
        return [self._said(text) for text in self._answerer.completions(asked)]

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        raise UserError("perplexity of texts is not a share of right items: the part 'perplexity' measures it")

    def _say(self, asked: Sequence[Likelihood | Completion]) -> None:
        once = list(dict.fromkeys(asked))
        self._begin(len(once), self._answerer.known(once))

    def _completion(self, context: str, options: dict[str, Any]) -> Completion:
        if options.get("do_sample") and options.get("temperature", 1.0) != 0:
            raise UserError("the task draws its answers at random (do_sample): only greedy ones can be resumed")
        until = options.get("until") or []
        words = [until] if isinstance(until, str) else list(until)
        return Completion(context, tuple(dict.fromkeys(word for word in [*words, *self._stop] if word)), self._longest)

    def _said(self, text: str) -> str:
        """What stands behind the model's thoughts, as MLXLM has it."""
        if getattr(self.tokenizer, "has_thinking", False):
            _, found, answer = text.partition(self.tokenizer.think_end)
            return answer if found else text
        return text
