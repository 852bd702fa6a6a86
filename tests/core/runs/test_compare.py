"""Comparing runs: keys that differ, facts, and which is better as the gates have it."""

from __future__ import annotations

import json

import pytest

from core.errors import UserError
from core.runs.compare import LACKING, compare
from core.store import Database, facts
from core.store.facts import Fact
from core.workspace import Workspace
from tests.core.runs.conftest import add


def test_keys_that_differ(db: Database, workspace: Workspace) -> None:
    add(db, config={"training": {"beta": 0.1, "seed": 1, "flag": True}, "data": {"file": "a"}})
    add(db, config={"training": {"beta": 0.2, "seed": 1, "flag": 1}, "data": {"file": "a"}, "new": {"x": None}})
    found = compare(db, workspace, ["dpo-001", "dpo-002"])
    assert {row.key: row.values for row in found.config} == {
        "training.beta": (0.1, 0.2), "training.flag": (True, 1), "new.x": (LACKING, None),
    }  # fmt: skip
    assert found.same == 2
    document = json.loads(json.dumps(found.as_json()))
    assert document["config"]["new.x"] == {"dpo-002": None}


def test_which_is_better_as_the_gates_have_it(db: Database, workspace: Workspace) -> None:
    for kl, gap in (((0.08, 0.07, 0.09), 0.1), ((0.085, 0.075, 0.095), 0.3), ((0.5, 0.4, 0.6), 0.2)):
        run = add(db)
        value, low, high = kl
        facts.record(
            db,
            Fact("dpo.kl_divergence", value, "nats/token", run=run, low=low, high=high),
            Fact("dpo.preference_gap", gap, run=run),
            Fact("dpo.throughput", gap, run=run),
            Fact("dpo.started", 1.0, run=run),
        )
    found = {row.name: row for row in compare(db, workspace, ["dpo-001", "dpo-002", "dpo-003"]).facts}
    kl_row = found["dpo.kl_divergence"]
    assert (kl_row.better, kl_row.best, kl_row.close) == ("lower", (0,), (1,))
    assert (found["dpo.preference_gap"].better, found["dpo.preference_gap"].best) == ("higher", (1,))
    assert (found["dpo.throughput"].better, found["dpo.throughput"].best) == (None, ())
    assert "dpo.started" not in found  # a yes in all of them says nothing


def test_what_one_lacks_is_no_worse(db: Database, workspace: Workspace) -> None:
    first, second = add(db), add(db)
    facts.record(db, Fact("dpo.kl_divergence", 0.1, run=first), Fact("dpo.kl_divergence", None, run=second))
    (row,) = compare(db, workspace, [first, second]).facts
    assert row.best == ()


def test_gates_that_cannot_be_read_leave_the_facts(db: Database, workspace: Workspace) -> None:
    (workspace.configs / "gates.yaml").write_text("gates: 3\n")
    first, second = add(db), add(db)
    facts.record(db, Fact("dpo.kl_divergence", 0.1, run=first))
    found = compare(db, workspace, [first, second])
    assert "gates.yaml" in found.problem
    assert found.facts[0].better is None


@pytest.mark.parametrize(
    ("ids", "words"),
    [
        (["dpo-001"], "2 to 8 runs are compared, not 1"),
        (["dpo-001"] * 9, "not 9"),
        (["dpo-001", "dpo-001"], "dpo-001 is named twice"),
        (["dpo-001", "dpo-009"], "no run 'dpo-009'"),
    ],
)
def test_what_cannot_be_compared(db: Database, workspace: Workspace, ids: list[str], words: str) -> None:
    add(db)
    with pytest.raises(UserError, match=words):
        compare(db, workspace, ids)
