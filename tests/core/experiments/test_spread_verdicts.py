"""The judge of a win rate over hosts: what it says is what it says on one machine."""

from __future__ import annotations

import json
import math
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

from core.config import EvalConfig
from core.engine.client import submit
from core.engine.jobs import evaluate
from core.evaluation import win_rate_judging
from core.experiments.spread_verdicts import row_of, said_of
from core.generation.groups import Question
from core.generation.verdicts import TOO_LONG, Said
from core.store import facts, log, runs
from core.store.writer import Writer
from core.training.context import Context
from tests.core.evaluation.test_win_rate_part import REWARD, Place, config, evaluated, folder, made, place, rows

__all__ = ["made", "place"]  # fixtures

COMPARES = {"kind": "model", "model": "models/tiny", "verdict": "likelihood", "average_orders": True, "batch_size": 4}


@pytest.mark.parametrize("judge", [REWARD, COMPARES], ids=["reward", "compares"])
def test_verdicts_are_those_of_one_machine(
    place: Place, judge: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space, db = place
    alone, figures = evaluated(place, judge)
    other = tmp_path / "copy"
    shutil.copytree(space.root, other, ignore=shutil.ignore_patterns("runs.db*", "evaluate-*"))
    hosts = [{"ssh": "127.0.0.1", "share": 65}, {"ssh": "localhost", "cwd": str(other), "share": 35}]
    (space.root / "hosts.json").write_text(json.dumps({"hosts": hosts}))

    def never(*_: object) -> None:
        raise AssertionError("asked here")

    monkeypatch.setattr(win_rate_judging, "open_judge", never)
    raw = config(judge).model_dump(mode="json")
    raw["compute"]["distributed"]["hosts"] = "hosts.json"
    run = submit(space, db, "evaluate", EvalConfig.model_validate(raw)).id
    _execute(place, run)
    said = [line.text for line in log.lines(db, run)]
    (told,) = [line for line in said if line.startswith("win_rate, verdicts: ")]
    assert "127.0.0.1 " in told and "localhost " in told
    one, two = folder(place, alone), folder(place, run)
    assert (one / "answers.jsonl").read_bytes() == (two / "answers.jsonl").read_bytes()
    assert (one / "comparisons.jsonl").read_bytes() == (two / "comparisons.jsonl").read_bytes()
    verdicts = rows(one / "verdicts.jsonl")
    assert sorted(map(_place, verdicts)) == sorted(map(_place, rows(two / "verdicts.jsonl")))
    first, second = (facts.of_run(db, each)["eval.win_rate"] for each in (alone, run))
    assert (first.value, first.low, first.high, first.n) == (second.value, second.low, second.high, second.n)
    assert figures["asked"]["left_out"] == {"too_long": 1}
    # What is on disk is asked of nobody; what is missing comes to be the same.
    (two / "parts.jsonl").unlink()
    kept = (two / "verdicts.jsonl").read_text().splitlines(keepends=True)
    (two / "verdicts.jsonl").write_text("".join(kept[: len(kept) // 2]))
    _execute(place, run)
    assert sorted(map(_place, verdicts)) == sorted(map(_place, rows(two / "verdicts.jsonl")))
    assert f"win_rate, verdicts: {len(kept) - len(kept) // 2} rows are measured" in "\n".join(
        line.text for line in log.lines(db, run)
    )


def _execute(place: Place, run: str) -> None:
    space, db = place
    writer = Writer(space.database)
    try:
        evaluate(Context(space, db, runs.get(db, run), writer, threading.Event()))
    finally:
        writer.close()


def _place(row: dict[str, Any]) -> str:
    return json.dumps(row, sort_keys=True)


@pytest.mark.parametrize(
    ("question", "said"),
    [
        (Question(3, 0, 1), Said("A", -0.25, "", "log p(A) 1, log p(B) 2")),
        (Question(3, 1), Said(None, 7.0, "", "ok")),
        (Question(3, 1), Said(None, None, TOO_LONG, "5000 tokens")),
    ],
)
def test_a_row_says_what_was_said(question: Question, said: Said) -> None:
    key, value = json.loads(json.dumps(row_of(question, said)))
    assert said_of(key, value) == (question, said)


def test_what_a_judge_wrote_is_safe_to_show_wherever_it_comes_from() -> None:
    assert "\x1b" not in said_of(["verdict", 1, 0, 1], ["A", None, "", "\x1b[2J"])[1].text


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (["verdict", 1], ["A", None, "", ""]),
        (["verdict", 1, 0, True], ["A", None, "", ""]),
        (["verdict", 1, 0, 1, 2], ["A", None, "", ""]),
        (["policy", 1, 0, 1], ["A", None, "", ""]),
        (["verdict", 1, 0, 1], ["C", None, "", ""]),
        (["verdict", 1, 0, 1], ["A", math.inf, "", ""]),
        (["verdict", 1, 0, 1], ["A", "1", "", ""]),
        (["verdict", 1, 0, 1], ["A", None, "bored", ""]),
        (["verdict", 1, 0, 1], ["A", None, "", 3]),
        (["verdict", 1, 0, 1], ["A", None, ""]),
    ],
)
def test_what_is_no_verdict_is_refused(key: Any, value: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        said_of(key, value)
