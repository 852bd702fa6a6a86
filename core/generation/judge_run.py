"""A run of kind judge: being built."""

from __future__ import annotations

from core.training.context import Context


def run(context: Context) -> None:
    raise NotImplementedError
