"""Lineage: by what was read and written, by hashes, by time and by parent."""

from __future__ import annotations

import pytest

from core.errors import UserError
from core.runs.lineage import Node, lineage, writer
from core.store import Database, artifacts, runs
from tests.core.runs.conftest import NOW, add

SFT, ONE, TWO = "a" * 64, "b" * 64, "c" * 64


def shown(nodes: tuple[Node, ...]) -> list[str]:
    return [f"{'.' * node.depth}{node.how} {node.run or node.path}{'' if node.same else ' !'}" for node in nodes]


@pytest.fixture
def chain(db: Database) -> Database:
    """SFT, two rounds of DPO of which the second goes on from the first, and an evaluation."""
    model = {"model": {"reference_model": "checkpoints/sft", "policy_model": "checkpoints/sft"}}
    add(db, "sft", inputs={"models/base": "0" * 64}, state="finished", started=NOW, output_dir="outputs/sft")
    artifacts.record(db, "sft-001", "model", "checkpoints/sft", SFT, 1)
    add(db, config=model, inputs={"checkpoints/sft": SFT}, state="finished", started=NOW + 1, output_dir="outputs/one")
    artifacts.record(db, "dpo-001", "model", "outputs/one", ONE, 1)
    second = {"model": {"reference_model": "checkpoints/sft", "policy_model": "outputs/one"}}
    add(
        db, config=second, inputs={"checkpoints/sft": SFT, "outputs/one": ONE}, state="finished", started=NOW + 2,
        output_dir="outputs/two", parent="dpo-001",
    )  # fmt: skip
    artifacts.record(db, "dpo-002", "model", "outputs/two", TWO, 1)
    add(
        db, "evaluate", {"model": {"final": "outputs/two"}}, inputs={"outputs/two": TWO}, started=NOW + 3,
        parent="sft-001",
    )  # fmt: skip
    return db


def test_ancestors(chain: Database) -> None:
    found = lineage(chain, "evaluate-001")
    assert shown(found.above) == [
        ".read dpo-002", "..read sft-001", "...outside models/base", "..read dpo-001", "...again sft-001",
        ".parent sft-001",
    ]  # fmt: skip
    assert found.above[0].keys == ("model.final",)
    assert found.below == ()


def test_what_was_made_of_it(chain: Database) -> None:
    found = lineage(chain, "sft-001")
    assert shown(found.above) == [".outside models/base"]
    assert shown(found.below) == [
        ".read dpo-001", "..read dpo-002", "...read evaluate-001", ".again dpo-002", ".child evaluate-001",
    ]  # fmt: skip
    assert found.below[0].keys == ("model.reference_model", "model.policy_model")
    assert found.as_json()["used_by"][0]["run"] == "dpo-001"


def test_a_folder_that_was_written_over_belongs_to_the_run_whose_bytes_were_read(chain: Database) -> None:
    add(chain, started=NOW + 4, state="finished", output_dir="outputs/one")
    artifacts.record(chain, "dpo-003", "model", "outputs/one", "d" * 64, 1)
    add(chain, config={"m": "outputs/one"}, inputs={"outputs/one": "d" * 64}, started=NOW + 5)
    add(chain, config={"m": "outputs/one"}, inputs={"outputs/one": ONE}, started=NOW + 6)
    add(chain, config={"m": "outputs/one"}, inputs={"outputs/one": "e" * 64}, started=NOW + 7)
    assert shown(lineage(chain, "dpo-004").above)[0] == ".read dpo-003"
    assert shown(lineage(chain, "dpo-005").above)[0] == ".read dpo-001"
    # Bytes that no run recorded: the newest that wrote there, and it is said.
    assert shown(lineage(chain, "dpo-006").above)[0] == ".read dpo-003 !"
    assert ".read dpo-006 !" in shown(lineage(chain, "dpo-003").below)
    assert "dpo-004" not in " ".join(shown(lineage(chain, "dpo-001").below))


def test_a_writer_began_before_its_reader(chain: Database) -> None:
    assert writer(chain, "outputs/two", before=NOW + 1) is None
    assert writer(chain, "outputs/two", before=NOW + 3) == "dpo-002"
    assert writer(chain, "outputs/two", kind="sft") is None
    assert writer(chain, "nowhere") is None


def test_children_of_a_sweep_are_shown_and_not_taken_for_readers(db: Database) -> None:
    add(db, "sweep")
    for _ in range(2):
        add(db, parent="sweep-001")
    assert shown(lineage(db, "sweep-001").below) == [".child dpo-001", ".child dpo-002"]
    assert shown(lineage(db, "dpo-001").above) == [".parent sweep-001"]


def test_a_tree_ends(db: Database) -> None:
    add(db, output_dir="outputs/x", inputs={"outputs/x": SFT}, started=NOW)  # reads what it writes
    artifacts.record(db, "dpo-001", "model", "outputs/x", SFT, 1)
    for number in range(250):
        add(db, inputs={"outputs/x": SFT}, started=NOW + number)
    found = lineage(db, "dpo-001")
    assert len(found.below) == 200
    assert found.more
    with pytest.raises(UserError, match="no run"):
        lineage(db, "dpo-999")
    assert runs.get(db, "dpo-001").inputs
