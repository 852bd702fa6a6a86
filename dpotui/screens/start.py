"""Start a run: which kind, from which configuration, with which keys changed. Errors stand beside what caused them."""

from __future__ import annotations

import asyncio
import shlex
import time
from contextlib import closing
from typing import TYPE_CHECKING, ClassVar, NamedTuple, cast

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.suggester import SuggestFromList
from textual.widgets import Input, Static

from core.errors import UserError
from core.store import open_store
from core.text import one_line, printable
from core.workspace import Workspace
from dpotui.screens.dialogs import DIALOG_CSS, text
from dpotui.screens.queueing import LOOK, Queueing
from dpotui.stages import EVERY_ACTION, TRAINED, Action, ConfigKind
from dpotui.widgets.typed import Typed

if TYPE_CHECKING:
    from core.config import EvalConfig, IterateConfig, RunConfig, TrainingConfig
    from core.config.sweep import SweepConfig
    from core.training.forecast import Forecast
    from dpotui.app import Workbench

# Keys that are often changed, of each kind of configuration.
_HINTS: dict[ConfigKind, str] = {
    "sft": "such as training.max_steps=40 training.warmup_steps=4",
    "reward": "such as training.max_steps=40 training.warmup_steps=4",
    "dpo": "such as training.max_steps=40 training.warmup_steps=4",
    "generate": "such as generation.temperature=0.7 model.base_model=models/mine",
    "judge": "such as data.output_file=data/judged.jsonl",
    "eval": "such as model.final=outputs/dpo-002 evaluation.seed=7",
    "sweep": "such as training.max_steps=40 training.warmup_steps=4",
    "iterate": "such as iteration.max_iterations=5 decision.by=rule",
}

# Differences to the last run that are named.
_NAMED = 3
# Errors of a configuration that are shown at once; the rest shows when these are mended.
_ERRORS = 4


class _Typed(NamedTuple):
    """What stands in the dialog."""

    action: Action
    config: str  # from the workspace
    overrides: str
    at: str


