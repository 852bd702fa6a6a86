"""Rating: answers blind to the model, a mark by each criterion with one key, saved before the next one comes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal

from core.errors import UserError
from core.evaluation.ratings.assessment import assess, standing
from core.evaluation.ratings.scores import record_facts
from core.evaluation.ratings.session import Session, Sheet, sheet_of
from core.evaluation.ratings.source import Source, source_of
from core.store import open_store, ratings
from core.store.runs import Run
from core.store.votes import voter
from core.text import one_line, printable
from dpotui.roles import Span
from dpotui.screens.dialogs import Ask, Field
from dpotui.screens.opinion import OpinionScreen
from dpotui.screens.rate_lines import RateFoot, RateHead, RateSide, digits, mark_of
from dpotui.screens.rate_text import RateText
from dpotui.widgets.footer import Keys

if TYPE_CHECKING:
    from dpotui.app import Workbench

# From this width on the marks stand beside the answer.
WIDE = 150

# How many people the last screen tells of.
_PEOPLE = 8


@dataclass(frozen=True, slots=True)
class Rating:
    """What is rated, by whom. Without a name the rater is asked for it; without a file the answers of `run` or of the
    newest evaluation are rated."""

    file: Path | None = None
    who: str | None = None
    size: int | None = None
    seed: int | None = None
    run: Run | None = None


class RateScreen(OpinionScreen[Session]):
    GUIDED = "what raters are to look at"

    DEFAULT_CSS = """
    RateScreen {
        background: $background; layout: vertical; overflow: hidden;
        & > Horizontal { height: 1fr; }
        & RateText { width: 1fr; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        *(
            Binding(digit, f"mark('{digit}')", f"Mark {digit}", show=False, tooltip="A mark, and on to the next",
                    id="rate.mark")
            for digit in "1234567890"
        ),
        Binding("t", "mark('t')", "Ten", show=False, tooltip="Ten, on a scale that begins at 0", id="rate.ten"),
        Binding("x", "pass_over", "Not applicable", show=False, tooltip="Pass over this criterion", id="rate.pass"),
        Binding("s", "skip", "Skip", tooltip="Pass over the rest of this answer", id="rate.skip"),
        Binding("u", "undo", "Undo", tooltip="Take back the newest mark, again and again", id="rate.undo"),
        Binding("r", "again", "Skipped again", tooltip="Ask what was passed over again", id="rate.again"),
        Binding("right,tab", "choose(1)", "Next criterion", show=False, id="rate.next"),
        Binding("left,shift+tab", "choose(-1)", "Last criterion", show=False, id="rate.last"),
        Binding("n", "note", "Note", tooltip="A note on this answer", id="rate.note"),
        Binding("p", "prompt", "Prompt", tooltip="All of the prompt, or its beginning", id="rate.prompt"),
        Binding("g", "guidelines", "Guide", tooltip="The guidelines for annotators", id="rate.guide"),
        Binding("w", "assess", "Assess", tooltip="Write the qualitative assessment of stage 7", id="rate.assess"),
        Binding("down,j", "move(1)", "Down", show=False, id="rate.down"),
        Binding("up,k", "move(-1)", "Up", show=False, id="rate.up"),
        Binding("pagedown,space", "page(1)", "Page down", show=False, id="rate.page-down"),
        Binding("pageup", "page(-1)", "Page up", show=False, id="rate.page-up"),
        Binding("home", "move(-1000000000)", "First line", show=False, id="rate.top"),
        Binding("end", "move(1000000000)", "Last line", show=False, id="rate.bottom"),
        Binding("question_mark", "keys", "Keys", key_display="?", id="app.keys"),
        Binding("q,escape", "leave", "Back", tooltip="Leave; every mark is saved", id="app.leave"),
    ]  # fmt: skip

    def __init__(
        self, rating: Rating, *, leaves_program: bool = False, clock: Callable[[], float] | None = None
    ) -> None:
        super().__init__(leaves_program, clock)
        self._rating = rating
        self._source: Source | None = None

    def compose(self) -> ComposeResult:
        yield RateHead()
        with Horizontal():
            yield RateText(self._noted)
            yield RateSide()
        yield RateFoot()
        yield Keys()

    # Before the first answer

    def on_mount(self) -> None:
        self.query_one(RateText).focus()
        self._tell("reading …")
        if self._rating.who is None:
            self._ask_name()
        else:
            self._read(self._rating.who)

    def on_resize(self) -> None:
        self.query_one(RateSide).set_class(self.size.width >= WIDE, "-shown")

    def _ask_name(self) -> None:
        given: list[str] = []

        def submit(values: list[str]) -> None:
            given.append(voter(values[0]))

        def answered(yes: bool | None) -> None:
            if not yes:
                self.action_leave()
                return
            self._rating = replace(self._rating, who=given[0])
            self._read(given[0])

        words = "Marks are kept under a name, so that several people can rate the same answers."
        self.app.push_screen(Ask("Who rates?", words, [Field("Name", self._bench.who)], submit), answered)

    @work(group="read", exit_on_error=False)
    async def _read(self, who: str) -> None:
        workspace, rating = self._bench.workspace, self._rating

        def look() -> tuple[Source, Sheet]:
            with closing(open_store(workspace.database)) as db:
                source = source_of(db, workspace, rating.file, rating.run)
            return source, sheet_of(source, who, size=rating.size, seed=rating.seed)

        try:
            source, sheet = await asyncio.to_thread(look)
        except UserError as error:
            self._tell(str(error))
            return
        if not self.is_mounted:
            return
        clock = {"clock": self._clock} if self._clock is not None else {}
        self._source = source
        self.session = Session(self._bench.db, source, sheet, who, **clock)
        bad = source.catalogue().bad
        self._show(f"{bad:,} rows cannot be read and are left out" if bad else "")

    # The answer in hand

    def _show(self, words: str = "") -> None:
        session = self.session
        assert session is not None
        self.query_one(RateHead).fill(session)
        text = self.query_one(RateText)
        if session.key is not None:
            text.ask(session.key, session.prompt, session.answer)
        else:
            text.tell(self._summary(session))
        self.query_one(RateFoot).fill(session, words)
        self.query_one(RateSide).fill(session)
        self.refresh_bindings()

    def _summary(self, session: Session) -> list[Span]:
        """What is shown when everything is said. Still blind: what the models got stands elsewhere."""
        rows: list[Span] = [
            ("", ""),
            (f"  Done: {session.who} has seen all {session.total:,} answers.", "title"),
            ("", ""),
        ]
        found = ratings.tally(ratings.of_file(self._bench.db, session.source.file))
        for one in found[:_PEOPLE]:
            told = f"{one.marks:,} marks on {one.answers:,} answers, {one.passed:,} passed over, {one.notes:,} notes"
            rows.append((f"  {one_line(one.who, 20):20} {told}", "" if one.who == session.who else "dim"))
        if len(found) > _PEOPLE:
            rows.append((f"  and {len(found) - _PEOPLE:,} more people", "dim"))
        rows.append(("", ""))
        if session.passed:
            answers = f"{session.passed:,} answer{'' if session.passed == 1 else 's'}"
            rows.append((f"  r asks what was passed over in {answers} again", ""))
        rows += [
            ("  u takes back the last mark", ""),
            ("  w writes the qualitative assessment of stage 7, from the notes", ""),
            ("  q leaves; every mark is saved", ""),
            ("", ""),
            ("  What it comes to: Results of stage 7, or dpotui annotate rate --count", "dim"),
        ]
        return rows

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys that would do nothing now are not in the footer."""
        session = self.session
        if action in ("again", "assess"):
            return session is not None and session.key is None and (action == "assess" or session.passed > 0)
        if action == "undo":
            return session is not None and (session.done > 0 or bool(session.marks))
        if action in ("mark", "pass_over", "skip", "choose", "note", "prompt", "move", "page"):
            return session is not None and session.key is not None
        return True

    def action_mark(self, key: str) -> None:
        def give(session: Session) -> str | None:
            mark = mark_of(key, session.source.bounds)
            if mark is not None and session.give(mark):
                return None
            return f"no mark: {digits(session.source.bounds)}"

        self._act(give)

    def action_pass_over(self) -> None:
        self._act(lambda session: session.pass_over())

    def action_skip(self) -> None:
        self._act(lambda session: session.skip())

    def action_undo(self) -> None:
        self._act(lambda session: None if session.undo() else "nothing of yours to take back here")

    def action_again(self) -> None:
        self._act(lambda session: "what was passed over, again" if session.open_passed() else None)

    def action_choose(self, by: int) -> None:
        self._act(lambda session: session.choose(by))

    def action_assess(self) -> None:
        """The value of the checklist's item, with the notes as its evidence."""
        source, bench = self._source, self._bench
        if source is None:
            return
        notes = [one.note for one in ratings.of_file(bench.db, source.file) if one.note]
        words = "Notes, newest first:\n" + "\n".join(f"· {one_line(note, 68)}" for note in notes[:-7:-1])
        written = standing(bench.db, bench.workspace)

        def submit(values: list[str]) -> None:
            assess(bench.db, bench.workspace, source, values[0], bench.who)
            bench.written()

        field = Field(
            "Qualitative assessment, in a sentence or two", written or "", "empty takes it back" if written else ""
        )
        self.app.push_screen(Ask("Qualitative assessment", words if notes else "There are no notes.", [field], submit))

    # Leaving

    def action_leave(self) -> None:
        session = self.session
        if self._leaves_program:
            self.app.exit()
            return
        self.dismiss()
        if session is not None and session.changed_here:
            told = f"saved: {marks_words(session.given_here)} of {session.who} on {session.source.file}"
            self._bench.say(printable(told))
            self._bench.run_worker(self._record(self._bench, session.source), exit_on_error=False)

    @staticmethod
    async def _record(bench: Workbench, source: Source) -> None:
        """What the marks come to, as facts."""

        def record() -> None:
            with closing(open_store(bench.workspace.database)) as db:
                record_facts(db, bench.workspace, source)

        try:
            await asyncio.to_thread(record)
        except UserError as error:
            bench.say(str(error), "error")
        bench.written()


def marks_words(count: int) -> str:
    return f"{count:,} mark{'' if count == 1 else 's'}"
