"""One model answers all prompts: what is empty or repeated is drawn again, what is finished is kept at once."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from core.config import GenerateConfig
from core.data.messages import Text
from core.data.prompts import Prompt
from core.data.tokenize import TemplateRefusal, Tokens, prompt_ids, refuse_unknown_tokens
from core.generation.candidates_part import Answer, Part
from core.generation.candidates_plan import Pass, Slot
from core.generation.decode import Decoder, Job, Row
from core.generation.draw import stream
from core.models.load import LanguageModel

# Half a character at the end: of four bytes at most three are there. More of them were written so.
_HALF = re.compile("\ufffd{1,3}\\Z")


@dataclass(slots=True)
class _Open:
    """A prompt that is being answered. `before` are texts that other models gave it."""

    number: int
    ids: list[int]
    plain: bool
    before: frozenset[str]
    found: dict[int, Answer | None] = field(default_factory=dict)  # by slot; None where nothing is kept
    attempts: Counter[int] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)


class Answering:
    """The work of one pass. `work` does it, and calls between tokens."""

    def __init__(
        self,
        config: GenerateConfig,
        one: Pass,
        loaded: LanguageModel,
        decoder: Decoder,
        part: Part,
        prompts: tuple[Prompt, ...],
        leave_out: Callable[[Prompt, str], None],
    ) -> None:
        self._options = config.generation
        self._data = config.data
        self._pass = one
        self._slots = {slot.index: slot for slot in one.slots}
        self._tokenizer = loaded.tokenizer
        self._vocabulary = loaded.vocabulary
        self._decoder = decoder
        self._part = part
        self._leave_out = leave_out
        self._coming = self._jobs(prompts)

    def work(self, between: Callable[[], None]) -> None:
        """Answer what is left; `between` is called after each token and may raise to end it."""
        self._fill()
        while self._decoder.busy:
            finished = [done for job in self._decoder.step() if (done := self._close(job)) is not None]
            if finished:
                self._part.add(self._pass.number, finished)
            self._fill()
            between()

    def _fill(self) -> None:
        """Enough prompts in the queue to take every place that gets free."""
        while len(self._decoder.queue) < 8:
            job = next(self._coming, None)
            if job is None:
                return
            self._decoder.queue.append(job)

    def _jobs(self, prompts: tuple[Prompt, ...]) -> Iterator[Job]:
        for number, prompt in enumerate(prompts):
            if (self._pass.number, number) in self._part:
                continue
            ids = self._ids(prompt)
            if ids is None:
                self._part.add(self._pass.number, [(number, [], {"left_out": 1})])
                continue
            before = frozenset(
                answer.text.strip()
                for other in range(self._pass.number)
                if (other, number) in self._part
                for answer in self._part.answers(other, number)
            )
            plain = isinstance(prompt.text, str) and not self._data.apply_chat_template
            yield self._job(_Open(number, ids, plain, before), list(self._slots.values()))

    def _ids(self, prompt: Prompt) -> list[int] | None:
        """The prompt's tokens, or None where it is left out, with a word."""
        try:
            ids = prompt_ids(self._tokenizer, prompt.text, chat=self._data.apply_chat_template)
        except TemplateRefusal as refusal:
            self._leave_out(prompt, f"the chat template refuses it ({refusal})")
            return None
        if not ids:
            self._leave_out(prompt, "the tokenizer leaves nothing of it")
            return None
        if len(ids) > self._data.max_prompt_length:
            self._leave_out(prompt, f"{len(ids)} tokens, more than data.max_prompt_length")
            return None
        refuse_unknown_tokens(Tokens(ids, ([],)), self._vocabulary)
        return ids

    def _job(self, prompt: _Open, slots: list[Slot]) -> Job:
        rows = []
        for slot in slots:
            attempt = prompt.attempts[slot.index]
            words = ("response", self._options.seed, slot.index, attempt, *prompt.ids)
            rows.append(Row(slot.settings, stream(*words), slot.max_tokens))
        return Job(prompt.ids, rows, (prompt, slots))

    def _close(self, job: Job) -> tuple[int, list[Answer], dict[str, int]] | None:
        """Take what a job wrote; None where something of it is drawn again."""
        prompt, slots = job.name
        for slot, row in zip(slots, job.rows, strict=True):
            text = response_text(self._tokenizer, prompt.ids if prompt.plain else [], row.tokens, row.finish)
            prompt.found[slot.index] = Answer(slot.index, slot.recipe, text, row.finish, len(row.tokens))
            prompt.counts["tokens"] += len(row.tokens)
        again: list[Slot] = []
        texts = set(prompt.before)
        for index, answer in sorted(prompt.found.items()):
            if answer is None:
                continue
            text = answer.text.strip()
            repeated = text in texts
            if text and not (repeated and self._options.distinct):
                texts.add(text)
                continue
            if prompt.attempts[index] < self._options.redraws and self._slots[index].settings.temperature:
                again.append(self._slots[index])
            else:
                prompt.found[index] = None
                prompt.counts["repeated_out" if text else "empty_out"] += 1
        if again:
            for slot in again:
                prompt.attempts[slot.index] += 1
            prompt.counts["redrawn"] += len(again)
            self._decoder.queue.appendleft(self._job(prompt, again))
            return None
        kept = [answer for _, answer in sorted(prompt.found.items()) if answer is not None]
        every = [answer.text.strip() for answer in kept]
        prompt.counts["length"] = sum(answer.finish == "length" for answer in kept)
        prompt.counts["repeated"] = len(every) - len(set(every) - prompt.before)
        return prompt.number, kept, {name: count for name, count in sorted(prompt.counts.items()) if count}


def response_text(tokenizer: Any, prompt: list[int], tokens: list[int], finish: str) -> str:
    """What the model wrote, without special tokens, and without half a character where it was cut.

    Args:
        prompt: token ids of a plain-text prompt, which the response goes on from: some tokenizers drop a space at the
            beginning of a text. None of a chat.
    """
    text: str = tokenizer.decode(tokens, skip_special_tokens=True)
    if prompt:
        before: str = tokenizer.decode(prompt, skip_special_tokens=True)
        whole: str = tokenizer.decode([*prompt, *tokens], skip_special_tokens=True)
        text = whole[len(before) :] if whole.startswith(before) else text
    return _HALF.sub("", text) if finish == "length" else text


def longest(tokenizer: Any, prompts: tuple[Prompt, ...], chat: bool, limit: int) -> int:
    """Tokens of the longest prompt within the limit, from those with the most characters."""
    found = 0
    for prompt in sorted(prompts, key=lambda prompt: _characters(prompt.text), reverse=True)[:8]:
        try:
            found = max(found, len(prompt_ids(tokenizer, prompt.text, chat=chat)))
        except TemplateRefusal:
            continue
    return min(found, limit)


def _characters(text: Text) -> int:
    return len(text) if isinstance(text, str) else sum(len(message["content"]) for message in text)
