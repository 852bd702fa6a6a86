"""The benchmarks of a configuration, by a real run: results, facts and items, whole or in pieces."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_map

from core.config import EvalConfig
from core.engine.client import submit
from core.errors import UserError
from core.evaluation import answering, evaluate_run, harness
from core.evaluation.items import Unmeasured, fact_name, measured
from core.evaluation.own_benchmarks import Own, context
from core.evaluation.own_pattern import Pattern, TooSlow
from core.models.adapters import add_adapters, save_adapters
from core.models.load import load
from core.store import benchmarks, facts, log, open_store, runs
from core.store.files import stale_reason
from core.store.writer import Writer
from core.training.context import Context
from core.training.control import Stopped
from core.workspace import Workspace, open_workspace
from tests.core.training import tiny


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A tiny model, an adapter on it, and two benchmarks."""
    space, db = tiny.workspace(tmp_path_factory.mktemp("measured") / "w")
    db.close()
    folder = space.data / "benchmarks"
    folder.mkdir()
    words = tiny.WORDS
    rows = [
        {"prompt": f"Say {a} {b}.", "choices": [f"{a} please", b, f"{b} {a} loud"][: 2 + n % 2], "answer": n % 2}
        for n, (a, b) in enumerate(zip(words, words[3:], strict=False))
    ]
    bad = ['{"prompt": "Say \\u001b[31mred", "choices": ["red", ""], "answer": 0}', "\x1b[2Jno row"]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "choices.jsonl").write_text(text + "\n".join(bad) + "\n")
    written = [{"prompt": f"Say {word}. ", "answer": [word, "e"]} for word in words[:6]]
    (folder / "words.jsonl").write_text("".join(json.dumps(row) + "\n" for row in written))
    adapter = tiny.dpo_config().adapter
    loaded = load(space.root / "models" / "tiny")
    mx.random.seed(1)  # of lora_a
    add_adapters(loaded.model, adapter)
    mx.random.seed(3)
    loaded.model.update(_louder(loaded.model.trainable_parameters()))
    (space.outputs / "lora").mkdir()
    save_adapters(loaded.model, adapter, space.root / "models" / "tiny", space.outputs / "lora")
    return space


def _louder(tree: Any) -> Any:
    return tree_map(lambda value: value + 0.1 * mx.random.normal(value.shape), tree)


class Place:
    def __init__(self, root: Path) -> None:
        self.space = open_workspace(root)
        self.db = open_store(self.space.database)

    def submit(self, wanted: EvalConfig) -> str:
        return submit(self.space, self.db, "evaluate", wanted).id

    def go(self, run: str, leaving: threading.Event | None = None) -> None:
        writer = Writer(self.space.database)
        try:
            context = Context(self.space, self.db, runs.get(self.db, run), writer, leaving or threading.Event())
            evaluate_run.run(context)
        finally:
            writer.close()

    def evaluated(self, wanted: EvalConfig) -> str:
        run = self.submit(wanted)
        self.go(run)
        return run

    def items(self, run: str, name: str) -> list[dict[str, Any]]:
        folder = runs.get(self.db, run).output_dir
        assert folder is not None
        return [json.loads(line) for line in self.space.path(f"{folder}/benchmarks/{name}.items.jsonl").open()]

    def said(self, run: str, level: str = "warning") -> list[str]:
        return [row.text for row in log.lines(self.db, run) if row.level == level]


@pytest.fixture
def place(trained: Workspace, tmp_path: Path) -> Iterator[Place]:
    shutil.copytree(trained.root, tmp_path / "w")
    found = Place(tmp_path / "w")
    yield found
    found.db.close()


OWN: dict[str, Any] = {
    "choices": {"file": "data/benchmarks/choices.jsonl", "answer": "multiple_choice", "num_shots": 2},
    "words": {"file": "data/benchmarks/words.jsonl", "answer": "contains", "max_tokens": 6},
}


def config(every: dict[str, Any] | None = None, **evaluation: Any) -> EvalConfig:
    return EvalConfig.model_validate(
        {
            "evaluation": {"subject": "baseline", "parts": ["benchmarks"], "seed": 7, **evaluation},
            "model": {"final": "outputs/lora", "baseline": "models/tiny"},
            "capability_benchmarks": OWN if every is None else every,
            "alignment_evaluation": {"preference_validation": {"test_set": "data/pairs_val.jsonl"}},
        }
    )


