"""The language that runs are found by: `kind=dpo state=failed beta>0.1 tag:good "first try" or not name~persona`.

Terms beside each other must all hold; `or`, `not` and brackets do what they say. A term is a field, a comparison and a
value, or words that stand anywhere in a run. What the fields are is known elsewhere: here is only how it is written.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass

from core.errors import UserError
from core.text import one_line

OPERATORS = ("!=", ">=", "<=", "!~", "=", ">", "<", "~", ":")
# Longer than any person types, short enough for SQLite's own bound on nested expressions.
LONGEST = 2000
_DEEPEST = 20
_KEYWORDS = ("and", "or", "not")

_NAME = re.compile(r"[A-Za-z_][\w.\-/]*")
_OPERATOR = re.compile(r"!=|>=|<=|!~|=|>|<|~|:")
_BARE = re.compile(r'[^\s()",]+')
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_BLANKS = re.compile(r"\s*")


@dataclass(frozen=True, slots=True)
class Term:
    """`field` is "" for words. `at` is where it stands, counted from 1: two terms that say the same are equal."""

    field: str
    operator: str
    values: tuple[str, ...]
    at: int = dataclasses.field(default=1, compare=False)


@dataclass(frozen=True, slots=True)
class All:
    parts: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Either:
    parts: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Not:
    part: Expression


Expression = Term | All | Either | Not
EVERYTHING = All(())


def parse(text: str) -> Expression:
    """What an expression says; an empty one finds everything.

    Raises:
        UserError: where it is wrong, and what may stand there.
    """
    if len(text) > LONGEST:
        raise UserError(f"filter: {len(text)} characters are too many (at most {LONGEST}): shorten it")
    return _Parser(text).whole()


def written(expression: Expression) -> str:
    """An expression as it is typed; `parse` gives the same one back."""
    if isinstance(expression, Term):
        values = ",".join(_value(value) for value in expression.values)
        return f"{expression.field}{expression.operator}{values}"
    if isinstance(expression, Not):
        return f"not {_inner(expression.part)}"
    between = " or " if isinstance(expression, Either) else " "
    return between.join(_inner(part) for part in expression.parts)


def wrong(at: int, words: str) -> UserError:
    """What is wrong with an expression, and where."""
    return UserError(f"filter, column {at}: {words}")


def _inner(expression: Expression) -> str:
    compound = isinstance(expression, All | Either)
    return f"({written(expression)})" if compound else written(expression)


def _value(text: str) -> str:
    # A word that begins like a term is read as one.
    plain = _BARE.fullmatch(text) and not _OPERATOR.search(text) and text.casefold() not in _KEYWORDS
    if plain:
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._place = 0
        self._depth = 0

    def whole(self) -> Expression:
        found = self._any()
        if self._place < len(self._text):
            raise wrong(self._place + 1, "this bracket closes none: take it out")
        return found

    def _skip(self) -> None:
        match = _BLANKS.match(self._text, self._place)
        assert match is not None
        self._place = match.end()

    def _any(self) -> Expression:
        parts = [self._all()]
        while self._keyword("or"):
            at = self._place - 1
            parts.append(self._all())
            if EVERYTHING in parts:
                raise wrong(at, "'or' stands between two terms: write the other one")
        return parts[0] if len(parts) == 1 else Either(tuple(parts))

    def _all(self) -> Expression:
        parts: list[Expression] = []
        while True:
            self._skip()
            if self._place >= len(self._text) or self._text[self._place] == ")" or self._at_keyword("or"):
                break
            if self._keyword("and"):
                if not parts:
                    raise wrong(self._place - 2, "'and' stands between two terms: it may be left out")
                continue
            parts.append(self._part())
        return parts[0] if len(parts) == 1 else All(tuple(parts))

    def _part(self) -> Expression:
        if self._keyword("not"):
            self._skip()
            if self._place >= len(self._text) or self._text[self._place] == ")":
                raise wrong(self._place + 1, "'not' stands before a term: write what must not be")
            self._deeper()
            found: Expression = Not(self._part())
            self._depth -= 1
            return found
        if self._text[self._place] == "(":
            return self._bracket()
        return self._term()

    def _bracket(self) -> Expression:
        opened = self._place + 1
        self._place += 1
        self._deeper()
        found = self._any()
        self._depth -= 1
        if found == EVERYTHING:
            raise wrong(opened, "nothing stands in this bracket: write terms in it")
        if self._place >= len(self._text):
            raise wrong(opened, "this bracket is not closed: write ) behind what belongs together")
        self._place += 1
        return found

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise wrong(self._place + 1, f"nested more than {_DEEPEST} deep: write it simpler")

    def _at_keyword(self, word: str) -> bool:
        end = self._place + len(word)
        if self._text[self._place : end].casefold() != word:
            return False
        return end == len(self._text) or self._text[end] in '()",' or self._text[end].isspace()

    def _keyword(self, word: str) -> bool:
        self._skip()
        if not self._at_keyword(word):
            return False
        self._place += len(word)
        return True

    def _term(self) -> Expression:
        at = self._place + 1
        name = _NAME.match(self._text, self._place)
        if name is not None:
            blanks = _BLANKS.match(self._text, name.end())
            assert blanks is not None
            operator = _OPERATOR.match(self._text, blanks.end())
            if operator is not None:
                self._place = operator.end()
                return Term(name[0], operator[0], self._values(f"{name[0]}{operator[0]}"), at)
        operator = _OPERATOR.match(self._text, self._place)
        if operator is not None:
            raise wrong(at, f"a field is wanted before {operator[0]}, such as kl{operator[0]}0.1")
        if self._text[self._place] == ",":
            raise wrong(at, "a comma stands between values of one field, such as state=failed,stopped")
        return Term("", "", (self._one(),), at)

    def _values(self, before: str) -> tuple[str, ...]:
        values = []
        while True:
            self._skip()
            if self._place >= len(self._text) or self._text[self._place] in "),(":
                shown = one_line(before, 40)
                raise wrong(self._place + 1, f'a value is wanted behind {shown}, such as {shown}0.1 or {shown}"a b"')
            values.append(self._one())
            if self._text[self._place : self._place + 1] != ",":
                return tuple(values)
            self._place += 1

    def _one(self) -> str:
        """A word, or what stands in quotes."""
        if self._text[self._place] == '"':
            quoted = _QUOTED.match(self._text, self._place)
            if quoted is None:
                raise wrong(self._place + 1, 'this quote is not closed: write " behind the last word')
            self._place = quoted.end()
            return re.sub(r"\\(.)", r"\1", quoted[1], flags=re.DOTALL)
        bare = _BARE.match(self._text, self._place)
        assert bare is not None
        self._place = bare.end()
        return bare[0]
