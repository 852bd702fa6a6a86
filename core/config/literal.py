"""A configuration written as a Python literal (`EVALUATION_CONFIG = {...}`): read, never executed."""

from __future__ import annotations

import ast
from typing import Any

from core.config.document import MAX_BYTES, MAX_DEPTH, MAX_VALUES, Document, KeyPath
from core.errors import UserError
from core.text import one_line, printable


def parse_literal(text: str, name: str) -> Document:
    """The one dict that a Python file assigns to a name at its top, with the line of every key.

    Imports and docstrings beside it are passed over; anything that would have to be executed is refused.

    Raises:
        UserError: no such dict, or one with more than literals in it; with file and line.
    """
    if len(text) > MAX_BYTES:
        raise UserError(f"{name} is too long for a configuration (at most {MAX_BYTES} bytes)")
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = getattr(error, "lineno", None) or 1
        raise UserError(f"{name}:{line}: not Python: {one_line(str(getattr(error, 'msg', error)), 120)}") from None
    dicts: list[ast.Dict] = []
    for node in tree.body:
        value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
        if isinstance(value, ast.Dict):
            dicts.append(value)
    if len(dicts) != 1:
        raise UserError(f"{name}:1: one dict is wanted, as in EVALUATION_CONFIG = {{...}}, not {len(dicts)}")
    reader = _Reader(name)
    return Document(name, reader.mapping(dicts[0], ()), reader.lines)


class _Reader:
    def __init__(self, name: str) -> None:
        self.name = name
        self.lines: dict[KeyPath, int] = {}
        self._values = 0

    def mapping(self, node: ast.Dict, path: KeyPath) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key_node, item in zip(node.keys, node.values, strict=True):
            if not isinstance(key_node, ast.Constant) or not isinstance(key_node.value, str):
                raise self._refusal(key_node or item, "a key must be text in quotes")
            key = printable(key_node.value)
            if key in found:
                raise self._refusal(key_node, f"{'.'.join(map(str, (*path, key)))} is given twice: keep one")
            self.lines[(*path, key)] = key_node.lineno
            found[key] = self._value(item, (*path, key))
        return found

    def _value(self, node: ast.expr, path: KeyPath) -> Any:
        self._values += 1
        if self._values > MAX_VALUES or len(path) > MAX_DEPTH:
            raise self._refusal(node, "too many values, or nested too deep")
        if isinstance(node, ast.Dict):
            return self.mapping(node, path)
        if isinstance(node, ast.List | ast.Tuple):
            items = []
            for index, item in enumerate(node.elts):
                self.lines[(*path, index)] = item.lineno
                items.append(self._value(item, (*path, index)))
            return items
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Constant):
            value = node.operand.value
            if isinstance(value, int | float) and not isinstance(value, bool):
                return -value
        if isinstance(node, ast.Constant) and (node.value is None or isinstance(node.value, bool | int | float | str)):
            return node.value
        raise self._refusal(node, "only text, numbers, True, False, None, lists, dicts are read: write the value out")

    def _refusal(self, node: ast.AST, reason: str) -> UserError:
        return UserError(f"{self.name}:{getattr(node, 'lineno', 1)}: {reason}")
