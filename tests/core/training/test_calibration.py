"""A batch size measured in a child process: children that die, are silent, or err; what is remembered, and for what."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest

from core import hardware
from core.config import TrainingConfig
from core.errors import UserError
from core.hardware import MemoryLimit
from core.store import Database, calibrations, open_store
from core.store.calibrations import Calibration, Size
from core.training import calibration
from core.training.calibration import Interrupted, TrainingKind
from core.workspace import Workspace
from tests.core.training import tiny

GB = 10**9

# A child that reads what the real one reads, and gives rates from a table.
_CHILD = """
import json, os, sys, time
table = {int(k): v for k, v in json.loads(sys.argv[1]).items()}
request = json.loads(sys.stdin.readline())
assert request["kind"] and request["config"]["training"] and os.path.isdir(request["workspace"])
def say(answer):
    print(json.dumps(answer), flush=True)
def act(what):
    if what == "abort": os.abort()
    if what == "kill": os.kill(os.getpid(), 9)
    if what == "silence": time.sleep(60)
    if what == "raise": raise ValueError("a defect")
    if what == "leave": sys.exit(0)
    if what == "error": say({"error": "data/pairs_train.jsonl has no row to learn from"}); sys.exit(3)
act(table.get(0))
say({"ready": 40})
for line in sys.stdin:
    size, what = int(line), table[int(line)]
    act(what)
    if what == "memory":
        say({"size": size, "too_large": "[malloc] unable to allocate 9 bytes", "seconds": 0.1})
    else:
        say({"size": size, "rate": what, "peak": 10**9 + size * 10**6, "before": 10**9, "seconds": 0.1})
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "w"
    tiny.workspace(folder)[1].close()
    return folder


@pytest.fixture
def space(made: Path, tmp_path: Path) -> tuple[Workspace, Database]:
    shutil.copytree(made, tmp_path / "w")
    workspace = Workspace(tmp_path / "w")
    return workspace, open_store(workspace.database)


@pytest.fixture
def child(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[dict[int, Any]], None]:
    script = tmp_path / "child.py"
    script.write_text(_CHILD)

    def set_(table: dict[int, Any]) -> None:
        monkeypatch.setattr(calibration, "command", lambda: [sys.executable, str(script), json.dumps(table)])

    return set_


def measured(
    space: tuple[Workspace, Database],
    config: TrainingConfig | None = None,
    kind: TrainingKind = "dpo",
    interrupted: Callable[[], bool] = lambda: False,
) -> tuple[Calibration, list[Size]]:
    told: list[Size] = []
    workspace, db = space
    made = calibration.calibrate(
        workspace, db, kind, config or tiny.dpo_config(), run=None, interrupted=interrupted, tell=told.append
    )
    assert list(made.sizes) == told
    return made, told


def settled(space: tuple[Workspace, Database], config: TrainingConfig | None = None) -> tuple[int, str, list[int]]:
    """What was settled, why, and the sizes that were tried for it."""
    tried: list[int] = []
    workspace, db = space
    size, why = calibration.settle(
        workspace, db, "dpo", config or tiny.dpo_config(training_batch_size="auto"), run=None,
        interrupted=lambda: False, tell=lambda size: None, before=tried.append,
    )  # fmt: skip
    return size, why, tried


RATES = {1: 10.0, 2: 20.0, 4: 40.0, 8: 41.0, 16: 41.0, 32: 41.0}


def test_a_choice_is_made_and_kept(space: tuple[Workspace, Database], child: Callable[[dict], None]) -> None:
    child(RATES)
    found, told = measured(space)
    assert (found.chosen, [size.size for size in told]) == (4, [1, 2, 4, 8, 16])
    assert found.limit == pytest.approx(hardware.memory_limit("cpu").bytes, rel=0.5)
    assert "free now" in found.limit_source
    assert calibrations.remembered(space[1], found.subject) == found


