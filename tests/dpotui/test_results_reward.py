"""The block of stage 4: its figures are the summary's, its charts hold every pair, and it fits any width."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from core.errors import UserError
from core.evaluation.reward_summary import FILE, RewardSummary, histogram, write_summary
from core.store import open_store, runs
from core.workspace import create_workspace
from dpotui.results import reward
from tests.core.evaluation.test_reward_summary import split


def made(**changes: object) -> RewardSummary:
    rng = np.random.default_rng(0)
    chosen, rejected = rng.normal(1, 1, 500), rng.normal(-1, 1, 500)
    bars = {
        "chosen": histogram(chosen.tolist(), -4, 4).model_dump(),
        "rejected": histogram(rejected.tolist(), -4, 4).model_dump(),
        "margins": histogram((chosen - rejected).tolist(), -4, 8).model_dump(),
    }
    return RewardSummary.model_validate(
        {"train": split(**bars, pairs=500), "validation": split(**bars, pairs=500, **changes)}
    )


def said(found: RewardSummary, width: int) -> list[str]:
    return ["".join(text for text, _ in line) for line in reward.lines(found, width)]


@pytest.mark.parametrize("width", [66, 76, 100, 150, 196])
def test_it_fits(width: int) -> None:
    rows = said(made(), width)
    assert max(map(len, rows)) <= width
    assert all(row.isprintable() for row in rows)
    whole = " ".join(" ".join(rows).split())
    assert "train 75.0 % [50.0, 90.0] of 500 validation 75.0 % [50.0, 90.0] of 500 gap 0.0 points" in whole
    assert "error 0.050 [0.000, 0.200] over 1 bins of 8 pairs; a calibrated model shows 0.060" in whole
    assert "No temperature: so." in whole
    assert "line 3 margin -1.000 chosen -0.500 rejected 0.500" in whole
    assert "W in Data" in whole


def test_charts_are_larger_where_there_is_room() -> None:
    assert sum("│" in row or "┤" in row for row in said(made(), 196)) < sum("┤" in row or "│" in row
                                                                        for row in said(made(), 60))  # fmt: skip
    wide = [row for row in said(made(), 196) if "▁" in row or "█" in row]
    assert max(len(row.rstrip()) for row in wide) > 100


def test_a_point_stands_where_its_bin_is() -> None:
    """Predicted 0.3, observed 0.25 in a square of 32 by 10: column 9, row 7 from the top."""
    rows = reward._reliability(made().validation.calibration, 32, 10)
    text = ["".join(part for part, _ in row)[3:] for row in rows[1:11]]
    assert [(y, row.index("o")) for y, row in enumerate(text) if "o" in row] == [(7, 9)]
    # Its interval from 0.1 to 0.5 goes past it on both sides; calibrated is the diagonal.
    assert [y for y, row in enumerate(text) if row[9] in "│o"] == [4, 5, 6, 7, 8]
    assert (text[9][0], text[0][31]) == ("·", "·")


def test_neighbours_are_added_up_and_nothing_is_lost() -> None:
    bars = histogram([0.0] * 7 + [0.99] * 3, 0.0, 1.0)
    assert sum(reward._joined(bars, 30)) == sum(reward._joined(bars, 17)) == 10
    assert (reward._joined(bars, 30)[0], reward._joined(bars, 30)[-1]) == (7, 3)


def test_words_for_temperatures() -> None:
    warm = {**split()["calibration"], "temperature": 2.0, "temperature_low": 1.5, "temperature_high": 3.0,
            "cooled_ece": 0.01, "cooled_loss": 0.5}  # fmt: skip
    assert "2.00 [1.50, 3.00] says: too sure of itself; it would leave 0.010." in " ".join(
        " ".join(said(made(calibration=warm), 100)).split()
    )
    cold = {**warm, "temperature": 0.5, "temperature_low": None, "temperature_high": 0.9}
    assert "0.50 [0, 0.90] says: not sure enough" in " ".join(" ".join(said(made(calibration=cold), 100)).split())


def test_it_is_read_from_the_folder_of_the_run(tmp_path: Path) -> None:
    workspace = create_workspace(tmp_path / "w")
    db = open_store(workspace.database, create=True)
    run = runs.create(db, "reward", config={}, steps=1)
    assert reward.read(db, workspace, None) is None
    assert reward.read(db, workspace, run) is None
    folder = workspace.outputs / "r"
    folder.mkdir()
    runs.update(db, run.id, output_dir="outputs/r")
    run = runs.get(db, run.id)
    assert reward.read(db, workspace, run) is None  # of a run from before it was written
    write_summary(folder, made())
    block = reward.read(db, workspace, run)
    assert block is not None
    assert block.title == "Reward model of reward-001"
    assert block.lines(76)[: len(reward.lines(made(), 76))] == reward.lines(made(), 76)
    rows = ["".join(text for text, _ in line) for line in block.lines(76)]
    assert "measures gaps  dpotui data gap FILE --reward checkpoints/reward_model" in rows
    assert max(map(len, rows)) <= 76
    (folder / FILE).write_text(json.dumps({"train": 1}))
    with pytest.raises(UserError, match="not as a reward run wrote it"):
        reward.read(db, workspace, run)
    db.close()
