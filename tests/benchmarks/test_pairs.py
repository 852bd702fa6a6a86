"""Pairs have exactly the tokens that their mix says, and the ids given to the peers are those we train on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from core.data.tokenize import Limits, tokenize
from tests.benchmarks import models
from tests.benchmarks.pairs import Lengths, Texts, cut_to, generated_texts, real_texts, tokenizer_of, write
from tests.benchmarks.specs import PROMPT_HEAVY, RESPONSE_HEAVY, profile


class Letters:
    """A tokenizer whose tokens are letters."""

    eos_token_id = 0

    def encode(self, text: str) -> list[int]:
        return [ord(letter) for letter in text]


@pytest.mark.parametrize(("share", "prompt"), [(RESPONSE_HEAVY, 51), (PROMPT_HEAVY, 192)])
def test_the_mixes_are_what_they_are_called(share: float, prompt: int) -> None:
    lengths = Lengths.of(256, share)
    assert (lengths.prompt, lengths.response) == (prompt, 256 - prompt)
    assert lengths.share == pytest.approx(share, abs=0.001)
    rows = [Texts(f"question {i}? ", f"yes {i} " * 9, f"no {i} " * 9) for i in range(20)]
    for texts, tokens in cut_to(Letters(), rows, lengths, 15):
        assert len(tokens.prompt) == prompt
        assert [len(response) for response in tokens.responses] == [256 - prompt] * 2
        # The question itself is what the prompt ends with, and the response begins as its own.
        assert "".join(map(chr, tokens.prompt)).endswith("? ")
        assert texts.chosen.startswith("yes") and texts.rejected.startswith("no")


def test_too_few_rows_are_said() -> None:
    with pytest.raises(ValueError, match="2 rows give 2 pairs"):
        cut_to(Letters(), [Texts("a", "b", "c"), Texts("d", "e", "f")], Lengths(4, 4), 3)


def test_real_rows_are_plain_text_and_in_an_order_of_the_seed(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"prompt": f"p{i}", "chosen": "c", "rejected": "r"} for i in range(30)]
    rows += [{"prompt": " ", "chosen": "c", "rejected": "r"}, {"prompt": "no responses"}]
    file = tmp_path / "pairs.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    found = real_texts([file], seed=1)
    assert sorted(row.prompt for row in found) == sorted(f"p{i}" for i in range(30))
    assert found == real_texts([file], seed=1) != real_texts([file], seed=2)


def test_generated_words_are_the_ids_of_the_generated_tokenizer(tmp_path: Path) -> None:
    model = models.generate(tmp_path / "m", seed=3, vocab_size=64, hidden_size=16, intermediate_size=16,
                            num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1, head_dim=8)  # fmt: skip
    tokenizer = tokenizer_of(model)
    cut = cut_to(tokenizer, generated_texts(63, 6, 40, seed=3), Lengths(8, 32), 5)
    texts, ids = write(tmp_path, "train", cut)
    lines = zip(texts.read_text().splitlines(), ids.read_text().splitlines(), strict=True)
    for row, tokens in ((json.loads(a), json.loads(b)) for a, b in lines):
        ours = tokenize(tokenizer, row["prompt"], (row["chosen"], row["rejected"]), Limits(8, 32))
        assert [ours.prompt, *ours.responses] == [tokens["prompt"], tokens["chosen"], tokens["rejected"]]
        assert all(0 < token < 64 for token in ours.prompt)
        assert row["prompt"].split()[-8:] == [f"w{token - 1}" for token in ours.prompt]


@pytest.mark.parametrize("name", ["quick", "full"])
def test_measurements_have_names_of_their_own(name: str) -> None:
    names = [measurement.name for measurement in profile(name)]
    assert len(set(names)) == len(names) >= 2
