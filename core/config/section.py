"""What every section of a configuration is, and the types of its values."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

# Steps, tokens and pairs beyond this are a slip of the keyboard, and would overflow what SQLite and MLX count with.
MANY = 1_000_000_000

_NUMBER = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?")


def number(value: object) -> object:
    """Text such as '1e-7', which YAML 1.1 does not take for a number, is one."""
    return float(value) if isinstance(value, str) and _NUMBER.fullmatch(value.strip()) else value


def whole(value: object) -> object:
    """1e3 and 1000.0 are whole numbers; 1.5 stays what it is and is refused."""
    value = number(value)
    return int(value) if isinstance(value, float) and value.is_integer() else value


Number = Annotated[float, BeforeValidator(number)]
Whole = Annotated[int, BeforeValidator(whole)]
Text = Annotated[str, StringConstraints(min_length=1, max_length=4096, pattern=r"^[^\x00-\x1f\x7f]*$")]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    def conflicts(self) -> list[tuple[str, str]]:
        """Errors between keys: (the key to change, what is wrong and what would be right)."""
        return []

    def reads(self) -> dict[str, str]:
        """Of a whole configuration: the keys that name what a run reads, and their values; files end in `file` or
        `_set`, the others are models."""
        return {}

    @model_validator(mode="after")
    def _check_conflicts(self) -> Section:
        found = self.conflicts()
        if found:
            text = "; ".join(f"{key}: {sentence}" for key, sentence in found)
            raise PydanticCustomError("conflict", "{text}", {"text": text, "conflicts": found})
        return self


def unit(name: str) -> dict[str, Any]:
    """Extra of a field: what its number counts."""
    return {"unit": name}
