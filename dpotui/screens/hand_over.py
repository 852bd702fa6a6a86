"""Hand a model over: in which forms, said before it starts whether that can be; the run goes on in the background."""

from __future__ import annotations

import asyncio
from contextlib import closing
from typing import TYPE_CHECKING, Any, ClassVar, cast

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static

from core.errors import UserError
from core.store import open_store
from core.store.runs import Run
from core.text import one_line, printable
from dpotui.screens.dialogs import DIALOG_CSS, text
from dpotui.screens.queueing import LOOK, Queueing

if TYPE_CHECKING:
    from core.handover.request import Wish
    from dpotui.app import Workbench

_BITS: tuple[int | None, ...] = (None, 8, 4)
_TYPES: tuple[str | None, ...] = (None, "float16", "bfloat16", "float32")
_KEYS = {"quantize": "q", "dtype": "w", "gguf": "g", "peft": "p"}
_NAMES = {"quantize": "quantize", "dtype": "weights", "gguf": "GGUF file", "peft": "PEFT adapter"}
_WRITES = ("sft", "dpo", "iterate")
_WORDS = (
    "A model folder for mlx-lm with the adapter merged in, a model card and checksums. It is loaded again and scored"
    " against what was trained; where they differ, nothing is kept."
)


def hand_over(bench: Workbench, run: Run | None) -> None:
    """Offer to hand over the model of a run; of an evaluation, the model that it was of."""
    what, named = _of(run)
    if what is None:
        bench.say("no run here has a model to hand over: take a finished sft or dpo run in hand", "warning")
        return

    def started(run_id: str | None) -> None:
        if run_id is not None:
            bench.written()
            bench.say(f"{run_id} hands {named} over in the background: its end and folder will be told")

    bench.push_screen(HandOver(what, named), started)


def _of(run: Run | None) -> tuple[str | None, str]:
    """What to name in the request, and what to call it."""
    if run is None:
        return None, ""
    if run.kind in _WRITES:
        return run.id, run.id
    model = run.config.get("model")
    subject = (run.config.get("evaluation") or {}).get("subject", "final")
    folder = model.get(subject) if run.kind == "evaluate" and isinstance(model, dict) else None
    return (folder, one_line(folder, 60)) if isinstance(folder, str) else (None, "")


class HandOver(Queueing["Wish"]):
    DEFAULT_CSS = DIALOG_CSS.format(name="HandOver", width=76) + "HandOver .choices { margin-top: 1; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss", "Cancel", id="hand-over.cancel"),
        Binding("enter", "queue", "Start", id="hand-over.start"),
        Binding("q", "turn('quantize')", "Quantize", tooltip="Not, or to 8 or 4 bits", id="hand-over.quantize"),
        Binding("w", "turn('dtype')", "Weights", tooltip="The type of the weights", id="hand-over.dtype"),
        Binding("g", "turn('gguf')", "GGUF", tooltip="For llama.cpp too", id="hand-over.gguf"),
        Binding("p", "turn('peft')", "PEFT", tooltip="The adapter for transformers too", id="hand-over.peft"),
    ]

    def __init__(self, what: str, named: str) -> None:
        super().__init__()
        self._what, self._named = what, named
        self._chosen: dict[str, Any] = {"quantize": None, "dtype": None, "gguf": False, "peft": False}

    def compose(self) -> ComposeResult:
        with Vertical(classes="box") as box:
            box.border_title = Content(printable(f"Hand over {self._named}"))
            box.border_subtitle = "enter start · escape cancel"
            yield text(_WORDS)
            yield text(self._choices(), "choices")
            yield text("looking …", "into label")
            yield text("", "error")

    def on_mount(self) -> None:
        self._look()

    def _choices(self) -> str:
        said = {
            "quantize": f"{self._chosen['quantize']} bits" if self._chosen["quantize"] else "no",
            "dtype": self._chosen["dtype"] or "as they are",
            "gguf": "yes, float16" if self._chosen["gguf"] else "no",
            "peft": "yes" if self._chosen["peft"] else "no",
        }
        return "\n".join(f"{_KEYS[name]}  {_NAMES[name]:<14}{said[name]}" for name in _KEYS)

    def action_turn(self, name: str) -> None:
        """The next choice."""
        choices = {"quantize": _BITS, "dtype": _TYPES}.get(name, (False, True))
        at = choices.index(self._chosen[name])
        self._chosen[name] = choices[(at + 1) % len(choices)]
        self.query_one(".choices", Static).update(self._choices())
        self._look()

    @work(exclusive=True, group=LOOK, exit_on_error=False)
    async def _look(self) -> None:
        """Where it would go, or why it cannot be."""
        try:
            output = await asyncio.to_thread(self._planned, self.asked())
        except UserError as error:
            self._show("", str(error))
        else:
            self._show(f"into {output}, or under the next free number", "")

    def _planned(self, wish: Wish) -> str:
        from core.handover.request import plan

        # A connection belongs to its thread.
        with closing(open_store(self._bench.workspace.database)) as db:
            return plan(self._bench.workspace, db, wish).output

    @property
    def _bench(self) -> Workbench:
        return cast("Workbench", self.app)

    def _show(self, into: str, error: str) -> None:
        if self.given_back:
            return
        self.query_one(".into", Static).update(one_line(into, 200))
        shown = self.query_one(".error", Static)
        # On the command line these are options; here they are keys.
        shown.update(printable(_as_keys(error.replace(f"{self._bench.workspace.root}/", ""))))
        shown.set_class(bool(error), "-shown")

    def action_queue(self) -> None:
        self.queue()

    def asked(self) -> Wish:
        from core.handover.request import Wish

        return Wish(self._what, **self._chosen)

    def submit(self, asked: Wish) -> str:
        from core.engine import client
        from core.handover.request import submit

        with closing(open_store(self._bench.workspace.database)) as db:
            run = submit(self._bench.workspace, db, asked)
        if not self._bench.in_process:
            client.ensure_engine(self._bench.workspace)
        return run.id

    def refuse(self, error: str) -> None:
        self._show("", error)


def _as_keys(words: str) -> str:
    for name, key in _KEYS.items():
        words = words.replace(f"--{name}:", f"{_NAMES[name]} ({key}):")
    return words
