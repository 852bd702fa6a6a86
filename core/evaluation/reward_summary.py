"""What a reward run found of its files, small enough to draw: accuracy, histograms, calibration, the worst pairs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from core.errors import UserError
from core.text import one_line, printable
from core.workspace import write_private

FILE = "reward_summary.json"
HISTOGRAM = 60  # bins; who draws fewer columns adds neighbours up
WORST = 200  # pairs named by line
_LARGEST = 4 * 1024 * 1024


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Histogram(_Part):
    """Counts of equal steps from `low` to `high`."""

    low: float
    high: float
    counts: tuple[int, ...] = Field(min_length=1, max_length=1000)


class Bin(_Part):
    """Pairs of nearly the same prediction: its mean, the share of them that came true, and that share's interval."""

    predicted: float
    observed: float
    low: float
    high: float
    n: int


class Calibration(_Part):
    """How well predicted probabilities agree with what is so.

    Attributes:
        ece: expected calibration error over `curve`: the mean over pairs of |predicted - observed| of their bin.
        low, high: its 95 % interval, by bootstrap over pairs.
        chance: the error that a model which is calibrated to the last digit shows on so many pairs, on average.
        brier: mean squared distance of prediction and outcome; 0.25 is a coin's.
        loss: mean -log of the probability that was given to the truth; log 2 is a coin's.
        temperature: T with which σ((r_w - r_l) / T) is likeliest; above 1 the model is too sure of itself. None where
            there is none, and `why` says so.
        cooled_ece, cooled_loss: what dividing by T would leave, on the same pairs.
        curve: equal numbers of pairs in each bin.
    """

    n: int
    ece: float
    low: float
    high: float
    chance: float
    brier: float
    loss: float
    temperature: float | None
    temperature_low: float | None
    temperature_high: float | None
    cooled_ece: float | None
    cooled_loss: float | None
    why: str
    curve: tuple[Bin, ...]


class Wrong(_Part):
    """A pair whose rejected response got the higher reward."""

    line: int
    chosen: float
    rejected: float


class Split(_Part):
    """One file as far as it was scored. Accuracy is a share, `low` and `high` its interval."""

    file: str
    pairs: int
    accuracy: float
    low: float
    high: float
    margin: float  # mean
    chosen: Histogram
    rejected: Histogram
    margins: Histogram
    calibration: Calibration
    wrong: int  # pairs
    worst: tuple[Wrong, ...] = Field(max_length=WORST)  # of those, by margin


class RewardSummary(_Part):
    """reward_summary.json in the folder of a reward run."""

    format: Literal[1] = 1
    train: Split
    validation: Split


def write_summary(folder: Path, summary: RewardSummary) -> None:
    write_private(folder / FILE, json.dumps(summary.model_dump(mode="json")) + "\n")


def read_summary(folder: Path) -> RewardSummary | None:
    """What a reward run left in its folder; None where there is none.

    Raises:
        UserError: it is there and cannot be understood.
    """
    path = folder / FILE
    shown = printable(str(path))
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            content = file.read(_LARGEST + 1)
    except OSError as error:
        raise UserError(f"{shown} cannot be read: {error.strerror or error}") from error
    if len(content) > _LARGEST:
        raise UserError(f"{shown} is too large to be what a reward run wrote: remove it")
    try:
        return RewardSummary.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        why = one_line(f"{where}: {first['msg']}" if where else str(first["msg"]), 120)
        raise UserError(f"{shown} is not as a reward run wrote it ({why}): train the model again") from error


def histogram(values: Sequence[float], low: float, high: float, bins: int = HISTOGRAM) -> Histogram:
    """Of values from `low` to `high`; a value on an edge belongs to the bin that begins there."""
    counts = [0] * bins
    width = (high - low) or 1.0
    for value in values:
        counts[min(bins - 1, max(0, int((value - low) / width * bins)))] += 1
    return Histogram(low=low, high=high, counts=tuple(counts))
