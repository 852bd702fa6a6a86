"""Runs of kind evaluate: the figures are those that training and plain arithmetic give, whole or in pieces."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from core.config import EvalConfig
from core.engine.client import submit
from core.errors import UserError
from core.evaluation import decoding, evaluate_run, perplexity_part, session
from core.evaluation.ratio import mean_per_token
from core.evaluation.rows import Rows
from core.gates import evaluate_run as judge_run
from core.models.load import LanguageModel, load
from core.store import Database, commands, facts, log, open_store, runs
from core.store.facts import Fact
from core.store.writer import Writer
from core.training import dpo_run, sft_run
from core.training.context import Context
from core.training.control import Stopped
from core.workspace import Workspace, open_workspace
from tests.core.training import tiny
from tests.core.training.test_resume import execute
from tests.core.training.test_sft_run import held_out, nll

ROOT = Path(__file__).parents[3]
MINE = ["perplexity", "samples", "preference", "final"]


@dataclass
class Place:
    """A workspace in which SFT and DPO are done, with an adapter and by full training."""

    space: Workspace
    db: Database
    sft: str
    lora: str
    full: str


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Place:
    space, db = tiny.workspace(tmp_path_factory.mktemp("evaluated") / "w")
    sft = submit(space, db, "sft", tiny.sft_config(training_eval_pairs=0, training_learning_rate=5e-3))
    execute(space, db, sft.id, sft_run.run, None)
    on = {f"model_{name}": "checkpoints/sft" for name in ("reference_model", "policy_model")}
    found = []
    for kind in ("lora", "full"):
        config = tiny.dpo_config(
            **on, adapter_type=kind, training_eval_pairs=0, training_learning_rate=5e-3, training_max_steps=8,
            training_beta=0.3, logging_output_dir=f"outputs/{kind}", constraints_kl_target=10.0,
        )  # fmt: skip
        run = submit(space, db, "dpo", config)
        execute(space, db, run.id, dpo_run.run, None)
        found.append(run.id)
    for run in runs.listing(db):
        runs.update(db, run.id, state="finished")
    # An item of a benchmark that stands in a training pair, and three that do not.
    rows = [json.loads(line) for line in (space.data / "pairs_train.jsonl").read_text().splitlines()]
    longest = max((row["prompt"] for row in rows), key=lambda text: len(text.split()))
    assert len(longest.split()) >= 8
    (space.data / "benchmarks").mkdir()
    items = [
        longest,
        *(f"Which of these {n} things would nobody ever say to a friend in the street?" for n in range(3)),
    ]
    (space.data / "benchmarks" / "own.jsonl").write_text("".join(json.dumps({"question": q}) + "\n" for q in items))
    categories = (space.data / "pairs_val.jsonl").read_text().splitlines()
    (space.data / "pairs_test.jsonl").write_text(
        "".join(
            json.dumps(json.loads(line) | {"category": "even" if n % 2 == 0 else "odd"}) + "\n"
            for n, line in enumerate(categories)
        )
    )
    db.close()
    return Place(space, db, sft.id, *found)


@pytest.fixture
def place(trained: Place, tmp_path: Path) -> Iterator[Place]:
    """The same, for one test to spoil."""
    place = copied(trained, tmp_path / "w")
    yield place
    place.db.close()


def copied(trained: Place, root: Path) -> Place:
    shutil.copytree(trained.space.root, root)
    space = open_workspace(root)
    return replace(trained, space=space, db=open_store(space.database))


def config(**sections: dict[str, Any]) -> EvalConfig:
    raw: dict[str, Any] = {
        "evaluation": {"parts": MINE, "seed": 7},
        "model": {"final": "outputs/lora", "baseline": "checkpoints/sft", "base": "models/tiny"},
        "alignment_evaluation": {"preference_validation": {"test_set": "data/pairs_val.jsonl"}},
        "perplexity": {
            "validation_file": "data/sft_val.jsonl",
            "max_prompt_length": 64,
            "max_response_length": 64,
        },
        "samples": {"prompts_file": "data/pairs_val.jsonl", "count": 5, "max_tokens": 6},
        "final": {"kl_samples": 6, "kl_max_tokens": 8},
    }
    for section, values in sections.items():
        raw[section] = {**raw.get(section, {}), **values}
    return EvalConfig.model_validate(raw)


def evaluated(place: Place, wanted: EvalConfig) -> tuple[runs.Run, dict[str, Fact]]:
    run = submit(place.space, place.db, "evaluate", wanted)
    go(place, run.id)
    return runs.get(place.db, run.id), facts.of_run(place.db, run.id)


def go(place: Place, run_id: str, leaving: threading.Event | None = None) -> None:
    writer = Writer(place.space.database)
    try:
        run = runs.get(place.db, run_id)
        evaluate_run.run(Context(place.space, place.db, run, writer, leaving or threading.Event()))
    finally:
        writer.close()


def folder(place: Place, run: runs.Run) -> Path:
    assert run.output_dir is not None
    return place.space.path(run.output_dir)


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def figures(found: dict[str, Fact]) -> dict[str, tuple[Any, ...]]:
    return {name: (f.value, f.low, f.high, f.n, f.text, f.source, sorted(f.inputs)) for name, f in found.items()}


@pytest.fixture(scope="module")
def whole(trained: Place, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Any, ...]]:
    """What a run finds that nothing ended."""
    place = copied(trained, tmp_path_factory.mktemp("whole") / "w")
    _, found = evaluated(place, config())
    place.db.close()
    assert len(found) == 7
    return figures(found)


def test_perplexity_is_that_of_sft_and_of_plain_arithmetic(place: Place) -> None:
    only = {"subject": "baseline", "parts": ["perplexity"]}
    run, found = evaluated(place, config(evaluation=only))
    fact, theirs = found["sft.perplexity"], facts.of_run(place.db, place.sft)["sft.perplexity"]
    assert fact.value == pytest.approx(theirs.value, rel=1e-6)
    assert fact.n == theirs.n == 10
    loaded = load(place.space.checkpoints / "sft")
    pairs = held_out(place.space, loaded.tokenizer)
    sums, counts = [nll(loaded.model, *pair) for pair in pairs], [len(response) for _, response in pairs]
    assert fact.value == pytest.approx(math.exp(sum(sums) / sum(counts)), rel=1e-5)
    assert fact.low < fact.value < fact.high
    assert set(fact.inputs) == {"checkpoints/sft", "data/sft_val.jsonl"}
    assert fact.inputs["checkpoints/sft"] == theirs.inputs["checkpoints/sft"]
    written = json.loads((folder(place, run) / "perplexity.json").read_text())
    assert (written["perplexity"], written["response_tokens"]) == (fact.value, sum(counts))
    assert stat.S_IMODE((folder(place, run) / "perplexity.json").stat().st_mode) == 0o600
    assert not [row for row in log.lines(place.db, run.id) if row.level == "warning"]
    assert runs.get(place.db, run.id).stage == 1


def test_another_template_than_in_training_is_said(place: Place) -> None:
    only = {"subject": "baseline", "parts": ["perplexity"]}
    run, _ = evaluated(place, config(evaluation=only, perplexity={"max_response_length": 2}))
    warnings = [row.text for row in log.lines(place.db, run.id) if row.level == "warning"]
    assert warnings == [f"perplexity.max_response_length is 2, and {place.sft} trained checkpoints/sft with 64"]


def test_the_interval_is_what_a_bootstrap_over_texts_gives() -> None:
    rng = np.random.default_rng(0)
    tokens = rng.integers(3, 60, 300)
    sums = tokens * rng.gamma(2.0, 0.4, 300)
    mean, low, high = mean_per_token(sums.tolist(), tokens.tolist())
    drawn = rng.integers(0, 300, (4000, 300))
    again = sums[drawn].sum(1) / tokens[drawn].sum(1)
    assert mean == pytest.approx(sums.sum() / tokens.sum())
    assert low is not None
    assert high is not None
    assert (low, high) == pytest.approx(np.quantile(again, [0.025, 0.975]).tolist(), rel=0.02)
    assert mean_per_token([3.0], [2]) == (1.5, None, None)


@pytest.mark.parametrize("kind", ["lora", "full"])
def test_preference_and_kl_of_a_policy(place: Place, kind: str) -> None:
    wanted = config(evaluation={"parts": ["preference", "final"]}, model={"final": f"outputs/{kind}"})
    run, found = evaluated(place, wanted)
    # What the DPO run found on the same file, with its own β, though by other batches.
    theirs = facts.of_run(place.db, getattr(place, kind))
    for ours, name in (("eval.preference_gap", "dpo.preference_gap"), ("eval.preference_accuracy",) * 2):
        other = theirs[name.replace("eval.", "dpo.")]
        assert found[ours].value == pytest.approx(other.value, rel=1e-4, abs=1e-4), ours
        assert (found[ours].low, found[ours].high) == pytest.approx((other.low, other.high), rel=1e-3)
        assert found[ours].n == 10
    assert "β 0.3" in found["eval.preference_gap"].source
    assert {"checkpoints/sft", f"outputs/{kind}", "data/pairs_val.jsonl"} <= set(found["eval.preference_gap"].inputs)

    # The KL, by both models' whole distributions over the tokens that were sampled.
    policy, reference = load(place.space.path(f"outputs/{kind}")), load(place.space.checkpoints / "sft")
    kept = {tuple(key): value for key, value in lines(folder(place, run) / "final.parts.jsonl")}
    prompts = {tuple(ids) for ids in _prompts(place, policy)}
    sums, counts, sampled = [], [], []
    for number in range(6):
        response = kept["response", number]
        candidates = [_kl(policy, reference, list(prompt), response) for prompt in prompts]
        sums.append(min(candidates, key=lambda value: abs(value - kept["kl", number])))
        assert sums[-1] == pytest.approx(kept["kl", number], rel=1e-3, abs=1e-5)
        counts.append(len(response))
        sampled.append(tuple(response))
    fact = found["eval.kl_divergence"]
    assert fact.value == pytest.approx(sum(sums) / sum(counts), rel=1e-3)
    assert fact.low <= fact.value <= fact.high
    assert (fact.n, fact.unit) == (6, "nats/token")
    assert len(set(sampled)) > 1
    assert found["eval.checkpoint_loaded"].value == 1.0


def _prompts(place: Place, policy: LanguageModel) -> list[list[int]]:
    rows = lines(place.space.data / "pairs_val.jsonl")
    return [policy.tokenizer.encode(row["prompt"].rstrip()) for row in rows]


def _kl(policy: LanguageModel, reference: LanguageModel, prompt: list[int], response: list[int]) -> float:
    tables = []
    for loaded in (policy, reference):
        logits = np.array(loaded.model(mx.array([prompt + response]))[0].astype(mx.float32), np.float64)
        tables.append(logits - np.log(np.exp(logits).sum(-1, keepdims=True)))
    rows = slice(len(prompt) - 1, len(prompt) + len(response) - 1)
    p, q = (table[rows] for table in tables)
    return float((np.exp(p) * (p - q)).sum())


def test_preference_by_category(place: Place) -> None:
    pairs = {"preference_validation": {"test_set": "data/pairs_test.jsonl"}}
    run, found = evaluated(place, config(evaluation={"parts": ["preference"]}, alignment_evaluation=pairs))
    written = json.loads((folder(place, run) / "preference.json").read_text())
    rows = lines(folder(place, run) / "preference.jsonl")
    assert written["categories"].keys() == {"even", "odd"}
    for name, some in written["categories"].items():
        margins = [row["margin"] for row in rows if row["category"] == name]
        assert some["pairs"] == len(margins) == 5
        assert some["margin"] == pytest.approx(np.mean(margins))
        assert some["accuracy"] == pytest.approx(np.mean([row["won"] for row in rows if row["category"] == name]))
    assert found["eval.preference_gap"].value == pytest.approx(np.mean([row["margin"] for row in rows]))
    assert [row["line"] for row in rows] == list(range(1, 11))


def test_a_tie_counts_half(place: Place) -> None:
    # An adapter that was never trained: policy and reference are one.
    before = place.space.root / "outputs" / "lora"
    weights = mx.load(str(before / "adapters.safetensors"))
    mx.save_safetensors(
        str(before / "adapters.safetensors"),
        {name: mx.zeros_like(value) if name.endswith("lora_b") else value for name, value in weights.items()},
    )
    _, found = evaluated(place, config(evaluation={"parts": ["preference", "final"]}))
    assert found["eval.preference_accuracy"].value == 50.0
    assert found["eval.preference_gap"].value == 0.0
    assert found["eval.kl_divergence"].value == 0.0


def test_what_is_not_known_is_not_guessed(place: Place) -> None:
    for kind in ("lora", "full"):
        shutil.copytree(place.space.path(f"outputs/{kind}"), place.space.path(f"models/{kind}"))
        (place.space.path(f"models/{kind}") / "training_metrics.json").unlink()
    parts = {"parts": ["preference", "final"]}
    _, adapter = evaluated(place, config(evaluation=parts, model={"final": "models/lora"}))
    _, whole = evaluated(place, config(evaluation=parts, model={"final": "models/full"}))
    theirs = facts.of_run(place.db, place.lora)
    why = "models/lora has no training_metrics.json, and no DPO run has its output there"
    # Of an adapter the reference is what it stands on; signs need no β.
    assert adapter["eval.preference_accuracy"].value == pytest.approx(theirs["dpo.preference_accuracy"].value)
    assert adapter["eval.preference_gap"].value is None
    assert adapter["eval.preference_gap"].source.startswith(f"β is not known: {why}; the log-ratio margin is ")
    assert adapter["eval.kl_divergence"].value > 0
    assert adapter["eval.decontamination"].value is None
    assert adapter["eval.decontamination"].source == f"the pairs it was trained on are not known: {why}"
    why = why.replace("lora", "full")
    for name in ("eval.preference_accuracy", "eval.preference_gap", "eval.kl_divergence"):
        assert (whole[name].value, whole[name].source) == (None, f"its reference is not known: {why}")
    assert whole["eval.checkpoint_loaded"].value == 1.0


def test_a_reference_that_changed_is_none(place: Place) -> None:
    target = place.space.checkpoints / "sft" / "model.safetensors"
    weights = mx.load(str(target))
    mx.save_safetensors(str(target), {name: value + 0.01 for name, value in weights.items()})
    _, found = evaluated(place, config(evaluation={"parts": ["preference"]}, model={"final": "outputs/full"}))
    assert found["eval.preference_gap"].value is None
    assert found["eval.preference_gap"].source == (
        f"checkpoints/sft, the reference of {place.full}, changed since that run read it: put back what was there, or"
        " train anew"
    )


def test_contamination(place: Place) -> None:
    run, found = evaluated(place, config(evaluation={"parts": ["final"]}))
    fact = found["eval.decontamination"]
    assert (fact.n, fact.value) == (40, 1 - 1 / 40)  # the pair that holds the item
    assert {"data/pairs_train.jsonl", "data/pairs_val.jsonl", "data/benchmarks", "data/benchmarks/own.jsonl"} <= set(
        fact.inputs
    )
    # So does a training pair that asks what a test pair asks; its answers do not matter.
    asked = lines(place.space.data / "pairs_train.jsonl")[3] | {"chosen": "x", "rejected": "y"}
    with (place.space.data / "pairs_test.jsonl").open("a") as file:
        file.write(json.dumps(asked) + "\n")
    tests = {"preference_validation": {"test_set": "data/pairs_test.jsonl"}}
    _, repeated = evaluated(place, config(evaluation={"parts": ["final"]}, alignment_evaluation=tests))
    assert repeated["eval.decontamination"].value == 1 - 2 / 40
    assert "; 1 of data/pairs_train.jsonl have a prompt of data/pairs_test.jsonl" in (
        repeated["eval.decontamination"].source
    )
    # A benchmark elsewhere counts too, one without a file is named; and nothing is compared with files that changed.
    (place.space.data / "benchmarks" / "own.jsonl").rename(place.space.data / "mine.jsonl")
    benchmarks = {
        "mine": {"file": "data/mine.jsonl", "answer": "contains"},
        "mmlu": {"dataset": "cais/mmlu"},
    }
    _, again = evaluated(place, config(evaluation={"parts": ["final"]}, capability_benchmarks=benchmarks))
    assert again["eval.decontamination"].value == fact.value
    assert again["eval.decontamination"].source.endswith("not compared, for there is no file of it here: mmlu")
    _, none = evaluated(place, config(evaluation={"parts": ["final"]}))
    assert none["eval.decontamination"].value is None
    assert "no benchmark files" in none["eval.decontamination"].source
    with (place.space.data / "pairs_train.jsonl").open("a") as file:
        file.write('{"prompt": "a", "chosen": "b", "rejected": "c"}\n')
    _, changed = evaluated(place, config(evaluation={"parts": ["final"]}, capability_benchmarks=benchmarks))
    assert changed["eval.decontamination"].source == (
        f"data/pairs_train.jsonl changed since {place.lora} was trained on it"
    )
    # By the thresholds of its own configuration.
    verdicts = {result.gate.name: result for result in judge_run(place.db, place.space, run)}
    assert verdicts["decontamination"].verdict == "STALE"
    assert verdicts["kl_divergence"].gate.threshold == 0.1
    assert verdicts["win_rate"].verdict == "UNKNOWN"


def test_samples_side_by_side(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    names = []

    def counted(path: Path, **options: Any) -> LanguageModel:
        names.append(path.name)
        return load(path, **options)

    monkeypatch.setattr(session, "load", counted)
    run, found = evaluated(place, config())
    # The baseline is the adapter's own model: it is answered for with the adapter off, and never loaded.
    assert names == ["lora", "tiny", "lora"]
    rows = lines(folder(place, run) / "samples.jsonl")
    assert len(rows) == 5
    assert found["eval.samples"].value == 1.0
    assert found["eval.samples"].text == "5 prompts"
    models = {
        "final": load(place.space.root / "outputs" / "lora"),
        "baseline": load(place.space.checkpoints / "sft"),
        "base": load(place.space.root / "models" / "tiny"),
    }
    for row in rows:
        assert [answer["who"] for answer in row["answers"]] == ["final", "baseline", "base"]
        for answer in row["answers"]:
            loaded = models[answer["who"]]
            assert answer["text"] == _greedy(loaded, row["prompt"], 6)
            assert answer["tokens"] <= 6
    assert {row["answers"][0]["text"] for row in rows} != {row["answers"][2]["text"] for row in rows}
    # The log tells of them in lines that end.
    told = [row.text for row in log.lines(place.db, run.id) if " → " in row.text]
    assert len(told) == 5
    assert max(map(len, told)) < 220


def _greedy(loaded: LanguageModel, prompt: str, most: int) -> str:
    ids = loaded.tokenizer.encode(prompt)
    begun = len(ids)
    while (len(ids) < begun + most and ids[-1] not in loaded.tokenizer.eos_token_ids) or len(ids) == begun:
        ids.append(int(loaded.model(mx.array([ids]))[0, -1].argmax()))
    decode = loaded.tokenizer.decode
    whole, before = (decode(part, skip_special_tokens=True) for part in (ids, ids[:begun]))
    text = str(whole[len(before) :])
    # A response that is cut may end in half a character, which is no text.
    return text if ids[-1] in loaded.tokenizer.eos_token_ids else re.sub("\ufffd{1,3}$", "", text)


def test_a_model_that_cannot_be_asked_is_said(place: Place) -> None:
    file = place.space.root / "models" / "tiny" / "tokenizer_config.json"
    written = json.loads(file.read_text())
    written.pop("chat_template", None)
    file.write_text(json.dumps(written))
    for template in (place.space.root / "models" / "tiny").glob("chat_template*"):
        template.unlink()
    wanted = config(evaluation={"parts": ["samples"]}, samples={"apply_chat_template": True})
    run, _ = evaluated(place, wanted)
    answers = [row["answers"] for row in lines(folder(place, run) / "samples.jsonl")]
    assert all(final["text"] is not None and base["text"] is None for final, _, base in answers)
    assert "chat template" in answers[0][2]["why"]


class Dead(BaseException):
    """What a killed process leaves is what is on disk."""


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many small batches, between which a run can die."""
    monkeypatch.setattr(decoding, "GROUP", 2)
    monkeypatch.setattr(perplexity_part, "TOKENS_CPU", 48)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("model", "parts", "dies_at"),
    [("outputs/lora", MINE, (2, 4, 3, 5, 2, 6, 4, 99)), ("outputs/full", ["preference", "final"], (2, 4, 3, 99))],
)
def test_a_run_that_died_again_and_again_finds_the_same(
    place: Place, monkeypatch: pytest.MonkeyPatch, model: str, parts: list[str], dies_at: tuple[int, ...]
) -> None:
    wanted = config(
        evaluation={"parts": parts},
        model={"final": model},
        samples={"temperature": 1.0, "count": 3},
        final={"kl_samples": 4},
    )
    _, whole = evaluated(place, wanted)
    adds, limit = 0, 0
    add = Rows.add

    def dying(self: Rows, rows: Any) -> None:
        nonlocal adds
        adds += 1
        if adds == limit:
            raise Dead
        add(self, rows)

    run = submit(place.space, place.db, "evaluate", wanted)
    deaths = 0
    monkeypatch.setattr(Rows, "add", dying)
    for limit in dies_at:  # noqa: B007 - dying() looks at it
        adds = 0
        try:
            go(place, run.id)
            break
        except Dead:
            deaths += 1
            # Half a line, as a machine that lost its power leaves it.
            for part in folder(place, runs.get(place.db, run.id)).glob("*.parts.jsonl"):
                with part.open("a") as file:
                    file.write('[["policy", 1], [-')
    assert deaths == len(dies_at) - 1
    assert figures(facts.of_run(place.db, run.id)) == figures(whole)
    first, second = (folder(place, r) for r in runs.listing(place.db, kind="evaluate")[:2])
    for name in (path.name for path in first.iterdir() if not path.name.endswith("parts.jsonl")):
        assert (first / name).read_bytes() == (second / name).read_bytes(), name


