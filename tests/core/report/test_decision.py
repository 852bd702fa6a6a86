"""A decision is signed with its criteria, ticked beside people's own ticks, and backed by its report."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from core import checklist
from core.checklist import Item, by_id
from core.errors import UserError
from core.report import Sources, build, decide, verify, written
from core.report.decision import unmet
from core.report.save import save, usual
from core.store import decisions, facts, ticks
from core.store.facts import Fact
from tests.core.report import made
from tests.core.report.conftest import Bench


@pytest.fixture
def good(tmp_path: Path) -> Iterator[Bench]:
    """Everything of stage 7 passes."""
    bench = Bench(*made.whole(tmp_path / "good", good=True))
    checklist.set_value(bench.db, item(bench, "eval.qualitative"), "calm", "ana")
    for name in ("eval.domain", "eval.qualitative"):
        checklist.tick(bench.db, item(bench, name), "ana")
    yield bench
    bench.db.close()


def item(bench: Bench, name: str) -> Item:
    return by_id(checklist.load_tree(bench.workspace))[name]


def report(bench: Bench, who: str = "ana") -> list[str]:
    paths = usual(bench.workspace)
    save(build(Sources(bench.db, bench.workspace)), paths)
    return written(bench.db, bench.workspace, paths, who)


def test_all_criteria_met_ticks_all_three(good: Bench) -> None:
    assert unmet(Sources(good.db, good.workspace).criteria) == []
    decision, said = decide(good.db, good.workspace, "deploy", "all good", "ana")
    assert said == [] and (decision.choice, decision.who, decision.against) == ("deploy", "ana", ())
    assert decision.run == "evaluate-002" and decision.unmet == ()
    assert report(good) == []
    said_now = {name: ticks.get(good.db, name) for name in ("eval.deployment", "eval.success", "eval.report")}
    assert all(tick.ticked and tick.who == "ana" for tick in said_now.values())
    assert said_now["eval.deployment"].note == "deploy: all good"
    for tick in said_now.values():
        assert {entry["path"] for entry in tick.evidence if entry["kind"] == "file"} == {
            "outputs/report/report.md", "outputs/report/report.html",
        }  # fmt: skip
    fact = facts.latest(good.db)["eval.report"]
    assert fact.value == 1.0 and set(fact.inputs) == {"outputs/report/report.md", "outputs/report/report.html"}


def test_writing_it_again_changes_nothing(good: Bench) -> None:
    decide(good.db, good.workspace, "deploy", "all good", "ana")
    report(good)
    paths = usual(good.workspace)
    before = [path.read_bytes() for path in paths]
    counts = [len(ticks.history(good.db)), len(facts.history(good.db, "eval.report"))]
    report(good, "bo")
    assert [path.read_bytes() for path in paths] == before
    assert counts == [len(ticks.history(good.db)), len(facts.history(good.db, "eval.report"))]
    for path in paths:
        checked = verify(Sources(good.db, good.workspace), path)
        assert checked.good and checked.whole


def test_deploying_against_what_is_not_met_has_to_name_it(bench: Bench) -> None:
    names = unmet(Sources(bench.db, bench.workspace).criteria)
    assert names[:2] == ["capability_retention", "kl_divergence"] and names[-1] == "items" and "win_rate" not in names
    with pytest.raises(UserError, match="--against capability_retention --against kl_divergence"):
        decide(bench.db, bench.workspace, "deploy", "ship", "ana")
    with pytest.raises(UserError, match="not met: items"):
        decide(bench.db, bench.workspace, "deploy", "ship", "ana", names[:-1])
    with pytest.raises(UserError, match="--against win_rate: unmet are"):
        decide(bench.db, bench.workspace, "deploy", "ship", "ana", [*names, "win_rate"])
    with pytest.raises(UserError, match="needs no override"):
        decide(bench.db, bench.workspace, "reject", "no", "ana", names)
    assert decisions.history(bench.db) == []
    made_one, _ = decide(bench.db, bench.workspace, "deploy", "ship", "ana", names)
    assert made_one.against == tuple(names) and "gate.kl_divergence" in made_one.unmet
    assert ticks.get(bench.db, "eval.deployment").note == f"deploy (against {', '.join(names)}): ship"
    assert ticks.get(bench.db, "eval.success").ticked is None


def test_what_a_person_said_is_left_as_it_is(good: Bench) -> None:
    checklist.tick(good.db, item(good, "eval.deployment"), "bo", "we talked about it")
    checklist.tick(good.db, item(good, "eval.report"), "bo")
    checklist.untick(good.db, item(good, "eval.report"), "bo", "not yet")
    checklist.tick(good.db, item(good, "eval.success"), "bo")
    facts.record(good.db, Fact("eval.win_rate", 10.0, "%", "evaluate-002", source="again"))
    _, said = decide(good.db, good.workspace, "iterate", "lost", "ana")
    said += report(good)
    assert [sentence.split(":")[0] for sentence in said] == [
        "'Deployment decision made'",
        "'All success criteria met' is ticked by bo, although some are not met",
        "'Evaluation report written'",
    ]
    assert ticks.get(good.db, "eval.deployment").note == "we talked about it"
    assert ticks.get(good.db, "eval.deployment").who == "bo"
    assert ticks.get(good.db, "eval.report").ticked is False


def test_a_later_decision_takes_the_place_of_ours(good: Bench) -> None:
    decide(good.db, good.workspace, "iterate", "one more round", "ana")
    _, said = decide(good.db, good.workspace, "reject", "no use", "bo")
    tick = ticks.get(good.db, "eval.deployment")
    assert said == [] and (tick.note, tick.who) == ("reject: no use", "bo")
    assert [each.choice for each in decisions.history(good.db)] == ["reject", "iterate"]


def test_a_checklist_without_the_items_is_no_hindrance(good: Bench) -> None:
    page = next(good.workspace.checklists.glob("7-*.md"))
    page.write_text("\n".join(line for line in page.read_text().split("\n") if "id: eval.deployment" not in line))
    _, said = decide(good.db, good.workspace, "iterate", "x", "ana")
    assert said == ["the checklist has no item 'eval.deployment': nothing to tick"]
