"""`dpotui data convert` as a person and as a script uses it."""

from __future__ import annotations

import json

from core.data.pairs import Pair, read_pairs
from tests.dpotui.test_gates_cli import Shell, outside, pairs

__all__ = ["outside"]  # fixtures


def test_a_file_is_written_in_another_format(outside: Shell) -> None:
    pairs(outside.folder / "a.jsonl", 3)
    assert outside.run("data", "convert", "a.jsonl", "--to", "hh", "-o", "out/b.jsonl") == (
        "out/b.jsonl: 3 of 3 pairs written as hh\n"
    )
    first = next(read_pairs(outside.folder / "out" / "b.jsonl"))
    assert isinstance(first, Pair)
    assert first.chosen == [{"role": "assistant", "content": "good 0"}]


def test_what_was_left_out_is_shown_and_counted(outside: Shell) -> None:
    path = pairs(outside.folder / "a.jsonl", 2)
    with path.open("a") as file:
        file.write('{"prompt": "a", "chosen": "\\u001b[31m", "rejected": "\\u001b[31m"}\n{\n')
    said = outside.run("data", "convert", "a.jsonl", "--to", "ours", "-o", "b.jsonl")
    assert "b.jsonl: 2 of 4 pairs written as ours\n" in said
    assert "a.jsonl:3: left out: rejected is the same as chosen: there is nothing to prefer\n" in said
    assert "left out: 1 identical, 1 json\n" in said
    assert outside.json("data", "convert", "a.jsonl", "--to", "ours", "-o", "b.jsonl")["left_out"] == {
        "identical": 1, "json": 1,
    }  # fmt: skip


def test_scored_responses_become_pairs(outside: Shell) -> None:
    completions = [{"response": "x", "overall_score": 2}, {"response": "y", "overall_score": 8}]
    (outside.folder / "u.jsonl").write_text(json.dumps({"instruction": "q", "completions": completions}))
    error = outside.run("data", "convert", "u.jsonl", "--to", "ours", "-o", "p.jsonl", "--score", "quality", code=2)
    assert "line 1: the prompt has fewer than two responses with a score" in error
    outside.run("data", "convert", "u.jsonl", "--to", "ours", "-o", "p.jsonl")
    assert outside.run("data", "gap", "p.jsonl").startswith("p.jsonl: 1 pairs\nsource: chosen_score/rejected_score on")


def test_wrong_use_is_one_line(outside: Shell) -> None:
    pairs(outside.folder / "a.jsonl", 1)
    for args, words in (
        (("a.jsonl", "--to", "hh", "-o", "a.jsonl"), "a.jsonl is the file that is read"),
        (("none.jsonl", "--to", "hh", "-o", "b.jsonl"), "none.jsonl does not exist"),
        (("a.jsonl", "--to", "hh", "-o", "b.jsonl.gz"), "JSONL is written"),
        (("a.jsonl", "--to", "xml", "-o", "b.jsonl"), "'xml' is not one of"),
    ):
        assert words in outside.run("data", "convert", *args, code=2)
