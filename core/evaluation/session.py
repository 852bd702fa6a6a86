"""One evaluation on its way: its models, how far it is, and the commands it obeys between items."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Literal

import mlx.core as mx

from core.config import EvalConfig
from core.models.load import LanguageModel, adapted, load, resolve
from core.store import facts
from core.store.facts import Fact
from core.training.context import Context
from core.training.obeying import obey

# Steps of a run for each of its parts.
STEPS = 100
# Seconds between two reports of progress.
_EVERY = 0.5


class Session:
    """What every part of an evaluation works with.

    Attributes:
        folder: the run's own folder; what a part keeps to go on from, and its results, lie there.
        subject: baseline or final.
    """

    def __init__(self, context: Context, config: EvalConfig, folder: Path, dtype: mx.Dtype) -> None:
        self.context = context
        self.config = config
        self.folder = folder
        self.dtype = dtype
        self.subject: Literal["baseline", "final"] = config.evaluation.subject
        self._loaded: tuple[str, LanguageModel] | None = None
        self._part = 0
        self._share = (0, 1)
        self._phase = ""
        self._total = self._done = self._first = 0
        self._began = self._said = 0.0

    @property
    def prefix(self) -> str:
        """Of the facts: a baseline's are stage 1's."""
        return "sft" if self.subject == "baseline" else "eval"

    def model(self, name: str | None = None) -> LanguageModel:
        """A model by the name that the configuration gives it; without one the subject. An adapter stays unfused.

        One is in memory at a time: asking for another lets go of the last.
        """
        name = self.config.subject_model if name is None else name
        if self._loaded is None or self._loaded[0] != name:
            self.release()
            self.say(f"loading {name}")
            path = resolve(self.context.workspace, name)
            trust = self.config.model.trust_remote_code
            self._loaded = (name, load(path, dtype=self.dtype, trust_remote_code=trust, fused=False))
        return self._loaded[1]

    def release(self) -> None:
        """Let go of the model."""
        self._loaded = None
        mx.clear_cache()

    def reads(self, *names: str) -> dict[str, str]:
        """Hashes of files and models, kept with the run; of an adapter also of the model it is on."""
        paths = []
        for name in names:
            folder = self.context.workspace.path(name)
            base = adapted(folder) if folder.is_dir() else None
            paths += [name, *([str(base)] if base is not None else [])]
        return self.context.reads(*paths)

    def record(self, *found: Fact) -> None:
        """Write facts of this run."""
        facts.record(self.context.db, *(replace(fact, run=self.context.run.id) for fact in found))

    # How far it is

    def part(self, number: int) -> None:
        """Part `number` of the run begins."""
        self._part, self._share = number, (0, 1)

    def stretch(self, phase: str, total: int, done: int = 0, share: tuple[int, int] = (0, 1)) -> None:
        """`total` items follow, of which `done` are there from before.

        Args:
            share: (i, n) of the part's n stretches this is number i, from 0.
        """
        self._phase, self._total, self._done, self._first, self._share = phase, total, done, done, share
        self._began = time.monotonic()
        self.context.log(f"{phase}: {total} items" + (f", {done} are there" if done else ""))
        self._report()

    def advance(self, by: int = 1) -> None:
        """So many items are on disk."""
        self._done += by

    def between(self) -> None:
        """Report, and do what was asked meanwhile. To be called often, where all that is done is on disk.

        Raises:
            Stopped: the run ends here and can be resumed.
        """
        self._began += obey(self.context, lambda: f"{self._phase}: {self._done} of {self._total} are on disk")
        if time.monotonic() - self._said >= _EVERY:
            self._report()

    def say(self, phase: str) -> None:
        """Something without items is done."""
        self._phase, self._total, self._done, self._first = phase, 0, 0, 0
        self._report()

    def _report(self) -> None:
        self._said = time.monotonic()
        index, of = self._share
        within = (index + (self._done / self._total if self._total else 0)) / of
        words = self._phase
        new, seconds = self._done - self._first, self._said - self._began
        if self._total:
            words += f" {self._done}/{self._total}"
        if new and seconds > 0:
            rate = new / seconds
            left = int((self._total - self._done) / rate)
            words += f", {rate:.3g} items/s, ETA {left // 3600}:{left // 60 % 60:02d}:{left % 60:02d}"
            self.context.metrics(self._step(within), {"items_per_second": rate})
        # Past the log, in which each new phase would be a line.
        self.context.writer.progress(self.context.run.id, self._step(within), STEPS * len(self.config.parts), words)

    def _step(self, within: float) -> int:
        return int(STEPS * (self._part + within))
