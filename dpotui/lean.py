"""Start quickly: what a library loads for uses that are not ours is left out."""

from __future__ import annotations

import sys
from typing import Any


def load_store() -> None:
    """Import `core.store` before anything else does.

    sqlite-utils imports NumPy and pandas, if they are there, to know their types in columns. None of ours has any, and
    it is a quarter of the client's start. Afterwards both can be imported as ever.
    """
    modules: dict[str, Any] = sys.modules
    hidden = [name for name in ("numpy", "pandas") if name not in modules]
    modules.update(dict.fromkeys(hidden))  # None makes an import of it fail as if it were not installed
    try:
        import core.store  # noqa: F401
    finally:
        for name in hidden:
            del modules[name]
