"""From tokens to the text of a response, and from a prompt to the tokens after which it is written."""

from __future__ import annotations

import pytest

from core.data.tokenize import prompt_ids
from core.generation.candidates_pass import response_text
from tests.core.data.test_tokenize import PLAIN, WRITES_END, ids, tokenizer, turn

EURO = ids("€")  # three bytes, a token each


@pytest.mark.parametrize(
    ("tokens", "finish", "text"),
    [
        (ids(" red<end>"), "stop", " red"),
        (ids("red<user>"), "length", "red"),
        ([*ids("5 "), *EURO], "length", "5 €"),
        ([*ids("5 "), *EURO[:2]], "length", "5 "),  # cut within a character
        ([*ids("5 "), *EURO[:1] * 5], "length", "5 \ufffd\ufffd"),  # no half of one: so the model wrote
        (ids("<end>"), "stop", ""),
    ],
)
def test_the_text_of_a_response(tokens: list[int], finish: str, text: str) -> None:
    assert response_text(PLAIN, [], tokens, finish) == text
    assert response_text(PLAIN, ids("Say: "), tokens, finish) == text


class DropsFirstSpace:
    """As tokenizers of the SentencePiece kind do."""

    @staticmethod
    def decode(tokens: list[int], skip_special_tokens: bool) -> str:
        return str(PLAIN.decode(tokens, skip_special_tokens=skip_special_tokens)).removeprefix(" ")


def test_a_space_between_prompt_and_response_is_kept() -> None:
    assert response_text(DropsFirstSpace(), ids("Say"), ids(" red"), "stop") == " red"
    assert response_text(DropsFirstSpace(), [], ids(" red"), "stop") == "red"


def test_prompts_end_where_the_model_is_to_write() -> None:
    chat = tokenizer(WRITES_END)
    expected = ids("<user>Say<end>\n<assistant>")
    assert prompt_ids(chat, [turn("user", "Say")]) == prompt_ids(chat, "Say", chat=True) == expected
    assert prompt_ids(chat, "Say") == ids("Say")
    began = [turn("user", "Say"), turn("assistant", "It is")]
    assert prompt_ids(chat, began) == ids("<user>Say<end>\n<assistant>It is")
    assert prompt_ids(PLAIN, "Say<end>") == ids("Say<end>")  # as the file has it