@pytest.mark.parametrize(("end", "name"), [("abort", "SIGABRT"), ("kill", "SIGKILL")])
def test_a_child_that_dies_was_given_too_much(
    space: tuple[Workspace, Database], child: Callable[[dict], None], end: str, name: str
) -> None:
    child({1: 10.0, 2: 20.0, 4: end})
    found, told = measured(space)
    assert found.chosen == 2
    assert told[-1] == Size(4, "TOO LARGE", None, None, told[-1].seconds, f"ended the process ({name})")


def test_memory_that_runs_out_without_an_end_is_too_large(
    space: tuple[Workspace, Database], child: Callable[[dict], None]
) -> None:
    child({1: 10.0, 2: "memory"})
    found, told = measured(space)
    assert found.chosen == 1
    assert "unable to allocate" in told[-1].note


def test_a_child_that_is_silent_is_too_large_and_is_ended(
    space: tuple[Workspace, Database], child: Callable[[dict], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibration, "PATIENCE", 2.0)
    child({1: 10.0, 2: "silence"})
    started = time.monotonic()
    found, told = measured(space)
    assert time.monotonic() - started < 30
    assert (found.chosen, told[-1].note) == (1, "no answer in 2 s")


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({0: "abort"}, "could not be loaded to measure batch sizes: ended the process"),
        ({0: "raise"}, "could not be loaded to measure batch sizes: ValueError: a defect"),
        ({0: "leave"}, "it ended with status 0"),
        ({0: "error"}, "has no row to learn from"),
        ({1: "raise"}, "measuring batch size 1 failed: ValueError: a defect"),
        ({1: 10.0, 2: "leave"}, "measuring batch size 2 failed: it ended with status 0"),
    ],
)
def test_what_is_no_matter_of_memory_is_an_error(
    space: tuple[Workspace, Database], child: Callable[[dict], None], table: dict, words: str
) -> None:
    child(table)
    with pytest.raises(UserError, match=words):
        measured(space)
    (kept,) = calibrations.listing(space[1])
    assert kept.chosen is None
    assert kept.ended
    assert words in kept.reason


def test_it_ends_when_it_is_told_to(space: tuple[Workspace, Database], child: Callable[[dict], None]) -> None:
    child({1: "silence"})
    started = time.monotonic()
    with pytest.raises(Interrupted):
        measured(space, interrupted=lambda: time.monotonic() - started > 1.0)
    assert time.monotonic() - started < 20
    (kept,) = calibrations.listing(space[1])
    assert (kept.chosen, kept.reason, kept.sizes) == (None, "interrupted", ())


def test_it_is_measured_once_and_remembered(space: tuple[Workspace, Database], child: Callable[[dict], None]) -> None:
    child(RATES)
    size, why, tried = settled(space)
    assert size == 4
    assert tried
    assert why.startswith("measured now: 40 pairs/s")
    child({1: "raise"})
    size, why, tried = settled(space)
    assert (size, tried) == (4, [])
    assert why.startswith(f"measured on this machine on {time.strftime('%Y-%m-%d')}: 40 pairs/s")
    # Neither of these has to do with speed or memory.
    for config in (
        tiny.dpo_config(training_batch_size="auto", training_learning_rate=1e-5, training_beta=0.3),
        tiny.dpo_config(training_batch_size="auto", adapter_alpha=2.0, training_max_steps=99),
    ):
        assert settled(space, config)[2] == []


def _other_weights(workspace: Workspace) -> None:
    file = workspace.root / "models" / "tiny" / "model.safetensors"
    mx.save_safetensors(str(file), {name: value + 1 for name, value in mx.load(str(file)).items()})


def _longer_rows(workspace: Workspace) -> None:
    file = workspace.data / "pairs_train.jsonl"
    row = {"prompt": "Say red. " * 20, "chosen": "red " * 30, "rejected": "blue"}
    file.write_text(file.read_text() + json.dumps(row) + "\n")


