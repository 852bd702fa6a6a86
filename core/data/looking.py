"""What is looked for in each pair by itself while an index is made: artefacts, personal data, tokens, signatures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from core.data import personal
from core.data.artefacts import Artefacts, Texts, special_tokens
from core.data.index_file import IndexedFile
from core.data.near_duplicates import PART, Signatures
from core.data.pairs import Pair
from core.data.token_lengths import Lengths, TokenCounter
from core.data.tokenize import Limits

_ALWAYS = (
    *("duplicate", "near_duplicate", "conflict", "transitivity", "inverted"),
    *("script", "template", "boilerplate", "encoding", "email", "phone", "key"),
)


def looked_for(tokenizer: Path | None, limits: Limits | None, files: Sequence[IndexedFile]) -> list[str]:
    """The kinds of finding that an index knows of, whether or not there are any."""
    truncated = ("truncated_prompt", "truncated_response") if tokenizer is not None and limits is not None else ()
    return [*_ALWAYS, *truncated, *(("leak",) if len(files) > 1 else ())]


class Looking:
    """Takes the pairs in their order, some at a time. Signatures gather in a folder."""

    def __init__(self, folder: Path, tokenizer: Path | None, *, chat: bool, leaks: bool) -> None:
        self._artefacts = Artefacts(() if tokenizer is None else special_tokens(tokenizer))
        self._counter = None if tokenizer is None else TokenCounter(tokenizer, chat=chat)
        (folder / "pairs").mkdir(mode=0o700)
        self.pairs = Signatures(folder / "pairs")
        self.prompts: Signatures | None = None
        if leaks:
            (folder / "prompts").mkdir(mode=0o700)
            self.prompts = Signatures(folder / "prompts")

    def close(self) -> None:
        self.pairs.close()
        if self.prompts is not None:
            self.prompts.close()

    def tokens(self, pairs: Sequence[Pair]) -> list[Lengths]:
        if self._counter is None:
            return [(None, None, None)] * len(pairs)
        return self._counter.count(pairs)

    def look(self, first: int, pairs: Sequence[Texts]) -> Iterator[tuple[str, int, str, int | None]]:
        """Findings of the next pairs, of which the first has this number."""
        self.pairs.add([as_parts(texts) for texts in pairs])
        if self.prompts is not None:
            self.prompts.add([texts.prompt for texts in pairs])
        for number, texts in enumerate(pairs, first):
            for kind, detail in self._artefacts.look(texts):
                yield kind, number, detail, None
            if not personal.may_hold(PART.join(texts)):
                continue
            for name, text in zip(Texts._fields, texts, strict=True):
                for kind, detail in personal.look(text):
                    yield kind, number, f"{name}: {detail}", None


def as_parts(texts: Texts) -> str:
    """As `core.data.near_duplicates.pair_text`."""
    return PART.join(text.replace(PART, " ") for text in texts)
