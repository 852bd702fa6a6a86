"""YAML read with the line of every key: plain data only, duplicate keys refused, size and depth bounded."""

from __future__ import annotations

import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from core.errors import UserError
from core.text import one_line, printable

# A configuration is a page or two. The bounds keep a hostile file (aliases that double, brackets without end) small.
MAX_BYTES = 256 * 1024
MAX_VALUES = 20_000
MAX_DEPTH = 32

KeyPath = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """A YAML mapping, and where each key stands in its file."""

    name: str
    value: dict[str, Any]
    lines: dict[KeyPath, int] = field(default_factory=dict)

    def where(self, path: KeyPath) -> str:
        """`file:line` of a key, or of the nearest section around it that is written down."""
        return f"{self.name}:{self.line(path)}"

    def line(self, path: KeyPath) -> int:
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


def standing(path: Path) -> Path:
    """A configuration's file, or where it is not there the Python file of that name: eval_config.py."""
    python = path.with_suffix(".py")
    return python if path.suffix == ".yaml" and not path.exists() and python.is_file() else path


def read(path: Path) -> Document:
    """Read a YAML file whose top is a mapping, or a Python file that assigns one (`core.config.literal`).

    Where the YAML file is not there, one with its name and `.py` is read in its place.

    Raises:
        UserError: no file, not UTF-8, not YAML, too large; one line with the line number where there is one.
    """
    path = standing(path)
    name = printable(str(path))
    try:
        info = path.stat()
        if stat.S_ISDIR(info.st_mode):
            raise UserError(f"{name} is a folder: name a YAML file")
        # Opening a pipe or a terminal would wait for ever.
        if not stat.S_ISREG(info.st_mode):
            raise UserError(f"{name} is not a regular file: name a YAML file")
        if info.st_size > MAX_BYTES:
            raise UserError(f"{name} has {info.st_size} bytes, too many for a configuration (at most {MAX_BYTES})")
        data = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{name} does not exist: name a YAML file") from None
    except OSError as error:
        raise UserError(f"{name} cannot be read: {error.strerror or error}") from error
    except ValueError as error:  # a NUL in the name
        raise UserError(f"{name} is not a file name: {error}") from error
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(f"{name}:{line}: not UTF-8 text (byte 0x{data[error.start]:02x}): save it as UTF-8") from None
    if path.suffix == ".py":
        from core.config.literal import parse_literal

        return parse_literal(text, name)
    return parse(text, name)


def parse(text: str, name: str) -> Document:
    """The same for text that is at hand; `name` stands in the errors."""
    lines: dict[KeyPath, int] = {}
    value = _Builder(name, text, lines).build()
    if value is None:
        raise UserError(f"{name} is empty: sections with keys are expected")
    if not isinstance(value, dict):
        raise UserError(f"{name}:1: sections with keys are expected, not {_what(value)}")
    return Document(name, value, lines)


def parse_value(text: str, name: str) -> Any:
    """A single value as YAML reads it (`0.2`, `true`, `[a, b]`, plain text)."""
    return _Builder(name, text, {}).build()


class _Builder:
    """From YAML nodes to plain Python values, counting as it goes."""

    def __init__(self, name: str, text: str, lines: dict[KeyPath, int]) -> None:
        self.name = name
        self.text = text
        self.lines = lines
        self.values = 0

    def build(self) -> Any:
        if len(self.text) > MAX_BYTES:
            raise UserError(f"{self.name} is too long for a configuration (at most {MAX_BYTES} bytes)")
        loader = None
        try:
            loader = yaml.SafeLoader(self.text)
            node = loader.get_single_node()
            return None if node is None else self._value(loader, node, ())
        except yaml.reader.ReaderError as error:
            line = self.text.count("\n", 0, error.position) + 1
            self._refuse(line, "a control character stands here: remove it")
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            self._refuse(mark.line + 1 if mark else 1, self._problem(error))
        except RecursionError:
            self._refuse(1, "nested too deep")
        finally:
            if loader is not None:
                loader.dispose()

    def _value(self, loader: yaml.SafeLoader, node: yaml.Node, path: KeyPath) -> Any:
        line = node.start_mark.line + 1
        self.values += 1
        if self.values > MAX_VALUES:
            self._refuse(line, f"more than {MAX_VALUES} values (an alias that repeats itself?)")
        if len(path) > MAX_DEPTH:
            self._refuse(line, f"nested deeper than {MAX_DEPTH} levels (an alias that holds itself?)")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(loader, node, path)
        if isinstance(node, yaml.SequenceNode):
            items = []
            for index, item in enumerate(node.value):
                self.lines[(*path, index)] = item.start_mark.line + 1
                items.append(self._value(loader, item, (*path, index)))
            return items
        try:
            value = loader.construct_object(node)
        except ValueError:  # 2024-13-45, a number of 5,000 digits
            return node.value
        if value is None or isinstance(value, bool | int | float | str):
            return value
        return node.value  # a date or bytes: its text, which the field then judges

    def _mapping(self, loader: yaml.SafeLoader, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        value: dict[str, Any] = {}
        for key_node, item in node.value:
            line = key_node.start_mark.line + 1
            if key_node.tag == "tag:yaml.org,2002:merge":
                self._refuse(line, "merge keys (<<) are not read here: write the values out")
            if not isinstance(key_node, yaml.ScalarNode):
                self._refuse(line, "a key must be a word")
            key = printable(key_node.value)
            if key in value:
                first = self.lines[(*path, key)]
                self._refuse(
                    line, f"{'.'.join(map(str, (*path, key)))} is given twice, first on line {first}: keep one"
                )
            self.lines[(*path, key)] = line
            value[key] = self._value(loader, item, (*path, key))
        return value

    def _problem(self, error: yaml.MarkedYAMLError) -> str:
        problem = printable(error.problem or "not YAML")
        if "'\\t'" in problem:
            return "a tab stands where YAML wants spaces: indent with spaces"
        if "expected a single document" in (error.context or ""):
            return "a second document (---) starts here: keep one"
        if "could not determine a constructor" in problem:
            return "a tag (!...) stands here: only plain values are read, remove it"
        return f"not YAML: {problem}" + (f" {printable(error.context)}" if error.context else "")

    def _refuse(self, line: int, reason: str) -> Any:
        raise UserError(f"{self.name}:{line}: {one_line(reason, 300)}")


def _what(value: object) -> str:
    return "a list" if isinstance(value, list) else f"'{one_line(str(value), 40)}'"
