"""The workbench: modes on number keys over one picture of the workspace that is renewed twice a second."""

from __future__ import annotations

import gc
import getpass
import os
import shlex
import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import replace
from functools import cached_property
from importlib import import_module
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

from rich.text import Text
from textual import events
from textual._compositor import ChopsUpdate, LayoutUpdate
from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.command import CommandPalette
from textual.dom import DOMNode
from textual.driver import Driver
from textual.message import Message
from textual.screen import Screen
from textual.widgets import Input

from core.errors import UserError
from core.settings import Settings, load_settings
from core.store import Database, open_store, runs
from core.text import printable
from core.workspace import Workspace
from dpotui import abilities, osc
from dpotui import theme as themes
from dpotui.abilities import Abilities
from dpotui.browse.narrowing import EVERYTHING, Narrowing
from dpotui.cards import reached
from dpotui.collecting import Collecting
from dpotui.live import Closer, Poller, Probe, Snapshot, probe_engine
from dpotui.notices import notices
from dpotui.paint import Painted, Painter
from dpotui.palette import Palette, WorkbenchCommands
from dpotui.screens.dialogs import Confirm
from dpotui.screens.keys import keys_screen
from dpotui.screens.modal import Modal
from dpotui.screens.mode import ModeScreen
from dpotui.stages import Action
from dpotui.terminal import Link, TerminalDriver, leave_on_signals

if TYPE_CHECKING:
    from dpotui.screens.config import ConfigScreen
    from dpotui.screens.data import DataScreen
    from dpotui.screens.jump import Target
    from dpotui.screens.plan import PlanScreen
    from dpotui.screens.stage import StageScreen

Severity = Literal["information", "warning", "error"]


# Seconds in which a mode fills itself when it is gone to.
_SETTLE = 0.005


class NewSnapshot(Message):
    """runs.db changed. Only the newest one counts."""

    def __init__(self, snapshot: Snapshot) -> None:
        super().__init__()
        self.snapshot = snapshot

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, NewSnapshot)


def _later(module: str, name: str) -> Callable[[], ModeScreen]:
    """A mode that is read when it is gone to: what it needs is not needed to start."""

    def made() -> ModeScreen:
        screen = getattr(import_module(f"dpotui.screens.{module}"), name)
        return cast(ModeScreen, screen())

    return made


def _read_ahead() -> None:
    """Read, when all stands, what the other modes need: the first time one is gone to takes no longer than the next."""
    for module in ("stage", "runs", "gates", "hardware"):
        import_module(f"dpotui.screens.{module}")
    gc.freeze()  # what stands now stays


