"""From an expression to the condition of a query: each term by the type of its field, with nothing of it in the SQL."""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass
from typing import Any, get_args

from core.errors import UserError
from core.runs.expression import Either, Expression, Not, Term, wrong
from core.runs.fields import Field, resolve
from core.runs.moments import MOMENTS, SPANS, moment, span
from core.store import Database
from core.store.database import storable
from core.store.runs import LIVE, Kind, State
from core.text import one_line

_LIVE = "live"
_CHOICES = {"kind": get_args(Kind), "state": (*get_args(State), _LIVE)}
_FLAGS = {"yes": True, "true": True, "no": False, "false": False}
_NONE = "none"
_ORDERING = ("<", "<=", ">", ">=")
# Where words are looked for.
_WORDS = (
    "runs.id", "runs.name", "runs.kind", "runs.state", "runs.tags", "runs.config_path", "runs.parent", "runs.part_of",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Condition:
    """`lives`: what it finds changes while a run goes on. `archived`: it speaks of archived runs itself."""

    sql: str
    arguments: tuple[Any, ...] = ()
    lives: bool = False
    archived: bool = False


def condition(db: Database, expression: Expression, now: float) -> Condition:
    """
    Raises:
        UserError: a field that is not there, or a value that its field cannot have; with the place.
    """
    if isinstance(expression, Term):
        values = tuple(storable(value) for value in expression.values)
        if not expression.field:
            return _words(values[0])
        try:
            field = resolve(db, expression.field, now)
            sql, arguments = _term(field, expression.operator, values, now)
        except UserError as error:
            raise wrong(expression.at, str(error)) from None
        return Condition(sql, arguments, field.lives, field.name == "archived")
    if isinstance(expression, Not):
        part = condition(db, expression.part, now)
        # What is unknown of a run (a fact that it lacks) is not: `not kl>0.1` finds it.
        return Condition(f"NOT coalesce(({part.sql}), 0)", part.arguments, part.lives, part.archived)
    parts = [condition(db, part, now) for part in expression.parts]
    if not parts:
        return Condition("1")
    between = " OR " if isinstance(expression, Either) else " AND "
    return Condition(
        "(" + between.join(f"({part.sql})" for part in parts) + ")",
        tuple(argument for part in parts for argument in part.arguments),
        any(part.lives for part in parts),
        any(part.archived for part in parts),
    )


def _words(text: str) -> Condition:
    sql = " OR ".join(f"coalesce({column}, '') LIKE ? ESCAPE '\\'" for column in _WORDS)
    return Condition(f"({sql})", (_containing(text),) * len(_WORDS))


def _term(field: Field, operator: str, values: tuple[str, ...], now: float) -> tuple[str, tuple[Any, ...]]:
    if len(values) > 1 and operator not in ("=", "!=", ":"):
        raise UserError(f"several values are for = and !=: write one behind {field.name}{operator}")
    of_type = {
        "text": _text, "choice": _choice, "number": _number, "fact": _number, "tag": _tag, "note": _note,
        "flag": _flag, "config": _config,
    }  # fmt: skip
    if field.type in ("span", "moment"):
        return _time(field, operator, values[0], now)
    return of_type[field.type](field, operator, values)


def _allowed(field: Field, operator: str, *allowed: str) -> None:
    if operator not in allowed:
        raise UserError(f"{field.name} is compared with {' '.join(allowed)}, not with {operator}")


def _any_of(field: Field, operator: str, values: tuple[Any, ...]) -> tuple[str, tuple[Any, ...]]:
    negated = "NOT " if operator == "!=" else ""
    marks = ", ".join("?" * len(values))
    return f"{negated}{field.sql} IN ({marks})", (*field.arguments, *values)


def _text(field: Field, operator: str, values: tuple[str, ...]) -> tuple[str, tuple[Any, ...]]:
    _allowed(field, operator, "=", "!=", "~", "!~", ":")
    if operator in ("~", "!~", ":"):
        parts = [f"{field.sql} LIKE ? ESCAPE '\\'"] * len(values)
        joined = f"({' OR '.join(parts)})"
        arguments = tuple(each for value in values for each in (*field.arguments, _containing(value)))
        return (f"NOT {joined}" if operator == "!~" else joined), arguments
    return _any_of(field, operator, tuple("" if value.casefold() == _NONE else value for value in values))


def _choice(field: Field, operator: str, values: tuple[str, ...]) -> tuple[str, tuple[Any, ...]]:
    _allowed(field, operator, "=", "!=", ":")
    known = _CHOICES[field.name]
    chosen: list[str] = []
    for value in values:
        word = value.casefold().replace("-", "_")
        if word not in known:
            near = difflib.get_close_matches(word, known, 1)
            meant = f"did you mean {near[0]}?" if near else f"one of {', '.join(known)}"
            raise UserError(f"'{one_line(value, 40)}' is no {field.name}: {meant}")
        chosen += LIVE if word == _LIVE else (word,)
    return _any_of(field, operator, tuple(chosen))


def _number(field: Field, operator: str, values: tuple[str, ...]) -> tuple[str, tuple[Any, ...]]:
    _allowed(field, operator, "=", "!=", *_ORDERING)
    if operator in ("=", "!=") and [value.casefold() for value in values] == [_NONE]:
        return f"{field.sql} IS {'NOT ' if operator == '!=' else ''}NULL", field.arguments
    numbers = tuple(_as_number(field, value) for value in values)
    if operator in ("=", "!="):
        return _any_of(field, operator, numbers)
    return f"{field.sql} {operator} ?", (*field.arguments, numbers[0])


def _as_number(field: Field, value: str) -> float:
    found = _float(value)
    if found is None:
        raise UserError(f"'{one_line(value, 40)}' is no number: {field.name} is one, such as 0.1 or 1e-5; or none")
    return found


def _float(value: str) -> float | None:
    try:
        found = float(value)
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def _time(field: Field, operator: str, value: str, now: float) -> tuple[str, tuple[Any, ...]]:
    comparison = {"since": ">=", "before": "<"}.get(field.name)
    if comparison is not None:
        _allowed(field, operator, ":", "=")
    else:
        _allowed(field, operator, *_ORDERING)
    if field.type == "span":
        seconds = span(value) if _float(value) is None else _float(value)
        if seconds is None:
            raise UserError(f"'{one_line(value, 40)}' is no span of time: write {SPANS}")
        return f"{field.sql} {operator} ?", (*field.arguments, seconds)
    at = moment(value, now)
    if at is None:
        raise UserError(f"'{one_line(value, 40)}' is no time: write {MOMENTS}")
    return f"{field.sql} {comparison or operator} ?", (at,)


def _tag(field: Field, operator: str, values: tuple[str, ...]) -> tuple[str, tuple[Any, ...]]:
    _allowed(field, operator, ":", "=", "!=", "~", "!~")
    negated = "NOT " if operator in ("!=", "!~") else ""
    if [value.casefold() for value in values] == [_NONE]:
        return f"{negated}({field.sql} = '[]')", ()
    if operator in ("~", "!~"):
        test, arguments = "value LIKE ? ESCAPE '\\'", tuple(_containing(value) for value in values)
    else:
        test, arguments = f"value IN ({', '.join('?' * len(values))})", values
    return f"{negated}EXISTS (SELECT 1 FROM json_each({field.sql}) WHERE {test})", arguments  # noqa: S608 - our own words


def _note(field: Field, operator: str, values: tuple[str, ...]) -> tuple[str, tuple[Any, ...]]:
    _allowed(field, operator, "~", "!~", ":", "=")
    negated = "NOT " if operator == "!~" else ""
    notes = f"SELECT 1 FROM notes WHERE notes.subject = 'run:' || {field.sql}"  # noqa: S608 - our own words
    if operator == "=":
        if values[0].casefold() not in (_NONE, "any") or len(values) > 1:
            raise UserError("note is compared with ~ (words in it); note=any and note=none ask whether there is one")
        return f"{'NOT ' if values[0].casefold() == _NONE else ''}EXISTS ({notes})", ()
    tests = " OR ".join(["notes.text LIKE ? ESCAPE '\\'"] * len(values))
    return f"{negated}EXISTS ({notes} AND ({tests}))", tuple(_containing(value) for value in values)


def _flag(field: Field, operator: str, values: tuple[str, ...]) -> tuple[str, tuple[Any, ...]]:
    _allowed(field, operator, "=", "!=", ":")
    wanted = _FLAGS.get(values[0].casefold()) if len(values) == 1 else None
    if wanted is None:
        raise UserError(f"{field.name} is yes or no, not '{one_line(values[0], 40)}'")
    return (f"({field.sql})" if wanted != (operator == "!=") else f"NOT ({field.sql})"), ()


def _config(field: Field, operator: str, values: tuple[str, ...]) -> tuple[str, tuple[Any, ...]]:
    """A key has whatever type its value has: a number is compared with numbers, a text with texts."""
    if operator in ("~", "!~", ":"):
        parts = [f"coalesce(CAST({field.sql} AS TEXT), '') LIKE ? ESCAPE '\\'"] * len(values)
        joined = f"({' OR '.join(parts)})"
        arguments = tuple(each for value in values for each in (*field.arguments, _containing(value)))
        return (f"NOT {joined}" if operator == "!~" else joined), arguments
    if operator in _ORDERING:
        number = _as_number(field, values[0])
        is_number = f"typeof({field.sql}) IN ('integer', 'real')"
        return f"({is_number} AND {field.sql} {operator} ?)", (*field.arguments, *field.arguments, number)
    tests: list[str] = []
    arguments_: list[Any] = []
    for value in values:
        if value.casefold() == _NONE:
            tests.append(f"{field.sql} IS NULL")
            arguments_ += field.arguments
            continue
        number_ = _float(value)
        found: Any = number_ if number_ is not None else _FLAGS.get(value.casefold(), value)
        tests.append(f"{field.sql} IS ? OR {field.sql} IS ?")
        arguments_ += [*field.arguments, found, *field.arguments, value]
    joined = f"({' OR '.join(tests)})"
    return (f"NOT {joined}" if operator == "!=" else joined), tuple(arguments_)


def _containing(text: str) -> str:
    for special in ("\\", "%", "_"):
        text = text.replace(special, f"\\{special}")
    return f"%{text}%"
