"""Why a run failed: what real exceptions are said to be, on one line, with something to try."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jinja2
import mlx.core as mx
import numpy as np
import psutil
import pytest
from safetensors import safe_open

from core.data.tokenize import TemplateRefusal
from core.engine.lost import mark_lost
from core.engine.reasons import Reason, less_memory, reason_of
from core.errors import LostNumbers, UserError
from core.generation.draw import NotNumbers
from core.store import Database, metrics, open_store, runs, transaction
from core.store.runs import Run
from tests.core.training import tiny


@pytest.fixture
def db(tmp_path: Path) -> Database:
    return open_store(tmp_path / "runs.db", create=True)


def run_of(db: Database, **changes: object) -> Run:
    config = tiny.dpo_config(**changes).model_dump(mode="json")
    return runs.create(db, "dpo", config=config)


def raised(what: Callable[[], Any]) -> Exception:
    try:
        what()
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


# What raises them


def full_disk_of_mlx(folder: Path) -> Callable[[], None]:
    (folder / "x.safetensors").symlink_to("/dev/full")
    return lambda: mx.save_safetensors(str(folder / "x.safetensors"), {"a": mx.zeros(100_000)})


def full_disk() -> None:
    with Path("/dev/full").open("w") as file:
        file.write("x" * 100_000)


def full_database() -> None:
    db = sqlite3.connect(":memory:")
    db.execute("PRAGMA max_page_count = 3")
    db.execute("CREATE TABLE a (b)")
    for _ in range(100):
        db.execute("INSERT INTO a VALUES (?)", ["x" * 4000])


def locked_database(folder: Path) -> Callable[[], None]:
    def locked() -> None:
        one, other = (sqlite3.connect(folder / "l.db", timeout=0) for _ in range(2))
        one.execute("BEGIN EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")

    return locked


def damaged_database(folder: Path) -> Callable[[], None]:
    (folder / "d.db").write_bytes(b"no database" * 100)
    return lambda: sqlite3.connect(folder / "d.db").execute("SELECT * FROM a")


def cut_weights(folder: Path) -> Path:
    path = folder / "cut.safetensors"
    path.write_bytes(b"\x10\0\0\0\0\0\0\0abcdefgh")
    return path


def refusing_template() -> None:
    jinja2.Template("{{ raise_exception('roles must alternate') }}").render()


def no_right(folder: Path) -> Callable[[], None]:
    def refused() -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder / "x"))

    return refused


def said(error: Exception) -> Callable[[], None]:
    def again() -> None:
        raise error

    return again


# MLX raises these on other machines; on a CPU it ends the process instead.
CPU_MEMORY = RuntimeError("[malloc_or_wait] Unable to allocate 68719476736 bytes.")
METAL = RuntimeError(
    "[metal::malloc] Attempting to allocate 68719476736 bytes which is greater than the maximum allowed buffer size"
)
GPU_MEMORY = RuntimeError(
    "[METAL] Command buffer execution failed: Insufficient Memory"
    " (00000008:kIOGPUCommandBufferCallbackErrorOutOfMemory)"
)
GPU = RuntimeError("[METAL] Command buffer execution failed: Caused GPU Timeout Error (00000002)")

CASES: list[tuple[str, Callable[[Path], Callable[[], None]], str, str]] = [
    ("mlx memory", lambda f: said(CPU_MEMORY), "out of memory (", "training.batch_size=2"),
    (
        "numpy memory",
        lambda f: lambda: np.ones(1 << 50),
        "out of memory (MemoryError: Unable to allocate 8",
        "hardware",
    ),
    ("python memory", lambda f: lambda: bytearray(1 << 60), "out of memory (MemoryError)", "training.batch_size=2"),
    ("metal memory", lambda f: said(METAL), "out of memory ([metal::malloc] Attempting", "training.batch_size=2"),
    ("gpu memory", lambda f: said(GPU_MEMORY), "out of memory ([METAL] Command buffer", "gradient_checkpointing=true"),
    ("gpu", lambda f: said(GPU), "the GPU gave up ([METAL] Command", "let nothing else use the GPU"),
    ("nan", lambda f: said(NotNumbers()), "the model gives no numbers", "compute.dtype=float32"),
    ("disk", lambda f: full_disk, "the disk is full ([Errno 28] No space", "free some space"),
    ("mlx disk", full_disk_of_mlx, "the disk is full ([write] Unable to write", "save_total_limit (now 20)"),
    ("sqlite disk", lambda f: full_database, "the disk is full (database or disk is full)", "free some space"),
    ("locked", locked_database, "runs.db was held by another program", "backup"),
    ("damaged", damaged_database, "runs.db cannot be read or written (file is not a database)", "copy of runs.db"),
    ("template", lambda f: refusing_template, "the model's chat template does not take", "dpotui data check"),
    ("refusal", lambda f: said(TemplateRefusal("no system role")), "the model's chat template does not", "apply_chat"),
    ("gone", lambda f: lambda: (f / "no.jsonl").open(), "no.jsonl cannot be opened: it is gone", "put it back"),
    ("gone model", lambda f: lambda: mx.load(str(f / "n.safetensors")), "n.safetensors cannot be opened", "put it"),
    ("rights", no_right, "x may not be read or written", "chmod"),
    ("cut", lambda f: lambda: mx.load(str(cut_weights(f))), "a file of weights cannot be read (", "anew"),
    ("cut too", lambda f: lambda: safe_open(str(cut_weights(f)), "np"), "a file of weights cannot be read (", "anew"),
    ("files", lambda f: said(OSError(errno.EMFILE, "Too many")), "too many files are open", "ulimit"),
    ("folder", lambda f: lambda: f.open(), "cannot be read or written", "rights"),
    ("network", lambda f: said(ConnectionResetError(104, "reset by peer")), "the network did not answer", "connection"),
    ("package", lambda f: lambda: __import__("no_such_package"), "a Python package is missing: no_such", "install it"),
]


@pytest.mark.parametrize(("raises", "error", "hint"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_what_is_said(
    db: Database, tmp_path: Path, raises: Callable[[Path], Callable[[], None]], error: str, hint: str
) -> None:
    found = reason_of(raised(raises(tmp_path)), run_of(db))
    assert error in found.error
    assert found.hint is not None
    assert hint in found.hint
    assert "\n" not in found.error + found.hint
    assert len(found.error) < 330


def test_a_defect_names_the_innermost_place(db: Database) -> None:
    found = reason_of(raised(lambda: [][3]), run_of(db))
    assert found.error.startswith("IndexError: list index out of range, in core/engine/test_reasons.py line ")
    assert "defect" in str(found.hint)
    inside = reason_of(raised(lambda: np.zeros(3).reshape(2, 2)), run_of(db))
    assert inside.error.startswith("ValueError: cannot reshape array of size 3 into shape (2,2), in ")
    assert "not known" in reason_of(ValueError("x"), run_of(db)).error


def test_a_user_error_says_its_own_mend(db: Database) -> None:
    assert reason_of(UserError("out of memory: lower x"), run_of(db)) == Reason("out of memory: lower x", None)


def test_lost_numbers_are_answered_with_the_run_s_own_settings(db: Database) -> None:
    run = run_of(db, training_learning_rate=1e-3, optimization_max_grad_norm=0.0, training_warmup_steps=0)
    found = reason_of(LostNumbers("step 3: the gradient is nan"), run)
    assert found.error == "step 3: the gradient is nan"
    for words in (
        "training.learning_rate=0.0001",
        "optimization.max_grad_norm=1",
        "warmup_steps",
        "float32",
        "G shows",
    ):
        assert words in str(found.hint)
    calm = run_of(db, compute_dtype="float32")
    assert "float32" not in str(reason_of(LostNumbers("x"), calm).hint)
    assert "max_grad_norm" not in str(reason_of(LostNumbers("x"), calm).hint)


@pytest.mark.parametrize(
    ("changes", "words", "not_words"),
    [
        ({}, "training.batch_size=2 training.gradient_accumulation_steps=4", "batch_tokens"),
        ({"training_batch_tokens": 4096}, "training.batch_tokens=2048", "batch_size"),
        ({"training_batch_size": 3}, "training.batch_size=1 or", "accumulation"),
        ({"compute_gradient_checkpointing": True}, "batch_size=2", "checkpointing"),
        ({"adapter_type": "full"}, "adapter.type=lora", "xyz"),
        ({"training_batch_size": 1, "compute_gradient_checkpointing": True}, "data.max_response_length=32", "batch"),
    ],
)
def test_what_takes_less_memory_is_what_is_not_done_yet(
    db: Database, changes: dict[str, object], words: str, not_words: str
) -> None:
    found = less_memory(run_of(db, **changes))
    assert words in found
    assert not_words not in found


def test_a_configuration_of_any_shape_is_no_reason_to_fail(db: Database) -> None:
    for config in ({}, {"training": None}, {"training": {"batch_size": "auto"}}, {"training": 3, "compute": []}):
        run = runs.create(db, "evaluate", config=config)
        assert "smaller batches" in less_memory(run)


# The engine was killed


def lost(db: Database, *, peak: float | None = None, forecast: str = "") -> Run:
    run = run_of(db)
    runs.update(db, run.id, state="running")
    with transaction(db):
        if peak is not None:
            metrics.write(db, [(run.id, 10, "peak_memory_gb", peak, 0.0)])
        if forecast:
            db.execute("INSERT INTO log (run, time, level, text) VALUES (?, 0, 'warning', ?)", [run.id, forecast])
    assert mark_lost(db) == [run.id]
    return runs.get(db, run.id)


def test_killed_near_the_end_of_memory_it_is_said(db: Database) -> None:
    there = psutil.virtual_memory().total / 1e9
    found = lost(db, peak=0.9 * there)
    assert found.state == "interrupted"
    assert f"likely for lack of memory: dpo-001 took {0.9 * there:.1f} of {there:.1f} GB" in str(found.error)
    assert "training.batch_size=2" in str(found.hint)
    assert "r resumes it" in str(found.hint)


@pytest.mark.parametrize("word", ["TOO LARGE", "TIGHT"])
def test_killed_after_a_bad_forecast_it_is_said(db: Database, word: str) -> None:
    found = lost(db, peak=0.001, forecast=f"memory: {word}: about 71 GB of 64 GB (Metal) at its highest, in training")
    assert f"likely for lack of memory: the forecast was {word}" in str(found.error)


def test_killed_with_memory_to_spare_nothing_is_guessed(db: Database) -> None:
    found = lost(db, peak=0.001, forecast="memory: SAFE: about 1 GB of 64 GB")
    assert (found.state, found.error, found.hint) == ("interrupted", None, None)
