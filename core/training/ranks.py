"""The ranks that train together: who takes which examples, what is summed over them, and how all do the same.

Each rank has the model and the data whole, takes the same batches in the same order, and computes its share of each.
Sums of gradients, losses and metrics are added up over ranks before anything is divided, so that a step is the step of
one process with the whole batch. Rank 0 is the one with runs.db: what a person asks for reaches the others through it.
"""

from __future__ import annotations

import json
import math
import struct
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, TypeVar

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten, tree_unflatten

from core.errors import UserError
from core.store.ranks import words_of

Array = mx.array
T = TypeVar("T")

# Bytes that each rank says at a time; what is longer takes several rounds.
FRAME = 4096
_HEAD = struct.Struct("<I")
_ROOM = FRAME - _HEAD.size

# Gradients travel in buffers of so many float32: few messages, and little memory beside the gradients themselves.
BUFFER = 1 << 24

# While a run is paused, the others look this often whether it goes on, and sleep meanwhile.
PAUSED = 1.0

# Fractions of multiples of it lie evenly, however many are taken.
_GOLDEN = (math.sqrt(5) - 1) / 2


class LostRank(UserError):
    """Another rank is gone or failed, and nothing can be summed any more."""


class Ended(Exception):
    """Rank 0 has ended the run, for whatever reason; the others have nothing left to do."""


