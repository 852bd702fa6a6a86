"""Garbage is looked for when nobody waits."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from dpotui import collecting
from dpotui.collecting import Collecting


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(collecting, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


class Ring:
    def __init__(self) -> None:
        self.own = self


def test_a_full_look_comes_once_a_minute_and_not_behind_a_key(clock: list[float], no_collector: None) -> None:
    kept = Collecting()
    gone = weakref.ref(Ring())
    clock[0] += 59
    assert not kept.rest() and gone() is not None
    clock[0] += 2
    kept.key()
    clock[0] += 4
    assert not kept.rest() and gone() is not None
    clock[0] += 2
    assert kept.rest() and gone() is None
    clock[0] += 30
    assert not kept.rest()
