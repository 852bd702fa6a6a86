"""What each key of a configuration means and allows, in words: for error lines and for help in the terminal."""

from __future__ import annotations

import types
from dataclasses import dataclass
from typing import Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from core.config.document import KeyPath

# Stands in the path of a key for a name that the person chooses.
NAME = "NAME"


@dataclass(frozen=True, slots=True)
class Key:
    """One key: `path` is dotted, `default` is None where the key must be given (`required`)."""

    path: str
    meaning: str
    allowed: str
    unit: str
    required: bool
    default: Any


def keys(model: type[BaseModel], prefix: str = "") -> list[Key]:
    """All keys of a configuration, sections unfolded, in the order of the file."""
    found = []
    for name, field in model.model_fields.items():
        path = f"{prefix}{name}"
        named = named_sections(field)
        if named is not None:
            found.append(_key(path, field))
            found += keys(named, f"{path}.{NAME}.")
            continue
        if section(field) is not None:
            found += keys(section(field), f"{path}.")  # type: ignore[arg-type]
            continue
        found.append(_key(path, field))
    return found


def _key(path: str, field: FieldInfo) -> Key:
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    default = None if field.is_required() else field.get_default(call_default_factory=True)
    return Key(path, field.description or "", allowed(field), str(extra.get("unit", "")), field.is_required(), default)


def named_sections(field: FieldInfo) -> type[BaseModel] | None:
    """The model of a field that maps names, which the person chooses, to sections; else None."""
    if get_origin(field.annotation) is not dict:
        return None
    kind = get_args(field.annotation)[1]
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def section(field: FieldInfo) -> type[BaseModel] | None:
    """The model of a field that is a section, or may be one, else None."""
    kind, _ = _without_none(field.annotation)
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def model_at(kind: type[BaseModel], path: KeyPath) -> type[BaseModel] | None:
    """The model of the section at `path`, or None where there is none."""
    model: type[BaseModel] | None = kind
    named = None
    for part in path:
        if named is not None:  # whatever name it is
            model, named = named, None
            continue
        field = model.model_fields.get(str(part)) if model is not None else None
        model = section(field) if field is not None else None
        named = named_sections(field) if field is not None else None
    return model


def is_named(kind: type[BaseModel], path: KeyPath) -> bool:
    """Whether `path` is that of a section under a name that the person chose."""
    field = field_at(kind, path[:-1]) if path else None
    return field is not None and named_sections(field) is not None


def field_at(kind: type[BaseModel], path: KeyPath) -> FieldInfo | None:
    parent = model_at(kind, path[:-1]) if path else None
    return parent.model_fields.get(str(path[-1])) if parent is not None else None


def key_order(kind: type[BaseModel], path: KeyPath) -> list[str] | None:
    """The keys of the section at `path`, in order; none of a mapping of names; None where there is no section."""
    field = field_at(kind, path) if path else None
    if field is not None and named_sections(field) is not None:
        return []
    model = model_at(kind, path)
    return list(model.model_fields) if model is not None else None


def allowed(field: FieldInfo) -> str:
    """What a value may be: 'a whole number ≥ 1', 'one of cosine, linear, constant', 'true or false'."""
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    if "allowed" in extra:
        return str(extra["allowed"])
    named = named_sections(field)
    if named is not None:
        return f"a mapping of names to sections with keys ({', '.join(named.model_fields)})"
    kind, optional = _without_none(field.annotation)
    several = ", or a list of them" if _one_or_several(field.annotation) else ""
    return f"{_kind(kind)}{_bounds(field)}{several}{' or nothing' if optional else ''}"


def _without_none(kind: Any) -> tuple[Any, bool]:
    """The type behind `X | None` and behind Annotated, and whether None is allowed."""
    if get_origin(kind) in (Union, types.UnionType):
        members = [member for member in get_args(kind) if member is not type(None)]
        return _plain(members[0]), len(members) < len(get_args(kind))
    return _plain(kind), False


def _one_or_several(kind: Any) -> bool:
    """Whether it is `X | list[X]`."""
    return get_origin(kind) in (Union, types.UnionType) and any(
        get_origin(member) is list and get_args(member) == (get_args(kind)[0],) for member in get_args(kind)
    )


def _plain(kind: Any) -> Any:
    return kind.__origin__ if hasattr(kind, "__metadata__") else kind


def _kind(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return f"one of {', '.join(map(str, get_args(kind)))}"
    if get_origin(kind) is list:
        (item,) = get_args(kind)
        while hasattr(item, "__metadata__"):
            item = _plain(item)
        return "a list of numbers" if item in (int, float) else "a list of texts"
    if get_origin(kind) is dict:
        return "a mapping"
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "text on one line"}
    return words.get(kind, "a value")


def _bounds(field: FieldInfo) -> str:
    """' from 1 to 8', ' ≥ 1', ' > 0 and ≤ 1'."""
    low = high = ""
    for bound in field.metadata:
        if isinstance(bound, annotated_types.Ge):
            low = f"≥ {_plain_number(bound.ge)}"
        elif isinstance(bound, annotated_types.Gt):
            low = f"> {_plain_number(bound.gt)}"
        elif isinstance(bound, annotated_types.Le):
            high = f"≤ {_plain_number(bound.le)}"
        elif isinstance(bound, annotated_types.Lt):
            high = f"< {_plain_number(bound.lt)}"
    if low.startswith("≥") and high.startswith("≤"):
        return f" from {low[2:]} to {high[2:]}"
    return "".join(f" {text}" for text in (low, "and" if low and high else "", high) if text)


def _plain_number(bound: Any) -> str:
    return f"{bound:g}" if isinstance(bound, float) else str(bound)


def type_of(field: FieldInfo) -> list[Any]:
    """The types that a value may have, None left out: one, or one and a list of it."""
    kind = field.annotation
    members = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)
    found = []
    for member in members:
        while hasattr(member, "__metadata__"):
            member = member.__origin__
        if member is not type(None):
            found.append(member)
    return found
