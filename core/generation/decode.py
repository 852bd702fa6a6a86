"""Decoding of many sequences at a time: a prompt is run once for all its responses, and a finished one makes room.

The cache of a prompt is expanded to as many rows as it has responses, and those rows join the batch that is being
decoded. Which of the ways below a model can go is found out by trying, not by its name.
"""

from __future__ import annotations

import copy
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Literal

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_map
from mlx_lm.models.cache import make_prompt_cache

from core.generation.draw import NotNumbers, Settings, draw

# together: rows of several prompts in one batch. prompt: the rows of one prompt at a time. alone: one row at a time.
Way = Literal["together", "prompt", "alone"]

# Tokens of a prompt in one forward pass.
PREFILL = 512
# A cache of MLX's allocator that fits no array any more is given back every so many steps.
_CLEAR = 256


@dataclass(slots=True)
class Row:
    """One response on its way. `tokens` ends with the end token where the model wrote one."""

    settings: Settings
    random: np.random.Generator
    max_tokens: int
    tokens: list[int] = field(default_factory=list)
    finish: Literal["", "stop", "length"] = ""
    # The last token of its prompt stands before it in the batch and is not part of it.
    began: bool = False


@dataclass(slots=True)
class Job:
    """A prompt and the responses that are wanted; `name` is for who asks."""

    prompt: list[int]
    rows: list[Row]
    name: Any = None
    cache: Any = None  # of the prompt without its last token, while rows of it wait
    waiting: int = 0  # the first of its rows that is not yet in the batch

    @property
    def finished(self) -> bool:
        return all(row.finish for row in self.rows)


