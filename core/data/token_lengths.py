"""How many tokens the prompt and the responses of pairs are for a model, as training counts them, before truncation."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from core.data.messages import Text
from core.data.pairs import Pair
from core.errors import UserError
from core.text import one_line, printable

Lengths = tuple[int, int, int] | tuple[None, None, None]
_UNKNOWN: Lengths = (None, None, None)


class TokenCounter:
    """Counts tokens of many pairs at once with the `tokenizers` library.

    It does what `core.data.tokenize.tokenize` does to one pair: prompt and response are encoded together, and the
    prompt ends where its own tokens and those of both responses part; a response gets EOS where it has none.
    """

    def __init__(self, folder: Path, *, chat: bool = False) -> None:
        """
        Args:
            folder: of a model, with tokenizer.json.
            chat: plain text goes into the chat template.

        Raises:
            UserError: there is no tokenizer that can be read.
        """
        from tokenizers import Tokenizer

        file = folder / "tokenizer.json"
        if not file.is_file():
            raise UserError(f"{printable(str(folder))} has no tokenizer.json: name a model's folder")
        try:
            self._tokenizer = Tokenizer.from_file(str(file))
        except Exception as error:  # a stranger's file can make it raise anything
            raise UserError(f"{printable(str(file))} cannot be read: {one_line(str(error), 100)}") from error
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._folder = folder
        self._chat = chat
        self._template: Any = None
        self._eos = self._tokenizer.token_to_id(_eos_token(folder) or "")

    def count(self, pairs: Sequence[Pair]) -> list[Lengths]:
        """Tokens of prompt, chosen and rejected of each; unknown where the chat template refuses the messages."""
        found: list[Lengths] = [_UNKNOWN] * len(pairs)
        plain: list[tuple[int, list[str]]] = []
        chats: list[tuple[int, list[str]]] = []
        for place, pair in enumerate(pairs):
            if self._chat or not isinstance(pair.prompt, str):
                rendered = self._rendered(pair)
                if rendered is not None:
                    chats.append((place, rendered))
            else:
                whole = [f"{pair.prompt}{response}" for response in (pair.chosen, pair.rejected)]
                plain.append((place, [pair.prompt, *whole]))
        # A template writes the special tokens itself; to plain text the tokenizer adds them.
        for given, is_plain in ((plain, True), (chats, False)):
            texts = [text for _, three in given for text in three]
            encoded = self._tokenizer.encode_batch_fast(texts, add_special_tokens=is_plain)
            for number, (place, _) in enumerate(given):
                prompt, chosen, rejected = (one.ids for one in encoded[3 * number : 3 * number + 3])
                found[place] = self._lengths(prompt, chosen, rejected, plain=is_plain)
        return found

    def _lengths(self, prompt: list[int], chosen: list[int], rejected: list[int], *, plain: bool) -> Lengths:
        boundary = min(_common(prompt, chosen), _common(prompt, rejected))
        sizes = []
        for whole in (chosen, rejected):
            closed = whole[-1:] == [self._eos] if plain else self._eos in whole[boundary:]
            sizes.append(len(whole) - boundary + (not closed))
        return boundary, sizes[0], sizes[1]

    def _rendered(self, pair: Pair) -> list[str] | None:
        prompt, chosen, rejected = (
            _messages(text, role) for text, role in zip((pair.prompt, pair.chosen, pair.rejected), _ROLES, strict=True)
        )
        speaking = prompt[-1]["role"] == "assistant"
        opening = {"continue_final_message": True} if speaking else {"add_generation_prompt": True}
        render = self._renderer()
        try:
            return [
                render(prompt, tokenize=False, **opening),
                render([*prompt, *chosen], tokenize=False),
                render([*prompt, *rejected], tokenize=False),
            ]
        except Exception:  # a template is a program of the model's maker: it raises what it likes
            return None

    def _renderer(self) -> Any:
        if self._template is None:
            from transformers import AutoTokenizer

            self._template = AutoTokenizer.from_pretrained(str(self._folder), local_files_only=True)
        if not getattr(self._template, "chat_template", None):
            raise UserError(
                f"{printable(str(self._folder))} has no chat template, which chat messages need: lengths in"
                " tokens cannot be counted with it"
            )
        return self._template.apply_chat_template


_ROLES = ("user", "assistant", "assistant")


def _messages(text: Text, role: str) -> list[dict[str, Any]]:
    return [{"role": role, "content": text}] if isinstance(text, str) else text


def _eos_token(folder: Path) -> str | None:
    try:
        token = json.loads((folder / "tokenizer_config.json").read_text("utf-8")).get("eos_token")
    except (OSError, ValueError, AttributeError, RecursionError):
        return None
    return token.get("content") if isinstance(token, dict) else token if isinstance(token, str) else None


def _common(first: list[int], second: list[int]) -> int:
    """How many ids both begin with."""
    if second[: len(first)] == first:
        return len(first)
    for place, (one, other) in enumerate(zip(first, second, strict=False)):
        if one != other:
            return place
    return min(len(first), len(second))