class Start(Queueing[_Typed]):
    DEFAULT_CSS = (
        DIALOG_CSS.format(name="Start", width=86)
        + "Start .memory.-safe { color: $success; } Start .memory.-tight { color: $warning; }"
        + "Start .memory.-too-large { color: $error; }"
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss", "Cancel", id="start.cancel"),
        Binding("ctrl+t", "kind", "Other kind", id="start.kind"),
        # The end of a line, which it is in a field, is also on the end key.
        Binding("ctrl+e", "edit", "Edit", priority=True, tooltip="Open the configuration in its form", id="start.edit"),
        Binding("down", "file(1)", "Other file", priority=True, tooltip="The next of this kind", id="start.file"),
        Binding("up", "file(-1)", "Last file", show=False, priority=True, id="start.last-file"),
    ]

    def __init__(self, action: Action, config: str | None = None, overrides: str = "") -> None:
        super().__init__()
        self._action = action
        self._config = config or action.config
        self._overrides = overrides or action.overrides
        # What was typed when the person was told that the machine has not enough memory for it.
        self._warned: _Typed | None = None
        self._files: list[str] = []  # configurations of this kind, from the workspace
        self._notes: tuple[str, ...] = ()  # what is to be known of a sweep before it starts

    def compose(self) -> ComposeResult:
        with Vertical(classes="box"):
            yield text("Configuration, from the workspace", "label")
            yield self._field(self._config, "config")
            yield text("Changed keys", "label")
            yield self._field(self._overrides, "overrides", _HINTS[self._action.model])
            yield text("Not before", "label")
            yield self._field("", "at", "now; or 22:00, tomorrow 6:30, +2h")
            yield text("", "summary label")
            yield text("", "memory")
            yield text("", "more label")
            yield text("", "error")

    @staticmethod
    def _field(value: str, id_: str, hint: str = "") -> Input:
        return Typed(value, hint, id=id_)

    def on_mount(self) -> None:
        self._titled()
        self.query_one("#overrides").focus()
        self._check()

    def _titled(self) -> None:
        box = self.query_one(".box")
        box.border_title = f"Start: {self._action.title}"
        box.border_subtitle = f"enter start · escape cancel · ↓ file · ^e edit · ^t {self._next.title}"
        self._find_files()
        self.query_one("#overrides", Input).placeholder = _HINTS[self._action.model]

    @property
    def _next(self) -> Action:
        return EVERY_ACTION[(EVERY_ACTION.index(self._action) + 1) % len(EVERY_ACTION)]

    def action_kind(self) -> None:
        """The next kind, with the configuration it is usually started with."""
        before, self._action = self._action, self._next
        field = self.query_one("#config", Input)
        if field.value == before.config:
            field.value = self._action.config
        changed = self.query_one("#overrides", Input)
        if changed.value == before.overrides:
            changed.value = self._action.overrides
        self._titled()
        # What the other kind would have come to is not true of this one.
        self._show("", "")
        self._tell_memory("")
        self._tell_more("")
        self._check()

    @work(exclusive=True, group="files", exit_on_error=False)
    async def _find_files(self) -> None:
        self._files = await asyncio.to_thread(self._configurations)
        self.query_one("#config", Input).suggester = SuggestFromList(self._files)

    def _configurations(self) -> list[str]:
        """Those of this kind, from the workspace."""
        from core.config.files import configurations

        workspace = self._workspace
        found = [file.path for file in configurations(workspace) if file.kind == self._action.model]
        if self._action.kind == "sweep":
            found = sorted(workspace.configs.glob("sweep*.yaml"))
        return [name for name in map(workspace.relative, found) if name.isprintable()]

    def action_file(self, by: int) -> None:
        """The next configuration of this kind."""
        field = self.query_one("#config", Input)
        if self._files:
            at = self._files.index(field.value) if field.value in self._files else -by
            field.value = self._files[(at + by) % len(self._files)]
            field.cursor_position = len(field.value)

    async def action_edit(self) -> None:
        """Open the configuration in its form."""
        path = self._workspace.path(self.query_one("#config", Input).value.strip())
        bench = cast("Workbench", self.app)
        self.dismiss(None)
        await bench.open_config(path)

    @on(Input.Changed)
    def _changed(self, event: Input.Changed) -> None:
        event.stop()
        self._check()

    def _check(self) -> None:
        self._look()

    @work(exclusive=True, group=LOOK, exit_on_error=False)
    async def _look(self) -> None:
        """Read the configuration as it would be used, and say what it comes to or what is wrong."""
        await asyncio.sleep(0.15)
        self._tell_memory("")
        self._tell_more("")
        asked = self.asked()
        try:
            config = await asyncio.to_thread(self._load, asked)
            _moment(asked)
        except UserError as error:
            self._show("", str(error))
            return
        self._show(_summary(config), "")
        found = await asyncio.to_thread(self._forecast, asked.action, config)
        if isinstance(found, str):
            self._tell_memory(found)
        elif found is not None:
            self._tell_memory(found.short(), found.verdict)
        self._tell_more(await asyncio.to_thread(self._more, asked.action, config))

    def _load(self, asked: _Typed) -> RunConfig:
        from core.config import CONFIGS, RUN_CONFIGS, load_config

        path = self._workspace.path(asked.config)
        try:
            overrides = shlex.split(asked.overrides)
        except ValueError as error:
            raise UserError(f"changed keys: {error}: quote a value with blanks in it") from None
        if asked.action.kind == "sweep":
            from core.experiments.sweep_plan import plan_sweep

            plan = plan_sweep(self._workspace, path, overrides=overrides)
            self._notes = plan.notes
            return plan.config
        name: str = asked.action.model
        if asked.action.kind == "calibrate":
            # What is measured is what the file configures.
            name = next((kind for kind in CONFIGS if path.name.startswith(kind)), name)
        config = load_config(path, RUN_CONFIGS[name], overrides)
        if asked.action.kind == "iterate":
            from core.experiments.iterate_plan import read_plan

            read_plan(self._workspace, cast("IterateConfig", config))  # what its files lack is said now
        return config

    def _forecast(self, action: Action, config: RunConfig) -> Forecast | str | None:
        """The memory it will take, or why that is not known; of an evaluation whether it runs code of the model's."""
        if action.kind in ("evaluate", "iterate"):
            from core.evaluation import consent
            from core.experiments.iterate_plan import read_plan

            evaluated: EvalConfig | None
            if action.kind == "iterate":
                evaluated = read_plan(self._workspace, cast("IterateConfig", config)).evaluate
            else:
                evaluated = cast("EvalConfig", config)
            told = consent.told(self._workspace, evaluated) if evaluated is not None else ()
            return "\n".join(told) or None
        if action.kind == "sweep":
            return "\n".join(self._notes) or None
        if action.kind not in TRAINED:
            return None
        from core.training.forecast import forecast

        try:
            return forecast(self._workspace, cast("TrainingConfig", config))
        except UserError as error:
            return f"memory: {error}"

    def _more(self, action: Action, config: RunConfig) -> str:
        """How long it will take, and what the last run had otherwise."""
        from core.config.draft import differences
        from core.config.history import last_run
        from dpotui.screens.forecast import time_of

        lines = []
        if action.kind in TRAINED:
            lines.append(time_of(self._workspace, action.kind, cast("TrainingConfig", config)))
        with closing(open_store(self._workspace.database)) as db:
            last = last_run(db, action.model)
        if last is not None:
            found = [one.words() for one in differences(type(config), config.model_dump(mode="json"), last.config)]
            more = f", and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
            lines.append(f"since {last.id}: {'; '.join(found[:_NAMED]) or 'nothing changed'}{more}")
        return "\n".join(one_line(line, 400) for line in lines)

    def _tell_more(self, words: str) -> None:
        shown = self.query_one(".more", Static)
        shown.update(printable(words))
        shown.display = bool(words)

    def _tell_memory(self, words: str, verdict: str = "") -> None:
        shown = self.query_one(".memory", Static)
        shown.update(printable(words.replace(f"{self._workspace.root}/", "")))
        shown.display = bool(words)
        for name in ("SAFE", "TIGHT", "TOO LARGE"):
            shown.set_class(name == verdict, f"-{name.casefold().replace(' ', '-')}")

    @property
    def _workspace(self) -> Workspace:
        return cast("Workbench", self.app).workspace

    def _show(self, summary: str, error: str) -> None:
        # Paths are meant from the workspace here; a long prefix would push the key out of sight.
        lines = error.replace(f"{self._workspace.root}/", "").splitlines()
        more = [f"and {len(lines) - _ERRORS} more"] if len(lines) > _ERRORS else []
        shown = self.query_one(".error", Static)
        shown.update(printable("\n".join(lines[:_ERRORS] + more)))
        shown.set_class(bool(error), "-shown")
        told = self.query_one(".summary", Static)
        told.update(printable(summary))
        told.display = bool(summary)

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.queue()

    def asked(self) -> _Typed:
        config, overrides, at = (self.query_one(f"#{name}", Input).value for name in ("config", "overrides", "at"))
        return _Typed(self._action, config.strip(), overrides, at.strip())

    def submit(self, asked: _Typed) -> str:
        from core.engine import client

        config, at = self._load(asked), _moment(asked)
        self._refuse_once(asked, config)
        # A connection belongs to its thread.
        with closing(open_store(self._workspace.database)) as db:
            if asked.action.kind == "sweep":
                from core.experiments.sweep_start import start_sweep

                run = start_sweep(self._workspace, db, cast("SweepConfig", config), asked.config, not_before=at)
            else:
                run = client.submit(
                    self._workspace, db, asked.action.kind, config, config_path=asked.config, not_before=at
                )
        if not cast("Workbench", self.app).in_process:
            client.ensure_engine(self._workspace)
        return run.id

    def refuse(self, error: str) -> None:
        self._show("", error)

    def _refuse_once(self, asked: _Typed, config: RunConfig) -> None:
        """What is larger than the machine is started when the person asks for it a second time."""
        found = self._forecast(asked.action, config)
        if found is None or isinstance(found, str) or not found.impossible or self._warned == asked:
            return
        self._warned = asked
        raise UserError(
            f"{found.short()}: this machine has {found.limit.physical / 1e9:.1f} GB; enter again starts it all the same"
        )