class Workbench(App[None]):
    TITLE = "dpotui"
    CSS_PATH = "workbench.tcss"
    MODES: ClassVar[dict[str, Any]] = {
        "Plan": _later("plan", "PlanScreen"),
        "Stage": _later("stage", "StageScreen"),
        "Gates": _later("gates", "GatesScreen"),
        "Runs": _later("runs", "RunsScreen"),
        "Data": _later("data", "DataScreen"),
        "Config": _later("config", "ConfigScreen"),
        "Hardware": _later("hardware", "HardwareScreen"),
        "Report": _later("report", "ReportScreen"),
    }
    DEFAULT_MODE = "Plan"
    COMMANDS = {WorkbenchCommands}  # noqa: RUF012 - declared so by App
    ENABLE_COMMAND_PALETTE = True
    COMMAND_PALETTE_BINDING = "ctrl+p"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("1", "mode('Plan')", "Plan", show=False, id="app.plan"),
        Binding("2", "mode('Stage')", "Stage", show=False, id="app.stage"),
        Binding("3", "mode('Gates')", "Gates", show=False, id="app.gates"),
        Binding("4", "mode('Runs')", "Runs", show=False, id="app.runs"),
        Binding("5", "mode('Data')", "Data", show=False, id="app.data"),
        Binding("6", "mode('Config')", "Config", show=False, id="app.config"),
        Binding("7", "mode('Hardware')", "Hardware", show=False, id="app.hardware"),
        Binding("8", "mode('Report')", "Report", show=False, id="app.report"),
        Binding("ctrl+p", "command_palette", "Palette", show=False, priority=True,
                tooltip="Find anything by name: modes, stages, runs, items, files, what can be started",
                id="app.palette"),
        Binding("ctrl+o", "jump", "Jump", show=False, tooltip="Jump to a pane, a mode or a stage", id="app.jump"),
        Binding("question_mark", "keys", "Keys", key_display="?", id="app.keys"),
        Binding("q", "leave", "Leave", id="app.leave"),
        Binding("ctrl+q,ctrl+c", "leave", "Leave", show=False, priority=True, id="app.leave-now"),
    ]  # fmt: skip

    def __init__(
        self,
        workspace: Workspace,
        *,
        in_process: bool = False,
        clock: Callable[[], float] | None = None,
        probe: Probe = probe_engine,
        who: str | None = None,
        opening: Callable[[Workbench], None] | None = None,
        settings: Settings = Settings(),  # noqa: B008 - it cannot be changed
        able: Abilities = abilities.ALL,
        watching: bool = False,
        tour: bool = False,
    ) -> None:
        """
        Args:
            workspace: the one that is worked on.
            in_process: runs are executed in this process, so none is started for them.
            clock: what time it is, for tests.
            probe: how it is found out whether an engine lives, for tests.
            who: the name under which items are ticked; that of the user when not given.
            opening: called once when the workbench stands, for a person who came for one thing.
            settings: the person's own.
            able: what the terminal can show.
            watching: a run is on: begin with it.
            tour: tell whoever has done nothing here yet how it goes.

        Raises:
            UserError: the settings name a theme that there is not.
        """
        if watching:
            self.DEFAULT_MODE = "Stage"  # type: ignore[misc]
        super().__init__()
        self.watching = watching
        self._tour = tour
        self.settings = settings
        self.workspace = workspace
        self.in_process = in_process
        self.snapshot: Snapshot | None = None
        self.left_with: int = 0  # exit code
        self._who = who
        self._opening = opening
        self.ascii = settings.ascii or able.ascii
        self._able = able
        self._painter = Painter(able.colours, ascii=self.ascii)
        self._unknown = True  # what stands on the terminal
        self._told: Snapshot | None = None
        self._collecting = Collecting()
        arguments: dict[str, Any] = {"clock": clock} if clock is not None else {}
        self._poller = Poller(workspace, self._deliver, self._poll_failed, probe=probe, **arguments)
        for own in themes.THEMES:
            self.register_theme(own)
        self.theme = self._theme_name()
        self.animation_level = "none"

    def _theme_name(self) -> str:
        wanted = self.settings.theme
        if wanted == "auto":
            return themes.PLAIN.name if self.no_color else self._able.theme
        if wanted not in self.available_themes:
            raise UserError(f"there is no theme '{wanted}': {', '.join(sorted(self.available_themes))}")
        return wanted

    # What screens use

    @cached_property
    def db(self) -> Database:
        """The connection for what this client writes: ticks, notes, commands."""
        return open_store(self.workspace.database)

    @cached_property
    def who(self) -> str:
        return self._who or getpass.getuser()

    @property
    def link(self) -> Link:
        """How the line to the person does."""
        return self._driver.link() if isinstance(self._driver, TerminalDriver) else Link()

    def say(self, words: str, severity: Severity = "information") -> None:
        """A notice; its words are text."""
        self.notify(printable(words), severity=severity, markup=False, timeout=8 if severity == "error" else 4)

    def on_notify(self) -> None:
        """Room for one more: on a low screen old ones give way, those that warn of nothing first."""
        standing = sorted(self._notifications, key=lambda notice: notice.severity != "information")
        room = 8 if self.size.height >= 40 else 3
        for notice in standing[: max(0, len(standing) + 1 - room)]:
            self._unnotify(notice, refresh=False)

    def written(self) -> None:
        """This client wrote something: show it now."""
        self._poller.nudge()

    def watch_run(self, run_id: str | None, stage: int | None = None, closer: Closer = Closer()) -> None:  # noqa: B008
        self._poller.watch(run_id, stage, closer)

    # Where one goes

    def delay_update(self, delay: float = 0.05) -> None:
        # So long that a mode that is gone to is filled before it is painted; Textual waits as long as a key may take.
        super().delay_update(min(delay, _SETTLE))

    @property
    def mode_screen(self) -> ModeScreen:
        """The mode in front, below any dialog."""
        return cast(ModeScreen, self.screen_stack[0])

    async def action_mode(self, mode: str) -> None:
        if mode != self.current_mode and not self.screen.is_modal:
            await self.switch_mode(mode)

    async def open_stage(self, stage: int) -> StageScreen:
        await self.switch_mode("Stage")
        screen = cast("StageScreen", self.mode_screen)
        screen.stage = stage
        return screen

    async def open_run(self, run_id: str) -> None:
        run = runs.get(self.db, run_id)
        if run.kind == "calibrate":
            await self.switch_mode("Hardware")
            return
        screen = await self.open_stage(run.stage)
        screen.show_run(run)

    async def open_item(self, item_id: str) -> None:
        await self.switch_mode("Plan")
        cast("PlanScreen", self.mode_screen).open_item(item_id)

    async def open_data(self, path: Path, narrowing: Narrowing = EVERYTHING) -> None:
        """Browse a file of data, narrowed."""
        await self.switch_mode("Data")
        cast("DataScreen", self.mode_screen).open_file(path, narrowing)

    async def open_config(self, path: Path, run: str | None = None) -> None:
        """Edit a configuration; `run`: with the values that this run had."""
        await self.switch_mode("Config")
        cast("ConfigScreen", self.mode_screen).open_file(path, run)

    def start_run(self, action: Action, config: str | None = None, overrides: str = "") -> None:
        """Offer to start a run; `config` and `overrides` where they are not the usual ones of the action."""
        from dpotui.screens.start import Start

        self.push_screen(Start(action, config, overrides), self.run_started)

    async def run_started(self, run_id: str | None) -> None:
        """The start dialog was closed."""
        if run_id:
            self.written()
            await self.open_run(run_id)

    def action_command_palette(self) -> None:
        if not isinstance(self.screen, CommandPalette):
            self.push_screen(Palette())

    def action_jump(self) -> None:
        """Letters over all that can be gone to."""
        if self.screen.is_modal:
            return
        from dpotui.screens.jump import Jump, targets

        screen = self.mode_screen

        async def chosen(to: Target | int | None) -> None:
            if isinstance(to, int):
                await self.open_stage(to)
            elif to is not None and to.kind == "mode":
                await self.switch_mode(to.name)
            elif to is not None:
                screen.pane = to.name

        self.push_screen(Jump(targets(screen)), chosen)

    def action_keys(self) -> None:
        self.push_screen(keys_screen(self.screen.active_bindings.values()))

    def action_queue(self) -> None:
        from dpotui.screens.queue import QueueScreen

        self.push_screen(QueueScreen())

    def action_leave(self) -> None:
        stacks = self._screen_stacks.values()
        unsaved = "\n".join(screen.unsaved() for (screen, *_) in stacks if isinstance(screen, ModeScreen)).strip()
        if not unsaved:
            self.exit()
        elif not isinstance(self.screen, Confirm):
            self.push_screen(
                Confirm("Leave", f"{unsaved}\nLeave all the same?"), lambda yes: self.exit() if yes else None
            )

    # The poll

    def on_mount(self) -> None:
        if not self.is_headless:
            if not self.in_process:  # where runs are executed the collector works as ever
                self._collecting.begin()
            leave_on_signals(self.leave_now, at_once=not self.in_process)
            self.set_timer(1.0, Thread(target=_read_ahead, name="read-ahead", daemon=True).start)
        self._poller.start()
        if self._opening is not None:
            self.call_after_refresh(self._opening, self)

    def on_unmount(self) -> None:
        self._poller.stop()
        if "db" in self.__dict__:
            self.db.close()

    def _deliver(self, snapshot: Snapshot) -> None:
        """Called by the poller's thread."""
        self.post_message(NewSnapshot(snapshot))

    def _poll_failed(self, error: BaseException) -> None:
        self.call_later(self._give_up, error)

    def _give_up(self, error: BaseException) -> None:
        """A client that stopped looking must not look alive."""
        if not isinstance(error, UserError | sqlite3.Error):
            raise error
        self.left_with = 2
        self.exit(return_code=2, message=Text(f"dpotui: {self.workspace.database}: {printable(str(error))}"))

    def on_new_snapshot(self, event: NewSnapshot) -> None:
        self.snapshot = event.snapshot
        for words, severity, bell in notices(self._told, event.snapshot):
            self.say(words, severity)
            if bell:
                self._alert(words)
        self._told = event.snapshot
        if not self.is_running:  # the person is leaving: screens are taken down, their widgets first
            return
        self.mode_screen.refresh_all()
        self._collecting.rest()
        if self._tour and event.snapshot.judged:
            self._tour = False
            self._first_look(event.snapshot)

    def _first_look(self, snapshot: Snapshot) -> None:
        """For whoever has neither started nor ticked anything here."""
        ticked = self.db.execute("SELECT EXISTS (SELECT 1 FROM tick_history)").fetchone()[0]
        if not snapshot.total_runs and not ticked and not self.screen.is_modal:
            from dpotui.screens.tour import Tour

            self.push_screen(Tour())

    def _alert(self, words: str) -> None:
        """Make a person look up who looks elsewhere."""
        if self.settings.bell:
            self.bell()
        if isinstance(self._driver, TerminalDriver):
            self._driver.write(osc.notice(words, os.environ, self.settings.osc9))

    # The terminal

    async def _dispatch_action(self, namespace: DOMNode, action_name: str, params: Any) -> bool:
        """What a key asked for and a person can mend is a notice, wherever it was asked."""
        if isinstance(namespace, Modal) and namespace.given_back:
            return True
        try:
            return await super()._dispatch_action(namespace, action_name, params)
        except UserError as error:
            self.say(str(error), "error")
            return True

    def _fatal_error(self) -> None:
        """Instead of a traceback with the values of all variables."""
        from dpotui.defect import told

        error = self._exception or RuntimeError("no exception was kept")
        if not self._exit_renderables:  # what fails after that fails because of it
            self._exit_renderables.append(Text(told(error, self.workspace.root)))
        self._close_messages_no_wait()

    async def on_event(self, event: events.Event) -> None:
        if isinstance(event, events.InputEvent):
            self._collecting.key()
        await super().on_event(event)

    def leave_now(self, code: int) -> None:
        self.left_with = code
        self.exit(return_code=code)

    def engine_failed(self, error: BaseException) -> None:
        """Called by the thread of the engine in this process."""
        self.call_later(self.say, f"the engine ended: {error}", "error")

    def hang_up(self) -> None:
        """The terminal is gone."""
        self.leave_now(129)

    def repaint_all(self) -> None:
        """What stands on the terminal is not known any more."""
        self._unknown = True
        if self._running and self.screen_stack:
            self.mode_screen.refresh_all()  # the first line tells how the line does
            self.screen.refresh()

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return themes.DEFAULTS

    def get_driver_class(self) -> type[Driver]:
        return TerminalDriver

    def _display(self, screen: Screen[Any], renderable: Any) -> None:
        driver = self._driver
        if isinstance(driver, TerminalDriver) and not self._batch_count:
            if not driver.ready():
                return
            if isinstance(renderable, LayoutUpdate | ChopsUpdate):
                compositor = self.screen._compositor
                if compositor.size != self.size:
                    # Laid out for a size that is gone: on the one there is now it would land elsewhere.
                    return
                if self._unknown:
                    self._unknown = False
                    self._painter.forget()
                    renderable = compositor.render_update(full=True, screen_stack=self._background_screens)
                renderable = Painted(self._painter, renderable)
        super()._display(screen, renderable)

    def on_resize(self) -> None:
        # Terminals reflow or cut what stands on them when they are resized, also where the size is the old one again
        # before it was seen here.
        self._unknown = True
        if self.screen_stack:
            self.screen.refresh()

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        return ()

    def on_descendant_focus(self) -> None:
        # The palette's own field: a blinking cursor costs the line 440 bytes a second.
        if self.screen_stack and isinstance(self.screen, CommandPalette):
            for field in self.screen.query(Input):
                field.cursor_blink = False