@pytest.mark.parametrize("change", [_other_weights, _longer_rows])
def test_another_model_or_other_lengths_are_measured_anew(
    space: tuple[Workspace, Database], child: Callable[[dict], None], change: Callable[[Workspace], None]
) -> None:
    child(RATES)
    settled(space)
    change(space[0])
    assert settled(space)[2] != []


@pytest.mark.parametrize(
    "changes",
    [
        {"adapter_rank": 16},
        {"adapter_num_layers": 1},
        {"adapter_type": "full"},
        {"optimization_optimizer": "sgd"},
        {"compute_gradient_checkpointing": True},
        {"training_gradient_accumulation_steps": 1},
        {"data_max_response_length": 5},
    ],
)
def test_what_speed_and_memory_depend_on_is_measured_anew(
    space: tuple[Workspace, Database], child: Callable[[dict], None], changes: dict[str, Any]
) -> None:
    child(RATES)
    settled(space)
    assert settled(space, tiny.dpo_config(training_batch_size="auto", **changes))[2] != []


def test_another_machine_or_version_is_measured_anew(
    space: tuple[Workspace, Database], child: Callable[[dict], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    child(RATES)
    settled(space)
    here, versions = hardware.look(space[0].root), hardware.versions()
    monkeypatch.setattr(hardware, "versions", lambda: versions | {"mlx": "9.9"})
    assert settled(space)[2] != []
    monkeypatch.setattr(hardware, "versions", lambda: versions)
    assert settled(space)[2] == []
    monkeypatch.setattr(hardware, "look", lambda folder: replace(here, chip="Apple M9"))
    assert settled(space)[2] != []


def test_with_less_memory_than_then_it_is_measured_anew(
    space: tuple[Workspace, Database], child: Callable[[dict], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    child(RATES)
    assert settled(space)[0] == 4
    little = MemoryLimit(10**9 + 3 * 10**6, 2 * 10**9, "free now")
    monkeypatch.setattr(hardware, "memory_limit", lambda device: little)
    size, _, tried = settled(space)
    assert size == 2
    assert tried


def test_where_measuring_fails_it_is_the_starting_point_and_says_so(
    space: tuple[Workspace, Database], child: Callable[[dict], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    child({1: "raise"})
    size, why, _ = settled(space)
    assert size == 1
    assert "there is no starting point for" in why
    assert "(measuring did not work: measuring batch size 1 failed" in why
    here = hardware.look(space[0].root)
    for chip, expected in (("Apple M4 Max", 32), ("Apple M3 Ultra", 4)):
        monkeypatch.setattr(hardware, "look", lambda folder, chip=chip: replace(here, chip=chip))
        size, why, _ = settled(space)
        assert size == expected
        assert why.startswith(f"the workflow's starting point for {chip} is {expected} (measuring did not work")


def _files(workspace: Workspace) -> set[Path]:
    return {path for path in workspace.root.rglob("*") if "runs.db" not in path.name}


@pytest.mark.parametrize("kind", ["dpo", "sft"])
def test_a_real_child_measures_a_real_model(space: tuple[Workspace, Database], kind: TrainingKind) -> None:
    config = tiny.dpo_config(training_batch_size="auto") if kind == "dpo" else tiny.sft_config()
    before = _files(space[0])
    found, told = measured(space, config, kind)
    assert [size.size for size in told] == [2**i for i in range(len(told))]
    assert len(told) >= 2
    assert told[-1].size <= 30  # rows
    assert found.chosen in [size.size for size in told]
    for size in told:
        assert size.rate is not None
        assert size.peak is not None
        assert size.rate > 0
        assert 10**5 < size.peak < GB
    assert found.ended
    assert _files(space[0]) == before  # nothing is written but what was measured
    assert not list(space[0].outputs.iterdir())


def test_a_real_child_says_what_is_wrong(space: tuple[Workspace, Database]) -> None:
    (space[0].data / "pairs_train.jsonl").write_text('{"prompt": "x", "chosen": ""}\n')
    with pytest.raises(UserError, match=r"pairs_train\.jsonl has no row to learn from"):
        measured(space)
