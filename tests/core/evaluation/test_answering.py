"""Answers: the model's own, whatever is shared and batched, and the same to the bit after a kill."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import UserError
from core.evaluation.answering import Answerer, Completion, Likelihood
from core.evaluation.kept import Kept
from core.evaluation.shared_prefix import LEVELS, Node, plan
from core.models.load import LanguageModel
from tests.core.models.architectures import MISTRAL_WINDOW, build


class Letters:
    """A token a letter; `$` ends a text."""

    text = "$^abcdefghijklmnopqrstuvwxyz .?ABCD\n0123456789EFGHIJKLMNOPQRSTUV"
    eos_token, eos_token_id, eos_token_ids = "$", 0, {0}
    bos_token, bos_token_id = None, None

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        return [self.text.index(letter) for letter in text]

    def decode(self, ids: list[int], skip_special_tokens: bool = False) -> str:
        letters = [self.text[i] for i in ids]
        return "".join(letter for letter in letters if not (skip_special_tokens and letter == "$"))


class Begins(Letters):
    """One that begins each text with a token of its own."""

    bos_token, bos_token_id = "^", 1

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        ids = super().encode(text)
        return [1, *ids] if add_special_tokens else ids


def loaded(name: str = "llama", tokenizer: Any = None, **changes: Any) -> LanguageModel:
    model = build(name, **changes)
    return LanguageModel(model, tokenizer or Letters(), {"max_position_embeddings": 256}, Path("tiny"))


HEADER = "some questions and their answers.\n\nwhat is it? it is that.\n\n"
QUESTIONS = ["who?", "when was it that they came?", "where is the house of the man?", "why?", "who is it?"]
CHOICES = ["A", "B", "no one", "nobody knows it", "it is C"]
REQUESTS = [
    *(Likelihood(f"{HEADER}{question} ", choice) for question in QUESTIONS for choice in CHOICES),
    *(Likelihood(f"something else. {question}", f" {letter}") for question in QUESTIONS for letter in "ABCD"),
    Likelihood("alone", " it stands"),
]


def plainly(model: nn.Module, before: list[int], wanted: list[int]) -> tuple[float, bool]:
    logits = np.array(model(mx.array([[*before, *wanted[:-1]]]))[0].astype(mx.float32), np.float64)[len(before) - 1 :]
    logps = logits - np.log(np.exp(logits - logits.max(-1, keepdims=True)).sum(-1, keepdims=True))
    logps -= logits.max(-1, keepdims=True)
    places = np.arange(len(wanted))
    return float(logps[places, wanted].sum()), bool((logits.argmax(-1) == wanted).all())


ARCHITECTURES: list[tuple[str, dict[str, Any]]] = [
    ("llama", {}),
    ("mistral", MISTRAL_WINDOW),
    ("gemma2", {}),
    ("gemma3_text", {}),
    ("mamba2", {}),
    ("qwen3_moe", {}),
]


@pytest.mark.parametrize(("name", "changes"), ARCHITECTURES)
def test_likelihoods_are_those_of_each_text_alone(tmp_path: Path, name: str, changes: dict[str, Any]) -> None:
    one = loaded(name, **changes)
    with Kept(tmp_path / "kept.jsonl") as kept:
        answerer = Answerer(one, kept, batch_size=3)
        found = answerer.likelihoods(REQUESTS)
        whole = sum(len(one.tokenizer.encode(r.context + r.continuation)) for r in REQUESTS)
        assert answerer.why_not_shared == ""
        # Every header and question again for each choice would be five times as much.
        assert answerer.run < whole / 3
    for request, scored in zip(REQUESTS, found, strict=True):
        text = (request.context + request.continuation, request.context.rstrip())
        every, before = (one.tokenizer.encode(part) for part in text)
        logp, greedy = plainly(one.model, before, every[len(before) :])
        assert scored.logprob == pytest.approx(logp, abs=2e-4 * scored.tokens), request
        assert scored.tokens == len(every) - len(before)
        assert scored.greedy == greedy


def test_greedy_is_true_of_what_the_model_would_write(tmp_path: Path) -> None:
    one = loaded()
    with Kept(tmp_path / "kept.jsonl") as kept:
        answerer = Answerer(one, kept)
        text = answerer.completions([Completion("where is the", ("$",), 6)])[0]
        assert text
        said = one.tokenizer.encode(text)
        _, greedy = plainly(one.model, one.tokenizer.encode("where is the"), said)
        assert answerer.likelihoods([Likelihood("where is the", text)])[0].greedy == greedy


class Forgetful(nn.Module):
    """A model that takes a cache and looks away."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.inner = model

    @property
    def layers(self) -> Any:
        return self.inner.layers

    def __call__(self, ids: mx.array, cache: Any = None) -> mx.array:
        logits: mx.array = self.inner(ids)
        return logits


