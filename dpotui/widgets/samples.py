"""What the policy writes to the same prompts as it learns, beside what the reference wrote, or itself a step before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple, cast

from rich.cells import cell_len
from textual.binding import Binding, BindingType

from core.errors import UserError
from core.store import runs, samples
from core.store.samples import Sample
from core.text import one_line
from dpotui import diff, say
from dpotui.passage import Passage
from dpotui.roles import Span
from dpotui.widgets.lines import Lines

if TYPE_CHECKING:
    from dpotui.app import Workbench

# On a screen this wide both texts stand side by side, in a pane of at least so many cells.
_WIDE_SCREEN, _SIDE_BY_SIDE = 120, 72
# Longer lines are hard to follow.
_LONGEST_LINE = 110
# Rows of one text that are shown.
_MOST_ROWS = 2000
# Characters of all texts of a step up to which all prompts are laid out; of more only the one in hand: a key is
# answered within 50 ms.
_ALL_AT_ONCE = 60_000
# Of a prompt so many rows are shown until somebody asks for all: more of them where there is room.
_PROMPT_ROWS, _PROMPT_ROWS_HIGH = 3, 8
# Texts of which more than this differs are not marked: all of it would be.
_MOSTLY = 0.75

Beside = Literal["reference", "before"]

_HOW = (
    "At every evaluation (training.eval_steps) the policy answers a few validation prompts, and the reference answers"
    " them once: training.sample_prompts says how many, training.sample_max_tokens how long. The first answers come"
    " before the first step."
)
_NONE = (
    "training.sample_prompts is 0 in this run: with 4, say, the next one answers as many validation prompts at each"
    " evaluation, and the reference beside it."
)


class _Side(NamedTuple):
    """A column: what stands in it, in words, and the text."""

    title: str
    told: str
    passage: Passage


class Samples(Lines, can_focus=True):
    FIXED = 1
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n", "prompt(1)", "Prompt", tooltip="Next prompt", id="samples.next"),
        Binding("N", "prompt(-1)", "Last prompt", show=False, tooltip="The prompt before", id="samples.last"),
        Binding("less_than_sign,comma", "step(-1)", "Earlier", key_display="<", tooltip="The evaluation before",
                id="samples.earlier"),
        Binding("greater_than_sign,full_stop", "step(1)", "Later", key_display=">", tooltip="The next evaluation",
                id="samples.later"),
        Binding("f", "follow", "Newest", tooltip="The newest evaluation, and those to come", id="samples.follow"),
        Binding("b", "beside", "Compare", tooltip="Beside the reference, or beside the evaluation before",
                id="samples.beside"),
        Binding("enter,m", "prompt_whole", "Whole prompt", show=False, id="samples.prompt"),
        Binding("up,k", "move(-1)", "Up", show=False, id="samples.up"),
        Binding("down,j", "move(1)", "Down", show=False, id="samples.down"),
        Binding("pageup", "page(-1)", "Page up", show=False, id="samples.page-up"),
        Binding("pagedown", "page(1)", "Page down", show=False, id="samples.page-down"),
        Binding("home", "move(-1000000)", "First line", show=False, id="samples.first"),
        Binding("end", "move(1000000)", "Last line", show=False, id="samples.end"),
    ]  # fmt: skip

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._run: str | None = None
        self._asks = True  # the run's configuration asks for samples
        self._theirs = "reference"
        self._steps: tuple[int, ...] = ()
        self._at: int | None = None  # the step that was gone to; None: the newest is followed
        self._line: int | None = None  # of the prompt that is shown
        self._beside: Beside = "reference"
        self._whole = False
        self._empty = ""
        self._fetched: tuple[str | None, int | None, int | None] = (None, None, None)
        self._ours: list[Sample] = []
        self._before: dict[int, Sample] = {}
        self._reference: dict[int, Sample] = {}
        self._rows: list[list[Span]] = []
        self._starts: list[int] = []  # the row at which each prompt begins
        self._laid_out: tuple[object, ...] = ()

    def fill(self, run: str | None, steps: Sequence[int], empty: str) -> None:
        """Show the samples of a run, which has them at these steps; `empty` is said where there is none."""
        if run != self._run:
            self._run, self._at, self._line, self._reference = run, None, None, {}
            self.top = 0
            self._know(run)
        if run is not None and not steps and empty != "reading …":
            empty = f"{empty}\n\n{_HOW if self._asks else _NONE}"
        self._steps, self._empty = tuple(steps), empty
        self._look()

    @property
    def step(self) -> int | None:
        """The evaluation that is shown."""
        if not self._steps:
            return None
        return self._at if self._at in self._steps else self._steps[-1]

    # What is shown

    def _know(self, run: str | None) -> None:
        """What the run says of its samples: whether there will be some, and what the reference is."""
        self._asks, self._theirs = True, "reference"
        if run is None:
            return
        try:
            found = runs.get(cast("Workbench", self.app).db, run)
        except UserError:
            return
        training = found.config.get("training")
        self._asks = not isinstance(training, dict) or training.get("sample_prompts") != 0
        # Fine-tuning has no reference model: what it is held against is the model it began with.
        self._theirs = "before training" if found.kind == "sft" else "reference"

    def _look(self) -> None:
        """Read the few rows of a step that was not shown yet, and lay them out."""
        step, before = self.step, self._step_before()
        wanted = (self._run, step, before)
        if wanted != self._fetched:
            self._fetched = wanted
            self._ours, self._before = [], {}
            if self._run is not None and step is not None:
                db = cast("Workbench", self.app).db
                self._ours = samples.at(db, self._run, step)
                if before is not None:
                    self._before = {sample.line: sample for sample in samples.at(db, self._run, before)}
                if not self._reference:
                    self._reference = {sample.line: sample for sample in samples.reference(db, self._run)}
        self.show()

    def _step_before(self) -> int | None:
        step = self.step
        if step is None or step not in self._steps:
            return None
        index = self._steps.index(step)
        return self._steps[index - 1] if index else None

    def _index(self) -> int:
        """Of the prompt that is shown."""
        return next((i for i, sample in enumerate(self._ours) if sample.line == self._line), 0)

    # What the keys do

    def action_prompt(self, by: int) -> None:
        if self._ours:
            self._line = self._ours[(self._index() + by) % len(self._ours)].line
            self._whole = False
            self._look()
            if self._starts:
                self.scroll_rows(self._starts[self._index()])

    def action_step(self, by: int) -> None:
        if not self._steps:
            return
        step = self.step
        index = (self._steps.index(step) if step in self._steps else len(self._steps) - 1) + by
        index = min(max(0, index), len(self._steps) - 1)
        # At the newest one it is followed again.
        self._at = None if index == len(self._steps) - 1 else self._steps[index]
        self._look()

    def action_follow(self) -> None:
        self._at = None
        self._look()

    def action_beside(self) -> None:
        self._beside = "before" if self._beside == "reference" else "reference"
        self._look()

    def action_prompt_whole(self) -> None:
        self._whole = not self._whole
        self._look()

    def action_move(self, by: int) -> None:
        self.scroll_rows(self.top + by)

    def action_page(self, by: int) -> None:
        self.scroll_rows(self.top + by * max(1, self.page - 1))

    # How it is laid out

    def _make(self) -> None:
        # Laid out for the very size that is painted: else a first frame would say that there is nothing.
        self._lay_out()
        self.rows = len(self._rows)
        self.top = min(self.top, self.last_top)
        super()._make()

    def _lay_out(self) -> None:
        # A cell is left for the scroll bar whether there is one or not: the text does not move when it comes.
        width = self.size.width - 1
        wanted = (width, self.size.height, self._fetched, self._line, self._beside, self._whole)
        if width <= 0 or self._laid_out == (*wanted, len(self._reference)):
            return
        self._laid_out = (*wanted, len(self._reference))
        self._rows, self._starts = [], []
        here = self._index()
        texts = (*self._ours, *self._reference.values())
        every = sum(len(sample.text) + len(sample.prompt) for sample in texts) <= _ALL_AT_ONCE
        for index, ours in enumerate(self._ours):
            self._starts.append(len(self._rows))
            if every or index == here:
                self._block(index, ours, width, here=index == here)

    def _block(self, index: int, ours: Sample, width: int, *, here: bool) -> None:
        """A prompt and what was answered."""
        if self._rows:
            self._rows.append([])
            self._starts[-1] += 1
        mark: Span = ("▌", "key") if here else (" ", "")
        number = f"Prompt {index + 1}/{len(self._ours)} "
        self._rows.append([mark, (number, "title"), (f"line {ours.line}", "dim")])
        self._prompt(ours, width, whole=self._whole and here)
        left, right, note = self._sides(ours)
        if self._wide(width) and right is not None:
            self._columns(left, right, note, width)
        else:
            self._stacked(left, right, note, width)

    def _wide(self, width: int) -> bool:
        return self.app.size.width >= _WIDE_SCREEN and width >= _SIDE_BY_SIDE

    def _prompt(self, ours: Sample, width: int, *, whole: bool) -> None:
        passage = Passage(ours.prompt)
        room = _PROMPT_ROWS_HIGH if self.size.height >= 30 else _PROMPT_ROWS
        found = _laid_out(passage, min(_LONGEST_LINE, width) - 2, _MOST_ROWS if whole else room)
        self._rows += found[:room] if not whole else found
        if len(found) > room:
            self._rows.append([(" enter folds it" if whole else " … enter shows all of it", "dim")])

    def _sides(self, ours: Sample) -> tuple[_Side, _Side | None, str]:
        """What stands left and right, words that differ marked, and a word on how much does."""
        step = say.steps(ours.step)
        left = _Side(f"step {step}", _told(ours), Passage(ours.text))
        if self._beside == "before":
            theirs, before = self._before.get(ours.line), self._step_before()
            title = f"step {say.steps(before)}" if before is not None else ""
            missing = "the first evaluation: none is before it"
        else:
            theirs, title = self._reference.get(ours.line), self._theirs
            missing = (
                f"the {self._theirs} was not asked" if self._theirs == "reference" else "nothing of before training"
            )
        if theirs is None:
            return left, None, missing
        right = _Side(title, _told(theirs), Passage(theirs.text))
        if left.passage.text == right.passage.text:
            return left, right, "the same words"
        marks = diff.words(left.passage.text, right.passage.text)
        texts = (left.passage, right.passage)
        if max(diff.marked_share(p.text, m) for p, m in zip(texts, marks, strict=True)) > _MOSTLY:
            return left, right, "mostly other words"
        for passage, ranges in zip(texts, marks, strict=True):
            passage.marks = ranges
        return left, right, "differences underlined"

    def _stacked(self, left: _Side, right: _Side | None, note: str, width: int) -> None:
        text_width = min(_LONGEST_LINE, width) - 2
        self._rows.append(_ruled([(f" {left.title} ", "title"), (f"{left.told} ", "dim")], note, width))
        self._rows += _laid_out(left.passage, text_width)
        if right is not None:
            self._rows.append(_ruled([(f" {right.title} ", "title"), (f"{right.told} ", "dim")], "", width))
            self._rows += _laid_out(right.passage, text_width)

    def _columns(self, left: _Side, right: _Side, note: str, width: int) -> None:
        half = (width - 3) // 2
        heads = [
            _ruled([(f" {side.title} ", "title"), (f"{side.told} ", "dim")], words, half)
            for side, words in ((left, ""), (right, note))
        ]
        self._rows.append([*heads[0], ("─┬─", "faint"), *heads[1]])
        one, other = (_laid_out(side.passage, min(_LONGEST_LINE, half) - 2) for side in (left, right))
        for index in range(max(len(one), len(other))):
            text = one[index] if index < len(one) else []
            pad = max(0, half - sum(cell_len(words) for words, _ in text))
            beside = other[index] if index < len(other) else []
            self._rows.append([*text, (" " * (pad + 1), ""), ("│", "faint"), (" ", ""), *beside])

    def fixed(self, y: int, width: int) -> Sequence[Span]:
        step = self.step
        if step is None or not self._ours:
            return []
        place = self._steps.index(step) + 1
        where = f"evaluation {place} of {len(self._steps)}"
        followed = "the newest is followed" if self._at is None else "f newest"
        return _ruled([(f" step {say.steps(step)} ", "title"), (f"{where} ", "dim")], followed, width)

    def row(self, y: int, width: int) -> Sequence[Span]:
        if not self._ours:
            return self.message(self._empty, y, width)
        return self._rows[y] if y < len(self._rows) else []


def _told(sample: Sample) -> str:
    """How long it is and why it ended."""
    ended = "cut" if sample.finish == "length" else "ended"
    return f"{sample.tokens} token{'s' * (sample.tokens != 1)}, {ended}"


def _laid_out(passage: Passage, width: int, most: int = _MOST_ROWS) -> list[list[Span]]:
    """The rows of a text, as many as are wanted and one for what is left out; of one without any, a word for that."""
    if not passage.text:
        return [[(" (nothing)", "dim")]]
    count = passage.lay_out(max(8, width), most + 1)
    rows = [passage.row(y) for y in range(min(count, most))]
    return rows if count <= most else [*rows, [(" …", "dim")]]


def _ruled(left: list[Span], right: str, width: int) -> list[Span]:
    """Words at both ends of a rule, those on the right where there is room."""
    room = width - sum(cell_len(text) for text, _ in left)
    if room < 0:
        return [(one_line("".join(text for text, _ in left), width), "title")]
    right = f" {one_line(right, max(0, room - 4))} " if right and room > 10 else ""
    return [*left, ("─" * max(0, room - cell_len(right)), "faint"), (right, "dim")]
