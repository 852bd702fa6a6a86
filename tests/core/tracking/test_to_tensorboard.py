"""Event files hold what runs.db holds: steps and times exactly, values in single precision."""

from __future__ import annotations

import math
import struct
from pathlib import Path

import pytest

from core.store import Database, runs, tracked
from core.store.tracked import Position
from core.tracking import feeding
from core.tracking.feeding import Feeder
from core.tracking.reading import rows_behind
from core.workspace import Workspace

pytest.importorskip("tensorboardX", reason="tensorboardX is not installed")

Scalars = dict[str, list[tuple[int, float, float]]]


def _read(folder: Path) -> tuple[Scalars, dict[str, str]]:
    """Scalars and texts of all event files, by their own protocol buffers."""
    from tensorboardX.proto.event_pb2 import Event

    scalars: Scalars = {}
    texts: dict[str, str] = {}
    for file in sorted(folder.glob("events.out.tfevents.*")):
        records, at = file.read_bytes(), 0
        while at < len(records):
            (length,) = struct.unpack("<Q", records[at : at + 8])
            event = Event.FromString(records[at + 12 : at + 12 + length])
            at += length + 16
            for value in event.summary.value:
                if value.HasField("simple_value"):
                    scalars.setdefault(value.tag, []).append((event.step, value.simple_value, event.wall_time))
                elif value.tensor.string_val:
                    texts[value.tag] = value.tensor.string_val[0].decode()
    return scalars, texts


def _single(value: float) -> float:
    found: float = struct.unpack("<f", struct.pack("<f", value))[0]
    return found


def test_what_is_written(workspace: Workspace, db: Database, run: str) -> None:
    found = Feeder(workspace, db, run, "tensorboard").feed()
    assert found.words == "TensorBoard in outputs/tensorboard/dpo-001 (all sent, 44 rows sent)"
    folder = workspace.root / found.place
    assert {file.stat().st_mode & 0o777 for file in folder.iterdir()} == {0o600}
    scalars, texts = _read(folder)
    rows = rows_behind(db, run, Position(), ended=True)
    assert scalars["train/loss"] == [(r.step, _single(r.values["loss"]), r.time) for r in rows if "loss" in r.values]
    evaluated = scalars["eval/loss"]
    assert [step for step, _, _ in evaluated] == [10, 20, 30, 40]
    assert math.isnan(evaluated[1][1])
    assert scalars["facts/dpo.kl_divergence"][0][:2] == (40, _single(0.05))
    assert "| training.beta | 0.1 |" in texts["configuration/text_summary"]
    assert texts["state/text_summary"] == "finished"
    assert "| kl_divergence | PASS |" in texts["gates/text_summary"]
    assert "ab" * 32 in texts["artifacts/text_summary"]


def test_a_file_cut_off_in_a_row_is_gone_on_with(workspace: Workspace, db: Database, run: str) -> None:
    """As a writer leaves it that was killed in the middle of a record."""
    found = Feeder(workspace, db, run, "tensorboard").feed()
    (file,) = (workspace.root / found.place).iterdir()
    records, at, ends = file.read_bytes(), 0, []
    while at < len(records):
        at += struct.unpack("<Q", records[at : at + 8])[0] + 16
        ends.append(at)
    with file.open("r+b") as opened:
        opened.truncate(ends[20] - 5)
    tracked.put(db, found.__class__(run, "tensorboard", "sending", found.options, found.key, position=found.position))
    Feeder(workspace, db, run, "tensorboard").feed()
    with file.open("r+b") as opened:
        opened.truncate(ends[19])  # a reader leaves the torn end out; this one would stumble
    scalars, _ = _read(workspace.root / found.place)
    assert [step for step, _, _ in scalars["train/loss"]] == list(range(1, 41))
    assert [step for step, _, _ in scalars["eval/loss"]] == [10, 20, 30, 40]


def test_a_folder_that_cannot_be_written_is_said_at_once(
    workspace: Workspace, db: Database, run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeding, "BACKOFF", (100.0,))
    (workspace.root / "taken").write_text("")
    found = Feeder(workspace, db, run, "tensorboard", {"folder": "taken"}).feed()
    assert found.state == "failed"
    assert "taken/dpo-001 cannot be written" in found.error
    assert runs.get(db, run).state == "finished"
