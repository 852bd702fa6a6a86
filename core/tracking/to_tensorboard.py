"""TensorBoard: event files that its own program reads, a folder for each run. Written by tensorboardX, without torch.

Values are stored in single precision, as TensorBoard stores all scalars; steps and times are exact.
"""

from __future__ import annotations

import html
import math
import os
import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.proto.summary_pb2 import Summary as Values
from tensorboardX.summary import hparams, text

from core.tracking.names import charted, is_charted
from core.tracking.tracker import Final, Opened, Options, Row, Subject, Summary

_LENGTH = struct.Struct("<Q")
# A record is its length, a checksum of that, the event, and a checksum of the event.
_HEAD, _TAIL = 12, 4


class TensorBoardTracker:
    def __init__(self) -> None:
        self._events: EventsWriter | None = None
        self._started = 0.0

    def open(self, subject: Subject, options: Options, key: str) -> Opened:
        root = Path(options.root)
        name = key or (f"{subject.id}-{options.again}" if options.again else subject.id)
        folder = root / Path(options.folder or "outputs/tensorboard").expanduser() / name
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            held = sum(1 for file in sorted(folder.glob("events.out.tfevents.*")) for _ in _rows_of(file))
            # One file for each time it was opened: two that begin in the same second must not be one.
            suffix = f".{os.getpid()}.{time.time_ns()}"
            self._events = EventsWriter(str(folder / "events"), filename_suffix=suffix)
        except OSError as error:
            raise Final(f"{folder} cannot be written ({error.strerror})") from error
        self._started = subject.started
        place = folder.relative_to(root) if folder.is_relative_to(root) else folder
        return Opened(folder.name, str(place), held)

    def describe(self, subject: Subject) -> None:
        config = {name: value for name, value in subject.config.items() if value is not None}
        rows = "".join(f"| {_cell(name)} | {_cell(value)} |\n" for name, value in config.items())
        told = f"{subject.kind} {subject.id}, seed {subject.seed}"
        told += f", part of {subject.group}" * bool(subject.group) + f", {', '.join(subject.tags)}" * bool(subject.tags)
        self._write(0, self._started, text("run", told))
        self._write(0, self._started, text("configuration", f"| key | value |\n| --- | --- |\n{rows}"))
        plain = {name: v if isinstance(v, bool | int | float | str) else str(v) for name, v in config.items()}
        experiment, session, _ = hparams(plain, {})
        self._write(0, self._started, experiment)
        self._write(0, self._started, session)
        self._flush()

    def send(self, rows: Sequence[Row]) -> None:
        for row in rows:
            values = [Values.Value(tag=charted(name), simple_value=_single(v)) for name, v in row.values.items()]
            self._write(row.step, row.time, Values(value=values))
        self._flush()

    def summarize(self, summary: Summary) -> None:
        for fact in summary.facts:
            value = Values.Value(tag=f"facts/{fact.name}", simple_value=_single(fact.value))
            self._write(summary.step, fact.time, Values(value=[value]))
        now = time.time()
        self._write(summary.step, now, text("state", summary.state))
        if summary.verdicts:
            rows = "".join(f"| {_cell(name)} | {verdict} |\n" for name, verdict in summary.verdicts.items())
            self._write(summary.step, now, text("gates", f"| gate | verdict |\n| --- | --- |\n{rows}"))
        if summary.artifacts:
            rows = "".join(f"| {_cell(a['name'])} | {a['kind']} | {a['sha256']} |\n" for a in summary.artifacts)
            self._write(summary.step, now, text("artifacts", f"| name | kind | sha256 |\n| --- | --- | --- |\n{rows}"))
        self._flush()

    def close(self, state: str) -> None:
        if self._events is not None:
            self._events.close()

    def _write(self, step: int, at: float, values: Any) -> None:
        assert self._events is not None
        self._events.write_event(Event(step=step, wall_time=at, summary=values))

    def _flush(self) -> None:
        assert self._events is not None
        self._events.flush()


def _single(value: float) -> float:
    """What single precision cannot hold is infinite there; protobuf refuses it."""
    try:
        struct.pack("<f", value)
    except OverflowError:
        return math.copysign(math.inf, value)
    return value


def _cell(value: object) -> str:
    return html.escape(str(value), quote=False).replace("|", "\\|").replace("\n", " ")


def _rows_of(file: Path) -> Iterator[Mapping[str, float]]:
    """The rows that an event file holds whole; one that was being written when its writer was killed is none."""
    with file.open("rb") as records:
        while len(head := records.read(_HEAD)) == _HEAD:
            (length,) = _LENGTH.unpack(head[:8])
            if length > 1 << 24:
                return  # no file of ours
            body = records.read(length + _TAIL)
            if len(body) < length + _TAIL:
                return
            event = Event.FromString(body[:length])
            values = {value.tag: value.simple_value for value in event.summary.value}
            if values and is_charted(next(iter(values))):
                yield values
