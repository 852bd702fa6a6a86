"""Prompts on two sides, found exactly."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from core.data import leaks
from core.data.leaks import shared_prompts
from core.data.messages import text_hash
from core.data.near_duplicates import SEED, jaccard, sketch

WORDS = [a + b for a in ("ba", "co", "di", "fu", "ge") for b in ("lo", "mi", "na", "pe", "ru")]


def write(path: Path, prompts: list[str]) -> Path:
    rows = ({"prompt": prompt, "chosen": f"Yes {n}", "rejected": "No"} for n, prompt in enumerate(prompts))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_what_stands_in_two_files(tmp_path: Path) -> None:
    long = "Tell me in a few words how the tide comes and goes on this coast of ours"
    train = write(tmp_path / "a.jsonl", ["What is gold?", "What is gold?", long, "Other"])
    held_out = write(tmp_path / "b.jsonl", ["What is gold?", "What is tin?", long.upper() + " today"])
    test = write(tmp_path / "c.jsonl", ["What is tin?", "Nothing like it"])
    found = shared_prompts([train, held_out, test])
    assert found.prompts == (3, 3, 2)
    assert found.exact == 2
    assert found.pairs == (tuple(sorted((text_hash(long), text_hash(long.upper() + " today")))),)
    assert found.complete
    assert shared_prompts([train, test]).near == 0 == shared_prompts([train, test]).exact


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("template", ["", "Is the following statement something that you would say to others: "])
def test_it_finds_what_comparing_each_with_each_finds(tmp_path: Path, seed: int, template: str) -> None:
    rng = random.Random(seed)
    base = [" ".join(rng.choices(WORDS, k=rng.randint(1, 14))) for _ in range(40)]

    def some() -> list[str]:
        made = []
        for text in rng.choices(base, k=60):
            spelled = text.split()
            for _ in range(rng.randint(0, 2)):
                spelled[rng.randrange(len(spelled))] = rng.choice(WORDS)
            made.append(template + " ".join(spelled))
        return made

    sides = [some(), some(), some()]
    paths = [write(tmp_path / f"{number}.jsonl", side) for number, side in enumerate(sides)]
    wanted = set()
    for one in range(3):
        for other in range(one):
            for a in set(sides[one]):
                for b in set(sides[other]):
                    if a != b and jaccard(a, b) >= 0.8:
                        wanted.add(tuple(sorted((text_hash(a), text_hash(b)))))
    assert wanted
    near = {pair for pair in shared_prompts(paths).pairs if pair[0] != pair[1]}
    assert near == wanted


def test_what_is_common_to_all_prompts_costs_no_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaks, "BUDGET", 5000)
    template = "This is one long template of many words that all prompts begin with: "
    rng = random.Random(4)
    own = [" ".join(f"w{rng.randrange(9000)}" for _ in range(30)) for _ in range(700)]
    one = write(tmp_path / "a.jsonl", [template + text for text in own[:600]])
    two = write(tmp_path / "b.jsonl", [template + text for text in [*own[600:], own[0] + " " + WORDS[0]]])
    found = shared_prompts([one, two])
    assert (found.method, found.near, found.complete) == (leaks.EXACT, 1, True)


def crowd(tmp_path: Path) -> list[Path]:
    """Two files of prompts with the same long head, of which three are nearly the same in both."""
    template = "This is one long template of many words that all prompts begin with: "
    rng = random.Random(9)
    own = [" ".join(rng.choices(WORDS, k=9)) for _ in range(400)]
    near = [template + text + " " + WORDS[7] for text in own[:3]]
    return [
        write(tmp_path / "a.jsonl", [template + text for text in own[:300]]),
        write(tmp_path / "b.jsonl", [template + text for text in own[300:]] + near),
    ]


def test_where_the_exact_search_would_take_too_long_minhash_searches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = crowd(tmp_path)
    wanted = shared_prompts(paths)
    assert (wanted.method, wanted.certainty, wanted.near) == (leaks.EXACT, 1.0, 3)
    monkeypatch.setattr(leaks._Index, "_spend", gives_up)
    found = shared_prompts(paths)
    assert (found.method, found.complete) == (leaks.MINHASH, True)
    assert found.certainty == pytest.approx(1 - (1 - 0.8**6) ** 21)
    assert (found.pairs, found.exact, found.prompts) == (wanted.pairs, 0, (300, 103))
    assert "99.8% of those alike by just the threshold" in found.search


def gives_up(index: object, looks: int) -> None:
    raise leaks._TooMuch


def test_minhash_proves_nothing_where_it_may_miss_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaks._Index, "_spend", gives_up)
    found = shared_prompts(crowd(tmp_path), threshold=0.5)
    assert not found.complete
    assert found.certainty == pytest.approx(1 - (1 - 0.5**6) ** 21)


def test_its_permutations_are_not_those_of_the_grouping() -> None:
    import numpy as np

    texts = ["one two three four five six seven eight", "one two three four five six seven nine"]
    same = [(a == b).tolist() for a, b in (sketch(texts, seed)[0] for seed in (SEED, leaks.SEED))]
    assert same[0] != same[1]
    assert not np.array_equal(sketch(texts[:1])[0], sketch(texts[:1], leaks.SEED)[0])


def test_it_says_when_it_gave_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaks, "BUDGET", 3)
    found = shared_prompts(crowd(tmp_path))
    assert not found.complete
    assert found.search == "not all were compared: too many are alike"