class Ranks:
    """One of several processes, or the only one.

    What says so is called by all ranks together, in the same order; it raises LostRank where one of them is gone.

    Attributes:
        shares: what each rank takes of a batch, together 1.
        names: what the ranks are called.
        why: where the shares are from.
        measure: the shares are to be measured before the first step.
    """

    def __init__(
        self,
        group: mx.distributed.Group | None = None,
        shares: Sequence[float] = (1.0,),
        names: Sequence[str] = ("this machine",),
        why: str = "",
        *,
        measure: bool = False,
        why_lost: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._group = group
        self._why_lost = why_lost
        self._broken = False
        self._told_pause = 0.0
        self.rank = 0 if group is None else group.rank()
        self.size = 1 if group is None else group.size()
        self.shares, self.names, self.why, self.measure = tuple(shares), tuple(names), why, measure
        # Of the last step: what this rank computed for, and what it waited for the others and the sum, in seconds.
        self.computed = self.waited = 0.0
        # What each rank said of its part of the last step.
        self.parts: list[dict[str, Any]] = []

    @property
    def alone(self) -> bool:
        return self._group is None

    @property
    def first(self) -> bool:
        """Whether this is the rank that writes."""
        return self.rank == 0

    def __str__(self) -> str:
        return words_of(self.shares, self.why)

    def mine(self, examples: Sequence[T], position: int) -> list[T]:
        """This rank's part of a batch, which may be none."""
        return list(examples) if self.alone else deal(examples, self.shares, position)[self.rank]

    def gather(self, at: str, note: Mapping[str, Any]) -> list[dict[str, Any]]:
        """What each rank has to say (JSON), in their order; all of them call it together.

        Args:
            at: the point of the program, which is the same for all.

        Raises:
            LostRank: a rank is gone, or has failed.
            Ended: rank 0 has ended the run.
        """
        if self.alone:
            return [dict(note)]
        while True:
            found = self._exchange({"at": at, **note})
            for rank, said in enumerate(found):
                if "failed" in said:
                    raise LostRank(f"rank {rank} ({self.names[rank]}) failed: {said['failed']}")
            if "ended" in found[0]:
                raise Ended
            if found[0]["at"] != "pause":
                break
            if at == "pause":
                return found
            time.sleep(PAUSED)
        points = [said["at"] for said in found]
        if len(set(points)) > 1:
            raise LostRank(f"the ranks are not at the same point ({', '.join(points)}): do all have the same dpotui?")
        return found

    def paused(self) -> None:
        """Rank 0 waits for a person: the others are told to, about once a second."""
        if not self.alone and time.monotonic() - self._told_pause >= PAUSED:
            self.gather("pause", {})
            self._told_pause = time.monotonic()

    def say_end(self, **words: str) -> None:
        """Last words before this rank leaves: `ended` of rank 0, `failed` with its reason. Does what it can."""
        if self.alone or self._broken:
            return
        try:
            self._exchange({"at": "end", **{key: word[:1000] for key, word in words.items()}})
        except LostRank:
            return

    def decide(self, value: bool) -> bool:
        """What rank 0 says; all call it together."""
        return bool(self.gather("decide", {"value": value})[0]["value"])

    def add_up(self, at: str, values: Mapping[str, float] | None) -> dict[str, float] | None:
        """Sums by name over all ranks; None where a rank has none to give. All call it together.

        Added in the order of the ranks in double precision: every rank gets the same to the bit.
        """
        if self.alone:
            return None if values is None else dict(values)
        found = [said["values"] for said in self.gather(at, {"values": None if values is None else dict(values)})]
        return None if any(one is None for one in found) else _added(found)

    def sum_step(
        self, gradients: Any | None, sums: Mapping[str, Array], examples: int, parameters: Any
    ) -> tuple[Any, dict[str, float]]:
        """Gradients and named sums of an update over all ranks.

        Args:
            gradients: summed over this rank's examples; None where it had none.
            examples: how many those were.
            parameters: what the gradients are of.
        """
        mx.eval(gradients)
        before = time.perf_counter()
        values = {name: float(value) for name, value in sums.items()}
        part = {"values": values, "pairs": examples, "computing": self.computed, "waiting": self.waited}
        self.parts = self.gather("step", part)
        if gradients is None:
            gradients = tree_unflatten([(k, mx.zeros(v.shape)) for k, v in tree_flatten(parameters)])
        total = self.sum_tree(gradients)
        mx.eval(total)
        self.waited = time.perf_counter() - before
        return total, _added([one["values"] for one in self.parts])

    def sum_tree(self, tree: Any) -> Any:
        """Arrays summed over all ranks, in float32; all call it together with arrays of the same shapes."""
        if self.alone:
            return tree
        flat = tree_flatten(tree)
        found: list[tuple[str, Array]] = []
        for group in _grouped(flat, BUFFER):
            whole = mx.concatenate([value.astype(mx.float32).reshape(-1) for _, value in group])
            found += _cut(self._collect(mx.distributed.all_sum, whole), group)
        return tree_unflatten(found)

    def take_over(self, tree: Any) -> Any:
        """Rank 0's arrays, to the bit, whatever their types; the others' are only of their shapes. All call it."""
        if self.alone:
            return tree
        flat = [(name, value) for name, value in tree_flatten(tree)] if self.first else []
        (spec, *_) = self.gather("arrays", {"arrays": [(n, v.shape, _TYPES[v.dtype]) for n, v in flat]})
        named = [(name, tuple(shape), getattr(mx, kind)) for name, shape, kind in spec["arrays"]]
        own = dict(flat)
        found: list[tuple[str, Array]] = []
        for name, shape, kind in named:
            bits = _BITS[kind.size]
            size = math.prod(shape)
            # Whole numbers, and zeros from all but one: nothing is rounded.
            mine = own[name].reshape(-1).view(bits) if self.first else mx.zeros((size,), bits)
            parts = [
                self._collect(mx.distributed.all_sum, mine[start : start + BUFFER]) for start in range(0, size, BUFFER)
            ]
            whole = mx.concatenate(parts) if parts else mine
            found.append((name, whole.view(kind).reshape(shape)))
        result = tree_unflatten(found)
        mx.eval(result)
        return tree if self.first else result

    def _exchange(self, note: dict[str, Any]) -> list[dict[str, Any]]:
        data = json.dumps(note).encode()
        said, rounds, number = [b""] * self.size, 1, 0
        lengths = [0] * self.size
        while number < rounds:
            part = data[number * _ROOM : (number + 1) * _ROOM]
            frame = (_HEAD.pack(len(data)) + part).ljust(FRAME, b"\0")
            whole = np.array(self._collect(mx.distributed.all_gather, mx.array(np.frombuffer(frame, np.uint8))))
            for rank in range(self.size):
                one = whole[rank * FRAME : (rank + 1) * FRAME].tobytes()
                (lengths[rank],) = _HEAD.unpack(one[: _HEAD.size])
                said[rank] += one[_HEAD.size :]
            rounds = max(1, *(-(-length // _ROOM) for length in lengths))
            number += 1
        return [json.loads(one[:length]) for one, length in zip(said, lengths, strict=True)]

    def _collect(self, operation: Callable[..., Array], array: Array) -> Array:
        if self._broken:
            raise LostRank("the ranks have parted")
        try:
            result = operation(array, group=self._group, stream=mx.cpu)
            mx.eval(result)
        except RuntimeError as error:
            self._broken = True
            why = self._why_lost() or f"the connection between the ranks was lost ({' '.join(str(error).split())})"
            raise LostRank(why) from error
        return result


# What a run of one process works with.
ALONE = Ranks()


def deal(examples: Sequence[T], shares: Sequence[float], position: int) -> list[list[T]]:
    """A batch dealt to ranks by their shares.

    Each gets its share of the batch rounded up or down; which of both is decided by the batch's position alone, such
    that over batches the mean is the share: of four pairs at 65/35, rank 0 gets 3 in six batches of ten, else 2.
    Neighbours in a batch, which are of about one length, go to different ranks.
    """
    count, start = len(examples), (position * _GOLDEN) % 1
    ends = [0]
    total = 0.0
    for share in shares:
        total += share
        ends.append(int(count * total + start + 1e-9))
    ends[-1] = count
    wanted = [max(0, after - before) for before, after in pairwise(ends)]
    dealt: list[list[T]] = [[] for _ in shares]
    for number, example in enumerate(examples, 1):
        behind = [want * number / count - len(have) for want, have in zip(wanted, dealt, strict=True)]
        dealt[behind.index(max(behind))].append(example)
    return dealt


def checksum(tree: Any) -> int:
    """A number that two copies of the same arrays share, to the bit; others hardly ever do."""
    found = mx.array(0, mx.uint32)
    for _, value in tree_flatten(tree):
        found = found * 31 + value.reshape(-1).view(_BITS[value.dtype.size]).astype(mx.uint32).sum()
    return int(float(found >> 16)) << 16 | int(float(found & 0xFFFF))


_TYPES = {
    getattr(mx, name): name
    for name in (
        "bool_", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64", "float16", "bfloat16",
        "float32",
    )
}  # fmt: skip
_BITS = {1: mx.uint8, 2: mx.uint16, 4: mx.uint32, 8: mx.uint64}


def _added(found: Sequence[Mapping[str, float]]) -> dict[str, float]:
    names = dict.fromkeys(name for one in found for name in one)
    return {name: sum(one.get(name, 0.0) for one in found) for name in names}


def _grouped(flat: list[tuple[str, Array]], most: int) -> Iterator[list[tuple[str, Array]]]:
    """Arrays in groups of at most so many numbers, or one array."""
    group: list[tuple[str, Array]] = []
    size = 0
    for name, value in flat:
        if group and size + value.size > most:
            yield group
            group, size = [], 0
        group.append((name, value))
        size += value.size
    if group:
        yield group


def _cut(whole: Array, like: list[tuple[str, Array]]) -> list[tuple[str, Array]]:
    found, at = [], 0
    for name, value in like:
        found.append((name, whole[at : at + value.size].reshape(value.shape)))
        at += value.size
    return found