def test_results_facts_and_items(place: Place) -> None:
    run = place.evaluated(config())
    first, second = benchmarks.of_run(place.db, run)
    found = facts.of_run(place.db, run)
    assert (first.name, first.subject, first.metric, first.n, first.model) == (
        "choices", "baseline", "accuracy", 10, "models/tiny",
    )  # fmt: skip
    rows = place.items(run, "choices")
    assert [row["id"] for row in rows] == [str(n) for n in range(1, 11)]
    assert first.value == sum(row["correct"] for row in rows) / 10
    assert first.chance == pytest.approx((5 / 2 + 5 / 3) / 10)
    assert first.low < first.value < first.high
    assert first.stderr == pytest.approx(np.std([row["correct"] for row in rows], ddof=1) / np.sqrt(10))
    assert (place.space.path(first.items).stat().st_mode & 0o777) == 0o600
    assert first.conditions["shots"] == 2
    assert first.conditions["seed"] == 7
    assert second.chance is None
    lines = [
        json.loads(line) for line in (place.space.data / "benchmarks" / "choices.jsonl").read_text().splitlines()[:10]
    ]
    for row, line in zip(rows, lines, strict=True):
        best = max(range(len(row["choices"])), key=lambda n: row["logprobs"][n])
        assert row["answer"] == line["choices"][best]
        assert row["target"] == line["choices"][line["answer"]]
        assert row["correct"] == float(best == line["answer"])
        each = [value / len(choice) for value, choice in zip(row["logprobs"], row["choices"], strict=True)]
        assert row["correct_normalized"] == float(each.index(max(each)) == line["answer"])
    fact = found["sft.benchmark.choices"]
    assert (fact.value, fact.n, fact.low, fact.high) == (first.value, 10, first.low, first.high)
    assert set(fact.inputs) == {"models/tiny", "data/benchmarks/choices.jsonl"}
    assert "10 items of data/benchmarks/choices.jsonl, 2-shot, accuracy by dpotui 1, standard error" in fact.source
    domain = found["sft.domain"]
    assert domain.value == pytest.approx((first.value + second.value) / 2)
    assert domain.text == f"choices {first.value:.2f}, words {second.value:.2f}"
    # Bad rows are named by their line, and nothing of them reaches a terminal.
    warnings = place.said(run)
    assert warnings[0] == "left out: choices.jsonl:11: choice 1 is empty"
    assert warnings[1].startswith("left out: choices.jsonl:12: not JSON")
    assert warnings[2] == "choices: 2 of 12 rows of choices.jsonl are left out"
    assert not any("\x1b" in line for line in warnings)
    # Measured on what lies there now.
    assert stale_reason(place.db, place.space, fact) is None
    with (place.space.data / "benchmarks" / "choices.jsonl").open("a") as file:
        file.write("\n")
    assert stale_reason(place.db, place.space, fact) is not None


def test_the_final_model_is_its_adapter_unfused(place: Place) -> None:
    run = place.evaluated(config(subject="final"))
    assert {"eval.benchmark.choices", "eval.benchmark.words", "eval.domain"} <= facts.of_run(place.db, run).keys()
    assert "eval.retention" in facts.of_run(place.db, run)
    assert facts.latest(place.db)["eval.retention"].value is None  # of no baseline
    base = place.evaluated(config())
    # The baseline came last: what is left of it is told of the final model's run.
    words = [benchmarks.latest(place.db, who)["words"] for who in ("final", "baseline")]
    kept = facts.latest(place.db)["eval.retention"]
    assert kept.run == run
    assert "was not measured" not in kept.source
    assert words[0].conditions == words[1].conditions
    ours, theirs = place.items(run, "choices"), place.items(base, "choices")
    assert ours[0]["logprobs"] != theirs[0]["logprobs"]
    fused = load(place.space.outputs / "lora", dtype=mx.float32)
    item = next(row for row in ours if len(row["tokens"]) == 2)
    # Examples and question as the part puts them.
    wanted = config(subject="final").capability_benchmarks["choices"]
    own = Own(place.space.path, "choices", wanted, 7)
    asked = next(one for one in own.items if one.id == item["id"])
    before = fused.tokenizer.encode(context(own, asked, fused))
    for choice, logprob in zip(item["choices"], item["logprobs"], strict=True):
        every = fused.tokenizer.encode(context(own, asked, fused) + " " + choice)
        logits = np.array(fused.model(mx.array([every[:-1]]))[0], np.float64)
        logps = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        alone = sum(logps[place - 1, every[place]] for place in range(len(before), len(every)))
        assert logprob == pytest.approx(alone, abs=1e-3)


