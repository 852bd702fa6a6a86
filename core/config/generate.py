"""The keys of generate_config.yaml: several responses to each prompt, from which preference pairs are made."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainSerializer, StringConstraints
from pydantic_core import PydanticCustomError

from core.config.models import AUTO, Compute
from core.config.section import MANY, Number, Section, Text, Whole, unit, whole

_MOST_ROWS = 4096
# Of the recipe that stands where none is written.
DEFAULT = "default"


def _rows(value: object) -> object:
    """A number of responses, or `auto`."""
    if value == "auto":
        return AUTO
    number = whole(value)
    if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= _MOST_ROWS:
        raise PydanticCustomError("batch_size", "neither a number of responses nor auto")
    return number


Rows = Annotated[
    int, BeforeValidator(_rows), PlainSerializer(lambda size: "auto" if size == AUTO else size, return_type=Any)
]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,39}$")]


class GenerateModel(Section):
    base_model: Text = Field(
        description="The model that answers, usually the checkpoint that SFT wrote: a folder in the workspace (of a"
        " model, or of an adapter) or a Hugging Face id. A recipe may name another one."
    )
    trust_remote_code: bool = Field(
        default=False,
        description="Run Python code that comes with the model. Leave it off unless you have read that code.",
    )


class GenerateData(Section):
    prompts_file: Text = Field(
        description="JSONL file of prompts: {'prompt': ...} a line, text or chat messages. Of preference pairs or SFT"
        " examples the prompts are taken, each once."
    )
    output_file: Text = Field(description="JSONL file that is written: a prompt and its responses a line.")
    limit: Whole | None = Field(
        default=None,
        description="Only the first so many different prompts.",
        ge=1,
        le=MANY,
        json_schema_extra=unit("prompts"),
    )
    max_prompt_length: Whole = Field(
        default=2048,
        description="Prompts longer than this are left out and counted, never cut.",
        ge=1,
        le=MANY,
        json_schema_extra=unit("tokens"),
    )
    apply_chat_template: bool = Field(
        default=False,
        description="Put plain-text prompts into the model's chat template as a user's message. Off, plain text stays"
        " plain and the model goes on writing it; chat messages always take the template.",
    )

    def conflicts(self) -> list[tuple[str, str]]:
        if self.output_file == self.prompts_file:
            return [("output_file", "is the prompts file, which it would overwrite: name another file")]
        return []


class Recipe(Section):
    """How some of the responses are sampled; what it leaves out is as in `generation`."""

    model: Text | None = Field(
        default=None, description="Another model or adapter for these responses; without it model.base_model answers."
    )
    count: Whole | None = Field(
        default=None,
        description="How many of a prompt's responses; recipes without it share what is left evenly.",
        ge=1,
        le=1024,
        json_schema_extra=unit("responses"),
    )
    temperature: Number | None = Field(default=None, description="As generation.temperature.", ge=0, le=10)
    top_p: Number | None = Field(default=None, description="As generation.top_p.", gt=0, le=1)
    min_p: Number | None = Field(default=None, description="As generation.min_p.", ge=0, lt=1)
    top_k: Whole | None = Field(
        default=None, description="As generation.top_k.", ge=0, le=MANY, json_schema_extra=unit("tokens")
    )
    repetition_penalty: Number | None = Field(
        default=None, description="As generation.repetition_penalty.", gt=0, le=10
    )
    max_tokens: Whole | None = Field(
        default=None, description="As generation.max_tokens.", ge=1, le=MANY, json_schema_extra=unit("tokens")
    )


class Generation(Section):
    responses_per_prompt: Whole = Field(
        default=4, description="Responses to each prompt.", ge=1, le=1024, json_schema_extra=unit("responses")
    )
    max_tokens: Whole = Field(
        default=512,
        description="Longest response; what the model has not ended by then is cut and marked 'length'.",
        ge=1,
        le=MANY,
        json_schema_extra=unit("tokens"),
    )
    temperature: Number = Field(
        default=0.8,
        description="1 samples from the model's own distribution, less is likelier and more alike, 0 always the"
        " likeliest token.",
        ge=0,
        le=10,
    )
    top_p: Number = Field(
        default=0.95,
        description="Sample among the likeliest tokens that together have this probability; 1 is off.",
        gt=0,
        le=1,
    )
    min_p: Number = Field(
        default=0.0,
        description="Sample among tokens that have at least this share of the likeliest one's probability; 0 is off.",
        ge=0,
        lt=1,
    )
    top_k: Whole = Field(
        default=0,
        description="Sample among so many of the likeliest tokens; 0 is off.",
        ge=0,
        le=MANY,
        json_schema_extra=unit("tokens"),
    )
    repetition_penalty: Number = Field(
        default=1.0,
        description="Logits of tokens among the last 64 are divided by it (negative ones multiplied); 1 is off.",
        gt=0,
        le=10,
    )
    recipes: dict[Name, Recipe] = Field(
        default_factory=dict,
        description="Several ways to sample, by name, over which a prompt's responses are spread; none written, there"
        " is one with the settings above.",
    )
    distinct: bool = Field(
        default=False,
        description="Draw a response again that a prompt already has, at most `redraws` times, and leave it out if it"
        " is still there. Off, repeated responses are kept and counted.",
    )
    redraws: Whole = Field(
        default=3,
        description="How often an empty response (and with `distinct` a repeated one) is drawn again before it is left"
        " out.",
        ge=0,
        le=100,
    )
    batch_size: Rows = Field(
        default=AUTO,
        description="Responses decoded at a time. auto: what suits the machine, within half of its free memory.",
        json_schema_extra={"unit": "responses", "allowed": f"a whole number from 1 to {_MOST_ROWS}, or auto"},
    )
    seed: Whole = Field(default=42, description="With prompt and number it decides each response.", ge=0, lt=2**32)

    def counts(self) -> dict[str, int]:
        """Responses of each recipe."""
        if not self.recipes:
            return {DEFAULT: self.responses_per_prompt}
        open_ = [name for name, recipe in self.recipes.items() if recipe.count is None]
        left = self.responses_per_prompt - sum(recipe.count or 0 for recipe in self.recipes.values())
        shares = {name: left // len(open_) + (place < left % len(open_)) for place, name in enumerate(open_)}
        return {name: shares[name] if recipe.count is None else recipe.count for name, recipe in self.recipes.items()}

    def conflicts(self) -> list[tuple[str, str]]:
        found = []
        given = sum(recipe.count or 0 for recipe in self.recipes.values())
        open_ = sum(recipe.count is None for recipe in self.recipes.values())
        wanted = self.responses_per_prompt
        if self.recipes and not open_ and given != wanted:
            found.append(("responses_per_prompt", f"is {wanted}, and the recipes' counts make {given}: let them agree"))
        elif self.recipes and given + open_ > wanted:
            found.append(
                (
                    "responses_per_prompt",
                    f"is {wanted}, too few for {len(self.recipes)} recipes with counts that make {given}:"
                    f" at least {given + open_}",
                )
            )
        if found:
            return found
        for name, count in self.counts().items():
            recipe = self.recipes.get(name)
            temperature = self.temperature if recipe is None or recipe.temperature is None else recipe.temperature
            if temperature == 0 and count > 1:
                key = "temperature" if recipe is None else f"recipes.{name}"
                found.append(
                    (key, f"temperature 0 gives the same response {count} times: take one of it, or a higher one")
                )
        return found


class GenerateLogging(Section):
    output_dir: Text = Field(description="Folder of what the run keeps to go on from.")


class GenerateConfig(Section):
    """generate_config.yaml."""

    model: GenerateModel = Field(description="The model that answers.")
    data: GenerateData = Field(description="Prompts, and where their responses go.")
    generation: Generation = Field(default_factory=Generation, description="How responses are sampled.")
    compute: Compute = Field(default_factory=Compute, description="Device and precision.")
    logging: GenerateLogging = Field(description="The output folder.")

    def reads(self) -> dict[str, str]:
        recipes = self.generation.recipes
        others = {f"generation.recipes.{name}.model": recipe.model for name, recipe in recipes.items() if recipe.model}
        used = {"model.base_model": self.model.base_model} if len(others) < len(recipes) or not recipes else {}
        return {"data.prompts_file": self.data.prompts_file, **used, **others}
