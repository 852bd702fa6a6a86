"""The language of the filter: what is written is what is read, and what is wrong is said with its place."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import UserError
from core.runs.expression import EVERYTHING, OPERATORS, All, Either, Expression, Not, Term, parse, written

_NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_.\-/]{0,12}", fullmatch=True).filter(
    lambda name: name.casefold() not in ("and", "or", "not")
)
_TEXTS = st.text(st.characters(codec="utf-8"), max_size=12)
_FIELDS = st.builds(Term, _NAMES, st.sampled_from(OPERATORS), st.lists(_TEXTS, min_size=1, max_size=3).map(tuple))
_WORDS = _TEXTS.map(lambda text: Term("", "", (text,)))


def _compound(inner: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
    parts = st.lists(inner, min_size=2, max_size=3).map(tuple)
    return st.one_of(parts.map(All), parts.map(Either), inner.map(Not))


_EXPRESSIONS = st.recursive(_FIELDS | _WORDS, _compound, max_leaves=6)


@given(_EXPRESSIONS)
def test_what_is_written_is_read_back(expression: Expression) -> None:
    assert parse(written(expression)) == expression


@given(st.text(max_size=60) | st.text('kl<>=!~:"(),\\ ornotand01.', max_size=40))
def test_any_text_is_read_or_refused_in_one_line_with_its_place(text: str) -> None:
    try:
        found = parse(text)
    except UserError as error:
        said = str(error)
        assert "\n" not in said
        assert said.startswith("filter, column ")
        assert 1 <= int(said.removeprefix("filter, column ").partition(":")[0]) <= len(text) + 1
    else:
        assert parse(written(found)) == found or found == EVERYTHING


def test_terms_beside_each_other_bind_closer_than_or() -> None:
    a, b, c = (Term("", "", (word,)) for word in "abc")
    assert parse("a b or c") == Either((All((a, b)), c))
    assert parse("a and (b or c)") == All((a, Either((b, c))))
    assert parse("not a b") == All((Not(a), b))
    assert parse("NOT (a OR b)") == Not(Either((a, b)))
    assert parse("oracle android nothing") == All(tuple(Term("", "", (w,)) for w in ("oracle", "android", "nothing")))


def test_terms() -> None:
    assert parse("") == parse("  ") == EVERYTHING
    assert parse("beta>0.1") == parse("beta > 0.1") == Term("beta", ">", ("0.1",))
    assert parse("state=failed,stopped") == Term("state", "=", ("failed", "stopped"))
    assert parse('name~"first \\"try\\""') == Term("name", "~", ('first "try"',))
    assert parse("dpo.kl_divergence<=1e-1") == Term("dpo.kl_divergence", "<=", ("1e-1",))
    assert parse("file~data/x.jsonl") == Term("file", "~", ("data/x.jsonl",))
    assert parse("003") == Term("", "", ("003",))


@pytest.mark.parametrize(
    ("text", "column", "words"),
    [
        ("kl<", 4, "a value is wanted behind kl<"),
        ("state=failed,", 14, "a value is wanted"),
        ("kl<0.1 <5", 8, "a field is wanted before <"),
        ("(a b", 1, "not closed"),
        ("a b)", 4, "closes none"),
        ('name~"first', 6, "this quote is not closed"),
        ("a or", 3, "'or' stands between two terms"),
        ("or a", 1, "'or' stands between two terms"),
        ("and a", 1, "'and' stands between two terms"),
        ("a not", 6, "'not' stands before a term"),
        ("a , b", 3, "a comma stands between values"),
        ("a ( )", 3, "nothing stands in this bracket"),
        ("(" * 30, 22, "nested more than 20 deep"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(text: str, column: int, words: str) -> None:
    with pytest.raises(UserError) as caught:
        parse(text)
    assert str(caught.value).startswith(f"filter, column {column}: ")
    assert words in str(caught.value)


def test_an_endless_expression_is_refused() -> None:
    with pytest.raises(UserError, match="too many"):
        parse("a " * 5000)