def open_workbench(
    workspace: Workspace,
    in_process: bool = False,
    opening: Callable[[Workbench], None] | None = None,
    again: str | None = None,
    *,
    theme: str | None = None,
    ascii: bool = False,
) -> None:
    """Open the terminal on a workspace; returns when the person leaves it.

    Args:
        opening: called once when the workbench stands.
        again: the command that opens it again, where that is not the usual one.
        theme: instead of that of the person's settings.
        ascii: draw without characters beyond ASCII, whatever the settings say.

    Raises:
        UserError: the settings cannot be read, or name a theme that there is not.
        SystemExit: it was ended by a signal or the terminal is gone.
    """
    # A mouse that is reported goes on being reported after the line dropped: into the person's own shell.
    mouse = "SSH_CONNECTION" not in os.environ
    settings = load_settings()
    if theme is not None:
        settings = replace(settings, theme=theme)
    if ascii:
        settings = replace(settings, ascii=True)
    plain_start = opening is None
    app = Workbench(
        workspace,
        in_process=in_process,
        opening=opening,
        settings=settings,
        able=abilities.of(os.environ),
        watching=plain_start and _something_runs(workspace),
        tour=plain_start,
    )
    handed_over: list[str] = []
    if in_process:
        handed_over = _run_with_engine(app, mouse)
    else:
        app.run(mouse=mouse)
    if app.left_with:
        raise SystemExit(app.left_with)
    _farewell(workspace, handed_over, again or f"dpotui {shlex.quote(str(workspace.root))}")
    if app.return_code:
        raise SystemExit(app.return_code)


