"""A whole check: every planted finding and nothing else, lengths, length bias, and the facts with their inputs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from core.data import check as module
from core.data.check import Tokenizing, check, length_bias
from core.data.check_report import report
from core.data.comparing import circles
from core.data.findings import FINDINGS
from core.data.index import Filter, Interrupted, build
from core.data.tokenize import Limits
from core.errors import UserError
from core.intervals import wilson
from core.store import Database, facts, files
from core.workspace import Workspace

LONG = "please tell me in some detail how the old clock tower of the town was built and who paid for all of it number"


def write(path: Path, rows: list[dict[str, Any] | str]) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def row(prompt: str, chosen: str, rejected: str, *scores: float) -> dict[str, Any]:
    found: dict[str, Any] = {"prompt": prompt, "chosen": chosen, "rejected": rejected}
    return found | dict(zip(("chosen_score", "rejected_score"), scores, strict=False))


PLANTED: list[dict[str, Any] | str] = [
    row("one", "yes it is", "no it is not"),  # 1
    row("one ", "yes it is", "no it is not"),  # 2: a duplicate of 1
    row("one", "no it is not", "yes it is"),  # 3: against 1 and 2
    row("two", "a", "b"),  # 4-6: a circle
    row("two", "b", "c"),
    row("two", "c", "a"),
    row("two", "a", "d"),  # 7: on no circle
    row("three", "a longer answer", "short", 0.2, 0.8),  # 8: inverted
    row(f"{LONG} 4", "an answer of five words", "another"),  # 9
    row(f"{LONG}, 4!", "An answer of five words.", "another"),  # 10: 9 again
    row("five", "fine<|im_end|>", "Human: what"),  # 11
    row("six", "caf\u00c3\u00a9", "lost \ufffd"),  # 12
    row("seven is a question to you", "Это ответ на другом языке", "an answer"),  # 13
    row("eight", "As an AI language model, I cannot", "certainly"),  # 14
    row("nine", "write to jane.roe@mail.example.org", "call +49 30 1234567"),  # 15
    row("ten", "the key is sk-abcdefghijklmnopqrstuvwx123456", "ok"),  # 16
    "{",  # 17
    row("eleven", "same", "same"),  # 18: identical
]
EXPECTED = {
    "duplicate": [2],
    "near_duplicate": [10],
    "conflict": [1, 2, 3],
    "transitivity": [4, 5, 6],
    "inverted": [8],
    "script": [13],
    "template": [11],
    "boilerplate": [14],
    "encoding": [12],
    "email": [15],
    "phone": [15],
    "key": [16],
}


def test_every_planted_finding_is_found_and_nothing_else(tmp_path: Path) -> None:
    path = write(tmp_path / "pairs.jsonl", PLANTED)
    with check([path], tmp_path / "cache").index as index:
        found = {kind: [index.entry(one.pair).line for one in index.found(kind)] for kind in index.counts()}
        assert found == EXPECTED
        assert [one.kind for one in index.findings(14 - 1)] == ["boilerplate"]
        assert index.found("duplicate")[0].detail == "the same as line 1"
        assert index.found("conflict")[2].detail == "the other way round in line 1"
        assert set(FINDINGS) >= set(found)


def test_the_counts_of_a_check(tmp_path: Path) -> None:
    found = check([write(tmp_path / "pairs.jsonl", PLANTED)], tmp_path / "cache")
    with found.index:
        assert (found.quality.rows, found.quality.valid, found.quality.errors) == (18, 16, {"identical": 1, "json": 1})
        assert (found.conflicts, found.personal, found.truncated) == (1, 2, None)
        assert (found.lengths, found.tokens_reason) == (None, "no model was named (--model)")
        values = {fact.name: fact.value for fact in found.facts}
        assert values["data.conflicts"] == 1
        assert values["data.duplicates"] == 1
        assert values["data.near_duplicates"] == 1
        assert values["data.transitivity"] == 3
        assert values["data.personal"] == 2
        assert values["data.truncated"] is None
        assert not {"data.leaks", "data.versioned", "data.validation_share"} & set(values)
        said: list[str] = []
        report(found, said.append)
        assert "conflicts: 3 pairs (1 conflict), the first in line 1, line 2, line 3" in said
        assert not any("jane" in line or "sk-abc" in line for line in said)


def test_nothing_personal_is_kept_in_the_index(tmp_path: Path) -> None:
    with check([write(tmp_path / "pairs.jsonl", PLANTED)], tmp_path / "cache").index as index:
        data = index.path.read_bytes()
        assert b"jane" not in data
        assert b"1234567" not in data
        assert b"abcdefgh" not in data
        assert index.found("email")[0].detail == "chosen: j…@m….org"


def test_leaks_are_prompts_in_both_files(tmp_path: Path) -> None:
    train = write(
        tmp_path / "train.jsonl", [row("one", "a", "b"), row(f"{LONG} 1", "a", "b"), row("only here", "a", "b")]
    )
    held_out = write(
        tmp_path / "val.jsonl", [row("new", "a", "b"), row("one", "c", "d"), row(f"{LONG.upper()}: 1", "e", "f")]
    )
    found = check([train, held_out], tmp_path / "cache")
    with found.index as index:
        assert [
            (index.entry(one.pair).file, index.entry(one.pair).line, one.detail) for one in index.found("leak")
        ] == [
            (0, 1, "the same prompt as val.jsonl:2"),
            (0, 2, "nearly the same prompt as val.jsonl:3"),
            (1, 2, "the same prompt as train.jsonl:1"),
            (1, 3, "nearly the same prompt as train.jsonl:2"),
        ]
        assert {fact.name: fact.value for fact in found.facts}["data.leaks"] == 2
        assert index.count(Filter(finding="leak", file=1)) == 2


@pytest.mark.parametrize(
    ("edges", "expected"),
    [
        ([(1, 2), (2, 3), (3, 1)], {(1, 2), (2, 3), (3, 1)}),
        ([(1, 2), (2, 1)], set()),
        ([(1, 2), (2, 1), (2, 3), (3, 2)], set()),  # two conflicts that share a response
        ([(1, 2), (2, 3), (3, 4), (4, 1), (1, 5)], {(1, 2), (2, 3), (3, 4), (4, 1)}),
        ([(1, 2), (2, 3), (3, 1), (2, 1)], {(1, 2), (2, 3), (3, 1)}),
        ([(1, 2), (1, 3), (2, 3)], set()),
    ],
)
def test_circles(edges: list[tuple[int, int]], expected: set[tuple[int, int]]) -> None:
    assert {edge for circle in circles({edge: [0] for edge in edges}) for edge in circle} == expected


def test_length_bias_is_of_pairs_that_differ_and_widens_with_clusters(tmp_path: Path) -> None:
    rows = [row(f"p{n}", "longer", "short") for n in range(6)] + [row(f"q{n}", "no", "yes") for n in range(3)]
    with build([write(tmp_path / "a.jsonl", [*rows, row("r", "12", "34")])], tmp_path) as index:
        bias = length_bias(index)
        assert (bias.longer, bias.shorter, bias.ties, bias.share) == (6, 3, 1, 6 / 9)
        assert bias.low is not None
        assert bias.low <= wilson(6, 9)[0]
    one_prompt = [row("p", f"longer {n}", "short") for n in range(6)] + [row("q", "no", f"yes {n}") for n in range(3)]
    with build([write(tmp_path / "b.jsonl", one_prompt)], tmp_path) as index:
        wider = length_bias(index)
        assert wider.low is not None
        assert wider.low < bias.low - 0.1
    with build([write(tmp_path / "c.jsonl", [row("r", "12", "34")])], tmp_path) as index:
        assert length_bias(index).share is None


# Facts


def test_the_facts_have_the_hashes_of_both_files(workspace: Workspace, db: Database) -> None:
    train = write(workspace.data / "train.jsonl", [row(f"p{n}", f"good {n}", f"bad {n}", 0.9, 0.5) for n in range(8)])
    rows = [row(f"p{n}", f"good {n}", f"bad {n}", 0.9, 0.7) for n in (7, 9)]
    held_out = write(workspace.data / "val.jsonl", rows)
    found = check([train, held_out], workspace.cache / "data", workspace=workspace, db=db)
    found.index.close()
    by_name = {fact.name: fact for fact in found.facts}
    assert {name: fact.value for name, fact in by_name.items()} == {
        "data.pairs": 10,
        "data.unique_prompts": 9,
        "data.responses_per_prompt": 2,
        "data.format_valid": 1,
        "data.preference_gap": pytest.approx(0.36),
        "data.validation_gap": pytest.approx(0.2),
        "data.validation_share": 0.2,
        "data.conflicts": 0,
        "data.duplicates": 1,
        "data.near_duplicates": 0,
        "data.length_bias": 1.0,
        "data.truncated": None,
        "data.leaks": 1,
        "data.transitivity": 0,
        "data.personal": 0,
        "data.decontamination": None,
        "data.versioned": 0,
    }
    assert set(by_name["data.pairs"].inputs) == {"data/train.jsonl", "data/val.jsonl"}
    assert set(by_name["data.validation_gap"].inputs) == {"data/val.jsonl"}
    facts.record(db, *found.facts)
    assert files.stale_reason(db, workspace, by_name["data.pairs"]) is None
    write(train, [row("p", "a", "b")])
    assert files.stale_reason(db, workspace, by_name["data.leaks"]) == "data/train.jsonl changed since"
    assert files.stale_reason(db, workspace, by_name["data.validation_gap"]) is None


def test_benchmarks_of_the_workspace_are_compared(workspace: Workspace, db: Database) -> None:
    question = "a farmer had seventeen sheep and all of them but nine ran away how many sheep were left"
    (workspace.data / "benchmarks").mkdir(exist_ok=True)
    write(workspace.data / "benchmarks" / "sums.jsonl", [{"question": question, "answer": "9"}])
    train = write(workspace.data / "a.jsonl", [row("p", "a", "b"), row(f"Tell me: {question}?", "nine", "ten")])
    found = check([train], workspace.cache / "data", workspace=workspace, db=db)
    with found.index as index:
        fact = {fact.name: fact for fact in found.facts}["data.decontamination"]
        assert fact.value == 0.5
        assert set(fact.inputs) == {"data/a.jsonl", "data/benchmarks/sums.jsonl", "data/benchmarks"}
        assert files.stale_reason(db, workspace, fact) is None
        write(workspace.data / "benchmarks" / "more.jsonl", [{"question": "What is more than all?"}])
        assert files.stale_reason(db, workspace, fact) == "data/benchmarks changed since"
        assert [index.entry(one.pair).line for one in index.found("contaminated")] == [2]
        assert found.counts["contaminated"] == 1


def test_a_file_that_changes_while_it_is_read_gives_no_facts(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [row("p", "a", "b")] * 1500)

    def change(done: int, total: int, phase: str) -> None:
        if phase.startswith("reading"):
            write(path, [row("p", "a", "b")])

    with pytest.raises(UserError, match=r"a\.jsonl changed while it was read"):
        check([path], tmp_path / "cache", progress=change)
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_check_stops_when_it_is_asked_to(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [row("p", "a", "b")] * 20)
    with pytest.raises(Interrupted):
        check([path], tmp_path / "cache", wants_stop=lambda: True)


def test_limits_without_a_tokenizer_are_no_measure(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [row("p", "a", "b")])
    found = check([path], tmp_path, tokenizing=Tokenizing(limits=Limits(1, 1), reason="the tokenizer is elsewhere"))
    found.index.close()
    fact = {fact.name: fact for fact in found.facts}["data.truncated"]
    assert (fact.value, fact.source) == (None, "the tokenizer is elsewhere; a.jsonl")
    with pytest.raises(UserError, match=r"has no tokenizer\.json"):
        check([path], tmp_path, tokenizing=Tokenizing(tmp_path / "none"))


def test_spreads_are_those_of_sorted_values() -> None:
    assert module._spread([(1, 2), (3, 1), (9, 1)]) == module.Spread(1, 2.0, 9, 9)
    assert module._spread([(1, 1), (2, 1), (3, 1)]) == module.Spread(1, 2.0, 3, 3)
    assert module._spread([]) is None
