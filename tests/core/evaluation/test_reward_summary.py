"""The summary of a reward run as a file: what was written is read, what somebody else wrote there is one clear line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.errors import UserError
from core.evaluation.reward_summary import FILE, RewardSummary, histogram, read_summary, write_summary


def split(**changes: object) -> dict[str, object]:
    bars = {"low": -1.0, "high": 1.0, "counts": [1, 2, 3]}
    curve = [{"predicted": 0.3, "observed": 0.25, "low": 0.1, "high": 0.5, "n": 8}]
    calibrated = {
        "n": 8, "ece": 0.05, "low": 0.0, "high": 0.2, "chance": 0.06, "brier": 0.2, "loss": 0.6, "temperature": None,
        "temperature_low": None, "temperature_high": None, "cooled_ece": None, "cooled_loss": None, "why": "so",
        "curve": curve,
    }  # fmt: skip
    return {
        "file": "data/x.jsonl", "pairs": 8, "accuracy": 0.75, "low": 0.5, "high": 0.9, "margin": 0.2, "chosen": bars,
        "rejected": bars, "margins": bars, "calibration": calibrated, "wrong": 1,
        "worst": [{"line": 3, "chosen": -0.5, "rejected": 0.5}], **changes,
    }  # fmt: skip


def test_it_comes_back_and_is_its_owners_only(tmp_path: Path) -> None:
    summary = RewardSummary.model_validate({"train": split(), "validation": split(pairs=9)})
    write_summary(tmp_path, summary)
    assert read_summary(tmp_path) == summary
    assert (tmp_path / FILE).stat().st_mode & 0o077 == 0
    assert read_summary(tmp_path / "elsewhere") is None


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "Invalid JSON"),
        ("[]", "object"),
        (json.dumps({"train": split()}), "validation: Field required"),
        (json.dumps({"train": split(accuracy="much"), "validation": split()}), "train.accuracy"),
        (json.dumps({"train": split(pairs=None), "validation": split()}), "train.pairs"),
        (json.dumps({"train": {**split(), "\x1b[2J": 1}, "validation": split()}), "not permitted"),
        (json.dumps({"train": split(accuracy=float("nan")), "validation": split()}), "train.accuracy"),
    ],
)
def test_what_is_none_says_where(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / FILE).write_text(text)
    with pytest.raises(UserError, match=why) as caught:
        read_summary(tmp_path)
    assert "\x1b" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_values_on_edges_belong_to_the_bin_that_begins_there() -> None:
    assert histogram([0.0, 0.25, 0.5, 0.75, 1.0, -9.0, 9.0], 0.0, 1.0, 4).counts == (2, 1, 1, 3)
    assert histogram([2.0, 2.0], 2.0, 2.0, 3).counts == (2, 0, 0)
