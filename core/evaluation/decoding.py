"""Responses in groups that are always the same: a run that was ended in one decodes it again, to the same tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from core.data.messages import Text
from core.evaluation.rows import Rows
from core.evaluation.session import Session
from core.generation.candidates_pass import response_text
from core.generation.decode import Decoder, Job, Row, Way, choose
from core.generation.draw import NotNumbers, Settings
from core.models.load import LanguageModel

# Responses that decode together; a run that ends loses no more of them than this.
GROUP = 16


@dataclass(frozen=True, slots=True)
class Asked:
    """A prompt of line `line` of its file: its text, its tokens, and the random numbers of its response."""

    line: int
    text: Text
    ids: list[int]
    numbers: np.random.Generator


def respond(
    session: Session,
    loaded: LanguageModel,
    name: str,
    who: str,
    asked: Sequence[Asked],
    found: Rows,
    settings: Settings,
    *,
    max_tokens: int,
    chat: bool,
) -> None:
    """Add to `found`, by (who, line), the responses that it lacks: text, finish and tokens. On disk group by group.

    Args:
        name: the model's, for whoever reads that its logits are no numbers.
        chat: whether plain prompts were asked through the chat template.
    """
    known = [(who, one.line) in found for one in asked]
    of = [(one.ids, one.numbers) for one in asked]
    try:
        for rows in decoded(session, loaded, of, known, settings=settings, max_tokens=max_tokens):
            new = []
            for place, row in rows.items():
                one = asked[place]
                plain = isinstance(one.text, str) and not chat
                text = response_text(loaded.tokenizer, one.ids if plain else [], row.tokens, row.finish)
                new.append(((who, one.line), {"text": text, "finish": row.finish, "tokens": len(row.tokens)}))
            found.add(new)
            session.advance(sum(not known[place] for place in rows))
    except NotNumbers:
        raise session.no_numbers(name) from None
    session.between()


def decoded(
    session: Session,
    loaded: LanguageModel,
    asked: Sequence[tuple[list[int], np.random.Generator]],
    known: Sequence[bool],
    *,
    settings: Settings,
    max_tokens: int,
) -> Iterator[dict[int, Row]]:
    """The responses of one group after the other, by their place in `asked`.

    Args:
        asked: prompts as token ids, and the random numbers of each.
        known: which of them need no response any more. A group is left out when all of it is known.

    Raises:
        NotNumbers: the model's logits are NaN.
        Stopped: the run ends here; commands are looked for after each token.
    """
    way: Way | None = None
    for start in range(0, len(asked), GROUP):
        places = range(start, min(start + GROUP, len(asked)))
        if all(known[place] for place in places) or not session.mine(start // GROUP):
            continue
        way = way or choose(loaded.model)[0]
        rows = {place: Row(settings, asked[place][1], max_tokens) for place in places}
        jobs: dict[tuple[int, ...], Job] = {}
        for place, row in rows.items():
            prompt = asked[place][0]
            jobs.setdefault(tuple(prompt), Job(prompt, [])).rows.append(row)
        decoder = Decoder(loaded.model, set(loaded.tokenizer.eos_token_ids), size=GROUP, way=way)
        decoder.queue.extend(jobs.values())
        while decoder.busy:
            decoder.step()
            session.between()
        yield rows
