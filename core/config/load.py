"""From a YAML file and --set overrides to a checked configuration; every error of the file at once, a line each."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from core.config.document import Document, KeyPath, parse_value, read
from core.config.keys import NAME, allowed, field_at, is_named, keys, model_at, named_sections, section
from core.config.models import Section
from core.errors import UserError
from core.text import one_line, printable
from core.workspace import FOLDERS, Workspace

C = TypeVar("C", bound=Section)

_MEANT = "unknown key; did you mean"


def load_config(path: Path, kind: type[C], overrides: Sequence[str] = ()) -> C:
    """Read a configuration.

    Args:
        path: the YAML file.
        kind: `DPOConfig`, `SFTConfig` or `RewardConfig`.
        overrides: `section.key=value` each, as `--set` takes them; a later one wins.

    Raises:
        UserError: one line for each error: `file:line: key: what is wrong and what is allowed`; an override's line
            begins with `--set` instead of the file.
    """
    return _validated(read(path), kind, overrides)


def overridden(kind: type[C], value: dict[str, Any], overrides: Sequence[str]) -> C:
    """A configuration given as plain values, such as a run's snapshot, with overrides in it.

    Raises:
        UserError: one line for each error, as `load_config` words them.
    """
    return _validated(Document("the configuration", copy.deepcopy(value)), kind, overrides)


def _validated(document: Document, kind: type[C], overrides: Sequence[str]) -> C:
    origins: dict[KeyPath, str] = {}
    problems: list[str] = []
    for override in overrides:
        try:
            _apply(document, kind, override, origins)
        except UserError as error:
            problems.append(str(error))
    config = None
    try:
        config = kind.model_validate(document.value)
    except ValidationError as error:
        problems += _problems(document, kind, error.errors(include_url=False), origins)
    if problems or config is None:
        raise UserError("\n".join(problems))
    return config


def _apply(document: Document, kind: type[Section], override: str, origins: dict[KeyPath, str]) -> None:
    """Write one override into the document."""
    shown = f"--set {one_line(override, 120)}"
    name, equals, text = override.partition("=")
    path = tuple(name.strip().split("."))
    if not equals or not name.strip():
        raise UserError(f"{shown}: write it as section.key=value, such as training.beta=0.2")
    field = field_at(kind, path)
    if field is None:
        if is_named(kind, path):
            raise UserError(
                f"{shown}: {'.'.join(path)} is a section: name a key in it, such as {_first_key(kind, path)}"
            )
        raise UserError(f"{shown}: {unknown_key(kind, path)}")
    if named_sections(field) is not None:
        raise UserError(
            f"{shown}: {'.'.join(path)} maps names to sections: name a key in one, such as"
            f" {_first_key(kind, (*path, NAME))}"
        )
    if section(field) is not None:
        raise UserError(f"{shown}: {'.'.join(path)} is a section: name a key in it, such as {_first_key(kind, path)}")
    value = _override_value(field, text, shown)
    target = document.value
    for part in path[:-1]:
        if not isinstance(target.get(part), dict):
            target[part] = {}
        target = target[part]
    target[path[-1]] = value
    origins[path] = shown


def _override_value(field: FieldInfo, text: str, shown: str) -> Any:
    """The value of an override: as YAML reads it, but for a text key `2024` and `a: b` are text without quotes."""
    if not allowed(field).startswith("text"):
        return parse_value(text, shown)
    try:
        value = parse_value(text, shown)
    except UserError:
        return text
    return value if value is None or isinstance(value, str) else text


def validate(document: Document, kind: type[C], at: KeyPath) -> C:
    """The value at `at` of a document as a section, with errors as `load_config` words them.

    Raises:
        UserError: one line for each error.
    """
    value: Any = document.value
    for part in at:
        value = value[part]
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        raise UserError("\n".join(_problems(document, kind, error.errors(include_url=False), {}, at))) from error


def problems(kind: type[Section], value: object) -> list[tuple[KeyPath, str]]:
    """What is wrong with a configuration given as plain values: the key, and what is wrong and what is allowed."""
    try:
        kind.model_validate(value)
    except ValidationError as error:
        return _sentences(kind, error.errors(include_url=False))
    return []


def _problems(
    document: Document,
    kind: type[Section],
    errors: list[ErrorDetails],
    origins: dict[KeyPath, str],
    at: KeyPath = (),
) -> list[str]:
    """The errors of pydantic as lines, in the order of the file; their places are meant from `at`."""
    placed = [((*at, *path), sentence) for path, sentence in _sentences(kind, errors)]
    placed.sort(key=lambda problem: document.line(problem[0]))
    return [f"{_where(document, path, origins)}: {_dotted(path)}: {sentence}" for path, sentence in placed]


def _sentences(kind: type[Section], errors: list[ErrorDetails]) -> list[tuple[KeyPath, str]]:
    """The errors of pydantic as keys and sentences."""
    found: list[tuple[KeyPath, str]] = []
    missing: list[tuple[KeyPath, str]] = []
    for details in errors:
        path: KeyPath = tuple(details["loc"])
        if details["type"] == "conflict":
            found += [((*path, *key.split(".")), sentence) for key, sentence in details["ctx"]["conflicts"]]
        else:
            (missing if details["type"] == "missing" else found).append((path, _sentence(kind, path, details)))
    # A key that was misspelt is one error, not also a missing one.
    meant = {sentence for _, sentence in found if sentence.startswith("unknown key")}
    return found + [(path, sentence) for path, sentence in missing if f"{_MEANT} {_dotted(path)}?" not in meant]


def _where(document: Document, path: KeyPath, origins: dict[KeyPath, str]) -> str:
    for end in range(len(path), 0, -1):
        if path[:end] in origins:
            return origins[path[:end]]
    return document.where(path)


def _dotted(path: KeyPath) -> str:
    return one_line(".".join(map(str, path)), 120)


def _sentence(kind: type[Section], path: KeyPath, details: ErrorDetails) -> str:
    if details["type"] == "extra_forbidden":
        return unknown_key(kind, path)
    field = field_at(kind, path)
    if not path:
        return f"a section is wanted, not {_given(details['input'])}"
    if details["type"] == "string_pattern_mismatch" and path[-1] == "[key]":
        return f"'{_dotted(path[-2:-1])}' is no name: letters, digits, '_' and '-' are, at most 40"
    if field is None and is_named(kind, path):
        names = ", ".join(_names(model_at(kind, path)))
        return f"must be a section with keys ({names}), not {_given(details['input'])}"
    if field is None and details["type"] == "literal_error":  # an item of a list
        expected = details["ctx"]["expected"].replace("'", "").replace(" or ", ", ")
        return f"must be one of {expected}, not {_given(details['input'])}"
    if field is None:
        return f"{one_line(details['msg'], 120)}, not {_given(details['input'])}"
    if details["type"] == "missing":
        if section(field) is not None:
            return f"this section is missing: it holds {', '.join(_names(section(field)))}"
        return f"is missing: {allowed(field)}. {field.description}"
    if section(field) is not None:
        return f"must be a section with keys ({', '.join(_names(section(field)))}), not {_given(details['input'])}"
    hint = ""
    if isinstance(details["input"], bool | int | float) and "text" in allowed(field):
        hint = ": put it in quotes"
    return f"must be {allowed(field)}, not {_given(details['input'])}{hint}"


def _given(value: object) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "a section"
    if isinstance(value, list):
        return "a list"
    return f"'{one_line(str(value), 60)}'" if isinstance(value, str) else one_line(str(value), 60)


def unknown_key(kind: type[Section], path: KeyPath) -> str:
    """'unknown key; did you mean ...?': the nearest in its own section, else anywhere in the file."""
    name = str(path[-1])
    parent = model_at(kind, path[:-1])
    prefix = "".join(f"{part}." for part in path[:-1])
    if parent is not None:
        near = difflib.get_close_matches(name, _names(parent), 1)
        if near:
            return f"{_MEANT} {prefix}{near[0]}?"
    # A name that was chosen here is meant where the key stands under one.
    every = [
        key.path.replace(f".{NAME}.", f".{path[-2]}.") if is_named(kind, path[:-1]) else key.path for key in keys(kind)
    ]
    same = [key for key in every if key.rsplit(".", 1)[-1] == name]
    if not same:
        leaves = {key.rsplit(".", 1)[-1]: key for key in every}
        same = [leaves[leaf] for leaf in difflib.get_close_matches(name, list(leaves), 1)]
    if same:
        return f"{_MEANT} {same[0]}?"
    if parent is None:
        return "unknown key"
    return f"unknown key; allowed here: {', '.join(_names(parent))}"


def _names(model: type[BaseModel] | None) -> list[str]:
    return list(model.model_fields) if model is not None else []


def _first_key(kind: type[BaseModel], path: KeyPath) -> str:
    return ".".join(map(str, (*path, _names(model_at(kind, path))[0])))


def missing_files(config: Section, workspace: Workspace) -> list[str]:
    """Sentences for the data files and model folders that a run of a configuration reads and the workspace lacks.

    DPO reads its reference and policy; the base model is where those came from. A model name that does not look like
    a path of the workspace may be a Hugging Face id and is not judged here.
    """
    found = []
    for key, name in config.reads().items():
        path = workspace.path(name)
        if key.endswith(("file", "_set")):
            there, wanted = path.is_file(), "file"
        else:
            local = name.startswith(("/", ".", "~")) or name.split("/")[0] in FOLDERS
            there, wanted = not local or path.is_dir(), "folder"
        if not there:
            lacks = f"is no {wanted}" if path.exists() else "does not exist"
            found.append(f"{key}: {printable(name)} {lacks} in {workspace.root}")
    return found
