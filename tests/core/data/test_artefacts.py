"""Artefacts in texts: what templates, encodings and stock phrases leave behind, and what only looks like it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.data.artefacts import Artefacts, Texts, script, special_tokens


def found(prompt: str = "a question", chosen: str = "an answer", rejected: str = "another") -> list[tuple[str, str]]:
    return list(Artefacts(("<|own|>", "<turn>")).look(Texts(prompt, chosen, rejected)))


@pytest.mark.parametrize(
    "mark",
    [
        *("<|im_start|>", "<|endoftext|>", "<|eot_id|>", "[INST]", "[/INST]", "<<SYS>>", "<start_of_turn>", "</s>"),
        *("<turn>", "[PAD]", "<｜end▁of▁sentence｜>", "<eos>"),
    ],
)
def test_special_tokens_inside_a_text(mark: str) -> None:
    assert found(chosen=f"fine {mark} so far") == [("template", f"chosen: {mark}")]


@pytest.mark.parametrize("mark", ["Human:", "Assistant:", "### Response:", "## Instruction:", "###Human:"])
def test_role_marks_at_the_beginning_of_a_line(mark: str) -> None:
    assert found(prompt=f"one\n\n{mark} two") == [("template", f"prompt: {mark}")]
    assert found(prompt=f"the word {mark.lower()} is none") == []


@pytest.mark.parametrize(
    "text",
    [
        "<b>bold</b>",
        "a < b | c > d",
        "x[0]",
        "the list [INSTALL]",
        "### Results",
        "# Response",
        "a human: being",
        "<s>old</s",
    ],
)
def test_what_only_looks_like_a_mark(text: str) -> None:
    assert found(chosen=f"so {text}") == []


def test_broken_characters() -> None:
    assert found(chosen="it\u00e2\u20ac\u2122s") == [("encoding", "chosen: \u00e2\u20ac\u2122, UTF-8 read as Latin-1")]
    assert found(rejected="a \ufffd b") == [("encoding", "rejected: U+FFFD, a character that was lost")]
    assert found(chosen="NÃO, crème brûlée, 20 °C, “quoted” – Ångström, Âge") == []


def test_stock_phrases_are_of_responses() -> None:
    assert found(chosen="Sorry, as an AI language model I") == [("boilerplate", "chosen: as an ai")]
    assert found(prompt="Answer as an AI language model") == []
    assert found(rejected="as an airplane pilot, as a languid model") == []


def test_another_script_than_the_prompts() -> None:
    russian, chinese = "Это ответ на вопрос", "这是一个答案"
    assert found("what is this thing", russian) == [("script", "chosen: Cyrillic, the prompt Latin")]
    assert found("这是什么东西呢", rejected="an answer in letters") == [
        ("script", "chosen: Latin, the prompt Han or Kana"),
        ("script", "rejected: Latin, the prompt Han or Kana"),
    ]
    assert found("translate this sentence", russian) == []
    assert found("say it in Russian please", russian) == []
    assert found("what is this thing", f"the Chinese words are {chinese}") == []
    assert found(russian, russian, chinese) == [("script", "rejected: Han or Kana, the prompt Cyrillic")]


def test_the_script_of_a_text() -> None:
    assert [
        script(text) for text in ("plenty of letters", "1 + 1", "café à la crème", "日本語のテスト", "안녕하세요")
    ] == [*("Latin", None, "Latin", "Han or Kana", "Hangul")]


def test_special_tokens_of_a_tokenizer(tmp_path: Path) -> None:
    assert special_tokens(tmp_path) == ()
    tokens = [{"content": "<turn>", "special": True}, {"content": "word", "special": False}]
    (tmp_path / "tokenizer.json").write_text(json.dumps({"added_tokens": tokens}))
    assert special_tokens(tmp_path) == ("<turn>",)
    (tmp_path / "tokenizer.json").write_text("[")
    assert special_tokens(tmp_path) == ()
