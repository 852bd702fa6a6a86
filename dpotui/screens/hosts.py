"""The hosts of a hosts file, looked at: whether they can work together, check by check as they are made."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.message import Message

from core.errors import UserError
from core.text import one_line
from dpotui.screens.dialogs import Ask, Field
from dpotui.screens.modal import Modal
from dpotui.widgets.card import BLANK, Card, Entry

if TYPE_CHECKING:
    from core.experiments.cluster_check import Check
    from core.workspace import Workspace
    from dpotui.app import Workbench

# Where the file is looked for, in a workspace.
PLACES = ("hosts.json", "configs/hosts.json")
_ROLES = {"PASS": "good", "WARN": "warn", "FAIL": "bad"}
_ENDS = {
    "PASS": "they can work together",
    "WARN": "they can work together; look at what is marked WARN",
    "FAIL": "they cannot work together yet: mend what is marked FAIL",
}


def ask_for_hosts(bench: Workbench) -> None:
    """Ask which file, and look at its hosts."""
    root = bench.workspace.root
    found = next((name for name in PLACES if (root / name).is_file()), PLACES[0])
    config = "configs/dpo_config.yaml" if (bench.workspace.configs / "dpo_config.yaml").is_file() else ""
    words = (
        "Each host is reached by ssh without a password and compared with this machine; links are measured for some"
        " seconds. Nothing is changed there."
    )
    fields = [Field("hosts file", found), Field("configuration whose model and data must be the same", config)]

    def submit(typed: list[str]) -> None:
        path = bench.workspace.path(typed[0] or PLACES[0])
        if not path.is_file():
            raise UserError(f"{one_line(str(path), 60)} is no file: mlx.distributed_config writes one")
        screen = HostsScreen(path, bench.workspace.path(typed[1]) if typed[1] else None)
        bench.call_after_refresh(bench.push_screen, screen)

    bench.push_screen(Ask("Check hosts", words, fields, submit))


class _Closed(Exception):
    """Nobody looks any more."""


class HostsScreen(Modal[bool]):
    DEFAULT_CSS = """
    HostsScreen {
        align: center middle;
        & > Card {
            width: 120; max-width: 95%; height: 85%; background: $surface; border: round $primary;
            border-title-color: $primary; border-title-style: bold; border-subtitle-color: $dim;
        }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "dismiss", "Close", key_display="esc", id="hosts.close"),
        Binding("g", "again", "Again", tooltip="Look at all hosts once more", id="hosts.again"),
    ]

    class Made(Message):
        """A check was made, or all of them were."""

        def __init__(self, found: Check | None, end: str = "", role: str = "") -> None:
            super().__init__()
            self.found, self.end, self.role = found, end, role

    def __init__(self, hosts: Path, config: Path | None) -> None:
        super().__init__()
        self._hosts, self._config = hosts, config
        self._found: list[Check] = []
        self._end = ("looking …", "dim")
        self._busy = False

    def compose(self) -> ComposeResult:
        card = Card()
        card.border_title = one_line(f"Hosts of {self._hosts.name}", 60)
        card.border_subtitle = "g again · escape close"
        yield card

    def on_mount(self) -> None:
        self.query_one(Card).focus()
        self.action_again()

    def action_again(self) -> None:
        if not self._busy:
            self._busy, self._found, self._end = True, [], ("looking …", "dim")
            self._show()
            self._look()

    @work(exclusive=True, group="hosts", exit_on_error=False)
    async def _look(self) -> None:
        workspace = cast("Workbench", self.app).workspace
        try:
            end, role = await asyncio.to_thread(self._check, workspace)
        except UserError as error:
            end, role = str(error), "bad"
        except _Closed:
            return
        except Exception as error:  # a defect of ours is no reason to look on for ever
            end, role = f"the look broke off: {type(error).__name__}: {error}", "bad"
        self.post_message(self.Made(None, end, role))

    def _check(self, workspace: Workspace) -> tuple[str, str]:
        """In a thread: it takes as long as the slowest host."""
        from core.config import RUN_CONFIGS, load_config
        from core.config.files import kind_of_file
        from core.experiments.cluster_check import check
        from core.experiments.hosts import read_hosts

        config: Any = None
        if self._config is not None:
            kind = kind_of_file(self._config)
            if kind is None:
                raise UserError(f"{self._config.name}: whose configuration it is cannot be told: name another file")
            config = load_config(self._config, RUN_CONFIGS[kind], ())

        def tell(found: Check) -> None:
            if self.given_back:
                raise _Closed
            self.post_message(self.Made(found))

        verdict = check(read_hosts(self._hosts), workspace, config, tell).verdict
        return _ENDS[verdict], _ROLES[verdict]

    def on_hosts_screen_made(self, event: Made) -> None:
        event.stop()
        if event.found is not None:
            self._found.append(event.found)
        else:
            self._busy, self._end = False, (event.end, event.role)
        self._show()

    def _show(self) -> None:
        if not self.given_back:
            self.query_one(Card).fill(entries(self._found, *self._end))


def entries(found: list[Check], end: str, role: str) -> list[Entry]:
    """The checks by their hosts, each with what mends it, and the end of it all."""
    made = [Entry("", end, role), BLANK]
    for host in dict.fromkeys(one.host for one in found):
        made.append(Entry("", "all together" if host == "all" else host, "title"))
        for one in found:
            if one.host == host:
                made.append(Entry(one.name, f"{one.verdict}  {one.text}", _ROLES[one.verdict]))
                made += [Entry(" ", f"→ {one.mend}", "dim")] if one.mend else []
        made.append(BLANK)
    return made
