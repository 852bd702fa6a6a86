"""Words found in the rows of a file while it is gone through, and the ways from hit to hit."""

from __future__ import annotations

import asyncio
from typing import ClassVar

from textual import on, work
from textual.binding import Binding, BindingType
from textual.widgets import Input

from dpotui.browse.find import Find
from dpotui.screens.data_narrow import NarrowsRows
from dpotui.screens.data_rows import TICK
from dpotui.widgets.find import FindBar


class FindsRows(NarrowsRows):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n", "hit(1)", "Next hit", show=False, id="data.next-hit"),
        Binding("N", "hit(-1)", "Last hit", show=False, id="data.last-hit"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._find_words = ""
        self._file_words = ""  # narrow the list of files, as they are typed

    def show_files(self) -> None:
        """Show those files that have the words."""
        raise NotImplementedError

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "hit":
            return self._find is not None
        return super().check_action(action, parameters)

    def action_find(self) -> None:
        words = self._file_words if self.pane == "files" else self._find_words
        self.query_one(FindBar).query_one(Input).value = words
        super().action_find()

    @on(FindBar.Changed)
    def _typed(self, event: FindBar.Changed) -> None:
        if self.pane == "files":
            self._file_words = event.text
            self.show_files()
        else:
            self._find_words = event.text

    @on(FindBar.Closed)
    def _find_chosen(self) -> None:
        if self.pane == "files" or self._path is None:
            return
        # The bar's own word that it was cleared comes behind the one that it was closed.
        self._find_words = self.query_one(FindBar).query_one(Input).value
        if not self._find_words.strip():
            self.stop_find()
            self._detail()
        elif self._find is None or self._find.words != self._find_words.strip():
            self._seek(self._find_words.strip())

    def stop_find(self) -> None:
        if self._find is not None:
            self._find.stop()
        self._find, self._hit, self._find_words = None, None, ""
        self.tell()

    @work(exclusive=True, group="find", exit_on_error=False)
    async def _seek(self, words: str) -> None:
        """Go through the file, and to the first hit at or behind the cursor as soon as it is known."""
        source = self.desk.source
        if source is None:
            return
        if self._find is not None:
            self._find.stop()
        find = self._find = Find(source.raw.path, words)
        self._hit = None
        searching = asyncio.create_task(asyncio.to_thread(find.run))
        start = self.listed.place
        went = False
        while self._find is find:
            ended = find.ended
            # Behind the cursor it may take the rest of the file; from its beginning only when the end was reached.
            if not went and (find.hits or ended):
                place = await self.desk.run(self.desk.hit, find, start, 1, True)
                if place is None and ended and find.hits:
                    place = await self.desk.run(self.desk.hit, find, 0, 1, True)
                if place is not None:
                    went = True
                    self.listed.go(place)
                    self._bring_detail(place)
            self.tell()
            if ended:
                break
            await asyncio.wait({searching}, timeout=TICK)
        if self._find is find:
            self.refresh_bindings()
            if not find.hits and not find.stopped:
                self.bench.say(f"'{words}' is in no row")
            elif not went and not find.stopped:
                self.bench.say(f"'{words}' is in none of the rows that are shown")

    def action_hit(self, by: int) -> None:
        if self._find is not None:
            self._go_to_hit(self._find, by)

    @work(exclusive=True, group="go", exit_on_error=False)
    async def _go_to_hit(self, find: Find, by: int) -> None:
        place = await self.desk.run(self.desk.hit, find, self.listed.place, by, False)
        if place is None and find.ended and self.listed.count:
            # Round to the other end.
            start = 0 if by > 0 else self.listed.count - 1
            place = await self.desk.run(self.desk.hit, find, start, 1, True) if by > 0 else None
            if by < 0:
                place = await self.desk.run(self.desk.hit_at_or_before, find, start)
        if place is None:
            words = "no other row that is shown has it" if find.ended else "no other hit yet: the search goes on"
            self.bench.say(words)
        else:
            self.listed.go(place)
