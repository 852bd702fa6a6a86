"""Near duplicates: the same as comparing every two texts, in any order, also where all texts are of one template."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from core.data import near_duplicates as module
from core.data.near_duplicates import PART, jaccard, near_duplicates, pair_text
from core.data.pairs import Pair
from core.data.shingles import sets

WORDS = [f"w{number}" for number in range(400)]


def clusters(texts: list[str]) -> set[frozenset[str]]:
    found: dict[int, set[str]] = {}
    for text, first in near_duplicates(len(texts), texts.__getitem__, texts).items():
        found.setdefault(first, set()).add(texts[text])
        assert first <= text
    return {frozenset(members) for members in found.values()}


def by_hand(texts: list[str]) -> set[frozenset[str]]:
    joined = list(range(len(texts)))
    for a in range(len(texts)):
        for b in range(a):
            if jaccard(texts[a], texts[b]) >= 0.8:
                joined = [joined[b] if cluster == joined[a] else cluster for cluster in joined]
    found: dict[int, set[str]] = {}
    for text, cluster in zip(texts, joined, strict=True):
        found.setdefault(cluster, set()).add(text)
    return {frozenset(members) for members in found.values() if len(members) > 1}


def varied(chance: random.Random, text: str, changes: int) -> str:
    words = text.split()
    for _ in range(changes):
        words[chance.randrange(len(words))] = chance.choice(WORDS)
    return " ".join(words)


def test_it_finds_what_comparing_every_two_finds_in_any_order() -> None:
    chance = random.Random(3)
    texts = []
    for _ in range(60):
        text = " ".join(chance.choices(WORDS, k=chance.randrange(5, 120)))
        texts += [text, *(varied(chance, text, chance.randrange(1, 9)) for _ in range(3))]
    texts = sorted(set(texts))
    expected = by_hand(texts)
    assert len(expected) > 30
    assert clusters(texts) == expected
    chance.shuffle(texts)
    assert clusters(texts) == expected


@pytest.mark.parametrize("crowd", [module.CROWD, 8])
def test_a_thousand_fillings_of_one_template_stay_apart(crowd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CROWD", crowd)
    template = "is the following statement something you would say please answer with yes or with no only "
    texts = [template + " ".join(random.Random(n).choices(WORDS, k=8)) for n in range(800)]
    again = [f"{text}!!" for text in texts[:5]]
    assert clusters(texts + again) == {frozenset({text, f"{text}!!"}) for text in texts[:5]}


def test_many_copies_are_one_cluster() -> None:
    texts = ["one and the same text"] * 3000 + ["another text altogether"]
    assert near_duplicates(3001, texts.__getitem__, texts) == dict.fromkeys(range(3000), 0)


def test_fillings_that_hardly_change_their_templates_are_one_cluster_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CROWD", 32)
    draw = random.Random(5)
    templates = [draw.choices(WORDS, k=60) for _ in range(3)]
    texts = [
        " ".join([*(words := templates[number % 3])[:28], *draw.choices(WORDS, k=3), *words[31:]])
        for number in range(600)
    ]
    read: list[int] = []
    found = near_duplicates(len(texts), lambda text: (read.append(text), texts[text])[1], texts)
    assert found == {number: number % 3 for number in range(600)}
    assert len(read) < 5 * len(texts)  # not each with each
    draw.shuffle(texts)
    assert clusters(texts) == clusters(sorted(texts))


def test_a_band_that_is_sorted_in_pieces_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [" ".join(random.Random(n % 90).choices(WORDS, k=30)) + " x" * (n // 90) for n in range(180)]
    whole = near_duplicates(180, texts.__getitem__, texts)
    assert len(whole) == 180
    monkeypatch.setattr(module, "PIECE", 32)
    assert near_duplicates(180, texts.__getitem__, texts) == whole


def test_words_are_what_counts() -> None:
    assert jaccard("Hello, World!", "hello world") == 1
    assert jaccard("a b c", "a b d") == 1 / 3
    assert jaccard("yes", "no") == 0
    assert jaccard("!!!", "???") == 0
    assert jaccard("日本語のテスト", "日本語のテスト。") == 1
    assert jaccard("日本語の本", "日本語の木") == 3 / 5
    assert jaccard("", "") == 1
    assert [len(part) for part in sets(f"a b c{PART}yes{PART}")] == [2, 1, 1]


def test_a_pair_is_no_near_duplicate_of_another_answer_to_its_long_prompt() -> None:
    prompt = " ".join(WORDS[:200])
    pairs = [
        Pair(1, prompt, "yes it is", "no"),
        Pair(2, prompt, "never say so", "no"),
        Pair(3, prompt, "Yes, it is", "no!"),
    ]
    swapped = Pair(4, prompt, "no", "yes it is")
    texts = [pair_text(pair) for pair in [*pairs, swapped]]
    assert near_duplicates(4, texts.__getitem__, texts) == {0: 0, 2: 0}


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    def broken() -> object:
        yield "text"
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        near_duplicates(2, str, broken(), folder=tmp_path)  # type: ignore[arg-type]
    assert near_duplicates(0, str, [], folder=tmp_path) == {}
    assert list(tmp_path.iterdir()) == []


def test_past_its_budget_it_only_compares_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    head = "this is one long template of many words that all of these texts begin with and that makes them alike "
    texts = [head + f"word{number % 40} and{number} last{number // 7}" for number in range(120)]
    verified: list[tuple[int, int]] = []
    verify = module._Clustering._verify
    monkeypatch.setattr(
        module._Clustering, "_verify", lambda self, a, b: (verified.append((a, b)), verify(self, a, b))[1]
    )
    near_duplicates(len(texts), texts.__getitem__, texts, threshold=0.9)
    whole = len(verified)
    verified.clear()
    again = [*texts[:-1], texts[0].upper()]
    found = near_duplicates(len(texts), again.__getitem__, again, threshold=0.9, budget=0)
    assert 0 < len(verified) <= module.BANDS * len(texts) < whole
    assert found == {0: 0, 119: 0}  # the same words need no look
