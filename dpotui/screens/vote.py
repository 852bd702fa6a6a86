"""Voting: two responses to a prompt, blind, answered with one key; what is said is saved before the next one comes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from core.data import votes as counting
from core.data.votes_order import Ballots, Stopped, gather
from core.data.votes_session import Answer, Session
from core.errors import UserError
from core.store import open_store, votes
from core.text import one_line, printable
from dpotui.roles import Span
from dpotui.screens.dialogs import Ask, Field
from dpotui.screens.opinion import OpinionScreen
from dpotui.screens.vote_lines import VoteFoot, VoteHead
from dpotui.screens.vote_text import VoteText
from dpotui.widgets.footer import Keys

if TYPE_CHECKING:
    from dpotui.app import Workbench

SEED = 42

# How many people the last screen tells of.
_PEOPLE = 8


@dataclass(frozen=True, slots=True)
class Voting:
    """What is voted on, by whom. Without a name the annotator is asked for it."""

    path: Path
    who: str | None = None
    seed: int = SEED
    sample: int | None = None


class VoteScreen(OpinionScreen[Session]):
    GUIDED = "what annotators are to prefer"

    DEFAULT_CSS = """
    VoteScreen {
        background: $background; layout: vertical; overflow: hidden;
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("a", "answer('A')", "A", tooltip="A is better", id="vote.a"),
        Binding("b", "answer('B')", "B", tooltip="B is better", id="vote.b"),
        Binding("t", "answer('tie')", "Tie", tooltip="Neither is better", id="vote.tie"),
        Binding("x", "answer('reject')", "Reject", tooltip="Reject both: a bad pair", id="vote.reject"),
        Binding("s", "answer('skip')", "Skip", tooltip="Skip: no opinion", id="vote.skip"),
        Binding("u", "undo", "Undo", tooltip="Take back the newest vote, again and again", id="vote.undo"),
        Binding("r", "again", "Skipped again", tooltip="Ask those that were skipped again", id="vote.again"),
        Binding("space", "flip", "Flip", tooltip="Show the other response", id="vote.flip"),
        Binding("tab", "flip", "Flip", show=False, tooltip="Show the other response", id="vote.flip"),
        Binding("n", "note", "Note", show=False, tooltip="A note on this comparison", id="vote.note"),
        Binding("g", "guidelines", "Guide", tooltip="The guidelines for annotators", id="vote.guide"),
        Binding("p", "prompt", "Prompt", show=False, tooltip="All of the prompt, or its beginning", id="vote.prompt"),
        Binding("d", "marks", "Diff", show=False, tooltip="Underline the words that differ, or not", id="vote.marks"),
        Binding("right_square_bracket", "difference(1)", "Next difference", show=False, id="vote.next-difference"),
        Binding("left_square_bracket", "difference(-1)", "Last difference", show=False, id="vote.last-difference"),
        *(
            Binding(str(sure), f"sure({sure})", f"Sure {sure}", show=False, tooltip="How sure, from 1 to 5",
                    id="vote.sure")
            for sure in range(1, 6)
        ),
        Binding("down,j", "move(1)", "Down", show=False, id="vote.down"),
        Binding("up,k", "move(-1)", "Up", show=False, id="vote.up"),
        Binding("pagedown", "page(1)", "Page down", show=False, id="vote.page-down"),
        Binding("pageup", "page(-1)", "Page up", show=False, id="vote.page-up"),
        Binding("home", "move(-1000000000)", "First line", show=False, id="vote.first"),
        Binding("end", "move(1000000000)", "Last line", show=False, id="vote.last"),
        Binding("question_mark", "keys", "Keys", key_display="?", id="app.keys"),
        Binding("q,escape", "leave", "Back", tooltip="Leave; every vote is saved", id="app.leave"),
    ]  # fmt: skip

    def __init__(
        self, voting: Voting, *, leaves_program: bool = False, clock: Callable[[], float] | None = None
    ) -> None:
        super().__init__(leaves_program, clock)
        self._voting = voting
        self._ballots: Ballots | None = None
        self._read = (0, 0)  # rows, bytes
        self._gone = False

    @property
    def _file(self) -> str:
        return self._bench.workspace.relative(self._voting.path.absolute())

    def compose(self) -> ComposeResult:
        yield VoteHead(str(self._voting.path))
        yield VoteText(self._noted)
        yield VoteFoot()
        yield Keys()

    # Before the first comparison

    def on_mount(self) -> None:
        self.query_one(VoteText).focus()
        if self._voting.who is None:
            self._ask_name()
        self._look_through()
        self._waiting = self.set_interval(0.25, self._tell_progress)
        self._tell_progress()

    def _ask_name(self) -> None:
        given: list[str] = []

        def submit(values: list[str]) -> None:
            given.append(votes.voter(values[0]))

        def answered(yes: bool | None) -> None:
            if not yes:
                self.action_leave()
                return
            voting = self._voting
            self._voting = Voting(voting.path, given[0], voting.seed, voting.sample)
            self._begin()

        words = "Votes are kept under a name, so that several people can vote on the same pairs."
        self.app.push_screen(Ask("Who votes?", words, [Field("Name", self._bench.who)], submit), answered)

    @work(group="read", exit_on_error=False)
    async def _look_through(self) -> None:
        voting = self._voting
        try:
            self._ballots = await asyncio.to_thread(
                gather, voting.path, seed=voting.seed, sample=voting.sample,
                progress=self._progress, wants_stop=lambda: self._gone,
            )  # fmt: skip
        except Stopped:
            return
        except UserError as error:
            self._waiting.stop()
            self._tell(str(error))
            return
        self._begin()

    def _progress(self, rows: int, at: int) -> None:
        self._read = (rows, at)

    def _tell_progress(self) -> None:
        if self.session is None:
            rows, at = self._read
            size = self._voting.path.stat().st_size if at and self._voting.path.exists() else 0
            part = f", {100 * at // size} %" if size else ""
            self._tell(f"reading {self._voting.path.name} …  {rows:,} rows{part}" if rows else "reading …")

    def _begin(self) -> None:
        """Once the name is known and the file is read."""
        if self._ballots is None or self._voting.who is None or not self.is_mounted:
            return
        self._waiting.stop()
        clock = {"clock": self._clock} if self._clock is not None else {}
        try:
            self.session = Session(self._bench.db, self._ballots, self._file, self._voting.who, **clock)
        except UserError as error:
            self._tell(str(error))
            return
        left_out = f"{self._ballots.bad:,} rows cannot be read and are left out" if self._ballots.bad else ""
        self._show(left_out)

    # The comparison in hand

    def _show(self, words: str = "") -> None:
        session = self.session
        assert session is not None
        self.query_one(VoteHead).fill(session)
        text = self.query_one(VoteText)
        if session.ballot is not None:
            text.ask(session.ballot)
        else:
            text.tell(self._summary(session))
        self.query_one(VoteFoot).fill(session, words)
        self.refresh_bindings()

    def _summary(self, session: Session) -> list[Span]:
        """What is shown when everything has an answer."""
        found = counting.progress(votes.of_file(self._bench.db, session.file))
        rows: list[Span] = [
            ("", ""),
            (f"  Done: all {session.total:,} have an answer of {session.who}.", "title"),
            ("", ""),
        ]
        for one in found[:_PEOPLE]:
            rows.append((f"  {one_line(one.who, 20):20} {_counted(one)}", "" if one.who == session.who else "dim"))
            if one.who == session.who:
                rows.append((f"  {'':20} {_told(one)}", ""))
        if len(found) > _PEOPLE:
            rows.append((f"  and {len(found) - _PEOPLE:,} more people", "dim"))
        rows.append(("", ""))
        if session.skipped:
            rows.append((f"  r asks the {session.skipped:,} skipped ones again", ""))
        rows += [
            ("  u takes back the last vote", ""),
            ("  q leaves; every vote is saved", ""),
            ("", ""),
            (f"  dpotui annotate agreement {printable(session.file)}", "dim"),
            (f"  dpotui annotate export {printable(session.file)} -o data/voted_pairs.jsonl", "dim"),
        ]
        return rows

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys that would do nothing now are not in the footer."""
        session = self.session
        if action == "again":
            return session is not None and session.ballot is None and session.skipped > 0
        if action == "undo":
            return session is not None and session.done > 0
        if action in ("answer", "sure", "note", "flip", "prompt", "marks", "move", "page", "difference"):
            return session is not None and session.ballot is not None
        return True

    def action_answer(self, answer: Answer) -> None:
        self._act(lambda session: session.answer(answer))

    def action_undo(self) -> None:
        self._act(lambda session: "taken back" if session.undo() else "nothing of yours to take back here")

    def action_again(self) -> None:
        self._act(lambda session: "those that were skipped, again" if session.open_skipped() else None)

    def action_sure(self, sure: int) -> None:
        def set_it(session: Session) -> None:
            # The same number again takes it back.
            session.confidence = None if session.confidence == sure else sure

        self._act(set_it)

    def action_flip(self) -> None:
        self.query_one(VoteText).flip()

    def action_marks(self) -> None:
        self.query_one(VoteText).toggle_marks()

    def action_difference(self, by: int) -> None:
        self.query_one(VoteText).next_difference(by)

    # Leaving

    def action_leave(self) -> None:
        session = self.session
        if self._leaves_program:
            self.app.exit()
            return
        self.dismiss()
        if session is not None and session.cast_here:
            self._bench.say(f"saved on {session.file}: {counting.votes_words(session.cast_here)} of {session.who}")
            self._bench.run_worker(self._record(self._bench, session.file), exit_on_error=False)

    @staticmethod
    async def _record(bench: Workbench, file: str) -> None:
        """What the votes come to, as facts; agreement takes a library that takes its time to load."""

        from core.evaluation.win_rate_people import record_votes

        def record() -> str | None:
            with closing(open_store(bench.workspace.database)) as db:
                return record_votes(db, bench.workspace, file)

        try:
            told = await asyncio.to_thread(record)
        except UserError as error:
            bench.say(str(error), "error")
        else:
            if told is not None:
                bench.say(told)
        bench.written()

    def on_unmount(self) -> None:
        self._gone = True
        if self._ballots is not None:
            self._ballots.close()


def _counted(one: counting.Progress) -> str:
    return f"{one.votes:,} votes ({one.ties:,} tie, {one.rejects:,} rejected), {one.skips:,} skipped"


def _told(one: counting.Progress) -> str:
    parts = [f"A in {100 * one.a_share:.0f} %"] if one.a_share is not None else []
    parts += [f"how sure {one.confidence:.1f}"] if one.confidence is not None else []
    parts += [f"{one.rate:.1f} a minute"] if one.rate is not None else []
    return ", ".join([*parts, f"{one.notes:,} notes"])