CHILD = """
import os, signal, sys, threading
from pathlib import Path
from core.evaluation import evaluate_run
from core.evaluation.rows import Rows
from core.store import open_store, runs
from core.store.writer import Writer
from core.training.context import Context
from core.workspace import open_workspace

space = open_workspace(Path(sys.argv[1]))
db = open_store(space.database)
add, left = Rows.add, int(sys.argv[3])

def dying(self, rows):
    global left
    add(self, rows)
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)

Rows.add = dying
writer = Writer(space.database)
evaluate_run.run(Context(space, db, runs.get(db, sys.argv[2]), writer, threading.Event()))
"""


def test_killed_and_resumed(place: Place, whole: dict[str, tuple[Any, ...]]) -> None:
    run = submit(place.space, place.db, "evaluate", config())
    command = [sys.executable, "-c", CHILD, str(place.space.root), run.id, "8"]
    child = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert child.returncode == -signal.SIGKILL, child.stderr
    done = [key for (key,), _ in lines(folder(place, runs.get(place.db, run.id)) / "parts.jsonl")]
    assert "perplexity" in done
    assert "final" not in done
    go(place, run.id)
    assert figures(facts.of_run(place.db, run.id)) == whole
    said = [row.text for row in log.lines(place.db, run.id)]
    assert "perplexity: done before" in said


