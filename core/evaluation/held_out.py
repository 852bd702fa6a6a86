"""The pairs of the test set as tokens, put together as the DPO run that wrote the model put its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from core.config.evaluate import PreferenceValidation
from core.data.jsonl import BadRow, read_rows
from core.data.pairs import Pair, pair_of
from core.data.tokenize import Limits, Tokens, tokenize
from core.evaluation.origin import Origin
from core.evaluation.session import Session
from core.models.load import LanguageModel
from core.text import one_line
from core.training.prepare import LeftOut, checked, load_rows
from core.training.score import UNLIMITED


@dataclass(frozen=True, slots=True)
class HeldOut:
    """One pair of the test set. `category` is "" where its row names none."""

    line: int
    category: str
    tokens: Tokens

    @property
    def length(self) -> int:
        return self.tokens.length


@dataclass(frozen=True, slots=True)
class _Read:
    line: int
    category: str
    pair: Pair


def read_held_out(session: Session, loaded: LanguageModel, made: Origin) -> list[HeldOut]:
    """Pairs of the test set that can be used; the others are counted and said.

    Lengths and chat template are those of the run that trained the model. Where that is not known nothing is cut, and a
    pair whose prompt passes `max_prompt_length` is left out.
    """
    settings = session.config.alignment_evaluation.preference_validation
    limits, chat, most = UNLIMITED, settings.apply_chat_template, settings.max_prompt_length
    if made.config is not None:
        data = made.config.data
        limits, chat, most = Limits(data.max_prompt_length, data.max_response_length), data.apply_chat_template, 0
    vocabulary = loaded.vocabulary

    def convert(row: _Read) -> HeldOut:
        pair = row.pair
        tokens = tokenize(loaded.tokenizer, pair.prompt, (pair.chosen, pair.rejected), limits, chat=chat)
        if most and len(tokens.prompt) > most:
            raise LeftOut("long prompts", f"the prompt has {len(tokens.prompt)} tokens, more than max_prompt_length")
        return HeldOut(row.line, row.category, checked(tokens, vocabulary))

    return load_rows(session.context, settings.test_set, lambda path: _rows(path, settings), convert)


def _rows(path: Path, settings: PreferenceValidation) -> Iterator[_Read | BadRow]:
    for row in read_rows(path):
        if isinstance(row, BadRow):
            yield row
            continue
        pair = pair_of(row)
        if isinstance(pair, BadRow):
            yield pair
            continue
        category = row.fields.get(settings.category_field)
        yield _Read(row.line, one_line(category, 60) if isinstance(category, str) else "", pair)
