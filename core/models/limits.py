"""Limits of MLX's memory, set for one run and put back after it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import mlx.core as mx

from core.config.environment import Environment
from core.environment import CACHE, LIMITS, MEMORY, WIRED, gigabytes, limit_planned, on_metal
from core.errors import UserError
from core.store.environments import Setting

_SET: dict[str, Callable[[int], int]] = {
    WIRED: mx.set_wired_limit,
    CACHE: mx.set_cache_limit,
    MEMORY: mx.set_memory_limit,
}
# The memory limit first: MLX takes it for the cache's as well.
_ORDER = (MEMORY, CACHE, WIRED)


@contextmanager
def limits(environment: Environment, device: str) -> Iterator[list[Setting]]:
    """The limits as they are meanwhile. They are the process's, not a thread's.

    Raises:
        UserError: Metal refuses one.
    """
    before: list[tuple[str, int]] = []
    try:
        yield [_limit(name, environment, device, before) for name in _ORDER]
    finally:
        for name, value in reversed(before):
            _SET[name](value)


def _limit(name: str, environment: Environment, device: str, before: list[tuple[str, int]]) -> Setting:
    planned = limit_planned(name, environment, device)
    wanted: float | None = getattr(environment, LIMITS[name][0])
    metal = device == "gpu" and on_metal()
    if planned.value is None:
        return planned
    # Weights that stay resident are not paged in again at each step; mlx-lm's trainer does the same.
    recommended = mx.device_info().get("max_recommended_working_set_size", 0)
    value = int(wanted * 1e9) if wanted is not None else int(recommended)
    said = gigabytes(round(value / 1e9, 1))
    try:
        before.append((name, _SET[name](value)))
    except (ValueError, RuntimeError) as error:
        raise UserError(
            f"{planned.key}: {said}: MLX refuses it ({error}): make it less, or first let Metal wire more: sudo sysctl"
            " iogpu.wired_limit_mb=MEGABYTES"
        ) from error
    # MLX answers with the limit that stood: with this one, if it took it.
    if _SET[name](value) == value:
        return replace(planned, value=said, effect="effective", why="read back from MLX")
    why = "it needs macOS 15 or later" if metal else "MLX has no Metal here, which it is for"
    return replace(planned, value=said, effect="without effect", why=f"MLX gives back another one: {why}")
