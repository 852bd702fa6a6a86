"""The demo's data sets: examples for SFT in mixed manners, and preference pairs scored on [0, 1]."""

from __future__ import annotations

import random
from typing import Any

from core.demo.zoo import TOPICS, Animal, Style, Topic, animals, answer, other_prompts, prompts

# How often a keeper answers in which manner: SFT teaches the mixture, DPO the taste.
_SFT_STYLES: dict[Style, float] = {"generous": 0.3, "plain": 0.3, "curt": 0.2, "grumpy": 0.2}

# What is compared, and how often.
_PAIR_STYLES: dict[tuple[Style, Style], float] = {
    ("generous", "plain"): 0.12,
    ("generous", "curt"): 0.22,
    ("generous", "grumpy"): 0.2,
    ("generous", "wrong"): 0.12,
    ("plain", "curt"): 0.14,
    ("plain", "grumpy"): 0.1,
    ("plain", "wrong"): 0.1,
}

# A visitor's mark for each manner; visitors differ by up to _SPREAD either way.
_SCORES: dict[Style, float] = {"generous": 0.88, "plain": 0.66, "curt": 0.42, "grumpy": 0.12, "wrong": 0.2}
_SPREAD = 0.11

Row = dict[str, Any]


def _questions(rng: random.Random) -> list[tuple[str, Animal, Topic]]:
    """Every prompt once, shuffled."""
    found = [(text, animal, topic) for animal in animals() for topic in TOPICS for text in prompts(animal, topic)]
    rng.shuffle(found)
    return found


def _stranger(rng: random.Random, animal: Animal, topic: Topic) -> Animal:
    """Another animal of which something else is true."""
    return rng.choice([other for other in animals() if getattr(other, topic) != getattr(animal, topic)])


def sft_rows(seed: int) -> list[Row]:
    """Each prompt with one answer in a manner drawn from the mixture."""
    rng = random.Random(f"sft {seed}")
    rows = []
    for text, animal, topic in _questions(rng):
        (style,) = rng.choices(list(_SFT_STYLES), weights=list(_SFT_STYLES.values()))
        said = answer(animal, topic, style, pick=rng.randrange(12), other=animal)
        rows.append({"prompt": text, "response": said})
    return rows


def prompt_rows(seed: int, count: int) -> list[Row]:
    """Prompts that are answered by the model itself."""
    return [{"prompt": text} for text, _, _ in _questions(random.Random(f"prompts {seed}"))[:count]]


def preference_rows(seed: int) -> list[Row]:
    """Each prompt with two answers of different manners, the better marked one chosen."""
    rng = random.Random(f"pairs {seed}")
    return [{"prompt": text, **_pair(rng, animal, topic)} for text, animal, topic in _questions(rng)]


def test_rows(seed: int) -> list[Row]:
    """A pair for each thing there is to know, asked as nobody asked in training; its category is the topic."""
    rng = random.Random(f"test {seed}")
    found = [
        {"prompt": rng.choice(other_prompts(animal, topic)), **_pair(rng, animal, topic), "category": topic}
        for animal in animals()
        for topic in TOPICS
    ]
    rng.shuffle(found)
    return found


def _pair(rng: random.Random, animal: Animal, topic: Topic) -> Row:
    (styles,) = rng.choices(list(_PAIR_STYLES), weights=list(_PAIR_STYLES.values()))
    other = _stranger(rng, animal, topic)
    pick = rng.randrange(12)
    better, worse = (answer(animal, topic, style, pick=pick, other=other) for style in styles)
    high, low = (round(_SCORES[style] + rng.uniform(-_SPREAD, _SPREAD), 2) for style in styles)
    # Where visitors marked the worse answer higher or the same, the mark of the pair is drawn together.
    if high <= low:
        high, low = low + 0.01, high
    return {
        "chosen": better,
        "rejected": worse,
        "chosen_score": round(min(high, 1.0), 2),
        "rejected_score": round(max(low, 0.0), 2),
    }


def split(rows: list[Row], share: float) -> tuple[list[Row], list[Row]]:
    """Training and validation rows. Prompts are unique, so no prompt stands in both."""
    count = round(len(rows) * (1 - share))
    return rows[:count], rows[count:]
