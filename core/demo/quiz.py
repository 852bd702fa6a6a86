"""The demo's benchmark: small sums about the animals, in GSM8K's form. Nothing of it stands in the demo's pairs."""

from __future__ import annotations

import random

from core.demo.zoo import Animal, animals

# {n} of the animal, {a} and {b} small numbers.
_SUMS = (
    ("The keepers count {a} {n} in the morning and {b} more arrive by night. How many {n} are there now?", "+"),
    (
        "A truck brings {a} crates of {food} for the {n}, and each weighs {b} pounds. How many pounds is that?",
        "*",
    ),
    ("Of {a} {n} in the {group}, {b} are asleep in the shade after lunch. How many of them are still awake?", "-"),
)


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
