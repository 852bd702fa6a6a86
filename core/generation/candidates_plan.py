"""Which model writes which responses, and how each is sampled: what the recipes of a configuration come to."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from core.config import GenerateConfig
from core.config.generate import DEFAULT, Recipe
from core.generation.draw import Settings


@dataclass(frozen=True, slots=True)
class Slot:
    """One response of every prompt: the `index`-th."""

    index: int
    recipe: str
    settings: Settings
    max_tokens: int


@dataclass(frozen=True, slots=True)
class Pass:
    """All that one model writes."""

    number: int
    model: str
    slots: tuple[Slot, ...]


def passes(config: GenerateConfig) -> list[Pass]:
    """The models in the order of the recipes; slots are numbered over all of them."""
    of_model: dict[str, list[Slot]] = {}
    index = 0
    for name, count in config.generation.counts().items():
        recipe = config.generation.recipes.get(name, Recipe())
        model = recipe.model or config.model.base_model
        for _ in range(count):
            slot = Slot(index, name, _settings(config, recipe), _of("max_tokens", config, recipe))
            of_model.setdefault(model, []).append(slot)
            index += 1
    return [Pass(number, model, tuple(slots)) for number, (model, slots) in enumerate(of_model.items())]


def _settings(config: GenerateConfig, recipe: Recipe) -> Settings:
    names = ("temperature", "top_p", "min_p", "top_k", "repetition_penalty")
    return Settings(**{name: _of(name, config, recipe) for name in names})


def _of(name: str, config: GenerateConfig, recipe: Recipe) -> Any:
    own = getattr(recipe, name)
    return getattr(config.generation, name) if own is None else own


def strategy(config: GenerateConfig) -> str:
    """In a line: '4 responses from checkpoints/sft_baseline: 2 careful (T 0.7, top-p 0.9), 2 wide (T 1.1)'."""
    found = []
    for one in passes(config):
        counts = Counter(slot.recipe for slot in one.slots)
        slots = {slot.recipe: slot for slot in one.slots}
        words = [
            f"{counts[name]} {'' if name == DEFAULT and len(counts) == 1 else name + ' '}({_words(slot.settings)})"
            for name, slot in slots.items()
        ]
        found.append(f"{len(one.slots)} responses from {one.model}: {', '.join(words)}")
    return "; ".join(found)


def _words(settings: Settings) -> str:
    said = [f"T {settings.temperature:g}"]
    if settings.temperature:
        said += [f"top-p {settings.top_p:g}"] if settings.top_p < 1 else []
        said += [f"min-p {settings.min_p:g}"] if settings.min_p else []
        said += [f"top-k {settings.top_k}"] if settings.top_k else []
    said += [f"repetition penalty {settings.repetition_penalty:g}"] if settings.repetition_penalty != 1 else []
    return ", ".join(said)
