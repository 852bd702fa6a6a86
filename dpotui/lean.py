"""Start quickly: what a library loads for uses that are not ours is left out."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any


def load_store() -> None:
    """Import `core.store` before anything else does.

    sqlite-utils imports NumPy and pandas, if they are there, to know their types in columns, and dateutil for recipes
    of its own command; then it looks through every installed distribution for plugins of that command. None of ours has
    any, and it is a third of the client's start. Afterwards all of them can be imported as ever.
    """
    modules: dict[str, Any] = sys.modules
    dateutil = ModuleType("dateutil")
    setattr(dateutil, "parser", _Later("dateutil.parser"))  # noqa: B010 - a module has no such attribute to a checker
    stands_in: dict[str, Any] = {"numpy": None, "pandas": None, "dateutil": dateutil}
    hidden = {name: module for name, module in stands_in.items() if name not in modules}
    modules.update(hidden)  # None makes an import of it fail as if it were not installed
    try:
        import core.store  # noqa: F401
    finally:
        for name in hidden:
            del modules[name]
    from sqlite_utils import plugins

    plugins._plugins_loaded = True


class _Later(ModuleType):
    """Stands where sqlite-utils keeps dateutil's parser for its recipes: reads it when one of them is used."""

    def __getattr__(self, name: str) -> Any:
        from importlib import import_module

        return getattr(import_module("dateutil.parser"), name)


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
