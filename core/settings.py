"""Settings of the person at the keyboard, for all workspaces: how it looks, what is told, what runs when a run ends.

They are no part of a workspace: one that came from somebody else must not be able to name a program to run.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from core.errors import UserError

Osc9 = Literal["auto", "on", "off"]


@dataclass(frozen=True, slots=True)
class Settings:
    """
    Attributes:
        theme: a theme's name, or "auto": by NO_COLOR and what the terminal can do.
        ascii: draw without characters beyond ASCII.
        bell: ring when a run ends, a gate turns or the KL guard acts.
        osc9: a desktop notice by the terminal (OSC 9) at the same occasions.
        on_run_end: a program and its arguments, started by the engine when a run has ended; never through a shell.
    """

    theme: str = "auto"
    ascii: bool = False
    bell: bool = True
    osc9: Osc9 = "auto"
    on_run_end: tuple[str, ...] = ()


def settings_path() -> Path:
    """Where they stand: DPOTUI_SETTINGS, else settings.yaml in the person's configuration folder."""
    named = os.environ.get("DPOTUI_SETTINGS")
    if named:
        return Path(named).expanduser()
    home = os.environ.get("XDG_CONFIG_HOME")
    return (Path(home) if home else Path.home() / ".config") / "dpotui" / "settings.yaml"


def load_settings() -> Settings:
    """The person's settings; the usual ones where there is no file.

    Raises:
        UserError: one line that names file, key and mend.
    """
    path = settings_path()
    try:
        text = path.read_text(encoding="utf-8")
        mode = path.stat().st_mode
    except FileNotFoundError:
        return Settings()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read ({error}): mend it or move it away") from error
    import yaml  # most people have no such file, and a start is to be quick

    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark is not None else ""
        raise UserError(f"{path}{line}: this is not YAML: {getattr(error, 'problem', None) or error}") from error
    if found is None:
        return Settings()
    if not isinstance(found, dict):
        raise UserError(f"{path}: keys and values are wanted, such as 'bell: false'")
    values = {str(key): _checked(path, str(key), value) for key, value in found.items()}
    if values.get("on_run_end") and mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise UserError(f"{path}: others may write it, and on_run_end names a program: chmod 600 {path}")
    return Settings(**values)


def _checked(path: Path, key: str, value: Any) -> Any:
    names = [field.name for field in fields(Settings)]
    if key not in names:
        raise UserError(f"{path}: {key}: unknown key; allowed: {', '.join(names)}")
    if key == "on_run_end":
        words = value if isinstance(value, list) else None
        if words is None or not all(isinstance(word, str) and "\0" not in word for word in words):
            raise UserError(f'{path}: on_run_end: a program and its arguments as a list of texts: ["say", "done"]')
        return tuple(words)
    if key in ("ascii", "bell"):
        if not isinstance(value, bool):
            raise UserError(f"{path}: {key}: true or false is wanted")
        return value
    if key == "osc9":
        # YAML 1.1 takes on and off for true and false.
        value = {True: "on", False: "off"}.get(value, value) if isinstance(value, bool) else value
        if value not in get_args(Osc9):
            raise UserError(f"{path}: osc9: one of {', '.join(get_args(Osc9))} is wanted")
        return value
    if not isinstance(value, str) or not value:
        raise UserError(f"{path}: {key}: a text is wanted, such as dpotui-light")
    return value
