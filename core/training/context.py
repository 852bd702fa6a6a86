"""What a run is given to work with, and how it reports."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from core.errors import UserError
from core.store import Database, artifacts, files, runs
from core.store.log import Level
from core.store.runs import Run
from core.store.writer import Writer
from core.training import checkpoints
from core.training.control import Control
from core.training.ranks import ALONE, Ranks
from core.workspace import Workspace

# Asked after each evaluation with its step and its values: why the run ends here, or nothing.
Prune = Callable[[int, dict[str, float]], str]


@dataclass
class Context:
    """One run in the thread that executes it. `db` belongs to that thread.

    Attributes:
        execute: executes another run, a part of this one, here and now.
        ranks: the processes that train it together.
        prune: what the run that this one is a part of says to its evaluations.
    """

    workspace: Workspace
    db: Database
    run: Run
    writer: Writer
    leaving: threading.Event
    execute: Callable[[Run, Prune | None], None] | None = None
    prune: Prune | None = None
    ranks: Ranks = ALONE
    control: Control = field(init=False)
    _phase: str = ""
    _read: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.control = Control(self.db, self.run.id, self.leaving, self.run.part_of)
        self._read = dict(self.run.inputs)

    def log(self, text: str, level: Level = "info") -> None:
        self.writer.log(self.run.id, level, text)

    def metrics(self, step: int, values: dict[str, float]) -> None:
        self.writer.metric(self.run.id, step, values)

    def progress(self, step: int, steps: int, phase: str) -> None:
        """Where the run is; a new phase is logged too."""
        if phase != self._phase and not phase.startswith(("training", "generating")):
            self.log(phase, "debug")
        self._phase = phase
        self.writer.progress(self.run.id, step, steps, phase)

    def inputs(self, *paths: str) -> dict[str, str]:
        """Hashes of the files a measurement stands on."""
        return files.fingerprints(
            self.db, self.workspace, *(self.workspace.relative(self.workspace.path(p)) for p in paths)
        )

    def reads(self, *paths: str) -> dict[str, str]:
        """Keep with the run which files it read and their hashes; returns those of these paths.

        Raises:
            UserError: the run goes on from a checkpoint, and a file is not the one it began with.
        """
        found = self.inputs(*paths)
        self._same_everywhere(found)
        changed = [path for path, digest in found.items() if self.run.inputs.get(path, digest) != digest]
        if changed and self._goes_on():
            raise UserError(
                f"{', '.join(changed)} changed since {self.run.id} wrote its last checkpoint: put back what was there, "
                "or start a new run"
            )
        self._read |= found
        runs.update(self.db, self.run.id, inputs=self._read)
        return found

    def _same_everywhere(self, found: dict[str, str]) -> None:
        """Raises:
        UserError: another rank reads something else under these names.
        """
        said = [one["hashes"] for one in self.ranks.gather("reads", {"hashes": list(found.values())})]
        names = self.ranks.names
        for rank, hashes in enumerate(said):
            for path, own, theirs in zip(found, said[0], hashes, strict=False):
                if own != theirs:
                    raise UserError(
                        f"{path} on rank {rank} ({names[rank]}) is not what it is on {names[0]}: copy it there"
                    )

    def _goes_on(self) -> bool:
        folder = self.run.output_dir
        return folder is not None and bool(checkpoints.listing(self.workspace.path(folder)))

    def artifact(self, kind: str, relative: str, step: int | None = None) -> None:
        """Record a file or model folder that this run wrote."""
        path = self.workspace.path(relative)
        digest = files.sha256(self.db, self.workspace, relative)
        assert digest is not None, f"{relative} was not written"
        # Checkpoints that lie in a run's folder are artifacts of their own.
        members = [member for member in path.iterdir() if member.is_file()] if path.is_dir() else [path]
        size = sum(member.stat().st_size for member in members)
        artifacts.record(self.db, self.run.id, kind, relative, digest, size, step)

    def set_steps(self, steps: int) -> None:
        runs.update(self.db, self.run.id, steps=steps)
