"""What the model writes to the same few prompts at each evaluation, and what the reference writes to them, once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

from core.config import DPOConfig, SFTConfig
from core.data.examples import Example, read_examples
from core.data.jsonl import BadRow
from core.data.messages import Text, text_hash, text_key
from core.data.pairs import Pair, read_pairs
from core.data.tokenize import TemplateRefusal, prompt_ids
from core.generation.candidates_pass import response_text
from core.generation.decode import Decoder, Job, Row, Way, choose
from core.generation.draw import NotNumbers, Settings, stream
from core.models.load import LanguageModel
from core.store import samples
from core.store.samples import Model, Sample
from core.training.context import Context


class Asked(NamedTuple):
    """A prompt: its line in the file, its tokens, and the text in which a person reads it. `plain`: it is no chat."""

    line: int
    ids: list[int]
    shown: str
    plain: bool


def sampler_of(
    context: Context,
    config: DPOConfig | SFTConfig,
    loaded: LanguageModel,
    reference: Callable[[], AbstractContextManager[None]] | None = None,
) -> Sampler | None:
    """Who asks the model of a training at its evaluations; None where nothing is to be asked.

    Args:
        reference: puts the reference in its place; None where that is the model as it is before its first step.
    """
    training = config.training
    asked = prompts_of(context.workspace.path(config.data.validation_file), config, loaded, training.sample_prompts)
    if not asked:
        return None
    return Sampler(context, loaded, asked, training.sample_max_tokens, reference)


def prompts_of(path: Path, config: DPOConfig | SFTConfig, loaded: LanguageModel, count: int) -> list[Asked]:
    """The first different prompts of a file that the model can be asked, cut from the left as training cuts them."""
    read: Callable[[Path], Iterator[Pair | Example | BadRow]]
    read = read_pairs if isinstance(config, DPOConfig) else read_examples
    data, tokenizer = config.data, loaded.tokenizer
    found: list[Asked] = []
    seen: set[int] = set()
    for row in read(path) if count else ():
        if isinstance(row, BadRow) or (key := text_hash(text_key(row.prompt))) in seen:
            continue
        seen.add(key)
        try:
            ids = prompt_ids(tokenizer, row.prompt, chat=data.apply_chat_template)
        except TemplateRefusal:
            continue
        kept = ids[max(0, len(ids) - data.max_prompt_length) :]
        if not kept:
            continue
        shown = shown_as(row.prompt)
        if len(kept) < len(ids):
            shown = "… " + str(tokenizer.decode(kept, skip_special_tokens=True))
        plain = isinstance(row.prompt, str) and not data.apply_chat_template
        found.append(Asked(row.line, kept, shown, plain))
        if len(found) == count:
            break
    return found


def shown_as(prompt: Text) -> str:
    """A prompt as text: of a chat of several turns, who says what."""
    if isinstance(prompt, str):
        return prompt
    if len(prompt) == 1:
        return str(prompt[0]["content"])
    return "\n\n".join(f"{message['role']}: {message['content']}" for message in prompt)


class Sampler:
    """Asks a model in training. The likeliest token is taken each time: the same weights write the same text, and no
    random number is drawn that training would miss."""

    def __init__(
        self,
        context: Context,
        loaded: LanguageModel,
        asked: list[Asked],
        max_tokens: int,
        reference: Callable[[], AbstractContextManager[None]] | None,
    ) -> None:
        self._context, self._loaded, self._asked = context, loaded, asked
        self._max_tokens = max_tokens
        self._reference = reference
        self._way: Way | None = None

    def __call__(self, step: int) -> bool:
        """Ask the model, in evaluation mode, after `step` updates, and the reference where it was not yet asked.

        Returns False, with nothing kept, where the run is to stop meanwhile.
        """
        context = self._context
        started = time.perf_counter()
        context.progress(step, context.run.steps, "sampling answers to validation prompts")
        try:
            found = self._answers("policy", step)
            if found is not None and not samples.reference(context.db, context.run.id):
                theirs = self._of_reference(step, found)
                found = None if theirs is None else found + theirs
        except NotNumbers:
            context.log(f"step {step}  no samples: the model gives no numbers (NaN)", "warning")
            return True
        if found is None:
            return False
        samples.record(context.db, found)
        tokens = sum(sample.tokens for sample in found)
        also = " and of the reference" if any(sample.model == "reference" for sample in found) else ""
        prompts = f"{len(self._asked)} prompt{'s' * (len(self._asked) > 1)}"
        seconds = time.perf_counter() - started
        context.log(f"step {step}  samples of {prompts}{also}: {tokens} tokens, {seconds:.1f} s")
        return True

    def _of_reference(self, step: int, ours: list[Sample]) -> list[Sample] | None:
        if self._reference is not None:
            with self._reference():
                return self._answers("reference", step)
        # The model before its first step is the reference; a run that went on from later has none.
        return [sample._replace(model="reference") for sample in ours] if step == 0 else []

    def _answers(self, model: Model, step: int) -> list[Sample] | None:
        """One answer to each prompt, all of them at a time; None where the run is to stop."""
        tokenizer, network = self._loaded.tokenizer, self._loaded.model
        if self._way is None:
            self._way = choose(network)[0]
        rows = [Row(Settings(0.0), stream("samples", asked.line), self._max_tokens) for asked in self._asked]
        decoder = Decoder(network, set(tokenizer.eos_token_ids), size=len(rows), way=self._way)
        decoder.queue.extend(Job(asked.ids, [row]) for asked, row in zip(self._asked, rows, strict=True))
        while decoder.busy:
            if self._context.control.wants_stop():
                return None
            decoder.step()
        return [
            Sample(
                self._context.run.id,
                step,
                model,
                asked.line,
                asked.shown,
                response_text(tokenizer, asked.ids if asked.plain else [], row.tokens, row.finish),
                row.finish,
                len(row.tokens),
            )
            for asked, row in zip(self._asked, rows, strict=True)
        ]