class After(threading.Event):
    """The engine's wish to leave, which comes at the given look."""

    def __init__(self, looks: int) -> None:
        super().__init__()
        self.looks = looks

    def is_set(self) -> bool:
        self.looks -= 1
        return self.looks < 0


def test_stopped_paused_and_resumed(place: Place, whole: dict[str, tuple[Any, ...]]) -> None:
    run = submit(place.space, place.db, "evaluate", config())
    for looks in (0, 3, 9):
        with pytest.raises(Stopped):
            go(place, run.id, After(looks))
    # A person pauses, goes on, and stops.
    runs.update(place.db, run.id, state="running")
    commands.send(place.db, run.id, "pause", "ann")
    commands.send(place.db, run.id, "resume", "ann")
    commands.send(place.db, run.id, "stop", "ann")
    with pytest.raises(Stopped):
        go(place, run.id)
    answers = [command.answer for command in commands.of_run(place.db, run.id)]
    assert all(answers)
    assert "are on disk" in answers[0]
    go(place, run.id)
    assert figures(facts.of_run(place.db, run.id)) == whole


def test_a_run_does_not_go_on_with_another_model(place: Place) -> None:
    run = submit(place.space, place.db, "evaluate", config())
    with pytest.raises(Stopped):
        go(place, run.id, After(4))
    target = place.space.root / "outputs" / "lora" / "adapters.safetensors"
    mx.save_safetensors(str(target), {name: value * 2 for name, value in mx.load(str(target)).items()})
    for _ in range(2):
        with pytest.raises(UserError, match=f"outputs/lora changed since {run.id} began: put back what was there"):
            go(place, run.id)


