"""When garbage is looked for: not while a key waits. A look through all that lives takes longer than a key may."""

from __future__ import annotations

import gc
import sys
from time import monotonic

# Seconds without a key in which nobody is kept waiting, and between two full collections.
_REST, _SELDOM = 5.0, 60.0
# What a key makes and drops is found in looks of a millisecond or two; the collector does no full ones by itself.
_THRESHOLDS = (1_000, 10, 1_000_000)
# Seconds for which a thread that reads may keep the one that answers keys from its turn.
_TURN = 0.001


class Collecting:
    """Takes over from the collector in a process that does nothing but answer keys."""

    def __init__(self) -> None:
        self._key = self._collected = monotonic()

    def begin(self) -> None:
        gc.set_threshold(*_THRESHOLDS)
        sys.setswitchinterval(_TURN)

    def key(self) -> None:
        """One was pressed."""
        self._key = monotonic()

    def rest(self) -> bool:
        """There is nothing else to do now; says whether garbage was looked for."""
        now = monotonic()
        if now - self._key < _REST or now - self._collected < _SELDOM:
            return False
        self._collected = now
        gc.collect()
        return True