def test_a_model_that_cannot_share_is_run_whole(tmp_path: Path) -> None:
    inner = loaded()
    model = Forgetful(inner.model)
    model.eval()
    with Kept(tmp_path / "a.jsonl") as kept, Kept(tmp_path / "b.jsonl") as other:
        answerer = Answerer(LanguageModel(model, Letters(), inner.config, Path()), kept)
        assert "off by" in answerer.why_not_shared
        found, wanted = answerer.likelihoods(REQUESTS), Answerer(inner, other).likelihoods(REQUESTS)
    assert [one.logprob for one in found] == pytest.approx([one.logprob for one in wanted], abs=1e-3)


def test_texts_are_split_as_lm_eval_splits_them(tmp_path: Path) -> None:
    one = loaded(tokenizer=Begins())
    with Kept(tmp_path / "kept.jsonl") as kept:
        answerer = Answerer(one, kept)
        found = answerer.likelihoods(
            [Likelihood("who? ", "me"), Likelihood("who?", " me"), Likelihood("", "me"), Likelihood("^who?", " me"),
             Likelihood("who?", "")]
        )  # fmt: skip
    # A blank at the end of a context belongs to what follows; the beginning is there once.
    assert found[0] == found[1] == found[3]
    assert found[0].tokens == 3
    assert found[0].logprob == pytest.approx(
        plainly(one.model, [1, *Letters().encode("who?")], Letters().encode(" me"))[0], abs=1e-4
    )
    # Nothing before it: the token that begins texts.
    assert found[2].logprob == pytest.approx(plainly(one.model, [1], Letters().encode("me"))[0], abs=1e-4)
    assert (found[4].logprob, found[4].greedy, found[4].tokens) == (0.0, True, 0)


def test_what_is_too_long_loses_its_beginning_and_that_is_counted(tmp_path: Path) -> None:
    one = loaded()
    with Kept(tmp_path / "kept.jsonl") as kept:
        answerer = Answerer(one, kept)
        long = "ab" * 200
        (found,) = answerer.likelihoods([Likelihood(long, " no")])
        assert answerer.cut == 1
        kept_ids = one.tokenizer.encode(long + " no")[-257:]
        assert found.logprob == pytest.approx(plainly(one.model, kept_ids[:-3], kept_ids[-3:])[0], abs=1e-3)
        answerer.likelihoods([Likelihood("short", " no")])
        assert answerer.cut == 0
        with pytest.raises(UserError, match="257 tokens and the model 256 positions"):
            answerer.likelihoods([Likelihood("a", "b" * 257)])
        with pytest.raises(UserError, match="max_tokens: 256 leaves no room in the model's 256 positions"):
            answerer.completions([Completion("a", (), 256)])


def greedily(model: nn.Module, prompt: list[int], most: int) -> list[int]:
    ids = list(prompt)
    for _ in range(most):
        ids.append(int(mx.argmax(model(mx.array([ids]))[0, -1])))
        if ids[-1] == 0:
            break
    return ids[len(prompt) :]


@pytest.mark.parametrize(("name", "changes"), ARCHITECTURES[:5])
def test_completions_are_those_of_each_text_alone(tmp_path: Path, name: str, changes: dict[str, Any]) -> None:
    one = loaded(name, **changes)
    requests = [Completion(f"{HEADER}{question}", (), 9) for question in QUESTIONS]
    with Kept(tmp_path / "kept.jsonl") as kept:
        found = Answerer(one, kept, batch_size=3).completions(requests)
    for request, text in zip(requests, found, strict=True):
        alone = greedily(one.model, one.tokenizer.encode(request.context), 9)
        assert text == one.tokenizer.decode(alone, skip_special_tokens=True)


def test_a_word_ends_a_text_early(tmp_path: Path) -> None:
    one = loaded(spread=0.6)
    with Kept(tmp_path / "kept.jsonl") as kept:
        answerer = Answerer(one, kept)
        (whole,) = answerer.completions([Completion(HEADER, (), 40)])
        drawn, word = answerer.run, whole[10:12]
        assert len(whole) > 20
        assert word.strip()
        before = whole[: whole.index(word)]
        assert answerer.completions([Completion(HEADER, ("never said", word), 40)]) == [before]
        assert answerer.run - drawn < drawn - 20  # and the rest was not written to be cut off


