"""Evaluations over hosts: what is measured is that of one machine to the byte, and nothing else is taken."""

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
from core.evaluation import answering, decoding, perplexity_part, policy_kl, preference_part
from core.experiments import spread_evaluate
from core.store import facts, log, runs
from core.store.writer import Writer
from core.training.context import Context
from tests.core.evaluation import test_evaluate_run as parts
from tests.core.evaluation.test_benchmarks_part import OWN, Place, config, place, trained

__all__ = ["place", "trained"]  # fixtures

MEASURED = ["perplexity", "preference", "win_rate", "final"]


def over_hosts() -> EvalConfig:
    found = config().model_dump(mode="json")
    found["compute"]["distributed"]["hosts"] = "hosts.json"
    found["logging"]["output_dir"] = "outputs/spread"
    return EvalConfig.model_validate(found)


def test_the_rows_are_those_of_one_machine(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = place.evaluated(config())
    other = tmp_path / "copy"
    shutil.copytree(place.space.root, other, ignore=shutil.ignore_patterns("runs.db*", "outputs/eval*"))
    hosts = [{"ssh": "127.0.0.1"}, {"ssh": "localhost", "cwd": str(other)}]
    (place.space.root / "hosts.json").write_text(json.dumps({"hosts": hosts}))

    # Nothing is asked here: all of it comes back answered.
    def never(*_: object) -> None:
        raise AssertionError("asked here")

    monkeypatch.setattr(answering.Answerer, "_scores", never)
    monkeypatch.setattr(answering.Answerer, "_write", lambda self, window, prefix: _known(self, window))
    run = place.submit(over_hosts())
    writer = Writer(place.space.database)
    try:
        evaluate(Context(place.space, place.db, runs.get(place.db, run), writer, threading.Event()))
    finally:
        writer.close()
    for name in OWN:
        assert place.items(run, name) == place.items(alone, name)
    both = [facts.of_run(place.db, one) for one in (alone, run)]
    names = [name for name in both[0] if name.startswith(("eval.", "sft."))]
    assert names and all(both[0][name].value == both[1][name].value for name in names)
    said = place.said(run, "info")
    assert any(line.startswith("2 items are dealt: 127.0.0.1 1, localhost 1") for line in said)
    assert sum(" answers from " in line for line in said) == 2


def _known(answerer: Any, window: Any) -> None:
    assert all(one.name in answerer._kept for one in window)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> parts.Place:
    return parts.trained.__wrapped__(tmp_path_factory)


def whole(hosts: str | None = None) -> EvalConfig:
    return parts.config(
        evaluation={"parts": MEASURED},
        compute={"distributed": {"hosts": hosts}},
        logging={"output_dir": "outputs/alone" if hosts is None else "outputs/spread"},
        # Long enough for more than one group.
        alignment_evaluation={"preference_validation": {"test_set": "data/pairs_train.jsonl", "max_tokens": 8}},
        perplexity={"validation_file": "data/sft_long.jsonl"},
        final={"kl_samples": 20, "kl_max_tokens": 4},
    )


def spread(place: parts.Place, run: str) -> None:
    writer = Writer(place.space.database)
    try:
        evaluate(Context(place.space, place.db, runs.get(place.db, run), writer, threading.Event()))
    finally:
        writer.close()


def figures(place: parts.Place, run: str) -> dict[str, Any]:
    found = {name: fact for name, fact in facts.of_run(place.db, run).items() if name.startswith("eval.")}
    return {name: (fact.value, fact.low, fact.high, fact.n) for name, fact in found.items()}


FILES = ("perplexity.json", "preference.json", "preference.jsonl", "answers.jsonl", "final.json")


def test_the_other_parts_are_those_of_one_machine(
    finished: parts.Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = parts.copied(finished, tmp_path / "w")
    (place.space.data / "sft_long.jsonl").write_text(4 * (place.space.data / "sft_train.jsonl").read_text())
    other = tmp_path / "copy"
    shutil.copytree(place.space.root, other, ignore=shutil.ignore_patterns("runs.db*"))
    alone, _ = parts.evaluated(place, whole())
    hosts = [{"ssh": "127.0.0.1", "share": 65}, {"ssh": "localhost", "cwd": str(other), "share": 35}]
    (place.space.root / "hosts.json").write_text(json.dumps({"hosts": hosts}))

    def never(*_: object, **__: object) -> None:
        raise AssertionError("measured here")

    measuring = ((decoding, "Decoder"), (perplexity_part, "response_logps"), (preference_part, "row_sums"))
    for where, name in (*measuring, (policy_kl, "_add")):
        monkeypatch.setattr(where, name, never)
    run = submit(place.space, place.db, "evaluate", whole("hosts.json")).id
    spread(place, run)
    said = [line.text for line in log.lines(place.db, run)]
    assert figures(place, run) == figures(place, alone.id)
    for name in FILES:
        one, two = (place.space.outputs / folder / name for folder in ("alone", "spread"))
        assert one.read_bytes() == two.read_bytes().replace(b"outputs/spread", b"outputs/alone"), name
    for stage in ("perplexity, examples", "preference, pairs", "win_rate, answers", "final, responses", "final, KL"):
        (line,) = [line for line in said if line.startswith(f"{stage}: ") and " rows are measured (" in line]
        assert "127.0.0.1 " in line and "localhost " in line, line
    assert not [line.text for line in log.lines(place.db, run) if line.level == "warning" and "host" in line.text]
    # Killed in a part, it goes on: what is on disk is asked of nobody.
    folder = place.space.outputs / "spread"
    for name, first in (("parts.jsonl", "win_rate"), ("answers.parts.jsonl", "baseline")):
        rows = (folder / name).read_text().splitlines(keepends=True)
        (folder / name).write_text("".join(line for line in rows if json.loads(line)[0][0] != first))
    spread(place, run)
    assert figures(place, run) == figures(place, alone.id)
    assert (folder / "answers.jsonl").read_bytes() == (place.space.outputs / "alone" / "answers.jsonl").read_bytes()
    (line,) = [
        line.text
        for line in log.lines(place.db, run)
        if line.text.startswith("win_rate, answers: 30 rows are measured")
    ]
    assert "127.0.0.1 " in line and "localhost " in line, line
    place.db.close()


@pytest.mark.parametrize(
    ("part", "entry"),
    [
        ("perplexity", [["example", 3], [1.5]]),
        ("perplexity", [["example", "3"], [1.5, 2]]),
        ("perplexity", [["another", 3], [1.5, 2]]),
        ("preference", [["policy", 3], [1.5, 2]]),
        ("preference", [["example", 3], [1.5, 2.5]]),
        ("win_rate", [["policy", 3], {"text": None, "why": "too_long"}]),
        ("win_rate", [["policy", 3], {"text": "x", "finish": "never", "tokens": 1}]),
        ("win_rate", [["policy", 3], {"text": "\ud800", "finish": "stop", "tokens": 1}]),
        ("final", [["response", 3], [1, -2]]),
        ("final", [["response", 3, 4], [1]]),
        ("final", [["response", 3], 0.5]),
        ("final", [["kl", 3], [1]]),
        ("final", [["kl", 3], math.nan]),
        ("final", [[["kl"], 3], 0.5]),
        ("preference", [["policy", 3], [1.5, math.inf]]),
        ("final", 7),
    ],
)
def test_what_is_no_row_is_refused(part: str, entry: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        spread_evaluate._row(part, entry)


def test_rows_are_taken_as_they_are() -> None:
    text = {"text": "\x1b[2Jé", "finish": "stop", "tokens": 2}
    for part, of, value in (
        ("perplexity", "example", [1.5, 2]),
        ("preference", "reference", [-1.5, -2.5]),
        ("win_rate", "baseline", text),
        ("final", "response", []),
        ("final", "kl", 0.25),
    ):
        assert spread_evaluate._row(part, [[of, 3], value]) == ((of, 3), value)


@pytest.mark.parametrize(
    "entry",
    [["x", "y"], ["0" * 32, 3], ["0" * 32, [1.0, True]], ["0" * 32, [1, True, 2]], ["0" * 32, None], "ab", 7],
)
def test_what_is_no_answer_is_refused(entry: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        spread_evaluate._answer(entry)


def test_answers_are_taken_as_they_are() -> None:
    for said in ("text", [-1.25, False, 3]):
        assert spread_evaluate._answer(["a" * 32, said]) == ("a" * 32, said)
