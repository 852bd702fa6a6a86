"""From text to token ids: chat template, prompt boundary, EOS once, truncation. TRL 1.16's conventions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from core.errors import UserError

Text = str | list[dict[str, Any]]  # plain text or chat messages


@dataclass(frozen=True, slots=True)
class Tokens:
    """One prompt with its responses as token ids: (chosen, rejected) of a pair, (response,) of an SFT example."""

    prompt: list[int]
    responses: tuple[list[int], ...]

    @property
    def length(self) -> int:
        """Tokens of the longest prompt + response."""
        return len(self.prompt) + max(len(response) for response in self.responses)


@dataclass(frozen=True, slots=True)
class Limits:
    """Prompts are cut from the left, responses from the right (tokens)."""

    prompt: int
    response: int


class TemplateRefusal(Exception):
    """The chat template does not take this conversation; the text is why, as the template has it."""


def tokenize(
    tokenizer: Any,
    prompt: Text,
    responses: tuple[Text, ...],
    limits: Limits,
    *,
    chat: bool = False,
    closed: bool = True,
) -> Tokens:
    """Tokenize a prompt with one or more responses.

    Prompt and responses are tokenized together, as the model will see them, and the boundary is the longest common
    prefix of the prompt's ids with all of them: a tokenizer that merges across the boundary moves it, and no token is
    lost or doubled. Plain text gets EOS appended unless it ends so; a chat response keeps what the template writes
    after it (TRL 1.16), and gets EOS only if the template wrote none.

    Args:
        tokenizer: mlx-lm's or transformers' tokenizer.
        prompt: plain text or messages.
        responses: each plain text or messages, of the same form as the prompt.
        limits: truncation.
        chat: put plain text into the tokenizer's chat template as a user's and an assistant's message.
        closed: give a chat response EOS where the template wrote none. TRL does so for DPO, and not for reward models.

    Raises:
        UserError: the tokenizer has no end token, or chat messages come and it has no chat template.
        TemplateRefusal: the chat template does not take these messages.
    """
    if tokenizer.eos_token_id is None:
        raise UserError("the model's tokenizer names no end token: set eos_token in its tokenizer_config.json")
    if chat:
        prompt = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
        responses = tuple([{"role": "assistant", "content": r}] if isinstance(r, str) else r for r in responses)
    eos = int(tokenizer.eos_token_id)
    prompt_ids = _ids(tokenizer, prompt, opening=True)
    whole = []
    for response in responses:
        ids = _ids(tokenizer, _join(prompt, response), opening=False)
        if isinstance(prompt, str):
            ids = ids if ids and ids[-1] == eos else [*ids, eos]
        whole.append(ids)
    boundary = min(_common(prompt_ids, ids) for ids in whole)
    cut = []
    for ids in whole:
        response_ids = ids[boundary:]
        if closed and eos not in response_ids:
            response_ids = [*response_ids, eos]
        cut.append(response_ids[: limits.response])
    kept = prompt_ids[:boundary]
    return Tokens(kept[max(0, len(kept) - limits.prompt) :], tuple(cut))


def prompt_ids(tokenizer: Any, prompt: Text, *, chat: bool = False) -> list[int]:
    """The ids after which a model is to write: of a chat, up to where the assistant speaks.

    Args:
        chat: put plain text into the tokenizer's chat template as a user's message.

    Raises:
        UserError, TemplateRefusal: as `tokenize`.
    """
    if chat and isinstance(prompt, str):
        prompt = [{"role": "user", "content": prompt}]
    ids = _ids(tokenizer, prompt, opening=True)
    # Some tokenizers end every text, and after its end a model has nothing to say.
    ends = isinstance(prompt, str) and ids[-1:] == [tokenizer.eos_token_id] and not prompt.endswith(tokenizer.eos_token)
    return ids[:-1] if ends else ids


def learnable(tokens: Tokens) -> bool:
    """Whether there is something to learn: a token to predict from, and tokens to predict, in every response."""
    return bool(tokens.prompt) and all(tokens.responses)


def refuse_unknown_tokens(tokens: Tokens, vocabulary: int) -> None:
    """MLX reads past the end of an embedding without a word."""
    largest = max(max(ids, default=0) for ids in (tokens.prompt, *tokens.responses))
    if largest >= vocabulary:
        raise UserError(
            f"token {largest} is beyond the model's {vocabulary}: the tokenizer in its folder is another model's"
        )


def _join(prompt: Text, response: Text) -> Text:
    if isinstance(prompt, str) and isinstance(response, str):
        return prompt + response
    assert isinstance(prompt, list) and isinstance(response, list), "prompt and response differ in form"
    return [*prompt, *response]


def _ids(tokenizer: Any, text: Text, *, opening: bool) -> list[int]:
    if isinstance(text, str):
        return list(tokenizer.encode(text))
    # The prompt ends where the assistant is about to speak, unless it already began to.
    speaking = text[-1].get("role") == "assistant"
    options = {"add_generation_prompt": opening and not speaking}
    if opening and speaking:
        options["continue_final_message"] = True
    if not (getattr(tokenizer, "has_chat_template", False) or getattr(tokenizer, "chat_template", None)):
        raise UserError(
            "chat messages need a chat template and the model's tokenizer has none: put one into its "
            "tokenizer_config.json, give plain text, or set data.apply_chat_template: false if it is on"
        )
    try:
        ids = tokenizer.apply_chat_template(text, tokenize=True, return_dict=False, **options)
    except Exception as error:
        # A template is a program of the model's maker: it raises what it likes.
        reason = str(error).strip().splitlines()
        raise TemplateRefusal(reason[0][:200] if reason else type(error).__name__) from error
    return list(ids)


def _common(a: list[int], b: list[int]) -> int:
    for i, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return i
    return min(len(a), len(b))
