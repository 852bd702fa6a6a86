"""Prompts on two sides, found exactly."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from core.data import leaks
from core.data.leaks import shared_prompts
from core.data.messages import text_hash
from core.data.near_duplicates import jaccard

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


def test_it_says_when_it_gave_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaks, "BUDGET", 3)
    template = "This is one long template of many words that all prompts begin with and end with: "
    one = write(tmp_path / "a.jsonl", [template + word for word in WORDS[:9]])
    two = write(tmp_path / "b.jsonl", [template + word for word in WORDS[9:]])
    assert not shared_prompts([one, two]).complete
