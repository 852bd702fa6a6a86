"""Lengths in tokens: those that training sees, for plain text and chats."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from core.data.check import Tokenizing, check
from core.data.index import ALL
from core.data.pairs import Pair
from core.data.token_lengths import TokenCounter
from core.data.tokenize import Limits, tokenize
from core.errors import UserError

TEMPLATE = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    made = tmp_path_factory.mktemp("model")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    special = ["<|end|>", "<|user|>", "<|assistant|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=330, special_tokens=special, initial_alphabet=alphabet)
    tokenizer.train_from_iterator(["the answer is yes", "the answer is no"] * 20, trainer)
    tokenizer.save(str(made / "tokenizer.json"))
    told = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|end|>", "chat_template": TEMPLATE}
    (made / "tokenizer_config.json").write_text(json.dumps(told))
    return made


def pair(prompt: Any, chosen: Any, rejected: Any) -> Pair:
    return Pair(1, prompt, chosen, rejected)


def said(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


PAIRS = [
    pair("the answer is", " yes", " no"),
    pair("the ans", "wer is yes", "ther"),  # tokens that reach over the boundary
    pair("x", "yes<|end|>", "no"),
    pair([said("user", "the answer")], [said("assistant", "yes")], [said("assistant", "no no")]),
    pair("日本", "語", "é"),
]


@pytest.mark.parametrize("chat", [False, True])
def test_they_are_those_of_training(folder: Path, chat: bool) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(folder))
    expected = []
    for one in PAIRS:
        made = tokenize(tokenizer, one.prompt, (one.chosen, one.rejected), Limits(10**6, 10**6), chat=chat)
        expected.append((len(made.prompt), *map(len, made.responses)))
    assert TokenCounter(folder, chat=chat).count(PAIRS) == expected


def test_what_the_limits_cut(folder: Path, tmp_path: Path) -> None:
    rows = [
        {"prompt": "the answer is " * 5, "chosen": "yes", "rejected": "no"},
        {"prompt": "x", "chosen": "y", "rejected": "no " * 9},
    ]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = check([path], tmp_path / "cache", tokenizing=Tokenizing(folder, False, Limits(10, 5), ""))
    with found.index as index:
        assert (found.counts["truncated_prompt"], found.counts["truncated_response"], found.truncated) == (1, 1, 2)
        first, second = index.page(ALL, 0, 2)
        assert index.found("truncated_prompt")[0][:3] == (
            "truncated_prompt",
            0,
            f"{first.prompt_tokens} tokens, limit 10",
        )
        assert index.found("truncated_response")[0].pair == second.id
        assert found.lengths is not None
        assert found.lengths["prompt"].max == first.prompt_tokens
        assert {fact.name: fact.value for fact in found.facts}["data.truncated"] == 2
    # Other limits are another index.
    wider = check([path], tmp_path / "cache", tokenizing=Tokenizing(folder, False, Limits(100, 50), ""))
    wider.index.close()
    assert wider.truncated == 0


def test_a_template_that_refuses_makes_the_length_unknown(folder: Path, tmp_path: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    told = json.loads((tmp_path / "tokenizer_config.json").read_text())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(told | {"chat_template": "{{ raise_exception('no') }}"}))
    assert TokenCounter(tmp_path).count([PAIRS[3], PAIRS[0]])[0] == (None, None, None)
    del told["chat_template"]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(told))
    with pytest.raises(UserError, match="has no chat template"):
        TokenCounter(tmp_path).count([PAIRS[3]])


def test_a_broken_tokenizer_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no tokenizer\.json"):
        TokenCounter(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(UserError, match=r"tokenizer\.json cannot be read"):
        TokenCounter(tmp_path)
