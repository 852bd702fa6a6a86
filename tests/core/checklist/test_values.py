"""What stands in a blank: numbers are checked against the unit and shown on their side of the target."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from core.checklist import Item, Target, parse
from core.checklist.values import fact_number, fact_text, format_number, plain_text, read_number, written
from core.errors import UserError
from core.store.facts import Fact


def item(text: str) -> Item:
    root = parse(f"- [ ] {text}\n", "9-mine.md").root
    assert root is not None
    return root.children[0]


PLAIN, SHARE, POINTS = "KL: _____ (target ≤0.1)", "Accuracy: _____ (≥70%)", "Retention: _____ % (target ≥95%)"
SCALE, RATE, WORDS = "Human eval score: _____ /10", "Throughput (examples/sec): _____", "Assessment: _____"


@pytest.mark.parametrize(
    ("text", "value", "kept"),
    [
        (PLAIN, "0.08", "0.08"),
        (PLAIN, " +.08 ", ".08"),
        (PLAIN, "1e-3", "1e-3"),
        (PLAIN, "-0.02", "-0.02"),
        (PLAIN, "8 %", "0.08"),
        (PLAIN, "8%", "0.08"),
        (PLAIN, "", None),
        (PLAIN, "_____", None),
        (SHARE, "72%", "72%"),
        (SHARE, "72", "72%"),
        (SHARE, "0.5%", "0.5%"),
        (SHARE, "0", "0%"),
        (POINTS, "96.5", "96.5"),
        (POINTS, "96.5 %", "96.5"),
        (POINTS, "102", "102"),
        (SCALE, "7.5", "7.5"),
        (SCALE, "7.5/10", "7.5"),
        (RATE, "11.8 examples/sec", "11.8"),
        ("Latency: _____ <!-- unit: ms -->", "12", "12 ms"),
        (WORDS, " fluent,\n  but (often) long ", "fluent, but (often) long"),
        (WORDS, "\x1b[31mred", "␛[31mred"),
        ("A: _____ (baseline: _____)", "0.4 (5-shot)", "0.4 (5-shot)"),
    ],
)
def test_written(text: str, value: str, kept: str | None) -> None:
    assert written(item(text), 0, value) == kept


@pytest.mark.parametrize(
    ("text", "value", "message"),
    [
        (PLAIN, "0,08", "'0,08' for mine.kl-target is not a number: write 0.08 with a point"),
        (PLAIN, "1,000.5", "is not a number"),
        (PLAIN, "about 0.1", "is not a number: write it as 0.08 or 1e-3; words belong in a note"),
        (PLAIN, "0.1 (n=20)", "is not a number"),
        (PLAIN, "nan", "is not a number"),
        (PLAIN, "inf", "is not a number"),
        (PLAIN, "1e9999", "is not a number"),
        (PLAIN, "0.1 ms", "its unit is none, not ms"),
        (SHARE, "0.72", "'0.72' for mine.accuracy could be 72% or 0.72%: write one of them with its %"),
        (POINTS, "0.965", "could be 96.5% or 0.965%"),
        (POINTS, "1", "could be 100% or 1%"),
        (SCALE, "11", "the scale ends at 10"),
        (SCALE, "-1", "the scale ends at 10"),
        (SCALE, "70%", "its unit is /10, not %"),
        (RATE, "fast", "is not a number in examples/sec"),
        (RATE, "12 tokens/s", "its unit is examples/sec, not tokens/s"),
        (WORDS, "x" * 201, "201 characters for mine.assessment: a blank takes 200"),
        (WORDS, "good --> bad", "would hide the item's own comment"),
        ("A: _____ (baseline: _____)", "1 (baseline: 2", "could not be told from the words around the blank"),
        ("A: _____ _____", "two words", "could not be told"),
    ],
)
def test_refused(text: str, value: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        written(item(text), 0, value)
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_page_that_says_percent_is_believed() -> None:
    assert written(item(POINTS), 0, "0.965", beside=True) == "0.965"
    with pytest.raises(UserError, match="could be"):
        written(item(SHARE), 0, "0.965", beside=True)


@pytest.mark.parametrize(
    ("text", "value", "unit", "number", "shown"),
    [
        (PLAIN, 0.081234, "nats/token", "0.081234", "0.08123"),
        (PLAIN, 0.1004, "", "0.1004", "0.1004"),
        (PLAIN, 0.10000001, "", "0.10000001", "0.10000001"),
        (PLAIN, 8.1, "%", "0.081", "0.081"),
        (SHARE, 0.7, "", "70.0", "70%"),
        (SHARE, 0.69999999, "", "69.999999", "69.999999%"),
        (SHARE, 70.0, "%", "70.0", "70%"),
        (SHARE, 70.0, "points", "70.0", "70%"),
        (POINTS, 0.965, "", "96.5", "96.5"),
        (POINTS, 96.5, "%", "96.5", "96.5"),
        (SCALE, 7.25, "", "7.25", "7.25"),
        (RATE, 1234.56, "pairs/s", "1234.56", "1235"),
        (WORDS, 0.45, "", "0.45", "0.45"),
        (WORDS, 45.0, "%", "0.45", "45%"),
        ("Count: _____ (≥1000)", 123456.0, "", "123456.0", "123456"),
    ],
)
def test_facts_in_the_items_unit(text: str, value: float, unit: str, number: str, shown: str) -> None:
    one, fact = item(text), Fact("f", value, unit)
    assert fact_number(fact, one.unit) == Decimal(number)
    assert fact_text(fact, one, 0) == shown


def test_a_facts_own_words_fill_a_free_blank_only() -> None:
    fact = Fact("f", 0.45, text="0.45 ± 0.02\n(5-shot) <!-- x -->\x1b")
    assert fact_text(fact, item(WORDS), 0) == "0.45 ± 0.02 (5-shot) <! -- x -- >␛"
    assert fact_text(fact, item(PLAIN), 0) == "0.45"
    assert fact_text(Fact("f", None, text="no scores"), item(WORDS), 0) is None
    assert plain_text(Fact("f", 0.5, text=" ")) == "0.5"


NUMBERS = st.decimals(allow_nan=False, allow_infinity=False, min_value=Decimal("-1e12"), max_value=Decimal("1e12"))


@given(NUMBERS, st.sampled_from(["≥", "≤", ">", "<"]), NUMBERS)
@example(Decimal("0.10000000000000001"), "≤", Decimal("0.1"))
@example(Decimal("99999.99"), "<", Decimal("100000"))
def test_what_is_shown_stands_on_its_side_of_the_target(number: Decimal, op: str, limit: Decimal) -> None:
    assume(len(number.as_tuple().digits) < 20)
    target = Target(op, limit)  # type: ignore[arg-type]
    shown = format_number(number, target)
    read = read_number(shown)
    assert read is not None
    assert target.met(read) == target.met(number)


@given(st.floats(allow_nan=False, allow_infinity=False), st.sampled_from([PLAIN, SHARE, POINTS, RATE]))
def test_what_a_fact_fills_in_can_be_read_back(value: float, text: str) -> None:
    shown = fact_text(Fact("f", value), item(text), 0)
    assert shown is not None
    if abs(value) < 1e200:
        assert written(item(text), 0, shown if "%" in shown or text != POINTS else f"{shown}%") == shown


@given(st.text(max_size=40))
def test_any_text_is_kept_or_refused_in_one_line(value: str) -> None:
    for text in (PLAIN, SHARE, POINTS, SCALE, WORDS, "A: _____ (baseline: _____)"):
        try:
            kept = written(item(text), 0, value)
        except UserError as error:
            assert len(str(error).splitlines()) == 1
        else:
            assert kept is None or written(item(text), 0, kept, beside=True) == kept
