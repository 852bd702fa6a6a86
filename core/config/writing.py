"""How plain values are written in YAML: as the templates write them."""

from __future__ import annotations

import json
import math
import re
from decimal import Decimal
from typing import Any

import yaml

# Words that need no quotes: nothing in them means something to YAML.
_PLAIN = re.compile(r"[A-Za-z0-9_./-][A-Za-z0-9_./@+-]*")


def scalar(value: Any, *, plain: bool = False, single: bool = False) -> str:
    """One value; text in quotes, with `plain` only where it needs them."""
    if not isinstance(value, str):
        return flow(value)
    if plain and _PLAIN.fullmatch(value) and _is_text(value):
        return value
    if single and value.isprintable():
        return "'" + value.replace("'", "''") + "'"
    return _quoted(value)


def flow(value: Any) -> str:
    """Any value on one line: `[1.0, 0.2]`, `{adamw: {eps: 1.0e-8}}`."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return _float(value)
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, list):
        return "[" + ", ".join(map(flow, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{scalar(str(key), plain=True)}: {flow(item)}" for key, item in value.items()) + "}"
    return str(value)


def block(key: str, value: Any, column: int, *, nested: bool) -> str:
    """Lines of a key and its value; a section that is `nested` has its keys below it."""
    head = " " * column + scalar(key, plain=True) + ":"
    if not nested or not value:
        return f"{head} {flow(value)}"
    return "\n".join([head, *(block(name, item, column + 2, nested=_has_lines(item)) for name, item in value.items())])


def _has_lines(value: Any) -> bool:
    return isinstance(value, dict) and any(isinstance(item, dict) for item in value.values())


def _is_text(word: str) -> bool:
    return isinstance(yaml.safe_load(word), str)


def _float(value: float) -> str:
    """YAML 1.1 takes 1e-06 for text: a number has a point."""
    if not math.isfinite(value):
        return ".nan" if math.isnan(value) else (".inf" if value > 0 else "-.inf")
    words = f"{Decimal(repr(value)):e}" if 0 < abs(value) < 1e-3 else repr(value)
    mantissa, _, exponent = words.partition("e")
    if not exponent:
        return mantissa
    return f"{mantissa}{'' if '.' in mantissa else '.0'}e{int(exponent):+d}"


def _quoted(value: str) -> str:
    return '"' + "".join(c if c.isprintable() and c not in '"\\' else _escaped(c) for c in value) + '"'


def _escaped(character: str) -> str:
    code = ord(character)
    if code > 0xFFFF:
        return f"\\U{code:08x}"
    return json.dumps(character)[1:-1] if code < 0x7F else f"\\u{code:04x}"