def test_weights_that_are_no_numbers(place: Place) -> None:
    target = place.space.root / "outputs" / "lora" / "adapters.safetensors"
    weights = mx.load(str(target))
    name = sorted(weights)[0]
    mx.save_safetensors(str(target), {**weights, name: weights[name] * math.nan})
    for part in MINE:
        with pytest.raises(UserError) as raised:
            evaluated(place, config(evaluation={"parts": [part]}))
        assert str(raised.value) == (
            f"outputs/lora: weights are no numbers (NaN or infinite) in {name}: the training that wrote it diverged, or"
            " the file is damaged; name an earlier checkpoint, or train it anew"
        )


def test_what_is_missing_is_said_before_anything_runs(place: Place) -> None:
    wanted = config(
        model={"final": "outputs/nobody", "base": "models/nobody"}, perplexity={"validation_file": "data/x"}
    )
    with pytest.raises(UserError) as raised:
        submit(place.space, place.db, "evaluate", wanted)
    said = str(raised.value).splitlines()
    assert [line.split(" ")[0] for line in said] == ["model.final:", "perplexity.validation_file:", "model.base:"]
    assert all(line.endswith("put it there, or name another") for line in said)
    # In the run too, where it goes meanwhile.
    run = submit(place.space, place.db, "evaluate", config())
    shutil.rmtree(place.space.root / "outputs" / "lora")
    with pytest.raises(UserError, match=r"model 'outputs/lora': no folder .*: train or copy it there"):
        go(place, run.id)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"judge": {"kind": "reward", "model": "checkpoints/sft"}},
            "preference_validation.judge: .*checkpoints/sft is no reward model",
        ),
        (
            {"judge": {"kind": "model", "model": "checkpoints/r"}},
            "preference_validation.judge: checkpoints/r is a reward model: set kind: reward",
        ),
        ({"model": {"baseline": "checkpoints/r"}}, "model.baseline: checkpoints/r is a reward model, which writes"),
        ({"logging": {"output_dir": "data/pairs_val.jsonl"}}, "logging.output_dir: data/pairs_val.jsonl cannot be"),
    ],
)
def test_what_would_end_a_run_late_ends_it_first(place: Place, changes: dict[str, Any], message: str) -> None:
    (place.space.checkpoints / "r").mkdir()
    (place.space.checkpoints / "r" / "reward_config.json").write_text("{}")
    preference = {"test_set": "data/pairs_val.jsonl", "judge": changes.pop("judge", None)}
    wanted = {
        "evaluation": {"parts": ["perplexity", "samples", "win_rate"]},
        "alignment_evaluation": {"preference_validation": preference},
        **changes,
    }
    run = submit(place.space, place.db, "evaluate", config(**wanted))
    with pytest.raises(UserError, match=message):
        go(place, run.id)
    assert facts.of_run(place.db, run.id) == {}


def test_what_is_not_asked_for_says_why(place: Place) -> None:
    wanted = config(
        evaluation={"parts": ["perplexity", "samples"]},
        perplexity={"validation_file": None},
        samples={"prompts_file": None},
    )
    _, found = evaluated(place, wanted)
    assert {name: (fact.value, fact.source) for name, fact in found.items()} == {
        "eval.perplexity": (None, "perplexity.validation_file names no file"),
        "eval.samples": (None, "samples.prompts_file names no file"),
    }


def test_a_file_of_results_that_another_hand_changed(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    with Rows(path) as rows:
        rows.add([(("a", 1), 0.1), (("b",), {"text": "\ud800\x1b"})])
        rows.add([(("a", 1), 0.3)])
    with Rows(path) as rows:
        assert rows["a", 1] == 0.1
        assert ("b",) in rows
    path.write_text('[["a", 1], 0.1]\nnonsense\n')
    with pytest.raises(UserError, match=r"rows.jsonl:2: not as this program writes it"):
        Rows(path)
