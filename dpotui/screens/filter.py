"""Filtering pairs by a reward model: a rule whose threshold keys move, what goes, what that changes, then done."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from core.data.filtering import Ranking, Rule, read_scored, refuse_output, write_filtered
from core.data.held_out import Known, known
from core.data.marking import mark
from core.data.reward_cache import RewardCache, cache_path, model_hash
from core.errors import UserError
from core.store import files, open_store
from core.text import one_line, printable
from core.workspace import Workspace
from dpotui import say
from dpotui.browse.narrowing import Narrowing
from dpotui.commands.data.filter import parameters, record_filtered
from dpotui.screens.dialogs import Ask, Field
from dpotui.screens.filter_lines import FilterLines, Looked
from dpotui.screens.keys import keys_screen
from dpotui.screens.modal import Modal
from dpotui.widgets.footer import Keys

if TYPE_CHECKING:
    from dpotui.app import Workbench

_KINDS = ("drop_share", "min_margin", "keep_agreeing")
# How far a key moves the cut: a share of all pairs.
_STEP, _STRIDE = 0.005, 0.05
# Output of the child that scores: its last line says why it ended.
_SAID = 2000


@dataclass(frozen=True, slots=True)
class Filtering:
    """Which file, by which model."""

    file: Path
    model: Path


def filtering_of(workspace: Workspace, config: Mapping[str, Any]) -> Filtering:
    """What a reward configuration trains on, and what it writes.

    Raises:
        UserError: it names none, or they are not there.
    """
    file = (config.get("data") or {}).get("train_file")
    model = (config.get("model") or {}).get("checkpoint")
    if not isinstance(file, str) or not isinstance(model, str):
        raise UserError("the configuration names no data.train_file and no model.checkpoint: mend it")
    if not workspace.path(model).is_dir():
        raise UserError(f"{printable(model)} is not there: g trains a reward model")
    if not workspace.path(file).is_file():
        raise UserError(f"{printable(file)} is not there: put the pairs there, or train on another file")
    return Filtering(workspace.path(file), workspace.path(model))


class FilterScreen(Modal[None]):
    """Over the workbench, all of the screen. MLX is not loaded here: what is not scored yet is scored by a child."""

    DEFAULT_CSS = """
    FilterScreen { background: $background; layout: vertical; overflow: hidden; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "go", "Write", tooltip="Write the pairs that stay; before that, score them", id="filter.go"),
        Binding("r", "rule", "Rule", tooltip="Another rule", id="filter.rule"),
        Binding("right,plus,equals_sign", f"cut({_STEP})", "More", key_display="→", id="filter.more"),
        Binding("left,minus", f"cut({-_STEP})", "Less", key_display="←", id="filter.less"),
        Binding("right_square_bracket", f"cut({_STRIDE})", "Much more", show=False, id="filter.much-more"),
        Binding("left_square_bracket", f"cut({-_STRIDE})", "Much less", show=False, id="filter.much-less"),
        Binding("d", "data", "Data", tooltip="Show what goes in Data", id="filter.data"),
        Binding("down,j", "move(1)", "Down", show=False, id="filter.down"),
        Binding("up,k", "move(-1)", "Up", show=False, id="filter.up"),
        Binding("pagedown", "move(10)", "Page down", show=False, id="filter.page-down"),
        Binding("pageup", "move(-10)", "Page up", show=False, id="filter.page-up"),
        Binding("home", "move(-1000000000)", "The worst", show=False, id="filter.first"),
        Binding("end", "move(1000000000)", "At the cut", tooltip="To the pairs at the cut", id="filter.last"),
        Binding("question_mark", "keys", "Keys", key_display="?", id="app.keys"),
        Binding("escape,q", "leave", "Back", tooltip="Leave; rewards that were computed are kept", id="app.leave"),
    ]

    def __init__(self, filtering: Filtering) -> None:
        super().__init__()
        self._filtering = filtering
        self._cache: RewardCache | None = None
        self._hash = ""
        self._known = Known(None, "", None)
        self._missing = 0
        self._ranking: Ranking | None = None
        self._child: asyncio.subprocess.Process | None = None
        self._rules: dict[str, Rule] = {
            "drop_share": Rule("drop_share", 0.05), "min_margin": Rule("min_margin", 0.0),
            "keep_agreeing": Rule("keep_agreeing"),
        }  # fmt: skip
        self._kind = 0
        self._cursor = 0
        self._busy = False

    @property
    def _bench(self) -> Workbench:
        return cast("Workbench", self.app)

    @property
    def rule(self) -> Rule:
        return self._rules[_KINDS[self._kind]]

    @property
    def gone(self) -> int:
        return self._ranking.goes(self.rule) if self._ranking is not None else 0

    def compose(self) -> ComposeResult:
        yield FilterLines()
        yield Keys()

    def on_mount(self) -> None:
        self._tell("reading …")
        self._look()

    def on_unmount(self) -> None:
        self._stop_child()
        if self._cache is not None:
            self._cache.close()

    # What is known

    @work(exclusive=True, group="look", exit_on_error=False)
    async def _look(self) -> None:
        try:
            await asyncio.to_thread(self._read)
        except UserError as error:
            self._tell(str(error))
            return
        self._show()

    def _read(self) -> None:
        """In a thread: the file as far as it is scored."""
        workspace, what = self._bench.workspace, self._filtering
        with closing(open_store(workspace.database)) as db:
            self._hash = model_hash(
                what.model, lambda path: files.sha256(db, workspace, workspace.relative(path.absolute()))
            )
            self._known = known(db, workspace, what.model, what.file)
        if self._cache is None:
            self._cache = RewardCache(cache_path(workspace.cache, self._hash))
        found = read_scored(what.file, self._cache)
        if not found.pairs:
            raise UserError(f"{printable(what.file.name)} has no pair to filter")
        self._missing = found.missing
        if not found.missing and not found.lines:
            raise UserError(f"the model can read no pair: {found.named[0] if found.named else ''}")
        self._ranking = Ranking(found) if not found.missing else None

    # Scoring, in a process of its own

    @work(exclusive=True, group="score", exit_on_error=False)
    async def _score(self) -> None:
        what, root = self._filtering, self._bench.workspace.root
        assert self._cache is not None
        before, total, started = len(self._cache), self._missing, time.monotonic()
        arguments = ("data", "filter", str(what.file), "--reward", str(what.model), "--score-only", "-w", str(root))
        child = self._child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "dpotui", *arguments, stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        ending = asyncio.create_task(child.communicate())
        while not ending.done():
            done = len(self._cache) - before
            took = time.monotonic() - started
            left = f", about {say.span(took / done * (total - done))} left" if done else ""
            self._tell(f"scoring: {done} of {total} pairs{left}\n\nescape stops it; what was scored is kept")
            await asyncio.wait({ending}, timeout=0.5)
        self._child = None
        if child.returncode:
            words = ending.result()[1].decode(errors="replace")[-_SAID:].strip().splitlines()
            self._tell(f"it could not be scored: {words[-1] if words else child.returncode}")
            return
        self._look()

    def _stop_child(self) -> None:
        if self._child is not None and self._child.returncode is None:
            self._child.terminate()
            self._child = None

    # Keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in ("rule", "data", "move"):
            return self._ranking is not None
        if action == "cut":
            return self._ranking is not None and self.rule.kind != "keep_agreeing"
        if action == "go":
            return not self._busy and self._child is None and (self._ranking is not None or self._missing > 0)
        return True

    def action_rule(self) -> None:
        self._kind = (self._kind + 1) % len(_KINDS)
        self._cursor = 0
        self._show()

    def action_cut(self, by: float) -> None:
        """Move the threshold by a share of all pairs, at least by one pair."""
        ranking = self._ranking
        assert ranking is not None
        rule = self.rule
        if rule.kind == "drop_share":
            value = min(0.95, max(0.0, round(rule.value + by, 4)))
        else:
            rank = ranking.goes(rule) + (
                max(1, round(by * len(ranking))) if by > 0 else min(-1, round(by * len(ranking)))
            )
            rank = min(len(ranking) - 1, max(0, rank))
            # A margin of few digits that cuts there, or past the pairs of equal margin.
            value = round(ranking.margins[rank], 3)
            if by > 0 and value <= rule.value:
                value = round(rule.value + 0.001, 3)
            elif by < 0 and value >= rule.value:
                value = round(rule.value - 0.001, 3)
        self._rules[rule.kind] = Rule(rule.kind, value)
        self._show()

    def action_move(self, by: int) -> None:
        self._cursor = min(max(0, self._cursor + by), max(0, self.gone - 1))
        self._show()

    def action_keys(self) -> None:
        self.app.push_screen(keys_screen(self.active_bindings.values()))

    def action_leave(self) -> None:
        self._stop_child()
        self.dismiss()

    def action_go(self) -> None:
        if self._ranking is None:
            self._score()
            return
        if not self.gone:
            self._bench.say("nothing goes under this rule: move the cut", "warning")
            return
        if self._known.role == "validation":
            self._bench.say(
                f"the file is held out: {self._known.why}; 'dpotui data filter --held-out' filters it", "error"
            )
            return
        source, workspace = self._filtering.file, self._bench.workspace
        name = workspace.relative(source.with_name(f"{source.name.split('.')[0]}_filtered.jsonl"))
        words = f"{self.rule.words}: {self.gone} pairs go. {workspace.relative(source)} stays as it is."
        named: list[Path] = []

        def submit(values: list[str]) -> None:
            if not values[0]:
                raise UserError("name a file, such as data/pairs_filtered.jsonl")
            refuse_output(workspace.path(values[0]), source)
            named.append(workspace.path(values[0]))

        def asked(yes: bool | None) -> None:
            if yes and named:
                self._write(named[-1])

        self.app.push_screen(Ask("Write the pairs that stay", words, [Field("File", name)], submit), asked)

    @work(exclusive=True, group="write", exit_on_error=False)
    async def _write(self, out: Path) -> None:
        ranking, rule, gone, what = self._ranking, self.rule, self.gone, self._filtering
        workspace = self._bench.workspace
        assert ranking is not None

        def write() -> str:
            started = time.time()
            done = write_filtered(ranking, gone, out, parameters(rule, what.model, self._hash))
            run = record_filtered(workspace, done, what.file, what.model, rule, self._hash, started)
            mark(what.file, workspace.cache / "data", "low_reward", ranking.findings(gone), needed=False)
            return f"{workspace.relative(out)}: {done.written} pairs written, {gone} went; recorded as {run}"

        self._busy = True
        self.refresh_bindings()
        try:
            self._bench.say(await asyncio.to_thread(write))
            self._bench.written()
        except UserError as error:
            self._bench.say(str(error), "error")
        finally:
            self._busy = False
            self.refresh_bindings()

    @work(exclusive=True, group="write", exit_on_error=False)
    async def action_data(self) -> None:
        """Open the file in Data, narrowed to what goes."""
        ranking, gone, what = self._ranking, self.gone, self._filtering
        assert ranking is not None
        folder = self._bench.workspace.cache / "data"
        try:
            await asyncio.to_thread(lambda: mark(what.file, folder, "low_reward", ranking.findings(gone), needed=True))
        except UserError as error:
            self._bench.say(str(error), "error")
            return
        bench = self._bench
        self.dismiss()
        bench.call_later(bench.open_data, what.file, Narrowing(finding="low_reward"))

    # On screen

    def _tell(self, words: str) -> None:
        self.query_one(FilterLines).tell(self._title(), words)
        self.refresh_bindings()

    def _title(self) -> str:
        workspace = self._bench.workspace
        file, model = workspace.relative(self._filtering.file), workspace.relative(self._filtering.model)
        return one_line(f"{file} by {model}", 120)

    def _show(self) -> None:
        ranking = self._ranking
        if ranking is None:
            live = self._bench.snapshot is not None and self._bench.snapshot.live is not None
            slower = "; a run is on, both will be slower" if live else ""
            self._tell(
                f"{self._missing} pairs are not scored yet\n\nenter scores them here, in a process of its own{slower};"
                " rewards are kept, so it is done once"
            )
            return
        self._cursor = min(self._cursor, max(0, self.gone - 1))
        looked = Looked(self._title(), ranking, self.rule, self.gone, self._cursor, self._known)
        self.query_one(FilterLines).look(looked)
        self.refresh_bindings()
