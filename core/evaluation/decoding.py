"""Responses in groups that are always the same: a run that was ended in one decodes it again, to the same tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from core.generation.decode import Decoder, Job, Row, Way, choose
from core.generation.draw import Settings
from core.models.load import LanguageModel

# Responses that decode together; a run that ends loses no more of them than this.
GROUP = 16


def decoded(
    loaded: LanguageModel,
    asked: Sequence[tuple[list[int], np.random.Generator]],
    known: Sequence[bool],
    *,
    settings: Settings,
    max_tokens: int,
    between: Callable[[], None],
) -> Iterator[dict[int, Row]]:
    """The responses of one group after the other, by their place in `asked`.

    Args:
        asked: prompts as token ids, and the random numbers of each.
        known: which of them need no response any more. A group is left out when all of it is known.
        between: called after each token; may raise to end it.

    Raises:
        NotNumbers: the model's logits are NaN.
    """
    way: Way | None = None
    for start in range(0, len(asked), GROUP):
        places = range(start, min(start + GROUP, len(asked)))
        if all(known[place] for place in places):
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
            between()
        yield rows
