"""Config: the configurations of the workspace, a form beside the file."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from textual.widget import Widget

from dpotui.live import Snapshot
from dpotui.screens.mode import ModeScreen
from dpotui.widgets.card import Card, Entry


class ConfigScreen(ModeScreen):
    MODE = "Config"
    PANES = (("File", "file"),)

    def panes(self) -> Iterable[Widget]:
        return (Card(),)

    def fill(self, snapshot: Snapshot) -> None:
        names = sorted(path.name for path in snapshot.workspace.configs.glob("*.yaml"))
        self.query_one(Card).fill([Entry("", name) for name in names])

    def open_file(self, path: Path, run: str | None = None) -> None:
        """Show this file; `run`: with the values that this run had."""
