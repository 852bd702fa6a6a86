"""One evaluation on its way: its models, how far it is, and the commands it obeys between items."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Literal

import mlx.core as mx
from mlx.utils import tree_flatten

from core.config import EvalConfig
from core.errors import UserError
from core.evaluation.rows import Rows
from core.models.adapters import adapters_off
from core.models.load import LanguageModel, adapted, load, resolve
from core.models.reference import AdapterOff
from core.store import facts
from core.store.facts import Fact
from core.text import one_line, printable
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
        self._began_with = dict(context.run.inputs)
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
            self.say(f"loading {printable(name)}")
            path = resolve(self.context.workspace, name)
            trust = self.config.model.trust_remote_code
            loaded = load(path, dtype=self.dtype, trust_remote_code=trust, fused=False)
            refuse_broken(loaded, name)
            self._loaded = (name, loaded)
        return self._loaded[1]

    @contextmanager
    def using(self, name: str) -> Iterator[LanguageModel]:
        """Inside, a model that computes what `name` does.

        Where the one in memory is an adapter on just that model, it is switched off, which is the same to the bit, and
        nothing is loaded.
        """
        if self._loaded is not None and self._loaded[0] != name and self._stands_on(self._loaded[0], name):
            with adapters_off(self._loaded[1].model):
                yield self._loaded[1]
        else:
            yield self.model(name)

    def _stands_on(self, adapter: str, name: str) -> bool:
        """Whether `adapter` is one, on the very files of `name`."""
        folder = self.context.workspace.path(adapter)
        base = adapted(folder) if folder.is_dir() else None
        if base is None:
            return False
        other = resolve(self.context.workspace, name)
        return base.resolve() == other.resolve() or len(set(self.context.inputs(str(base), str(other)).values())) == 1

    def adapter_on(self, name: str) -> AdapterOff | None:
        """The model in memory as the reference that `name` is; None unless it is an adapter on just that model."""
        if self._loaded is None or not self._stands_on(self._loaded[0], name):
            return None
        return AdapterOff(self._loaded[1].model)

    def no_numbers(self, name: str) -> UserError:
        """What is said of a model whose logits are NaN, though its weights are numbers."""
        kind = str(self.dtype).rsplit(".", 1)[-1]
        return UserError(
            f"{printable(name)} gives no numbers (NaN): its weights are broken, or overflow in {kind}: try"
            " compute.dtype: float32"
        )

    def release(self) -> None:
        """Let go of the model."""
        self._loaded = None
        mx.clear_cache()

    def reads(self, *names: str) -> dict[str, str]:
        """Hashes of files and models, kept with the run; of an adapter also of the model it is on.

        Raises:
            UserError: one is not what it was when this run began: half of its results would be of another model.
        """
        paths = []
        for name in names:
            path = self.context.workspace.path(name)
            if not path.exists() and name in self._models:
                path = resolve(self.context.workspace, name)
            base = adapted(path) if path.is_dir() else None
            paths += [str(path), *([str(base)] if base is not None else [])]
        now = self.context.inputs(*paths)
        changed = [path for path, digest in now.items() if self._began_with.setdefault(path, digest) != digest]
        if changed:
            raise UserError(
                f"{printable(', '.join(changed))} changed since {self.context.run.id} began: put back what was there,"
                " or start a new run"
            )
        return self.context.reads(*paths)

    @property
    def _models(self) -> tuple[str | None, ...]:
        model = self.config.model
        return model.final, model.baseline, model.base, model.reference

    def record(self, *found: Fact) -> None:
        """Write facts of this run."""
        facts.record(self.context.db, *(replace(fact, run=self.context.run.id) for fact in found))

    def finished(self, part: str) -> bool:
        """Whether a part of this run is done: its facts are recorded."""
        with self._finished() as rows:
            return (part,) in rows

    def finish(self, part: str) -> None:
        """A part is done."""
        with self._finished() as rows:
            rows.add([((part,), time.time())])

    def _finished(self) -> Rows:
        return Rows(self.folder / "parts.jsonl")

    def rows(self, name: str) -> Rows:
        """The file in which a part keeps what it has measured."""
        return Rows(self.folder / name)

    def mine(self, group: int) -> bool:
        """Whether group `group` of a stretch, whose items are computed together, is for this session to compute.

        A group is the same wherever it is computed, and so is every digit of it.
        """
        return True

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
        # Of some the number shows only as they come.
        items = f": {total} items" if total else ""
        self.context.log(f"{phase}{items}" + (f", {done} are there" if done else ""))
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


def refuse_broken(loaded: LanguageModel, name: str) -> None:
    """Weights that are no numbers end an evaluation before it has measured nonsense.

    Raises:
        UserError: some are NaN or infinite.
    """
    broken = []
    for key, value in tree_flatten(loaded.model.parameters()):
        if mx.issubdtype(value.dtype, mx.floating) and not bool(mx.isfinite(value).all()):
            broken.append(key)
    if broken:
        more = f" and {len(broken) - 1} more" if len(broken) > 1 else ""
        raise UserError(
            f"{printable(name)}: weights are no numbers (NaN or infinite) in {one_line(broken[0], 80)}{more}: the"
            " training that wrote it diverged, or the file is damaged; name an earlier checkpoint, or train it anew"
        )