@pytest.mark.parametrize("at", [1, 5])
def test_a_run_that_was_ended_gives_the_same_items(place: Place, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    wanted = config(batch_size=3)
    whole = place.evaluated(wanted)
    run, calls = place.submit(wanted), 0
    leaving = threading.Event()
    keep = answering.Answerer._keep

    def kept(self: Any, said: Any) -> None:
        nonlocal calls
        keep(self, said)
        calls += bool(said)
        if calls == at:
            leaving.set()

    monkeypatch.setattr(answering.Answerer, "_keep", kept)
    with pytest.raises(Stopped):
        place.go(run, leaving)
    monkeypatch.undo()
    before = len(benchmarks.of_run(place.db, run))
    place.go(run)
    for name in OWN:
        assert place.items(run, name) == place.items(whole, name)
    ours, theirs = benchmarks.of_run(place.db, run), benchmarks.of_run(place.db, whole)
    assert [(r.value, r.conditions) for r in ours] == [(r.value, r.conditions) for r in theirs]
    assert before < 2 == len(ours)
    # What has a result is not asked again.
    place.go(run)
    assert len(benchmarks.of_run(place.db, run)) == 2


def test_what_cannot_be_measured_is_said_once_and_the_others_go_on(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> str:
        raise Unmeasured("no harness: pip install 'dpotui[eval]'")

    monkeypatch.setattr(harness, "installed", missing)
    slow = {"file": "data/benchmarks/words.jsonl", "answer": "regex", "pattern": "(a|b|ab)*(?=c)", "max_tokens": 4}
    run = place.evaluated(config({"mmlu": {"num_shots": 5}, "slow": slow, "gsm8k": {}, "words": OWN["words"]}))
    found = facts.of_run(place.db, run)
    assert found["sft.mmlu"].value is None
    assert found["sft.mmlu"].source == found["sft.gsm8k"].source == "no harness: pip install 'dpotui[eval]'"
    assert [line for line in place.said(run) if "mmlu" in line] == [
        "mmlu, gsm8k are not measured: no harness: pip install 'dpotui[eval]'"
    ]
    assert found["sft.benchmark.words"].value is not None
    assert [result.name for result in benchmarks.of_run(place.db, run)] == ["slow", "words"]


def test_a_pattern_that_is_too_slow_measures_nothing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(self: Pattern, text: str) -> str:
        raise TooSlow

    monkeypatch.setattr(Pattern, "first", slow)
    regex = {**OWN["words"], "answer": "regex", "pattern": "(a+)+b"}
    run = place.evaluated(config({"few": {**regex, "limit": 4}, "slow": regex}))
    few, none = (facts.of_run(place.db, run)[f"sft.benchmark.{name}"] for name in ("few", "slow"))
    assert few.value == 0
    assert "few: the pattern was not done in time with 4 answers, which count as wrong" in place.said(run, "info")
    assert none.value is None
    assert none.source.startswith("pattern: '(a+)+b' was not done in time with 5 answers: nested repeats")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"file": "data/none.jsonl"}, "none.jsonl does not exist"),
        (
            {"answer": "numeric", "num_shots": 0},
            r"words.jsonl:1: answer holds no number \(red\): no row of the file is",
        ),
        ({"num_shots": 6}, "capability_benchmarks.words.num_shots: 6 examples are wanted and .*words.jsonl has 5"),
        (
            {"num_shots": 9, "shots_file": "data/benchmarks/words.jsonl"},
            r"words.num_shots: 9 examples .*words.jsonl has 6: lower it, or add rows to that file",
        ),
        (
            {"answer": "regex", "pattern": "("},
            r"capability_benchmarks.words.pattern: '\(' is no regular expression",
        ),
    ],
)
def test_what_is_wrong_with_a_file_is_said_before_anything_is_asked(
    place: Place, change: dict[str, Any], message: str
) -> None:
    every = {"choices": OWN["choices"], "words": {**OWN["words"], **change}}
    with pytest.raises(UserError, match=message):
        place.evaluated(config(every))
    assert benchmarks.latest(place.db, "baseline") == {}


def test_a_chat_template_is_asked_in(place: Place) -> None:
    every = {name: {**one, "apply_chat_template": True, "limit": 3} for name, one in OWN.items()}
    run = place.evaluated(config(every))
    first, _ = benchmarks.of_run(place.db, run)
    assert (first.n, first.conditions["chat_template"], first.conditions["limit"]) == (3, True, 3)
    folder = place.space.root / "models" / "tiny"
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings["chat_template"] = "{{ raise_exception('not \x1b[31m this') }}"
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    run = place.evaluated(config(every))
    assert facts.of_run(place.db, run)["sft.benchmark.words"].value is None
    assert "the chat template refuses line" in place.said(run)[-1]
    assert "\x1b" not in place.said(run)[-1]


def test_what_guessing_gets_too_is_said(place: Place) -> None:
    run = place.evaluated(config({"choices": OWN["choices"]}))
    (result,) = benchmarks.of_run(place.db, run)
    assert result.chance is not None
    alike = result.low <= result.chance <= result.high
    assert alike == (
        "not different from chance (0.4167)" in facts.of_run(place.db, run)["sft.benchmark.choices"].source
    )
    rows = [{"id": str(n), "correct": 1.0} for n in range(40)]
    assert not measured(rows, conditions={}, chance=0.25, seconds=1).like_chance
    assert measured(rows[:1], conditions={}, chance=0.25, seconds=1).stderr is None
    rows = [{"id": str(n), "correct": float(n % 4 == 0)} for n in range(40)]
    assert measured(rows, conditions={}, chance=0.25, seconds=1).like_chance
    assert not measured(rows, conditions={}, chance=None, seconds=1).like_chance


def test_names_of_facts() -> None:
    assert [fact_name("eval", name) for name in ("mmlu", "own")] == ["eval.mmlu", "eval.benchmark.own"]
