"""Conflicts are settled as it was asked for, and nothing else of a file is touched."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.data.jsonl import BadRow
from core.data.manifest import manifest_path
from core.data.pairs import read_pairs
from core.data.resolve import (
    By,
    Conflict,
    Decision,
    Resolved,
    count_conflicts,
    decision_row,
    export_decisions,
    find_conflicts,
    read_decisions,
    resolve,
)
from core.errors import UserError


def row(prompt: str, chosen: str, rejected: str, **fields: Any) -> str:
    return json.dumps({"prompt": prompt, "chosen": chosen, "rejected": rejected, **fields})


# x and y are preferred this way twice and that way once; v and w once each; the rest agrees.
ROWS = [
    row("p", "x", "y"),
    row("q", "v", "w"),
    row("p", "y", "x"),
    row("p", "x", "y", note="again"),
    "{",
    row("q", "w", "v"),
    row("p", "x", "z"),
    row("r", "x", "y"),
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(line + "\r\n" for line in ROWS))
    return path


def resolved(file: Path, by: By, **options: Any) -> tuple[Resolved, list[int]]:
    """What was done, and which rows were written."""
    out = file.with_name("out.jsonl")
    done = resolve(file, out, by, **options)
    return done, [ROWS.index(line) for line in out.read_text().splitlines()]


@pytest.mark.parametrize(
    ("by", "kept", "dropped", "tied"),
    [("majority", [0, 3, 6, 7], 3, 1), ("newest", [0, 3, 5, 6, 7], 2, 0), ("drop", [6, 7], 5, 0)],
)
def test_rows_stay_as_they_were_and_in_their_order(
    file: Path, by: By, kept: list[int], dropped: int, tied: int
) -> None:
    done, rows = resolved(file, by)
    assert rows == kept
    assert (done.rows, done.bad_rows, done.conflicts, done.conflict_rows) == (8, 1, 2, 5)
    assert (done.dropped, done.tied, done.left, done.written) == (dropped, tied, 0, len(kept))
    assert count_conflicts(file.with_name("out.jsonl")) == 0
    counts = json.loads(manifest_path(file.with_name("out.jsonl")).read_text())["counts"]
    assert (counts["conflicts"], counts["no pairs"], counts["rows dropped of conflicts"]) == (2, 1, dropped)


def test_the_same_said_again_can_be_collapsed(file: Path) -> None:
    done, rows = resolved(file, "majority", collapse=True)
    assert (rows, done.collapsed) == ([0, 6, 7], 1)
    done, rows = resolved(file, "newest", collapse=True)
    assert (rows, done.collapsed) == ([3, 5, 6, 7], 1)


@pytest.mark.parametrize(
    ("times", "kept"),
    [
        ((3, 2, 1), "x"),
        (("2025-01-01T12:00:00Z", "2025-01-01T12:30:00+01:00", "2024-01-01"), "x"),
        (("2025-01-01", "2025-01-02", "2024-01-01"), "y"),
        ((1, 1.0, 0), "y"),  # the later line
    ],
)
def test_a_field_may_say_what_is_newest(tmp_path: Path, times: tuple[Any, ...], kept: str) -> None:
    path = tmp_path / "a.jsonl"
    lines = [row("p", "x", "y", at=times[0]), row("p", "y", "x", at=times[1]), row("p", "x", "y", at=times[2])]
    path.write_text("\n".join(lines))
    resolve(path, tmp_path / "out.jsonl", "newest", time_field="at", collapse=True)
    (found,) = read_pairs(tmp_path / "out.jsonl")
    assert not isinstance(found, BadRow)
    assert found.chosen == kept


@pytest.mark.parametrize(
    ("time", "words"), [("soon", "at is 'soon'"), (None, "at is missing"), (True, "at is 'True'"), (1e999, "is 'inf'")]
)
def test_a_time_that_is_none_names_its_line(tmp_path: Path, time: object, words: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(row("p", "x", "y", at=1) + "\n" + row("p", "y", "x", at=time).replace("Infinity", "1e999") + "\n")
    with pytest.raises(UserError, match=r"^a\.jsonl:2: ") as error:
        resolve(path, tmp_path / "out.jsonl", "newest", time_field="at")
    assert words in str(error.value)


# By hand


def test_a_person_sees_each_conflict_in_the_order_of_texts(file: Path) -> None:
    seen: list[Conflict] = []

    def ask(conflict: Conflict) -> Decision | None:
        seen.append(conflict)
        return "second"

    _, rows = resolved(file, "hand", ask=ask)
    assert [(c.line, c.prompt, c.first, c.second, c.for_first, c.for_second) for c in seen] == [
        (1, "p", "x", "y", 2, 1), (2, "q", "v", "w", 1, 1),
    ]  # fmt: skip
    assert [(c.number, c.total) for c in seen] == [(1, 2), (2, 2)]
    assert rows == [2, 5, 6, 7]
    manifest = json.loads(manifest_path(file.with_name("out.jsonl")).read_text())
    assert set(manifest["made_by"]["parameters"]["decisions"].values()) == {"second"}


@pytest.mark.parametrize(
    ("answers", "kept", "left"),
    [
        (("first", "drop"), [0, 3, 6, 7], 0),
        ((None, "first"), [0, 1, 2, 3, 6, 7], 1),
        ((None, None), [0, 1, 2, 3, 5, 6, 7], 2),
    ],
)
def test_what_is_left_undecided_stays_and_is_counted(
    file: Path, answers: tuple[Decision | None, ...], kept: list[int], left: int
) -> None:
    waiting = list(answers)
    done, rows = resolved(file, "hand", ask=lambda conflict: waiting.pop(0))
    assert (rows, done.left) == (kept, left)
    assert count_conflicts(file.with_name("out.jsonl")) == left


def test_decisions_go_out_and_come_back(file: Path) -> None:
    decisions = file.with_name("decisions.jsonl")
    assert export_decisions(file, decisions) == 2
    rows = [json.loads(line) for line in decisions.read_text().splitlines()]
    assert rows == [decision_row(conflict, None) for conflict in find_conflicts(file)]
    assert set(read_decisions(decisions).values()) == {None}
    rows[0]["decision"] = "drop"
    decisions.write_text("".join(json.dumps(row) + "\n" for row in rows))
    known = read_decisions(decisions)
    done, kept = resolved(file, "hand", ask=lambda conflict: known[conflict.key], decided=decisions)
    assert (kept, done.left) == ([1, 5, 6, 7], 1)
    manifest = json.loads(manifest_path(file.with_name("out.jsonl")).read_text())
    assert [parent["path"] for parent in manifest["parents"]] == ["pairs.jsonl", "decisions.jsonl"]


@pytest.mark.parametrize(
    ("line", "words"),
    [("{", "not JSON"), ('{"decision": "first"}', "key is missing"),
     ('{"key": "0123456789abcdef0123456789abcdef", "decision": "A"}', "must be first, second, drop or null, not 'A'")],
)  # fmt: skip
def test_a_line_that_is_no_decision_is_named(tmp_path: Path, line: str, words: str) -> None:
    path = tmp_path / "d.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(UserError, match=r"d\.jsonl:1: ") as error:
        read_decisions(path)
    assert words in str(error.value)


# Refused


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda file: resolve(file, file, "drop"), "is the file that is read"),
        (lambda file: resolve(file, file.with_name("o.jsonl"), "drop", time_field="at"), "goes with --by newest"),
        (
            lambda file: resolve(file.with_name("only.jsonl"), file.with_name("o.jsonl"), "drop"),
            "nothing would be left",
        ),
    ],
)
def test_what_cannot_be_done_is_said_and_nothing_written(
    file: Path, call: Callable[[Path], object], words: str
) -> None:
    only = file.with_name("only.jsonl")
    only.write_text(row("p", "x", "y") + "\n" + row("p", "y", "x"))
    with pytest.raises(UserError) as error:
        call(file)
    assert words in str(error.value)
    assert sorted(path.name for path in file.parent.iterdir()) == ["only.jsonl", "pairs.jsonl"]


def test_plain_text_and_a_chat_that_say_the_same_are_one_comparison(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    chat = {
        "prompt": [{"role": "user", "content": "p "}],
        "chosen": [{"role": "assistant", "content": "y"}],
        "rejected": [{"role": "assistant", "content": "x"}],
    }
    path.write_text(row("p", "x", "y") + "\n" + json.dumps(chat))
    assert count_conflicts(path) == 1


# Any file

responses = st.sampled_from(["x", "y", "z"])
any_rows = st.lists(
    st.tuples(st.sampled_from(["p", "q"]), responses, responses).filter(lambda told: told[1] != told[2]),
    min_size=1, max_size=12,
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(told=any_rows, by=st.sampled_from(["majority", "newest", "drop"]), collapse=st.booleans())
def test_no_conflict_is_left_and_what_agrees_stays(
    tmp_path_factory: pytest.TempPathFactory, told: list[tuple[str, str, str]], by: By, collapse: bool
) -> None:
    folder = tmp_path_factory.mktemp("resolve")
    path, out = folder / "a.jsonl", folder / "out.jsonl"
    path.write_text("".join(row(*one) + "\n" for one in told))
    agreed = [one for one in told if (one[0], one[2], one[1]) not in told]
    try:
        done = resolve(path, out, by, collapse=collapse)
    except UserError as error:
        assert "nothing would be left" in str(error)
        assert not agreed
        return
    pairs = [pair for pair in read_pairs(out) if not isinstance(pair, BadRow)]
    written = [(pair.prompt, pair.chosen, pair.rejected) for pair in pairs]
    assert not any((prompt, rejected, chosen) in written for prompt, chosen, rejected in written)
    assert set(agreed) <= set(written) <= set(told)
    assert done.written + done.dropped + done.collapsed == len(told)
    if collapse:
        assert len(set(written)) == len(written)


def test_it_tells_how_far_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(
        "".join(json.dumps({"prompt": f"p{n}", "chosen": "a", "rejected": "b"}) + "\n" for n in range(1500))
    )
    told: list[tuple[int, int | None, str]] = []
    resolve(path, tmp_path / "b.jsonl", "drop", progress=lambda *how_far: told.append(how_far))
    assert told == [(1000, None, "rows read"), (1000, 1500, "rows written")]
    export_decisions(path, tmp_path / "c.jsonl", lambda *how_far: told.append(how_far))
    assert told[2:] == [(1000, None, "rows read")]
