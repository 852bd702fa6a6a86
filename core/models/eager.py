"""NumPy within a graph of MLX arrays, on a CPU, where every operation can be done at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import mlx.core as mx
import numpy as np
import numpy.typing as npt

Array = mx.array
Floats = npt.NDArray[np.float32]


_here = threading.local()


@contextmanager
def lazily(wanted: bool = True) -> Iterator[None]:
    """Inside, NumPy computes nothing. What it is asked for is computed at once, and while a gradient is traced MLX
    keeps all that this came from: blocks that are to be computed again would be kept whole, twice.
    """
    before = getattr(_here, "lazily", False)
    _here.lazily = wanted or before
    try:
        yield
    finally:
        _here.lazily = before


def numbers(array: Array) -> Floats | None:
    """The numbers of a float32 array where NumPy is to compute with them, else None: on a GPU, in a compiled step, and
    inside of `lazily`.

    On the CPU NumPy's exp is some 25 times as fast as MLX's, and its sums are pairwise: MLX's logsumexp adds a row up
    one by one and is off by 5e-5 and more a token over a vocabulary of 49k, always to one side.
    """
    if mx.default_device() == mx.Device(mx.gpu) or getattr(_here, "lazily", False):
        return None
    try:
        return np.asarray(array)
    except (RuntimeError, ValueError):  # while a step is traced its arrays have no numbers
        return None


def with_vjp(forward: Callable[..., Any], backward: Callable[..., Any]) -> Callable[..., Any]:
    """`forward` with the gradient that `backward(primals, cotangents, outputs)` gives."""
    function: Any = mx.custom_function(forward)
    function.vjp(backward)
    return function  # type: ignore[no-any-return]


def fresh(array: Array) -> Array:
    """The same numbers without their history, where NumPy has them: while a gradient is traced, MLX keeps every array
    that one came from.
    """
    values = numbers(array)
    return array if values is None else mx.array(values)
