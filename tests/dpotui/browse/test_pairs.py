"""Pairs through their index: pages, narrowing, places, findings in words, partners, the report in numbers."""

from __future__ import annotations

import gzip
from collections import Counter
from pathlib import Path
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.data.comparisons import of_pair
from core.data.index import ALL, Index, build
from core.data.pairs import read_pairs
from core.store import open_store, votes
from core.store.votes import Vote
from core.workspace import Workspace
from dpotui.browse.ballots import Votes
from dpotui.browse.narrowing import EVERYTHING, Narrowing
from dpotui.browse.pairs import IndexedPairs, index_of
from dpotui.browse.report import _middle, report, share
from tests.dpotui.browse.made import pair, write


def conflicting(number: int) -> dict[str, object]:
    one = pair(number)
    return {**one, "chosen": one["rejected"], "rejected": one["chosen"]}


@pytest.fixture
def index(tmp_path: Path) -> Index:
    rows = [pair(n) for n in range(20)]
    rows[12] = conflicting(3)
    train = write(tmp_path / "train.jsonl", [rows[0], "{", *rows[1:], pair(40, chosen="")])
    val = write(tmp_path / "val.jsonl", [pair(50), pair(3)])
    made = build([train, val], tmp_path / "cache")
    made.add_findings("conflict", [(3, "preferred the other way round", 3), (12, "and here", 3)])
    made.add_findings("leak", [(3, "in both files", 3), (21, "in both files", 3)])
    return made


def test_a_page_is_rows_of_the_file(index: Index) -> None:
    source = IndexedPairs(index, 0)
    assert source.narrow(EVERYTHING) == 20
    page = source.page(10, 100)
    assert [row.line for row in page] == [*range(12, 22)]
    assert page[2].marks == ("conflict",)
    assert page[0].words == "What is 10 and one?"
    assert [row.line for row in IndexedPairs(index, 1).page(0, 9)] == [1, 2]


def test_narrowing_and_places(index: Index) -> None:
    source = IndexedPairs(index, 0)
    assert source.narrow(Narrowing(finding="conflict")) == 2
    assert [row.line for row in source.page(0, 9)] == [5, 14]
    assert (source.place_of_pair(12), source.place_of_pair(4), source.place_of_pair(21)) == (1, None, None)
    assert source.place_of(source.offset_of(1)) == 1
    assert source.place_of_line(6) == 1
    assert source.narrow(Narrowing(gap=(0.25, None))) == 9
    assert source.narrow(Narrowing(gap=(0.25, None), finding="conflict")) == 2
    assert source.narrow(Narrowing(length=(None, 20))) == 0
    source.narrow(EVERYTHING)
    assert source.place_of_line(3) == 1 and source.place_of(source.offset_of(7)) == 7


def test_bad_rows_are_a_list_of_their_own(index: Index) -> None:
    source = IndexedPairs(index, 0)
    assert source.bad_counts() == {"empty": 1, "json": 1}
    assert source.narrow(Narrowing(bad="any")) == 2
    assert [(row.line, row.marks, row.bad) for row in source.page(0, 9)] == [
        (2, ("json",), True),
        (22, ("empty",), True),
    ]
    assert source.narrow(Narrowing(bad="empty")) == 1
    detail = source.detail(0)
    assert detail.title == "line 22 is no pair" and '"chosen": ""' in detail.parts[0].text


def test_findings_and_partners_are_told(index: Index) -> None:
    source = IndexedPairs(index, 0)
    source.narrow(EVERYTHING)
    detail = source.detail(3)
    told = "".join(text for spans in detail.head for text, _ in spans)
    assert "conflicts  preferred the other way round" in told
    assert "belongs to  line 14, val.jsonl:2" in told
    assert (detail.pair, detail.partners) == (3, (12, 21))
    assert source.detail(12).partners == (3,)
    assert detail.responses[0].differs and detail.responses[0].note.endswith("score 0.9")
    assert source.finding_counts()["leak"] == 1


def test_votes_are_told_from_the_side_of_the_chosen_one(index: Index, workspace: Workspace) -> None:
    db = open_store(workspace.database)
    rows = [row for row in read_pairs(index.files[0].path) if not hasattr(row, "reason")]
    for number, choice in ((3, "first"), (12, "first")):
        key = of_pair(rows[number]).key  # type: ignore[arg-type]
        votes.cast(db, Vote(key, choice, f"ana{number}"))  # type: ignore[arg-type]
    voted = Votes(workspace)
    said = ["".join(text for text, _ in voted.words(rows[number])) for number in (3, 12, 0)]  # type: ignore[arg-type]
    # The same two responses, preferred the other way round in the second file row.
    assert sorted(said[:2]) == ["votes  2 for chosen", "votes  2 for rejected"]
    assert said[2] == ""
    votes.undo(db, "ana3", "")
    assert "1 for" in "".join(text for text, _ in voted.words(rows[3]))  # type: ignore[arg-type]
    voted.close()
    db.close()


def test_packed_files_are_read_from_what_was_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    plain = write(tmp_path / "a.jsonl", [pair(n) for n in range(5)])
    path.write_bytes(gzip.compress(plain.read_bytes()))
    source = IndexedPairs(build([path], tmp_path / "cache"), 0)
    source.narrow(EVERYTHING)
    assert [row.words for row in source.page(3, 2)] == ["What is 3 and one?", "What is 4 and one?"]
    assert source.detail(4).responses[1].text == "It is 6."


def test_the_newest_index_of_a_file_as_it_is(tmp_path: Path, index: Index) -> None:
    folder = tmp_path / "cache"
    val = index.files[1].path
    found = index_of(val, folder)
    assert found is not None and found[1] == 1
    found[0].close()
    write(val, [pair(1)])
    assert index_of(val, folder) is None
    assert index_of(tmp_path / "other.jsonl", folder) is None


def test_the_report_counts_what_stands_there(index: Index) -> None:
    found = report(index, 0)
    assert (found.pairs, found.rows, found.bad) == (20, 22, {"empty": 1, "json": 1})
    assert found.prompts == 19
    assert (found.scored, found.inverted) == (20, 0)
    gaps = sorted(entry.gap or 0.0 for entry in index.page(ALL, 0, 20))
    assert found.mean == pytest.approx(sum(gaps) / 20)
    assert found.median == pytest.approx((gaps[9] + gaps[10]) / 2)
    assert sum(count for *_, count in found.histogram) == 20
    # A gap of 0.2 belongs to the bar that begins there.
    assert {low: count for low, _, count in found.histogram}[0.2] == sum(abs(gap - 0.2) < 1e-9 for gap in gaps)
    assert share(index, 0, 0.15) == sum(gap >= 0.15 for gap in gaps) / 20
    assert (found.longer_chosen, found.longer_rejected) == (19, 1)
    entries = index.page(ALL, 0, 20)
    for length in found.lengths:
        sizes = [getattr(entry, f"{length.what}_chars") for entry in entries]
        assert (length.unit, length.median, length.longest) == ("characters", median(sizes), max(sizes))
    assert found.findings["conflict"] == 2


@given(st.lists(st.integers(0, 9), min_size=1, max_size=30))
def test_the_middle_of_counted_lengths(numbers: list[int]) -> None:
    assert _middle(Counter(numbers)) == median(numbers)
