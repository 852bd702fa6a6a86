"""Planted items of benchmarks are found, all of them and nothing else."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.data.benchmarks import Item
from core.data.decontamination import PHRASE, Matcher, decontaminate, decontamination_fact, score_text
from core.data.pairs import Pair
from core.data.words import words
from core.errors import UserError

VOCABULARY = [a + b for a in ("ba", "co", "di", "fu", "ge", "hy") for b in ("lo", "mi", "na", "pe", "ru", "st")]


def sentence(rng: random.Random, count: int) -> str:
    return " ".join(rng.choices(VOCABULARY, k=count))


def pair(prompt: str, chosen: str = "Yes, that.", rejected: str = "No, this.", line: int = 1) -> Pair:
    return Pair(line, prompt, chosen, rejected)


def item(text: str, number: int = 1) -> Item:
    return Item(Path("quiz.jsonl"), number, f"quiz.jsonl:{number}", text)


def found(text: str, *pairs: Pair, n: int = 8, coverage: float = 0.5) -> list[float]:
    matcher = Matcher([item(text)], n=n, coverage=coverage)
    return [hit.coverage for one in pairs for hit in matcher.hits(one)]


# Planted


def test_what_was_planted_is_found_and_nothing_else(tmp_path: Path) -> None:
    rng = random.Random(11)
    items = [sentence(rng, rng.randint(12, 60)) for _ in range(400)] + ["What makes Gold so Heavy?", "Inflation"]
    quiz = tmp_path / "quiz.jsonl"
    quiz.write_text("".join(json.dumps({"question": text}) + "\n" for text in items))
    pairs, planted = [], {}
    for line in range(1, 2001):
        prompt, chosen, rejected = (sentence(rng, rng.randint(5, 80)) for _ in range(3))
        if line % 10 == 0:
            number = rng.randrange(400)
            text = items[number]
            spelled = text.split()
            way = line // 10 % 8
            if way == 0:
                prompt = text
            elif way == 1:
                prompt = f"{prompt} {text} {chosen}"
            elif way == 2:
                chosen = "\n".join(word.upper() + "!" for word in spelled)
            elif way == 3:
                rejected = f"“{text.title()}”—{rejected}"
            elif way == 4:  # the first words up to the border are in the prompt, the others in the response
                prompt, chosen = " ".join(spelled[:7]), " ".join(spelled[7:])
            elif way == 5:  # half and a word more
                prompt = " ".join(spelled[: max(8, len(spelled) // 2 + 1)])
            elif way == 6:
                number, prompt = 400, f"Tell me: what makes gold -- so heavy?? {prompt}"
            else:
                number, prompt = 401, f"{prompt}\ninflation.\n{prompt}"
            planted[line] = number + 1
        elif line % 10 == 5:  # not enough: half at most, or all words in another order, or the short one in a sentence
            spelled = items[rng.randrange(400)].split()
            way = line // 10 % 3
            if way == 0:
                # A word of no item ends it: the response could go on with the next one by chance.
                prompt = " ".join(spelled[: len(spelled) // 2]) + " end"
            elif way == 1:
                prompt = " ".join(reversed(spelled))
            else:
                chosen = f"{chosen} inflation {chosen}"
        pairs.append(Pair(line, prompt, chosen, rejected))
    result = decontaminate(pairs, [quiz])
    assert {hit.line: hit.item.line for hit in result.hits} == planted
    assert result.contaminated == len(planted) == 200 and result.pairs == 2000
    assert result.score == 0.9
    assert [one.line for one, _ in result.examples] == sorted(planted)[:20]


def test_a_chat_is_searched_in_all_its_turns() -> None:
    text = sentence(random.Random(0), 20)
    chat = [{"role": "user", "content": "Hello."}, {"role": "assistant", "content": "Hi."}]
    answer = [{"role": "assistant", "content": "No."}]
    hidden = Pair(1, [*chat, {"role": "user", "content": text}], answer, [{"role": "assistant", "content": "Yes."}])
    assert found(text, hidden) == [1.0]


def test_half_is_not_more_than_half() -> None:
    text = sentence(random.Random(1), 20)
    assert found(text, pair(" ".join(text.split()[:10]))) == []
    assert found(text, pair(" ".join(text.split()[:11]))) == [0.55]
    assert found(text, pair(" ".join(text.split()[:10])), coverage=0.4) == [0.5]


def test_coverage_is_of_one_response_not_of_both() -> None:
    spelled = sentence(random.Random(2), 40).split()
    both = pair("Go on.", " ".join(spelled[:18]), " ".join(spelled[20:38]))
    assert found(" ".join(spelled), both) == []


def test_n_decides_what_is_short() -> None:
    assert found("what makes gold so heavy", pair("Well, what makes gold so heavy"), n=4) == [1.0]
    assert found("a b c d e f g h i j", pair("a b c d e f g h i"), n=13) == []
    assert found("a b c d e f g h i j", pair("0 a b c d e f g h i j"), n=13) == [1.0]


def test_a_very_short_item_is_a_whole_prompt_response_or_line() -> None:
    for whole in (pair("Fiat money"), pair("Define:\n- FIAT money!\nThanks."), pair("What?", "fiat money.")):
        assert found("Fiat money", whole) == [1.0], whole
    for part in (pair("What is fiat money?"), pair("What?", "It is\nfiat money\nof course")):
        assert found("Fiat money", part) == [], part


def test_an_item_without_words_is_in_nothing() -> None:
    matcher = Matcher([item("???"), item("What is gold, the metal?", 2)])
    assert matcher.hits(pair("???")) == []


@pytest.mark.parametrize("parameters", [{"n": 1}, {"n": 101}, {"coverage": 1.0}, {"coverage": -0.1}])
def test_parameters_without_sense_are_refused(parameters: dict[str, float]) -> None:
    with pytest.raises(UserError, match="--"):
        Matcher([], **parameters)  # type: ignore[arg-type]


# Against the definition


def by_definition(items: Sequence[str], one: Pair, n: int, coverage: float) -> dict[int, float]:
    result = {}
    prompt = words(str(one.prompt))
    for number, text in enumerate(items):
        said = words(text)
        best = 0.0
        for response in (words(str(one.chosen)), words(str(one.rejected))):
            whole = prompt + response
            if len(said) >= n:
                covered = set()
                for start in range(len(said) - n + 1):
                    if any(whole[at : at + n] == said[start : start + n] for at in range(len(whole) - n + 1)):
                        covered |= set(range(start, start + n))
                best = max(best, len(covered) / len(said))
            elif len(said) >= PHRASE:
                best = max(best, float(any(whole[at : at + len(said)] == said for at in range(len(whole)))))
            elif said:
                lines = [words(line) for line in str(one.prompt).splitlines()]
                best = max(best, float(said in (prompt, response) or said in lines))
        if best > coverage:
            result[number] = best
    return result


TEXT = st.lists(st.sampled_from(["a", "B", "c,", "d", "ü", "\n", "z"]), max_size=30).map(" ".join)


@settings(max_examples=150, deadline=None)
@given(st.lists(TEXT, max_size=6), TEXT, TEXT, TEXT, st.integers(2, 9), st.sampled_from([0.0, 0.3, 0.5, 0.9]))
def test_it_finds_what_the_definition_finds(
    items: list[str], prompt: str, chosen: str, rejected: str, n: int, coverage: float
) -> None:
    one = pair(prompt, chosen, rejected)
    matcher = Matcher([item(text, number) for number, text in enumerate(items)], n=n, coverage=coverage)
    assert {hit.item.line: hit.coverage for hit in matcher.hits(one)} == by_definition(items, one, n, coverage)


# The fact


def test_without_benchmarks_it_is_unknown(tmp_path: Path) -> None:
    fact = decontamination_fact(None, [tmp_path / "pairs.jsonl"], {"data/pairs.jsonl": "0"})
    assert fact.value is None and "no benchmark files" in fact.source and fact.inputs == {"data/pairs.jsonl": "0"}


def test_the_fact_says_how_it_was_measured(tmp_path: Path) -> None:
    quiz = tmp_path / "quiz.jsonl"
    quiz.write_text('{"question": "one two three four five six seven eight nine"}\n')
    result = decontaminate([pair("One two three four five six seven eight."), pair("Other", line=2)], [quiz])
    fact = decontamination_fact(result, [tmp_path / "pairs.jsonl"])
    assert (fact.name, fact.value, fact.n) == ("data.decontamination", 0.5, 2)
    assert "1 of 2 pairs of pairs.jsonl" in fact.source and "more than 50 % of its words are in 8-grams" in fact.source


def test_nothing_compared_is_no_score(tmp_path: Path) -> None:
    quiz = tmp_path / "quiz.jsonl"
    quiz.write_text('{"question": "one two"}\n')
    assert decontaminate([], [quiz]).score is None


def test_what_is_not_quite_clean_does_not_read_so() -> None:
    assert [score_text(score) for score in (1.0, 0.0, 0.9, 1 - 1 / 883, 1 - 1 / 100_000, 1 - 3 / 10_000_000)] == [
        "1", "0", "0.9000", "0.9989", "0.99999", "0.9999997",
    ]  # fmt: skip