class Decoder:
    """Decodes the jobs of `queue`, which may grow while it does.

    Args:
        stop: token ids that end a response.
        size: rows decoded at a time.
        way: as `choose` found it.
        ahead: begin with the next tokens before these are known to Python, which keeps a GPU busy; None where the
            default device is a GPU.
        lost: the token that is taken where logits are NaN; -1: that is an error.

    Attributes:
        prefilled: tokens of prompts that were run.
        shared: tokens of prompts that were not run again for a further response.
        drawn: tokens of responses.
    """

    def __init__(
        self,
        model: nn.Module,
        stop: set[int],
        *,
        size: int,
        way: Way,
        ahead: bool | None = None,
        lost: int = -1,
    ) -> None:
        self.queue: deque[Job] = deque()
        self.prefilled = self.shared = self.drawn = self.steps = 0
        self._model = model
        self._stop = stop
        self._size = 1 if way == "alone" else size
        self._way = way
        self._ahead = mx.default_device() == mx.Device(mx.gpu) if ahead is None else ahead
        self._lost = lost
        self._live: list[tuple[Job, Row]] = []
        self._cache: list[Any] = []
        # The tokens that are run next, one for each row.
        self._next = mx.array([], mx.int32)

    @property
    def busy(self) -> bool:
        return bool(self.queue or self._live)

    @property
    def rows(self) -> int:
        return len(self._live)

    def step(self) -> list[Job]:
        """One more token for each row; returns the jobs that are finished by it.

        Raises:
            NotNumbers: the model's logits are NaN.
        """
        self.steps += 1
        if self.steps % _CLEAR == 0:
            mx.clear_cache()
        if not self._ahead:
            self._admit()
            for _, row in self._live:
                row.began = True
            self._next = self._forward(self._next)
            finished = self._read(self._next)
            self._make_room()
            return finished
        if not self._live:
            self._admit()
        drawn, self._next = self._next, self._forward(self._next)
        finished = self._read(drawn)
        self._make_room()
        self._admit()
        return finished

    def _read(self, drawn: mx.array) -> list[Job]:
        """Take the tokens that were drawn into their rows."""
        finished: list[Job] = []
        for (job, row), token in zip(self._live, np.array(drawn).tolist(), strict=True):
            if not row.began:
                row.began = True
            elif not row.finish:
                if token < 0 and self._lost < 0:
                    raise NotNumbers
                row.tokens.append(token if token >= 0 else self._lost)
                self.drawn += 1
                if token in self._stop:
                    row.finish = "stop"
                elif len(row.tokens) >= row.max_tokens:
                    row.finish = "length"
                if row.finish and job.finished:
                    finished.append(job)
        return finished

    def _forward(self, tokens: mx.array) -> mx.array:
        """Run the model on these tokens, one for each row, and draw those that follow."""
        logits = self._model(tokens[:, None], cache=self._cache)[:, -1]
        uniform = np.array([row.random.random(dtype=np.float32) for _, row in self._live], np.float32)
        drawn = draw(logits, [row.settings for _, row in self._live], uniform, self._recent(tokens))
        mx.async_eval(drawn, [cache.state for cache in self._cache])  # type: ignore[no-untyped-call]
        return drawn

    def _recent(self, tokens: mx.array) -> Any:
        """(B, C) tokens that came last, the oldest first, where a penalty wants them. A short one repeats its first."""
        width = max(
            (row.settings.repetition_context for _, row in self._live if row.settings.repetition_penalty != 1),
            default=0,
        )
        if not width:
            return None
        lists = []
        for job, row in self._live:
            last = [*job.prompt, *row.tokens] if row.began or not self._ahead else job.prompt[:-1]
            last = (last or job.prompt)[-width:]
            lists.append([last[0]] * (width - len(last)) + last)
        known = np.array(lists, np.int64)
        if not self._ahead:
            return known
        # What is being run is not yet known to the rows.
        return mx.concatenate([mx.array(known)[:, 1:], tokens[:, None].astype(mx.int64)], axis=1)

    def _make_room(self) -> None:
        """Drop finished rows where something waits for their place, or many of them are decoded for nothing."""
        keep = [index for index, (_, row) in enumerate(self._live) if not row.finish]
        dead = len(self._live) - len(keep)
        if not dead:
            return
        if not keep:
            self._live, self._cache = [], []
            return
        if self._way == "together" and self.queue:
            wanted = min(self._size, len(self.queue[0].rows) - self.queue[0].waiting)
            worth = self._size - len(keep) >= wanted
        else:
            worth = 4 * dead >= len(self._live)
        if worth:
            self._live = [self._live[index] for index in keep]
            self._next = self._next[mx.array(keep)]
            self._cache = [_taken(cache, keep, self._way) for cache in self._cache]

    def _admit(self) -> None:
        """Begin with jobs that wait, as long as there is room for all rows of the first, or for as many as fit."""
        while self.queue and len(self._live) < self._size and (self._way == "together" or not self._live):
            job = self.queue[0]
            room, wanted = self._size - len(self._live), len(job.rows) - job.waiting
            if self._live and wanted > room:
                return
            rows = job.rows[job.waiting : job.waiting + room]
            if job.cache is None:
                job.cache = prefill(self._model, job.prompt)
                self.prefilled += len(job.prompt) - 1
                self.shared += (len(job.prompt) - 1) * (len(job.rows) - 1)
            cache = expanded(job.cache, len(rows), self._way)
            job.waiting += len(rows)
            if job.waiting == len(job.rows):
                self.queue.popleft()
                job.cache = None
            last = mx.full((len(rows),), job.prompt[-1], mx.int32)
            if self._live:
                for ours, theirs in zip(self._cache, cache, strict=True):
                    ours.extend(theirs)
                self._next = mx.concatenate([self._next, last])
            else:
                self._cache, self._next = cache, last
            self._live += [(job, row) for row in rows]


def prefill(model: nn.Module, prompt: list[int]) -> list[Any]:
    """The cache of a prompt without its last token."""
    cache: list[Any] = make_prompt_cache(model)
    for start in range(0, len(prompt) - 1, PREFILL):
        part = prompt[start : min(start + PREFILL, len(prompt) - 1)]
        model(mx.array([part]), cache=cache)
        mx.eval([layer.state for layer in cache])
    return cache


def expanded(cache: list[Any], rows: int, way: Way) -> list[Any]:
    """A cache of one row as the cache of so many; the one given stays as it is."""
    if way == "together":
        merged = [layer.merge([layer]) for layer in cache]
        if rows > 1:
            for layer in merged:
                layer.filter([0] * rows)
        return merged
    copies = [copy.deepcopy(layer) for layer in cache]
    return copies if rows == 1 else [_taken(layer, [0] * rows, way) for layer in copies]


