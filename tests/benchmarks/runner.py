"""Runs one process after the other, in turn, checks that each trained on the same, and keeps a JSON file of each."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from tests.benchmarks import environments, machine
from tests.benchmarks.models import generate, in_half
from tests.benchmarks.pairs import cut_to, generated_texts, real_texts, tokenizer_of, write
from tests.benchmarks.peers.process import digest
from tests.benchmarks.specs import DRIVERS, ENVIRONMENTS, TRAINING, Measurement, expected_layers

# Pairs that are held out for our evaluations.
HELD_OUT = 2
# A process that takes longer is given up.
LIMIT_SECONDS = 3600
_LN2 = math.log(2)


@dataclass(frozen=True, slots=True)
class Place:
    """Where things are.

    Attributes:
        model: a model folder, or None for a generated one.
        pair_files: JSONL files of real pairs; none: generated ones.
        cache: environments, generated models and work in progress.
        results: a folder for each machine.
        settings: keys that go on top of our configuration, by section.
        source: the checkout whose dpotui is measured, and `commit` what it is of.
        interpreters: of environments that are there already, in place of those the harness makes.
    """

    model: Path | None
    pair_files: tuple[Path, ...]
    device: str
    cache: Path
    results: Path
    settings: dict[str, dict[str, Any]]
    source: Path
    commit: str
    interpreters: dict[str, Path] = field(default_factory=dict)

    def python(self, program: str) -> Path:
        name = ENVIRONMENTS[DRIVERS[program]]
        return self.interpreters.get(name) or environments.python(name, self.device, self.cache)


@dataclass(frozen=True, slots=True)
class _Busy:
    """Seconds since some start: of the clock, of all cores' work, of the processes we started and of our own."""

    time: float
    all: float
    ours: float

    @classmethod
    def now(cls) -> _Busy:
        cores, mine = psutil.cpu_times(), os.times()
        busy = cores.user + cores.system + getattr(cores, "nice", 0.0)
        return cls(time.time(), busy, mine.user + mine.system + mine.children_user + mine.children_system)

    def others_since(self, before: _Busy) -> float:
        """The share of the cores' time that went to other programs."""
        others = (self.all - before.all) - (self.ours - before.ours)
        return max(0.0, others) / ((self.time - before.time) * (os.cpu_count() or 1))


def measure(
    place: Place,
    measurements: Sequence[Measurement],
    programs: Sequence[str],
    rounds: int | None = None,
    disturbed: float = 1.0,
) -> None:
    """Measure what has no result yet. Programs take turns, so that a slow hour of the machine hits all of them.

    Args:
        rounds: instead of each measurement's own number.
        disturbed: measure again what has a result, but other programs took more than this share of the cores.
    """
    here = machine.describe(place.device)
    folder = place.results / machine.slug(here)
    folder.mkdir(parents=True, exist_ok=True)
    for measurement in measurements:
        prepared: dict[str, Any] | None = None
        for turn in range(rounds or measurement.rounds):
            work = place.cache / "work" / measurement.name
            for program in (p for p in measurement.programs if p in programs):
                name = f"{measurement.name}.{program}.{_key(place, measurement, program)}.{turn}.json"
                if _stands(folder / name, disturbed):
                    continue
                prepared = prepared or _prepare(place, measurement)
                interpreter = place.python(program)
                if program == "ours-again" and not (work / "ours").exists():
                    _execute(place, measurement, "ours", interpreter, prepared, work)
                before = _Busy.now()
                outcome = _execute(place, measurement, program, interpreter, prepared, work)
                after = _Busy.now()
                record = {
                    "measurement": asdict(measurement),
                    "program": program,
                    "round": turn,
                    "model": prepared["model_name"],
                    "data": prepared["data_name"],
                    "machine": here,
                    "code": machine.code(place.source) if DRIVERS[program] == "ours" else "",
                    "commit": place.commit,
                    "date": datetime.now(UTC).isoformat(timespec="seconds"),
                    "others": after.others_since(before),
                    "settings": place.settings if DRIVERS[program] == "ours" else {},
                    "seconds": after.time - before.time,
                    **outcome,
                }
                part = folder / f".{name}.part"
                part.write_text(json.dumps(record, indent=1) + "\n", "utf-8")
                part.rename(folder / name)
                print(f"{measurement.name}, round {turn + 1}, {program}: {_said(record)}", flush=True)
            shutil.rmtree(work, ignore_errors=True)


def _stands(file: Path, disturbed: float) -> bool:
    if not file.exists():
        return False
    record = json.loads(file.read_text("utf-8"))
    return "failed" not in record and record["others"] <= disturbed


def _key(place: Place, measurement: Measurement, program: str) -> str:
    """Changes when a result would: other code, other requirements, another model, other data, another size."""
    decides = {
        "measurement": {k: v for k, v in asdict(measurement).items() if k not in ("rounds", "programs")},
        "training": TRAINING,
        "requirements": environments.fingerprint(ENVIRONMENTS[DRIVERS[program]], place.device),
        "model": place.model.name if place.model and measurement.vocabulary is None else "generated",
        "pairs": [f"{file.name} {file.stat().st_size}" for file in place.pair_files],
        "ours": [machine.code(place.source), place.settings] if DRIVERS[program] == "ours" else [],
    }
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:10]


