"""A configuration as a form: a row for every key, what is typed into it, and what stands in it where nothing is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from core.config.document import KeyPath, parse_value
from core.config.keys import NAME, allowed, field_at, model_at, named_sections, section, type_of
from core.config.section import Section, number, whole
from core.config.writing import flow
from core.errors import UserError

# section: a heading. names: a heading over sections under names; name: one of them. absent: a section that may be
# there and is not. unknown: a key that no configuration has.
Role = Literal["section", "names", "name", "absent", "field", "unknown"]
Type = Literal["bool", "choice", "whole", "size", "number", "text", "texts", "numbers", "choices", "mapping"]


class _Missing:
    """No value stands there."""

    def __bool__(self) -> bool:
        return False


MISSING = _Missing()


@dataclass(frozen=True, slots=True)
class Row:
    """`help` is the path with NAME for what a person chose."""

    role: Role
    path: tuple[str, ...]
    help: str
    field: FieldInfo | None = None

    @property
    def dotted(self) -> str:
        return ".".join(self.path)

    @property
    def required(self) -> bool:
        return self.field is not None and self.field.is_required()

    @property
    def may_go(self) -> bool:
        """Whether it can be left out as a whole: a section without which nothing takes its place can."""
        if self.role == "section":
            return self.field is not None and not self.required and _default(self.field) is None
        return self.role in ("field", "name", "unknown")


def rows(model: type[BaseModel], value: object, path: tuple[str, ...] = (), help_: str = "") -> Iterator[Row]:
    """The rows of a configuration that holds `value`, in the order of its model."""
    given = value if isinstance(value, dict) else {}
    for name, field in model.model_fields.items():
        here, words, item = (*path, name), f"{help_}{name}", given.get(name)
        named, inner = named_sections(field), section(field)
        if named is not None:
            yield Row("names", here, words, field)
            for chosen, one in (item if isinstance(item, dict) else {}).items():
                yield Row("name", (*here, str(chosen)), words, field)
                yield from rows(named, one, (*here, str(chosen)), f"{words}.{NAME}.")
        elif inner is not None and item is None and not field.is_required() and _default(field) is None:
            yield Row("absent", here, words, field)
        elif inner is not None:
            yield Row("section", here, words, field)
            yield from rows(inner, item, here, f"{words}.")
        else:
            yield Row("field", here, words, field)
    for name in given:
        if name not in model.model_fields:
            yield Row("unknown", (*path, str(name)), f"{help_}{name}")


def _default(field: FieldInfo) -> Any:
    return field.get_default(call_default_factory=True)


def value_at(value: object, path: KeyPath) -> Any:
    """What stands at a path; MISSING where nothing does."""
    for part in path:
        if not isinstance(value, dict) or part not in value:
            return MISSING
        value = value[part]
    return value


def default_at(model: type[BaseModel], value: object, path: KeyPath) -> Any:
    """What a key comes to where it is left out; MISSING where it must be given.

    A section that is left out has defaults of its own, which need not be those of its keys.
    """
    for depth in range(1, len(path)):
        if value_at(value, path[:depth]) is MISSING and (parent := model_at(model, path[: depth - 1])) is not None:
            whole_section = _section_default(parent, str(path[depth - 1]))
            if whole_section is not MISSING:
                return value_at(whole_section, path[depth:])
    parent = model_at(model, path[:-1])
    return _defaults(parent).get(str(path[-1]), MISSING) if parent is not None else MISSING


@cache
def _section_default(model: type[BaseModel], name: str) -> Any:
    """What a section that is left out comes to: None where nothing takes its place. MISSING where it must be given, or
    is no section."""
    field = model.model_fields.get(name)
    if field is None or field.is_required():
        return MISSING
    found = _default(field)
    if isinstance(found, Section):
        return found.model_dump(mode="json")
    return None if found is None and section(field) is not None else MISSING


@cache
def _defaults(model: type[BaseModel]) -> dict[str, Any]:
    return model.model_construct().model_dump(mode="json", warnings=False)


def effective(model: type[BaseModel], value: object, path: KeyPath) -> Any:
    """What stands at a key, or comes to stand there."""
    found = value_at(value, path)
    return default_at(model, value, path) if found is MISSING else found


def with_value(value: dict[str, Any], path: KeyPath, new: Any) -> dict[str, Any]:
    """A copy in which `new` stands at the path."""
    first, rest = str(path[0]), path[1:]
    if not rest:
        return {**value, first: new}
    inner = value.get(first)
    return {**value, first: with_value(inner if isinstance(inner, dict) else {}, rest, new)}


def without(value: dict[str, Any], path: KeyPath) -> dict[str, Any]:
    """A copy in which nothing stands at the path."""
    first, rest = str(path[0]), path[1:]
    if first not in value:
        return value
    if not rest:
        return {key: item for key, item in value.items() if key != first}
    inner = value[first]
    return {**value, first: without(inner, rest)} if isinstance(inner, dict) else value


def type_and_choices(field: FieldInfo) -> tuple[Type, tuple[str, ...]]:
    """What is typed into a field, and what can be chosen for it."""
    kinds = type_of(field)
    for kind in kinds:
        if get_origin(kind) is Literal:
            return ("choices" if len(kinds) > 1 else "choice"), tuple(map(str, get_args(kind)))
    kind = kinds[0]
    if get_origin(kind) is list:
        (item,) = get_args(kind)
        inner = getattr(item, "__origin__", item) if hasattr(item, "__metadata__") else item
        while hasattr(inner, "__metadata__"):
            inner = inner.__origin__
        if get_origin(inner) is Literal:
            return "choices", tuple(map(str, get_args(inner)))
        return ("numbers" if inner in (int, float) else "texts"), ()
    if get_origin(kind) is dict or kind is dict:
        return "mapping", ()
    if kind is int:
        return ("size" if "auto" in allowed(field) else "whole"), ()
    names: dict[Any, Type] = {bool: "bool", float: "number"}
    if len(kinds) > 1:  # text, or a list of it
        return "texts", ()
    return names.get(kind, "text"), ()


_WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def typed(field: FieldInfo, text: str) -> Any:
    """The value that a person means by what they wrote into a field.

    What is no value of the field stays text, which its check then answers for.

    Raises:
        UserError: a list or a mapping that is not YAML.
    """
    text = text.strip()
    kind, _ = type_and_choices(field)
    if kind == "bool":
        return _WORDS.get(text.lower(), text)
    if kind == "number":
        return number(text)
    if kind in ("whole", "size"):
        return whole(text)
    if kind == "mapping" or (text.startswith("[") and kind != "text"):
        return parse_value(text, "what was typed")
    if kind in ("texts", "numbers", "choices"):
        parts: list[Any] = [part.strip() for part in text.split(",") if part.strip()]
        if kind == "numbers":
            return [number(part) for part in parts]
        alone = get_origin(type_of(field)[0]) is not list  # one, or a list
        return parts[0] if alone and len(parts) == 1 else parts
    return text


def shown(value: Any) -> str:
    """A value as it stands in a field, and as it can be typed there."""
    if value is None or value is MISSING:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(item, str) and "," not in item for item in value) and value:
        return ", ".join(value)
    return flow(value)


def first_value(model: type[BaseModel], path: KeyPath) -> dict[str, Any]:
    """A new section: the keys that must be given, which are still empty."""
    inner = model_at(model, path)
    assert inner is not None
    return {name: "" for name, field in inner.model_fields.items() if field.is_required()}


def normal(model: type[BaseModel], path: KeyPath, value: Any) -> Any:
    """A value so that it can be compared: 1e-6 written as text is a number, 16 of a number is 16.0."""
    field = field_at(model, path)
    if field is None or value is MISSING:
        return value
    kind, _ = type_and_choices(field)
    if kind == "number":
        value = number(value)
        return float(value) if isinstance(value, int) and not isinstance(value, bool) else value
    return whole(value) if kind in ("whole", "size") else value


def parse_path(text: str) -> tuple[str, ...]:
    """The path of a dotted key.

    Raises:
        UserError: it is empty.
    """
    path = tuple(text.strip().split("."))
    if not all(path):
        raise UserError(f"'{text}' is no key: write it as section.key, such as training.beta")
    return path