def _taken(layer: Any, rows: list[int], way: Way) -> Any:
    """A layer's cache with these of its rows."""
    if way == "together":
        layer.filter(rows)
    else:
        index = mx.array(rows)
        layer.state = tree_map(
            lambda part: part[index] if isinstance(part, mx.array) and part.ndim else part, layer.state
        )
    return layer


def choose(model: nn.Module) -> tuple[Way, str]:
    """How this model can decode: rows of several prompts together if that gives what one alone gives, else the rows of
    one prompt, else one row at a time; and why not better, in words, "" for the best."""
    ways: tuple[Way, ...] = ("together", "prompt")
    whys = []
    for way in ways:
        try:
            wrong = _difference(model, way)
        except (ValueError, TypeError, AttributeError, NotImplementedError, IndexError, RuntimeError) as error:
            whys.append(" ".join(f"{type(error).__name__}: {error}".split())[:160])
            continue
        if wrong is None:
            return way, "; ".join(whys)
        whys.append(wrong)
    return "alone", "; ".join(whys)


def _difference(model: nn.Module, way: Way) -> str | None:
    """What is wrong with logits of rows that are decoded in this way, beside those of one sequence alone."""
    short, long, then = [3, 1, 2], [1, 4, 2, 5, 3, 6, 1], [2, 4]
    jobs = [long, short] if way == "together" else [long]
    rows = [prompt for prompt in jobs for _ in range(2)]
    cache: list[Any] = []
    for prompt in jobs:
        more = expanded(prefill(model, prompt), 2, way)
        if cache:
            for ours, theirs in zip(cache, more, strict=True):
                ours.extend(theirs)
        cache = cache or more
    keep = list(range(len(rows)))
    found = []
    tokens = [prompt[-1] for prompt in rows]
    for step in range(len(then) + 1):
        found.append((keep, _logits(model, tokens, cache)))
        if step == len(then):
            break
        # The first row leaves: what stays must stay what it is.
        dropped = [i for i in range(len(keep)) if step or i]
        cache = [_taken(layer, dropped, way) for layer in cache]
        keep = [keep[i] for i in dropped]
        tokens = [then[step]] * len(keep)
    bound = _tolerance(model)
    alone: dict[tuple[int, ...], Any] = {}  # rows of one prompt are the same
    for step, (keep, logits) in enumerate(found):
        for row, index in enumerate(keep):
            tokens = [*rows[index], *then[:step]]
            wanted = alone.get(tuple(tokens))
            if wanted is None:
                wanted = alone[tuple(tokens)] = _logits(model, tokens[-1:], prefill(model, tokens))[0]
            error = np.linalg.norm(logits[row] - wanted) / (np.linalg.norm(wanted - wanted.mean()) + 1e-9)
            if not error < bound:
                return f"logits of a row in a batch are off by {error:.1%} from those of the row alone"
    return None


def _logits(model: nn.Module, tokens: list[int], cache: list[Any]) -> Any:
    return np.array(model(mx.array(tokens)[:, None], cache=cache)[:, -1].astype(mx.float32))


def _tolerance(model: nn.Module) -> float:
    """What rounding alone may do, relative to the spread of the logits."""
    logits = model(mx.array([[1]]))
    return 2e-3 if logits.dtype == mx.float32 else 0.1


def bytes_per_row(model: nn.Module, tokens: int) -> int:
    """Bytes that the cache of a sequence of so many tokens takes."""
    total = 0
    for layer in prefill(model, [1, 2, 3]):
        total += _layer_bytes(layer, tokens)
    return total


def _layer_bytes(layer: Any, tokens: int) -> int:
    if hasattr(layer, "caches"):
        return sum(_layer_bytes(part, tokens) for part in layer.caches)
    keys, values = getattr(layer, "keys", None), getattr(layer, "values", None)
    if isinstance(keys, mx.array) and isinstance(values, mx.array):
        held = min(tokens, getattr(layer, "max_size", None) or tokens)
        return sum(part.nbytes // part.shape[2] for part in (keys, values)) * held
    return int(layer.nbytes)
