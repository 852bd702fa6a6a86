"""sqlite-utils, imported before anything else of the store does, without what it loads for uses that are not ours.

It imports NumPy and pandas, if they are there, to know their types in columns, and dateutil for recipes of its own
command; then it looks through every installed distribution for plugins of that command. None of ours has any, and it is
a third of the client's start. Afterwards all of them can be imported as ever.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


class _Later(ModuleType):
    """Stands where sqlite-utils keeps dateutil's parser for its recipes: reads it when one of them is used."""

    def __getattr__(self, name: str) -> Any:
        from importlib import import_module

        return getattr(import_module("dateutil.parser"), name)


_modules: dict[str, Any] = sys.modules
_dateutil = ModuleType("dateutil")
setattr(_dateutil, "parser", _Later("dateutil.parser"))  # noqa: B010 - a module has no such attribute to a checker
_stands_in: dict[str, Any] = {"numpy": None, "pandas": None, "dateutil": _dateutil}
_hidden = {name: module for name, module in _stands_in.items() if name not in _modules}
_modules.update(_hidden)  # None makes an import of it fail as if it were not installed
try:
    from sqlite_utils import Database as Database
    from sqlite_utils import plugins
finally:
    for _name in _hidden:
        del _modules[_name]
plugins._plugins_loaded = True
