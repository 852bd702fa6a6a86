"""Start quickly: what is imported is not looked through for garbage."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_collecting() -> Iterator[None]:
    """Import without the collector looking through what is made: none of it is ever garbage.

    Nor does it look there later, which would hold up a key for some milliseconds now and then.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