@pytest.mark.parametrize("size", [1, 2, 5])
def test_a_resumed_run_answers_the_same_to_the_bit(tmp_path: Path, size: int) -> None:
    one = loaded()
    texts = [Completion(f"{HEADER}{question}", ("e",), 7) for question in QUESTIONS]

    def ask(path: Path, between: Callable[[], None]) -> tuple[list[Any], int]:
        counted: list[int] = []
        with Kept(path) as kept:
            answerer = Answerer(one, kept, batch_size=size, between=between, answered=counted.append)
            found = [*answerer.likelihoods(REQUESTS), *answerer.completions(texts)]
            assert answerer.known(REQUESTS) == len(REQUESTS)
            assert answerer.known(texts) == len(texts)
        return found, sum(counted)

    calls = 0

    def count() -> None:
        nonlocal calls
        calls += 1

    whole, number = ask(tmp_path / "whole.jsonl", count)
    assert number == len(REQUESTS) + len(texts)
    path = tmp_path / "parts.jsonl"
    died = 0
    for at in (1, 2, 4, 7, 11, calls):
        left = at

        def die() -> None:
            nonlocal left
            left -= 1
            if not left:
                raise KeyboardInterrupt

        try:
            found, _ = ask(path, die)
        except KeyboardInterrupt:
            died += 1
            with path.open("ab") as file:
                file.write(b'{"key": "half a li')
    assert died >= 3
    found, _ = ask(path, lambda: None)
    assert found == whole
    assert sorted(path.read_text().splitlines()) == sorted((tmp_path / "whole.jsonl").read_text().splitlines())


def test_answers_of_another_model_are_not_taken(tmp_path: Path) -> None:
    path = tmp_path / "kept.jsonl"
    with Kept(path, "one") as kept:
        kept.append([(kept.key("likelihood", "a", "b"), [-1.0, True, 1])])
        assert kept.key("likelihood", "a", "b") in kept
    with Kept(path, "other") as kept:
        assert kept.key("likelihood", "a", "b") not in kept
        assert len(kept) == 1
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_text('{"no": "key"}\n')
    with pytest.raises(UserError, match=r"kept\.jsonl:1: is no answer"):
        Kept(path)


def test_a_model_without_numbers_is_refused(tmp_path: Path) -> None:
    one = loaded()
    one.model.update({"model": {"norm": {"weight": mx.full((32,), float("nan"))}}})
    with Kept(tmp_path / "kept.jsonl") as kept:
        answerer = Answerer(one, kept)
        for ask in (
            lambda: answerer.likelihoods([Likelihood("who", " me")]),
            lambda: answerer.completions([Completion("who", (), 3)]),
        ):
            with pytest.raises(UserError, match="no numbers"):
                ask()
        assert len(kept) == 0


@given(
    st.lists(st.lists(st.integers(0, 2), max_size=12), min_size=1, max_size=30),
    st.sampled_from([0.0, 1.0, 4.0]),
)
@settings(deadline=None, max_examples=60)
def test_a_plan_runs_every_sequence_once_and_never_costs_more(sequences: list[list[int]], overhead: float) -> None:
    root = plan(sequences, overhead)
    seen: list[int] = []

    def walk(node: Node, before: list[int], level: int) -> float:
        assert level <= LEVELS
        here = sequences[node.row][: node.depth]
        assert here[: len(before)] == before
        assert len(here) == node.depth
        cost = overhead if node.rows else 0
        for row in node.rows:
            assert sequences[row][: node.depth] == here
            seen.append(row)
            cost += len(sequences[row]) - node.depth
        for child in node.children:
            assert child.depth > node.depth
            cost += child.depth - node.depth + overhead + walk(child, here, level + 1)
        assert cost == pytest.approx(node.cost)
        return cost

    assert walk(root, [], 0) <= sum(map(len, sequences)) + overhead
    assert sorted(seen) == list(range(len(sequences)))


def test_a_plan_finds_header_and_question() -> None:
    header, questions = [1] * 50, [[2, n, *[3] * 20] for n in range(4)]
    root = plan([[*header, *question, 4, n] for question in questions for n in range(3)], 4)
    assert not root.rows
    (shared,) = root.children
    assert (shared.depth, shared.rows) == (51, [])
    assert [child.depth for child in shared.children] == [73] * 4
    assert [len(child.rows) for child in shared.children] == [3] * 4


def test_items_in_kept_are_ascii(tmp_path: Path) -> None:
    with Kept(tmp_path / "kept.jsonl") as kept:
        kept.append([("k", "\x1b[31m\ud800 half")])
    with Kept(tmp_path / "kept.jsonl") as kept:
        assert kept["k"] == "\x1b[31m\ud800 half"
    assert "\\u001b" in json.dumps(json.loads((tmp_path / "kept.jsonl").read_text()))
