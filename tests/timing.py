"""How long something takes on a machine that others use, too."""

from __future__ import annotations

import time
from collections.abc import Callable


def least(what: Callable[[], object], tries: int = 5) -> float:
    """The least processor time of several tries, in seconds: what the collector or other programs add is not in it."""
    took = []
    for _ in range(tries):
        began = time.process_time()
        what()
        took.append(time.process_time() - began)
    return min(took)
