"""`python -m core.training.probe`: one batch size after another, as asked on stdin; answers are JSON lines on stdout.

A process of its own: a Metal that runs out of memory ends the process that asked for it. The first line it reads is
the request, `{"workspace", "kind", "config"}`; every further one is a batch size. It ends when its input does.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.utils import tree_map

from core.config import CONFIGS, DPOConfig, RewardConfig, SFTConfig, TrainingConfig, plan_for
from core.data.batches import in_order
from core.data.tokenize import Tokens
from core.errors import UserError
from core.models.gradient_checkpointing import gradient_checkpointing
from core.models.limits import limits
from core.store import Database, files, open_store
from core.store.log import Level
from core.store.runs import Run
from core.training.caches import GB
from core.training.context import Context
from core.training.forward import Numbers, Parts
from core.training.gradients import gradient_function
from core.training.loop import Objective
from core.training.optimization import clip, global_norm, make_optimizer
from core.training.trunk_cache import TrunkCache, tokens_kept
from core.workspace import Workspace, open_workspace

# The batches that are timed: where they stand among all, by length.
SPREAD = (1 / 6, 1 / 2, 5 / 6)
# Each is repeated until it took so many seconds, or so often; the fastest counts.
LONG_ENOUGH = 0.5
ROUNDS = 5


class Quiet(Context):
    """A run that is none: it reads the workspace, and writes nothing to it."""

    def __init__(self, workspace: Workspace, db: Database, kind: str, config: TrainingConfig) -> None:
        self.workspace, self.db = workspace, db
        nothing: dict[str, Any] = dict.fromkeys(Run.__dataclass_fields__)
        self.run = Run(
            **nothing
            | {
                "id": "probe",
                "kind": kind,
                "config": config.model_dump(mode="json"),
                "inputs": {},
                "step": 0,
                "steps": 0,
            }
        )
        self.leaving = threading.Event()

    def log(self, text: str, level: Level = "info") -> None:
        pass

    def metrics(self, step: int, values: dict[str, float]) -> None:
        pass

    def progress(self, step: int, steps: int, phase: str) -> None:
        pass

    def reads(self, *paths: str) -> dict[str, str]:
        relative = (self.workspace.relative(self.workspace.path(path)) for path in paths)
        return files.fingerprints(self.db, self.workspace, *relative)


def objective_of(context: Context, config: TrainingConfig) -> Objective:
    """What a run of this configuration would train, on its own training rows; the one place here that knows how."""
    from core.training.prepare import load_examples, load_for, load_pairs, use_machine

    def nowhere(folder: Path) -> None:
        raise AssertionError("a probe writes no model")

    dtype = use_machine(context, config)
    if isinstance(config, DPOConfig):
        from core.training.dpo_run import objective_for, policy_and_reference

        policy, reference, _ = policy_and_reference(context, config, dtype)
        pairs = load_pairs(context, policy, config.data.train_file, config)
        dpo = objective_for(context, config, policy, reference, pairs, pairs[:1])
        forward = dpo.forward
        if (
            forward.trunk
            and tokens_kept(pairs) * forward.width * forward.dtype.size <= config.compute.trunk_cache_gb * GB
        ):
            dpo.trunk = KeptTrunk()
        return dpo
    from core.models.adapters import make_trainable

    mx.random.seed(config.training.seed)
    if isinstance(config, SFTConfig):
        from core.training.sft import SFT

        base = load_for(context, config.model.base_model, config, dtype)
        examples = load_examples(context, base, config.data.train_file, config)
        make_trainable(base.model, config.adapter)
        return SFT(base.model, examples, examples[:1], batch_size=1, write_model=nowhere)
    from core.training.reward import Reward
    from core.training.reward_run import load_comparisons, load_start

    assert isinstance(config, RewardConfig)
    loaded = load_start(context, config)
    comparisons = load_comparisons(context, loaded, config.data.train_file, config)
    make_trainable(loaded.model.language_model, config.adapter)
    center = config.training.center_rewards_coefficient
    return Reward(loaded.model, comparisons, comparisons[:1], center=center, batch_size=1, write_model=nowhere)


class KeptTrunk(TrunkCache):
    """What the frozen trunk gives, as from the second epoch on; of the few batches that are tried, and in memory."""

    def __init__(self) -> None:
        self._kept: dict[int, Parts] = {}

    def get(self, pair: Tokens) -> Parts | None:
        return self._kept.get(id(pair))

    def put(self, pair: Tokens, parts: Sequence[Numbers]) -> None:
        self._kept[id(pair)] = tuple(parts)

    def flush(self) -> None:
        pass


class Trial:
    """A model in memory, ready for steps. Its weights stay what they are: the learning rate is 0."""

    def __init__(self, objective: Objective, config: TrainingConfig) -> None:
        self._objective, self._training = objective, config.training
        self._limit = config.optimization.max_grad_norm
        self._optimizer = make_optimizer(config.optimization)
        self._optimizer.init(objective.model.trainable_parameters())
        self._optimizer.learning_rate = 0.0
        objective.model.train()
        self._gpu = mx.default_device() == mx.Device(mx.gpu)
        self._gradients = gradient_function(objective, compiled=self._gpu)
        mx.eval(objective.model.parameters(), self._optimizer.state)

    @property
    def rows(self) -> int:
        return len(self._objective.lengths)

    def measure(self, size: int) -> dict[str, Any]:
        """Peak on the longest batch of this size, rate on usual ones."""
        started = time.perf_counter()
        mx.clear_cache()
        before = mx.get_active_memory()
        mx.reset_peak_memory()
        ordered = in_order(self._objective.lengths, size)
        longest = sorted(range(self.rows), key=lambda i: self._objective.lengths[i])[-size:]
        self._step(longest, batches=min(2, self._training.gradient_accumulation_steps))
        peak = mx.get_peak_memory()
        usual = {int(share * len(ordered)) for share in SPREAD}
        seconds = pairs = 0.0
        for index in sorted(usual):
            seconds += self._fastest(ordered[index])
            pairs += len(ordered[index])
        return {
            "size": size,
            "rate": pairs / seconds,
            "peak": max(peak, mx.get_peak_memory()),
            "before": before,
            "seconds": time.perf_counter() - started,
        }

    def _fastest(self, indices: list[int]) -> float:
        """Seconds of a step on these rows, as it is from the second epoch on: what can be kept is known by then."""
        if self._gpu:
            self._step(indices)  # compiles
        else:
            for piece in self._objective.pieces(indices):
                self._objective.batch(piece)
        times: list[float] = []
        while len(times) < ROUNDS and sum(times) < LONG_ENOUGH:
            times.append(self._step(indices))
        return min(times)

    def _step(self, indices: list[int], batches: int = 1) -> float:
        """One batch, or a few summed, and an update; seconds of one batch with its share of the update."""
        objective = self._objective
        started = time.perf_counter()
        total: Any = None
        examples = mx.array(0.0)
        for _ in range(batches):
            for piece in objective.pieces(indices):
                (loss, count, _), grads = self._gradients(*objective.batch(piece))
                total = grads if total is None else tree_map(mx.add, total, grads)
                examples = examples + count
                mx.eval(loss, examples, total)
        computed = time.perf_counter()
        total = tree_map(lambda g: g / examples.astype(g.dtype), total)
        self._optimizer.update(objective.model, clip(total, global_norm(total), self._limit))
        mx.eval(objective.model.trainable_parameters(), self._optimizer.state)
        update = time.perf_counter() - computed
        return (computed - started) / batches + update / self._training.gradient_accumulation_steps


def answer(trial: Trial, size: int) -> dict[str, Any]:
    """What a size gave; running out of memory is an answer where it does not end the process."""
    started = time.perf_counter()
    try:
        return trial.measure(size)
    except (MemoryError, RuntimeError, ValueError) as error:
        words = str(error).lower()
        if not isinstance(error, MemoryError) and not any(word in words for word in ("memory", "malloc", "allocat")):
            raise
        mx.clear_cache()
        return {"size": size, "too_large": str(error).splitlines()[0], "seconds": time.perf_counter() - started}


def serve(lines: Iterable[str]) -> None:
    """Answer line by line."""
    lines = iter(lines)
    request = json.loads(next(lines))
    workspace = open_workspace(Path(request["workspace"]))
    kind: str = request["kind"]
    config = CONFIGS[kind].model_validate(request["config"])
    # No step of the probe is one that is asked for here.
    config = config.model_copy(update={"training": config.training.model_copy(update={"batch_size": 1})})
    device = plan_for(config).device
    with closing(open_store(workspace.database)) as db, limits(config.compute.environment, device):
        objective = objective_of(Quiet(workspace, db, kind, config), config)
        with gradient_checkpointing(objective.model, config.compute.gradient_checkpointing):
            trial = Trial(objective, config)
            _say({"ready": trial.rows})
            for line in lines:
                _say(answer(trial, int(line)))


def _say(answer: dict[str, Any]) -> None:
    os.write(_ANSWERS, f"{json.dumps(answer)}\n".encode())


# Where answers go: libraries print what they like to what they take for standard output.
_ANSWERS = 1


def _first_to_go() -> None:
    """On Linux, memory that runs out ends a process of the system's choice: let it be this one."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def _lines() -> Iterable[str]:
    """Lines of standard input; when it ends, the program that asked is gone, and so is this one, at once."""
    waiting: queue.SimpleQueue[str] = queue.SimpleQueue()

    def read() -> None:
        for line in sys.stdin:
            waiting.put(line)
        os._exit(0)

    threading.Thread(target=read, daemon=True).start()
    while True:
        yield waiting.get()


if __name__ == "__main__":
    _ANSWERS = os.dup(1)
    os.dup2(2, 1)
    _first_to_go()
    try:
        serve(_lines())
    except UserError as error:
        _say({"error": str(error)})
        sys.exit(3)