def _something_runs(workspace: Workspace) -> bool:
    with closing(open_store(workspace.database)) as db:
        return bool(runs.listing(db, states=runs.LIVE, limit=1))


def _run_with_engine(app: Workbench, mouse: bool) -> list[str]:
    """Execute runs in this process; one that is on when the person leaves goes on detached. Returns its id."""
    from core.engine.host import InProcessEngine

    engine = InProcessEngine(app.workspace, on_failure=app.engine_failed)
    engine.start()
    handed_over: list[str] = []
    try:
        app.run(mouse=mouse)
    finally:
        handed_over += engine.stop(hand_over=True)
    return handed_over


def _farewell(workspace: Workspace, handed_over: list[str], again: str) -> None:
    """Say that a run goes on, and how to come back."""
    with closing(open_store(workspace.database)) as db:
        for run in reversed(runs.listing(db, states=("running", "paused", "stopping", "queued"))):
            step = f"{'' if run.kind == 'evaluate' else 'step '}{reached(run)}"
            if run.id in handed_over:
                words = f"goes on in a detached engine from its checkpoint ({step})"
            elif run.state == "queued":
                words = "waits in the queue"
            else:
                words = f"goes on ({run.state}, {step})" if run.steps else f"goes on ({run.state})"
            print(f"{run.id} {words}")  # noqa: T201
    print(f"come back with: {again}")  # noqa: T201