def _moment(asked: _Typed) -> float | None:
    """When it may start; None where that is now.

    Raises:
        UserError: what was typed is no moment to come.
    """
    from core.runs.queue import moment_of

    return moment_of(asked.at, time.time()) if asked.at else None


def _summary(config: RunConfig) -> str:
    from core.config import EvalConfig, GenerateConfig, IterateConfig, JudgeConfig
    from core.config.sweep import SweepConfig

    if isinstance(config, GenerateConfig):
        return (
            f"{config.model.base_model}: {config.generation.responses_per_prompt} responses to each of"
            f" {config.data.prompts_file}, into {config.data.output_file}"
        )
    if isinstance(config, JudgeConfig):
        return f"{', '.join(config.judges)}: {config.data.input_file} is judged, into {config.data.output_file}"
    if isinstance(config, IterateConfig):
        fresh = "fresh pairs each" if config.data.on_policy else "the same pairs"
        return (
            f"up to {config.iteration.max_iterations} iterations on {fresh}, compared by {config.score.fact}, decided"
            f" by a {config.decision.by}; the model that stands is {config.logging.model_dir}"
        )
    if isinstance(config, SweepConfig):
        asked = config.asked
        drawn = "; ".join(f"{each.name} {each.distribution.words()}" for each in asked.parameters)
        goal = f"{asked.metric.goal} {asked.metric.name}" if asked.metric is not None else "by eval_rewards/margins"
        return f"up to {config.trials} trials, {asked.method}, {goal}: {drawn}"
    if isinstance(config, EvalConfig):
        return f"{config.subject_model} ({config.evaluation.subject}): {', '.join(config.parts)}"
    training = config.training
    steps = training.gradient_accumulation_steps
    together = training.batch_size * steps if training.batch_size else f"{steps} x auto"
    beta = f", beta {training.beta:g}" if hasattr(training, "beta") else ""
    return (
        f"{config.model.base_model}, {config.adapter.type}, {config.data.train_file}: {training.max_steps} steps of"
        f" {together}, learning rate {training.learning_rate:g}{beta}"
    )
