"""The commands of the palette: every stage, every run, what can be started, every item that can be ticked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

from textual import work
from textual.command import CommandList, CommandPalette, DiscoveryHit, Hit, Hits, Provider
from textual.content import Content
from textual.css.query import NoMatches
from textual.markup import escape

from core.text import one_line
from dpotui.commands.checklist_view import text_of
from dpotui.screens.hand_over import hand_over
from dpotui.screens.hosts import ask_for_hosts
from dpotui.stages import EVERY_ACTION, STAGES
from dpotui.widgets.status import MODES

if TYPE_CHECKING:
    from dpotui.app import Workbench


class _Command(NamedTuple):
    text: str
    help: str
    act: Callable[[], object]
    common: bool  # offered before anything was typed


def _data_files(folder: Path) -> list[tuple[str, Path]]:
    """Files of the data folder, by name as it can be shown."""
    from dpotui.browse.kinds import is_data
    from dpotui.browse.library import MOST

    try:
        found = sorted(path for path in folder.iterdir() if is_data(path.name) and path.is_file())
    except OSError:
        return []
    return [(one_line(path.name, 60), path) for path in found[:MOST]]


class Palette(CommandPalette):
    """Textual's own, which keys that come fast must not break."""

    def __init__(self) -> None:
        super().__init__(id="--command-palette")

    def _watch__list_visible(self) -> None:
        # A search that ends after the palette was closed finds no list any more.
        if self.query(CommandList):
            super()._watch__list_visible()

    @work(exclusive=True, group=CommandPalette._GATHER_COMMANDS_GROUP)
    async def _gather_commands(self, search_value: str) -> None:
        # A letter that was typed before it was closed begins a search after that.
        search = CommandPalette._gather_commands.__wrapped__  # type: ignore[attr-defined]
        with suppress(NoMatches):
            await search(self, search_value)

    def _action_command_list(self, action: str) -> None:
        # Commands that have not been painted yet, or have no room, have no lines to turn pages by.
        with suppress(KeyError, IndexError):
            super()._action_command_list(action)


class WorkbenchCommands(Provider):
    @property
    def _bench(self) -> Workbench:
        return cast("Workbench", self.app)

    def _commands(self) -> Iterator[_Command]:
        bench = self._bench
        for key, mode in MODES.items():
            yield _Command(f"Go to {mode}", f"key {key}", partial(bench.action_mode, mode), True)
        for action in EVERY_ACTION:
            yield _Command(f"Start {action.title}", action.config, partial(bench.start_run, action), True)
        for stage in STAGES:
            yield _Command(
                f"Stage {stage.number}: {stage.title}", "its screen", partial(bench.open_stage, stage.number), True
            )
        for name, path in _data_files(bench.workspace.data):
            yield _Command(f"Data: open {name}", "browse it", partial(bench.open_data, path), False)
        yield _Command("Queue", "what waits, in which order and for what", bench.action_queue, True)
        yield _Command("Check hosts", "whether several machines can work together", partial(ask_for_hosts, bench), True)
        yield _Command("Keys", "all keys of this screen", bench.action_keys, True)
        for theme in sorted(bench.available_themes):
            own = theme.startswith("dpotui-")
            yield _Command(f"Theme: {theme}", "colours", partial(setattr, bench, "theme", theme), own)
        yield _Command("Leave", "a run goes on", bench.action_leave, True)
        snapshot = bench.snapshot
        if snapshot is None:
            return
        for run in snapshot.runs:
            yield _Command(f"Run {run.id}", f"{run.kind}, {run.state}", partial(bench.open_run, run.id), False)
            if run.kind in ("sft", "dpo") and run.state == "finished":
                yield _Command(f"Hand over {run.id}", "export its model", partial(hand_over, bench, run), False)
        for root in snapshot.roots:
            for item in root.walk():
                state = snapshot.states.get(item.id)
                if item.leaf and state is not None:
                    words = one_line(text_of(item, state), 90)
                    yield _Command(
                        f"Item: {words}", f"{state.state}, {item.id}", partial(bench.open_item, item.id), False
                    )

    async def discover(self) -> Hits:
        for command in self._commands():
            if command.common:
                yield DiscoveryHit(Content(command.text), command.act, text=command.text, help=escape(command.help))

    async def search(self, query: str) -> Hits:
        matcher = self.matcher(query)
        for command in self._commands():
            score, offsets = matcher.fuzzy_search.match(query, command.text)
            if score > 0:
                # Words of a checklist are text: the matcher's own highlighting would read markup in them.
                shown = Content(command.text)
                for offset in offsets:
                    shown = shown.stylize(matcher.match_style, offset, offset + 1)
                yield Hit(score, shown, command.act, text=command.text, help=escape(command.help))
