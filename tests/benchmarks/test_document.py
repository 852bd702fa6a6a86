"""The document says what the JSON files say: medians, ratios, goals missed, failures, and nothing of older code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks.document import document, load, rows
from tests.benchmarks.runner import differences
from tests.benchmarks.specs import expected_layers

GIB = 2**30


def record(program: str, step: float, turn: int = 0, **changes: Any) -> dict[str, Any]:
    """Two pairs, one a step, three epochs of `step` seconds a step; a second model's worth of memory."""
    measurement = {
        "name": "response-heavy", "group": "mix", "value": "response-heavy", "length": 256, "prompt_share": 0.2,
        "batch_size": 1, "pairs": 2, "epochs": 3, "rounds": 3, "vocabulary": None, "evaluate": True, "programs": [],
        **changes.pop("measurement", {}),
    }  # fmt: skip
    result = {
        "started": 0.0, "began": 10.0, "fill_seconds": 0.0, "away": [], "loss": 0.5,
        "steps": [{"at": 10.0 + step * (i + 1), "loss": 0.69} for i in range(6)],
        "memory": {"weights": GIB, "allocator_peak": 3 * GIB, "resident_baseline": GIB, "resident_peak": 4 * GIB},
        "blas": {"gflops": 100.0, "libraries": ["libopenblas.so"]}, "versions": {"python": "3.11"},
    }  # fmt: skip
    machine = {
        "system": "Linux",
        "processor": "A chip",
        "cores": 2,
        "memory_gib": 8,
        "device": "cpu",
        "accelerator": "",
    }
    return {
        "measurement": measurement, "program": program, "round": turn, "model": "smol", "data": "real.jsonl",
        "machine": machine, "code": "new", "commit": "abc", "date": f"2026-01-0{turn + 1}T00:00:00", "others": 0.0,
        "settings": {}, "seconds": 1.0, "result": result, **changes,
    }  # fmt: skip


def written(*records: dict[str, Any]) -> str:
    return document({"a-chip": list(records)}, "abc")


def test_medians_spreads_and_ratios() -> None:
    ours = [record("ours", step, turn) for turn, step in enumerate((0.5, 1.0, 2.0))]
    text = written(*ours, record("mlx-lm-lora", 4.0))
    assert "| dpotui | 1.000 (0.500 to 2.000) | – | 1.000 (0.500 to 2.000) | 2.00 | 2.00 |" in text
    assert "| mlx-lm-lora | 0.250 | 0.250 | 0.250 |" in text
    assert "| mlx-lm-lora | 4.00 × | – | 4.00 × | 1.00 of it | 1.00 of it |" in text


def test_a_goal_that_is_missed_is_written_so() -> None:
    text = written(record("ours", 1.0), record("mlx-lm-lora", 3.0), record("trl", 0.5))
    assert "| response-heavy | pairs/s, first epoch | mlx-lm-lora | at least 1.8 × | 3.00 × | yes |" in text
    assert "from the second epoch on | mlx-lm-lora | at least 4 × | 3.00 × | **no** |" in text
    assert "from the second epoch on | TRL | at least 1 × | 0.50 × | **no** |" in text
    assert "memory above the weights | mlx-lm-lora | at most 0.33 of it | 1.00 of it | **no** |" in text


def test_the_second_run_is_our_rate_without_the_fill() -> None:
    text = written(record("ours", 2.0), record("ours-again", 1.0), record("trl", 4.0))
    assert "| dpotui | 0.500 | 1.000 | 0.500 |" in text
    assert "| TRL | 2.00 × | 4.00 × | 2.00 ×" in text


def test_only_the_newest_code_counts() -> None:
    text = written(record("ours", 1.0, code="old"), record("ours", 2.0, turn=1))
    assert "| dpotui | 0.500 | – |" in text


def test_a_failure_stands_in_the_table_without_breaking_it() -> None:
    text = written(record("ours", 1.0), record("trl", 1.0, failed="ended with 1: a | b\nc"))
    assert "| TRL | failed: ended with 1: a / b c |" in text
    assert "### Goals" in text


def test_growth_has_a_row_for_each_value() -> None:
    growth = [
        record(program, step, measurement={"name": f"length-{n}", "group": "length", "value": n})
        for n in (128, 1024)
        for program, step in (("ours", n / 128), ("mlx-lm-lora", n / 32))
    ]
    lines = [line for line in written(*growth).splitlines() if line.startswith(("| 128 ", "| 1,024 "))]
    assert lines == [
        "| 128 | 1.000 | 0.250 | 1.000 | 0.250 | 2.00 | 2.00 | 4.00 × |",
        "| 1,024 | 0.125 | 0.031 | 0.125 | 0.031 | 2.00 | 2.00 | 4.00 × |",
    ]


def test_rounds_of_one_number_count_once(tmp_path: Path) -> None:
    folder = tmp_path / "a-chip"
    folder.mkdir()
    for name, step in (("one", 1.0), ("two", 2.0)):
        (folder / f"{name}.json").write_text(json.dumps(record("trl", step)), "utf-8")
    (row,) = rows(load(tmp_path)["a-chip"])
    assert len(row.rounds) == 1


def test_nothing_measured_is_said(tmp_path: Path) -> None:
    assert load(tmp_path / "none") == {}
    assert "Nothing has been measured yet." in document({}, "abc")


def test_a_process_that_did_otherwise_is_found() -> None:
    layers = expected_layers(30)
    assert len(layers) == 8 * 7
    assert layers[0] == "22.mlp.down_proj"
    good = {"ids": "x", "adapted": layers, "steps": [{"loss": 0.6931}]}
    assert differences(good, "x", layers) == ""
    assert "token ids" in differences(good, "y", layers)
    assert "22.mlp.down_proj" in differences(good | {"adapted": layers[1:]}, "x", layers)
    assert "0.7100" in differences(good | {"steps": [{"loss": 0.71}]}, "x", layers)


@pytest.mark.parametrize("word", ["/tmp", "/home", "/work", "/Users"])
def test_no_place_of_this_machine_is_named(word: str) -> None:
    assert word not in written(record("ours", 1.0))
