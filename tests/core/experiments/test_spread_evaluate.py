"""Benchmarks over hosts: the rows are those of one machine to the byte, and only answers are taken."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

from core.config import EvalConfig
from core.engine.jobs import evaluate
from core.evaluation import answering
from core.experiments import spread_evaluate
from core.store import facts, runs
from core.store.writer import Writer
from core.training.context import Context
from tests.core.evaluation.test_benchmarks_part import OWN, Place, config, place, trained

__all__ = ["place", "trained"]  # fixtures


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
