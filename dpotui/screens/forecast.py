"""What a run will take, said before it starts: its memory, and its time where one like it was measured here."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from core.errors import UserError
from core.store import open_store
from core.workspace import Workspace
from dpotui.roles import Span
from dpotui.stages import TRAINED
from dpotui.widgets.card import BLANK, Entry

if TYPE_CHECKING:
    from core.config import TrainingConfig

_ROLES = {"SAFE": "good", "TIGHT": "warn", "TOO LARGE": "bad"}


@dataclass(frozen=True, slots=True)
class Prospect:
    """`memory` and `time` in a line each, `details` in full; `note` where there is nothing to reckon."""

    memory: str = ""
    verdict: str = ""
    time: str = ""
    details: str = ""
    note: str = "memory and time: reckoning …"

    def spans(self) -> list[list[Span]]:
        if not self.memory:
            return [[(self.note, "dim")]] if self.note else []
        return [[(self.memory, _ROLES.get(self.verdict, "dim"))], [(self.time, "dim")]]

    def entries(self) -> list[Entry]:
        if not self.memory:
            return []
        return [
            BLANK,
            Entry("", "A run of this", "title"),
            Entry("", self.details or self.memory),
            Entry("", self.time),
        ]


def prospect(workspace: Workspace, kind: str, value: dict[str, Any]) -> Prospect:
    """Of a configuration that is right, given as plain values. Reads files: not for the thread of the screen."""
    if kind not in TRAINED:
        return Prospect(note="memory and time are reckoned for training alone")
    from core.config import CONFIGS

    config = CONFIGS[kind].model_validate(value)
    return of_training(workspace, kind, config)


def of_training(workspace: Workspace, kind: str, config: TrainingConfig) -> Prospect:
    from core.training.forecast import forecast

    time = time_of(workspace, kind, config)
    try:
        found = forecast(workspace, config)
    except UserError as error:
        return Prospect(memory=f"memory: {error}".replace(f"{workspace.root}/", ""), time=time)
    return Prospect(found.short(), found.verdict, time, found.sentence())


def time_of(workspace: Workspace, kind: str, config: TrainingConfig) -> str:
    """How long it trains, and where that is from."""
    from core.training.duration import UNKNOWN, expected

    # A connection belongs to its thread.
    with closing(open_store(workspace.database)) as db:
        found = expected(workspace, db, cast("Any", kind), config)
    return found.sentence() if found is not None else UNKNOWN
