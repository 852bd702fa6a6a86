"""What a tracker is: five calls, made by a worker in a process of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, NamedTuple, Protocol


class Final(Exception):
    """A tracker cannot be told, and trying again would not help. Its words name the mend."""


@dataclass(frozen=True, slots=True)
class Options:
    """Where a run is to go. `root` is the workspace; empty texts leave the choice to the tracker.

    Attributes:
        project: of Weights & Biases, experiment of MLflow.
        mode: of Weights & Biases: online or offline.
        uri: of MLflow.
        folder: of TensorBoard.
        again: what makes the run's name there another one than before.
    """

    root: str = ""
    project: str = ""
    mode: str = "online"
    uri: str = ""
    folder: str = ""
    again: str = ""


@dataclass(frozen=True, slots=True)
class Subject:
    """The run that is told of. `group` is the run that it is part of or came from, `unique` no other run has."""

    id: str
    unique: str
    name: str
    kind: str
    group: str
    tags: tuple[str, ...]
    seed: int
    created: float
    started: float
    config: Mapping[str, Any] = field(default_factory=dict)  # section.key and its value


class Row(NamedTuple):
    """What a run reported at once. A value that was no finite number is NaN."""

    step: int
    time: float
    values: Mapping[str, float]


class Told(NamedTuple):
    """A measured value."""

    name: str
    value: float
    unit: str
    low: float | None
    high: float | None
    n: int | None
    time: float


class Opened(NamedTuple):
    """`held` is how many rows the tracker has; None where the same row again changes nothing."""

    key: str
    place: str
    held: int | None


@dataclass(frozen=True, slots=True)
class Summary:
    """What there is to say of a run as a whole. `facts` are those that were not sent before."""

    step: int
    state: str
    facts: tuple[Told, ...] = ()
    verdicts: Mapping[str, str] = field(default_factory=dict)
    artifacts: tuple[Mapping[str, Any], ...] = ()


class Tracker(Protocol):
    """Each call may raise: `Final` where it is of no use to try again, anything else where it may be.

    What a call was given is kept when it returns: the feeder moves its mark.
    """

    def open(self, subject: Subject, options: Options, key: str) -> Opened:
        """Begin, or go on where `key` is what it was opened with before."""

    def describe(self, subject: Subject) -> None:
        """The configuration as the run began with it; again where it changed."""

    def send(self, rows: Sequence[Row]) -> None: ...

    def summarize(self, summary: Summary) -> None: ...

    def close(self, state: str) -> None:
        """The run has ended in this state, or `running` where the tracker alone is to end."""


def as_message(one: Subject | Options | Summary) -> dict[str, Any]:
    return asdict(one)


def subject_from(message: Mapping[str, Any]) -> Subject:
    return Subject(**{**message, "tags": tuple(message["tags"])})


def options_from(message: Mapping[str, Any]) -> Options:
    known = {each.name for each in fields(Options)}
    return Options(**{name: value for name, value in message.items() if name in known})


def summary_from(message: Mapping[str, Any]) -> Summary:
    facts = tuple(Told(*fact) for fact in message["facts"])
    return Summary(**{**message, "facts": facts, "artifacts": tuple(message["artifacts"])})
