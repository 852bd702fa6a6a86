"""The demo's benchmarks: what the animals do, and small sums about them. Nothing of it stands in the demo's pairs."""

from __future__ import annotations

import random
from typing import Any

from core.demo.zoo import TOPICS, Animal, animals, other_prompts, sentence

# {n} of the animal, {a} and {b} small numbers.
_SUMS = (
    ("The keepers count {a} {n} in the morning and {b} more arrive by night. How many {n} are there now?", "+"),
    (
        "A truck brings {a} crates of {food} for the {n}, and each weighs {b} pounds. How many pounds is that?",
        "*",
    ),
    ("Of {a} {n} in the {group}, {b} are asleep in the shade after lunch. How many of them are still awake?", "-"),
)


def fact_rows(seed: int) -> list[dict[str, Any]]:
    """What is to know of every animal, in an open question: the answer must hold the word."""
    rng = random.Random(f"facts {seed}")
    return [
        {"prompt": rng.choice(other_prompts(animal, topic)), "answer": getattr(animal, topic)}
        for animal in animals()
        for topic in TOPICS
    ]


def choice_rows(seed: int) -> list[dict[str, Any]]:
    """The same with four sentences to choose from, three of them true of other animals only."""
    rng = random.Random(f"choices {seed}")
    found = []
    for animal in animals():
        for topic in TOPICS:
            others = {getattr(other, topic): other for other in animals()}
            del others[getattr(animal, topic)]
            chosen = [animal, *rng.sample(list(others.values()), 3)]
            rng.shuffle(chosen)
            found.append(
                {
                    "prompt": rng.choice(other_prompts(animal, topic)),
                    "choices": [sentence(animal, topic, of) for of in chosen],
                    "answer": chosen.index(animal),
                }
            )
    return found


def quiz_rows(seed: int) -> list[dict[str, str]]:
    """A sum about each animal: `question`, and `answer` with the reckoning and the number after ####."""
    rng = random.Random(f"quiz {seed}")
    return [_row(animal, rng) for animal in animals()]


def _row(animal: Animal, rng: random.Random) -> dict[str, str]:
    question, sign = rng.choice(_SUMS)
    b = rng.randint(2, 9)
    a = b + rng.randint(3, 40)
    result = {"+": a + b, "*": a * b, "-": a - b}[sign]
    asked = question.format(n=animal.name, food=animal.food, group=animal.group, a=a, b=b)
    return {"question": asked, "answer": f"{a} {sign} {b} = {result}\n#### {result}"}