def _prepare(place: Place, measurement: Measurement) -> dict[str, Any]:
    """The model and the files of pairs of a measurement: texts for us, ids for the peers."""
    seed = TRAINING["seed"]
    if place.model is not None and measurement.vocabulary is None:
        model, model_name = place.model, place.model.name
    else:
        vocabulary = measurement.vocabulary or 49_152
        model = generate(place.cache / "models" / f"generated-{vocabulary}", seed=seed, vocab_size=vocabulary)
        model_name = f"generated, SmolLM2-135M's shape, vocabulary {vocabulary:,}"
    if place.device == "gpu":
        model = in_half(model, place.cache / "models" / f"{model.name}-bfloat16")
    config = json.loads((model / "config.json").read_text("utf-8"))
    lengths, wanted = measurement.lengths, measurement.pairs + HELD_OUT
    generated = not place.pair_files or model_name.startswith("generated")
    if generated:
        data_name = "generated"
        rows = generated_texts(config["vocab_size"] - 1, wanted, measurement.length, seed)
    else:
        data_name = ", ".join(file.name for file in place.pair_files)
        rows = real_texts(place.pair_files, seed)
    cut = cut_to(tokenizer_of(model), rows, lengths, wanted)
    folder = place.cache / "data" / measurement.name
    folder.mkdir(parents=True, exist_ok=True)
    texts, ids = write(folder, "train", cut[HELD_OUT:])
    held_out, _ = write(folder, "held-out", cut[:HELD_OUT])
    return {
        "model": str(model),
        "model_name": model_name,
        "data_name": data_name,
        "blocks": config["num_hidden_layers"],
        "train_file": str(texts),
        "validation_file": str(held_out),
        "ids": str(ids),
        "digest": digest((tokens.prompt, *tokens.responses) for _, tokens in cut[HELD_OUT:]),
    }


def _execute(
    place: Place, measurement: Measurement, program: str, interpreter: Path, prepared: dict[str, Any], work: Path
) -> dict[str, Any]:
    """Run one process: {"result": ...}, or {"failed": why}."""
    driver = DRIVERS[program]
    folder = work / driver
    if program != "ours-again":
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    spec = {
        **TRAINING,
        **{key: prepared[key] for key in ("model", "ids", "train_file", "validation_file")},
        "prompt_tokens": measurement.lengths.prompt,
        "response_tokens": measurement.lengths.response,
        "batch_size": measurement.batch_size,
        "pairs": measurement.pairs,
        "epochs": measurement.epochs,
        "device": place.device,
        "precompute": program == "trl-precompute",
        "evaluate": measurement.evaluate,
        "settings": place.settings,
        "work": str(folder),
    }
    spec_file, log = folder / "spec.json", folder / "log.txt"
    spec_file.write_text(json.dumps(spec, indent=1), "utf-8")
    command = [str(interpreter), "-m", f"tests.benchmarks.peers.{driver}", str(spec_file)]
    # Threads are each library's own choice, the same for all.
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "MKL_", "OPENBLAS_"))}
    if not place.interpreters:
        environment.pop("PYTHONPATH", None)
    environment["BENCH_STARTED"] = repr(time.time())
    checkout = place.source if driver == "ours" else environments.ROOT
    with log.open("w", encoding="utf-8") as errors:
        try:
            done = subprocess.run(
                command, cwd=checkout, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True,
                timeout=LIMIT_SECONDS, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return {"failed": f"not done after {LIMIT_SECONDS} s"}
    if done.returncode != 0:
        lines = [line for line in log.read_text("utf-8", "replace").splitlines() if line.strip()]
        ended = f"ended with {done.returncode}"
        print("\n".join(lines[-20:]), flush=True)
        return {"failed": f"{ended}: {lines[-1][:200]}" if lines else ended}
    result = json.loads(done.stdout.splitlines()[-1])
    wrong = differences(result, prepared["digest"], expected_layers(prepared["blocks"]))
    return {"result": result} if not wrong else {"failed": wrong, "result": result}


def differences(result: dict[str, Any], ids: str, layers: list[str]) -> str:
    """What a process did otherwise than the others; empty when nothing."""
    if result["ids"] != ids:
        return "it trained on other token ids"
    if result["adapted"] != layers:
        return f"it adapted other layers: {sorted(set(result['adapted']) ^ set(layers))[:6]}"
    if abs(result["steps"][0]["loss"] - _LN2) > 2e-3:
        return f"its first loss is {result['steps'][0]['loss']:.4f}, not log 2: policy and reference differ"
    return ""


def _said(record: dict[str, Any]) -> str:
    if "failed" in record:
        return f"FAILED, {record['failed']}"
    blas = record["result"]["blas"]["gflops"]
    return f"{record['seconds']:.0f} s, BLAS {blas:.0f} GFLOP/s, other programs {100 * record['others']:.0f} %"
