"""A language model as a judge: it writes its verdict, greedily, or the likelihoods of the two letters are compared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import mlx.core as mx
import numpy as np

from core.config.judge import Judge
from core.data.tokenize import TemplateRefusal, Tokens, refuse_unknown_tokens
from core.errors import UserError
from core.generation.groups import Question
from core.generation.judges import Asked, Asking, question_text, said
from core.generation.pairing import TIE_LOG_ODDS
from core.generation.rubric import Rubric
from core.generation.sampling import sample
from core.generation.verdicts import TOO_LONG, Said, Verdict
from core.models.head import Head
from core.models.load import LanguageModel

# What the judge would say next where only the letter is asked for.
LEAD = "Verdict:"


class ModelJudge:
    """A judge with a model in memory.

    A written answer is greedy: no draw, the same verdicts every time on one machine. Likelihoods are the model's
    log-probs of ' A' and ' B' after the question and 'Verdict:'; their difference is the log-odds.
    """

    def __init__(self, judge: Judge, rubric: Rubric, loaded: LanguageModel) -> None:
        self._judge = judge
        self._rubric = rubric
        self._loaded = loaded
        self._vocabulary = loaded.vocabulary
        self._marks = special_tokens(loaded.tokenizer)
        self._chat = judge.apply_chat_template and has_template(loaded.tokenizer)
        self._head = Head(loaded.model) if judge.verdict == "likelihood" else None
        room = loaded.config.get("max_position_embeddings")
        written = 1 if self._head else judge.max_tokens
        self._most = min(judge.max_input_tokens, room - written if isinstance(room, int) else judge.max_input_tokens)
        if self._most < 1:
            raise UserError(f"max_tokens: {judge.max_tokens} leaves no room in the model's {room} positions: lower it")

    @property
    def reads_chat(self) -> bool:
        return self._chat

    def ask(self, window: Sequence[Asked], asking: Asking) -> None:
        asked: list[tuple[Question, list[int]]] = []
        for question, group in window:
            ids = self._ids(question_text(self._rubric, question, group, self._marks))
            if len(ids) > self._most:
                asking.say([(question, Said(None, None, TOO_LONG, f"{len(ids)} tokens, {self._most} are the most"))])
            else:
                refuse_unknown_tokens(Tokens(ids, ([],)), self._vocabulary)
                asked.append((question, ids))
        # Rows of like length together; by length and place alone, so that batches are the same after a resume.
        asked.sort(key=lambda one: -len(one[1]))
        for number, batch in enumerate(_batches(asked, self._judge.batch_size)):
            asking.between()
            if not asking.wants(number, (question for question, _ in batch)):
                continue
            texts = [ids for _, ids in batch]
            answers = self._compared(texts) if self._head else self._written([q for q, _ in batch], texts)
            asking.say([(question, answer) for (question, _), answer in zip(batch, answers, strict=True)])

    def close(self) -> None:
        self._head = None

    def _ids(self, text: str) -> list[int]:
        tokenizer = self._loaded.tokenizer
        if not self._chat:
            return list(tokenizer.encode(text + "\n"))
        messages = [{"role": "user", "content": text}]
        try:
            ids = tokenizer.apply_chat_template(messages, tokenize=True, return_dict=False, add_generation_prompt=True)
        except Exception as error:  # a template is a program of the model's maker
            raise UserError(
                f"the chat template of {self._judge.model} refuses a user's message ({TemplateRefusal(error)}): set"
                " apply_chat_template: false"
            ) from error
        return list(ids)

    def _written(self, questions: Sequence[Question], prompts: list[list[int]]) -> list[Said]:
        tokenizer = self._loaded.tokenizer
        found = sample(self._loaded.model, tokenizer, prompts, max_tokens=self._judge.max_tokens, temperature=0, seed=0)
        answers = [str(tokenizer.decode(tokens.responses[0], skip_special_tokens=True)) for tokens in found]
        return [said(question, answer) for question, answer in zip(questions, answers, strict=True)]

    def _compared(self, prompts: list[list[int]]) -> list[Said]:
        assert self._head is not None
        letters = [self._continuations(ids) for ids in prompts]
        contexts = [ids for ids, _, _ in letters]
        width = max(map(len, contexts))
        ids = np.zeros((len(contexts), width), np.int32)
        for row, context in enumerate(contexts):
            ids[row, : len(context)] = context
        positions = [row * width + len(context) - 1 for row, context in enumerate(contexts)]
        features = self._head.features(mx.array(ids), mx.array(positions, mx.int32))
        a, _ = self._head.measure(features, mx.array([a for _, a, _ in letters], mx.int32))
        b, _ = self._head.measure(features, mx.array([b for _, _, b in letters], mx.int32))
        return [_likelier(float(x), float(y)) for x, y in zip(np.array(a), np.array(b), strict=True)]

    def _continuations(self, ids: list[int]) -> tuple[list[int], int, int]:
        """What both letters follow, and the token of each."""
        encode = self._loaded.tokenizer.encode
        a, b = ([*ids, *encode(f"{LEAD} {letter}", add_special_tokens=False)] for letter in "AB")
        shared = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), None)
        if shared is None or not shared:
            raise UserError(f"the tokenizer of {self._judge.model} does not tell A from B: take verdict: text")
        refuse_unknown_tokens(Tokens(a[: shared + 1], ([b[shared]],)), self._vocabulary)
        return a[:shared], a[shared], b[shared]


def _likelier(a: float, b: float) -> Said:
    odds = a - b
    if not np.isfinite(odds):
        raise UserError("the judge's log-probs are no numbers: its weights are broken, or compute.dtype too small")
    verdict: Verdict = "TIE" if abs(odds) < TIE_LOG_ODDS else "A" if odds > 0 else "B"
    return Said(verdict, odds, "", f"log p(A) {a:.4f}, log p(B) {b:.4f}")


def _batches(asked: list[tuple[Question, list[int]]], size: int) -> Iterator[list[tuple[Question, list[int]]]]:
    for start in range(0, len(asked), size):
        yield asked[start : start + size]


def has_template(tokenizer: Any) -> bool:
    return bool(getattr(tokenizer, "has_chat_template", False) or getattr(tokenizer, "chat_template", None))


def special_tokens(tokenizer: Any) -> list[str]:
    """All that the tokenizer reads as one token of its own wherever it stands."""
    added = getattr(tokenizer, "added_tokens_decoder", {}) or {}
    found = [
        *getattr(tokenizer, "all_special_tokens", []),
        *(getattr(token, "content", "") for token in added.values()),
    ]
    return sorted({mark for mark in found if isinstance(mark, str) and len(mark.strip()) > 1})
