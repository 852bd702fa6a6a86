"""Finding runs: each kind of field, sorting, groups, pages; and that thousands of runs are read by indexes."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import UserError
from core.runs import fields, query
from core.runs.expression import EVERYTHING, OPERATORS, Term, parse
from core.runs.query import GROUPS, Query, find, page
from core.store import Database, facts, runs, transaction
from tests.core.runs.conftest import NOW, add


def ids(db: Database, text: str, **more: object) -> list[str]:
    return sorted(find(db, Query(parse(text), **more), NOW).ids)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("kind=dpo", "dpo-001 dpo-002 dpo-004"),
        ("kind=dpo archived=yes", "dpo-003"),
        ("archived=no kind=sft,evaluate", "evaluate-001 sft-001"),
        ("state=failed", "dpo-002"),
        ("state=live", "dpo-004"),
        ("state!=failed kind=dpo", "dpo-001 dpo-004"),
        ("stage=1", "evaluate-001 sft-001"),
        ("stage>=5", "dpo-001 dpo-002 dpo-004"),
        ("beta>0.1", "dpo-002"),
        ("training.beta=0.1", "dpo-001 dpo-004"),
        ("beta=0.1,0.2", "dpo-001 dpo-002 dpo-004"),
        ("beta=none", "evaluate-001 sft-001"),
        ("lr<1e-5", "dpo-001 dpo-002 dpo-004"),
        ("packing=true", "sft-001"),
        ("model~BASE", "sft-001"),
        ("train~p_1", "dpo-001 dpo-002 dpo-004"),
        ("train~p%1", ""),
        ("kl<=0.1", "dpo-001"),
        ("kl>0.1", "dpo-002"),
        ("kl=none kind=dpo", "dpo-004"),
        ("not kl>0.1 kind=dpo", "dpo-001 dpo-004"),
        ("dpo.preference_gap>=0.15", "dpo-001"),
        ("kl_divergence>0", "dpo-001 dpo-002"),
        ("tag:good", "dpo-001"),
        ("tag:good archived=yes", "dpo-003"),
        ("tag=none kind=dpo", "dpo-002 dpo-004"),
        ("tag!=good kind=dpo", "dpo-002 dpo-004"),
        ("tag~pers", "dpo-001"),
        ("note~diverged", "dpo-002"),
        ("note=none kind=dpo", "dpo-001 dpo-004"),
        ('name~"First"', "dpo-001"),
        ('name="first try"', "dpo-001"),
        ("id!=dpo-001 kind=dpo", "dpo-002 dpo-004"),
        ("parent=sft-001", "dpo-001 dpo-002 dpo-004"),
        ("parent=none", "evaluate-001 sft-001"),
        ("since:96h", "dpo-004 evaluate-001"),
        ("before:96h kind=dpo", "dpo-001 dpo-002"),
        ("age>4d2h or created<1970-02-01", None),
        ("created>=1970-01-02", "dpo-001 dpo-002 dpo-004 evaluate-001 sft-001"),
        ("took>=1000s kind=sft", "sft-001"),
        ("took=5", None),
        ("progress=50", "dpo-001 dpo-002 dpo-004"),
        ("persona", "dpo-001"),
        ("dpo try", "dpo-001"),
        ('"no such words"', ""),
        ("state=failed or kind=sft", "dpo-002 sft-001"),
    ],
)
def test_expressions(several: Database, text: str, found: str | None) -> None:
    if found is None:
        with pytest.raises(UserError):
            ids(several, text)
    else:
        assert " ".join(ids(several, text)) == found


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("kind=dpo bta>1", "column 10: no field 'bta': did you mean 'beta'?"),
        ("zzz=1", "column 1: no field 'zzz': fields are id, name, kind"),
        ("state=faild", "'faild' is no state: did you mean failed?"),
        ("kind=x", "'x' is no kind: one of sft, generate"),
        ("kl<high", "'high' is no number: kl is one"),
        ("kl~1", "kl is compared with = != < <= > >=, not with ~"),
        ("name<3", "name is compared with = != ~ !~ :, not with <"),
        ("since:noon", "'noon' is no time: write 2d (ago)"),
        ("took>noon", "'noon' is no span of time: write 90s"),
        ("archived=maybe", "archived is yes or no"),
        ("kl<0.1,0.2", "several values are for = and !="),
        ("note=x", "note is compared with ~"),
        ("kl_target>1", "is "),
    ],
)
def test_what_cannot_be_is_said_in_one_line_with_its_place(several: Database, text: str, words: str) -> None:
    add(several, config={"a": {"kl_target": 1}, "b": {"kl_target": 2}})
    with pytest.raises(UserError, match="filter, column") as caught:
        ids(several, text)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_key_that_only_the_configurations_models_know_is_no_error(db: Database) -> None:
    assert ids(db, "beta>0.1") == []
    add(db, "sft", {"x": 1})
    assert ids(db, "warmup_steps>5") == []


@settings(max_examples=150)
@given(
    st.sampled_from([*fields.names(), "training.beta", "dpo.kl_divergence", "seed"]),
    st.sampled_from(OPERATORS),
    st.lists(
        st.sampled_from(
            ["0.1", "none", "2d", "yes", "dpo", "failed", "today", "nan", "1e400", "%_\\", "'", "a\0b", "\udcff"]
        )
        | st.text(max_size=5),
        min_size=1,
        max_size=2,
    ),
)
def test_every_term_is_a_query_or_one_line(field: str, operator: str, values: list[str]) -> None:
    from core.store.schema import migrations

    db = Database(memory=True)
    migrations.apply(db)
    add(db)
    for expression in (Term(field, operator, tuple(values)), Term("", "", (values[0],))):
        try:
            find(db, Query(expression), NOW)
        except UserError as error:
            assert "\n" not in str(error)
    db.close()


def test_sorting_puts_what_is_unknown_last(several: Database) -> None:
    by = Query(parse("kind=dpo"), sort="kl", descending=False, archived=True)
    assert find(several, by, NOW).ids[:2] == ("dpo-001", "dpo-002")
    down = Query(parse("kind=dpo"), sort="kl", descending=True, archived=True)
    assert find(several, down, NOW).ids == ("dpo-002", "dpo-001", "dpo-004", "dpo-003")
    assert find(several, Query(descending=False), NOW).ids[0] == "sft-001"
    assert find(several, Query(sort="beta", archived=True), NOW).ids[0] == "dpo-003"
    for bad in ("nothing_like_it", "tag", "note"):
        with pytest.raises(UserError, match=r"^sort: "):
            find(several, Query(sort=bad), NOW)


def test_groups(several: Database) -> None:
    for group in GROUPS:
        found = find(several, Query(group=group), NOW)
        assert len(found.groups) == found.count == 5
        # Those of a group stand together.
        assert len([a for a, b in zip(found.groups, found.groups[1:], strict=False) if a != b]) == (
            len(set(found.groups)) - 1
        )
    found = find(several, Query(group="stage"), NOW)
    assert dict(zip(found.ids, found.groups, strict=True))["evaluate-001"] == "1"
    found = find(several, Query(group="tag"), NOW)
    assert dict(zip(found.ids, found.groups, strict=True))["dpo-001"] == "good persona"


def test_what_lives_must_be_asked_again(several: Database) -> None:
    assert find(several, Query(parse("progress>10")), NOW).lives
    assert find(several, Query(sort="took"), NOW).lives
    assert not find(several, Query(parse("kind=dpo kl<1"), sort="kl"), NOW).lives


def test_a_page(several: Database) -> None:
    listed = page(several, ("dpo-002", "gone-001", "dpo-001"), ("training.beta",))
    assert [run.id for run in listed] == ["dpo-002", "dpo-001"]
    assert listed[0].facts == {"kl": (0.15, "")}
    assert listed[1].tags == ("good", "persona")
    assert listed[1].keys == {"training.beta": 0.1}
    assert query.differing(several, ("dpo-001", "dpo-004"), ("training.beta",)) == []
    assert query.differing(several, ("dpo-001", "dpo-002"), ("training.beta",)) == ["training.beta"]


@pytest.fixture
def thousands(db: Database) -> Database:
    chance = random.Random(1)
    config = json.dumps({"training": {"beta": 0.1}})
    with transaction(db):
        for number in range(10_000):
            id_ = f"dpo-{number:05d}"
            values = [id_, id_, "finished" if number % 7 else "failed", config, NOW - number]
            db.execute(
                "INSERT INTO runs (id, kind, name, state, config, seed, created) VALUES (?, 'dpo', ?, ?, ?, 0, ?)",
                values,
            )
        db.conn.executemany(
            "INSERT INTO facts (name, value, run, time) VALUES ('dpo.kl_divergence', ?, ?, 0)",
            [(chance.random(), f"dpo-{number:05d}") for number in range(0, 10_000, 2)],
        )
    return db


def _plan(db: Database, sql: str) -> str:
    arguments = [0] * sql.count("?")
    return "\n".join(row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {sql}", arguments))


def _asked(db: Database, ask: object) -> list[str]:
    """The statements that a call sends."""
    sent: list[str] = []
    with db.tracer(lambda sql, _: sent.append(sql)):
        ask()  # type: ignore[operator]
    return [sql for sql in sent if sql.startswith("SELECT")]


def test_ten_thousand_runs_are_listed_by_indexes(thousands: Database) -> None:
    (sql,) = _asked(thousands, lambda: find(thousands, Query(), NOW))
    plan = _plan(thousands, sql)
    assert "COVERING INDEX runs_shown" in plan
    assert "TEMP B-TREE" not in plan
    found = find(thousands, Query(), NOW)
    assert found.count == 10_000
    # A page asks for its rows by their keys, wherever it stands in the list.
    for sql in _asked(thousands, lambda: page(thousands, found.ids[9000:9064], ("training.beta",))):
        plan = _plan(thousands, sql)
        assert "SEARCH" in plan
        assert "SCAN" not in plan
    (sql,) = [s for s in _asked(thousands, lambda: find(thousands, Query(sort="kl"), NOW)) if "ORDER BY" in s]
    assert "SEARCH facts USING COVERING INDEX facts_by_run (run=? AND name=?)" in _plan(thousands, sql)
    sql = _asked(thousands, lambda: find(thousands, Query(parse("since:1h")), NOW))[-1]
    assert "SEARCH runs USING COVERING INDEX runs_shown (created>?)" in _plan(thousands, sql)


def test_ten_thousand_runs_are_found_sorted_and_grouped_as_python_would(thousands: Database) -> None:
    values = {run: fact.value for run in ("dpo-00004",) for fact in facts.of_run(thousands, run).values()}
    found = find(thousands, Query(parse("state=failed kl<0.5"), sort="kl", descending=False), NOW)
    every = dict(thousands.execute("SELECT run, value FROM facts").fetchall())
    failed = [f"dpo-{number:05d}" for number in range(0, 10_000, 7)]
    assert list(found.ids) == sorted((run for run in failed if every.get(run, 1) < 0.5), key=every.__getitem__)
    assert values == {"dpo-00004": every["dpo-00004"]}
    grouped = find(thousands, Query(group="state"), NOW)
    assert grouped.groups.count("failed") == len(failed)


def test_archived_runs_are_hidden_until_asked_for(several: Database) -> None:
    assert "dpo-003" not in find(several, Query(), NOW).ids
    assert "dpo-003" in find(several, Query(archived=True), NOW).ids
    assert runs.get(several, "dpo-003").archived == NOW
    assert find(several, Query(EVERYTHING, archived=True), NOW).count == 6
