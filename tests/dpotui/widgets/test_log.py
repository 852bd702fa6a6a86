"""The log pane: what is held is bounded, what is older comes when it is wanted, what is sought is marked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from textual.app import App, ComposeResult

from core.errors import UserError
from core.store import Database, open_store, runs, transaction
from core.store.log import Line, lines
from core.workspace import Workspace, create_workspace
from dpotui import log_window
from dpotui.log_pages import LogPages, Sieve
from dpotui.log_window import MOST, PAGE, Window
from dpotui.theme import DARK
from dpotui.widgets.log import Log
from tests.dpotui.scene import until

NOW = 1_790_000_000.0


class Room:
    def __init__(self, workspace: Workspace, db: Database) -> None:
        self.workspace, self.db = workspace, db
        self.run = runs.create(db, "dpo", config={}).id

    def write(self, *texts: str, level: str = "info") -> None:
        with transaction(self.db):
            for text in texts:
                self.db.execute(
                    "INSERT INTO log (run, time, level, text) VALUES (?, ?, ?, ?)", [self.run, NOW, level, text]
                )

    def many(self, count: int, every: int = 0) -> None:
        """Lines `line 1` and so on; each so many an error."""
        with transaction(self.db):
            self.db.conn.executemany(
                "INSERT INTO log (run, time, level, text) VALUES (?, ?, ?, ?)",
                ((self.run, NOW + i, "error" if every and i % every == 0 else "info", f"line {i}")
                 for i in range(1, count + 1)),
            )  # fmt: skip

    def tail(self, limit: int = 500) -> list[Line]:
        return lines(self.db, self.run, limit=limit)


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    workspace = create_workspace(tmp_path / "w")
    db = open_store(workspace.database, create=True)
    yield Room(workspace, db)
    db.close()


class Screen(App[None]):
    def __init__(self, room: Room) -> None:
        super().__init__()
        self.register_theme(DARK)
        self.theme = DARK.name
        self.room = room
        self.copied: list[str] = []

    def compose(self) -> ComposeResult:
        yield Log(LogPages(self.room.workspace))

    @property
    def log_(self) -> Log:
        return self.query_one(Log)

    def renew(self) -> None:
        self.log_.fill(self.room.tail(), "nothing yet")

    def copy_to_clipboard(self, text: str) -> None:
        self.copied.append(text)


def seen(app: Screen) -> list[str]:
    log = app.log_
    return [log.render_line(y).text.rstrip(" ▐") for y in range(log.size.height)]


def marked(app: Screen) -> list[str]:
    """The pieces of text that are marked as found."""
    log = app.log_
    rows = (log.row(y, log.size.width) for y in range(log.top, log.top + log.page))
    return [text for row in rows for text, role in row if role == "hit"]


async def test_the_end_is_followed_until_one_moves_away(room: Room) -> None:
    room.many(600)
    app = Screen(room)
    async with app.run_test(size=(60, 10)) as pilot:
        app.renew()
        app.log_.focus()
        await pilot.pause()
        assert seen(app)[-1].endswith("line 600")
        await pilot.press("k", "k")
        assert "paused" in seen(app)[0]
        here = seen(app)
        room.write("line 601")
        app.renew()
        await pilot.pause()
        assert seen(app)[1:] == here[1:]
        await pilot.press("end")
        assert seen(app)[-1].endswith("line 601")
        room.write("line 602")
        app.renew()
        await pilot.pause()
        assert seen(app)[-1].endswith("line 602")


async def test_older_lines_come_when_one_scrolls_to_them_and_few_are_held(room: Room) -> None:
    room.many(12_000)
    app = Screen(room)
    async with app.run_test(size=(60, 12)) as pilot:
        app.renew()
        log = app.log_
        log.focus()
        await pilot.pause()
        for _ in range(40):
            before = seen(app)[1]
            log.scroll_rows(0)
            await until(pilot, lambda: not log._waiting)
            assert len(log._held.lines) <= MOST
            if seen(app)[1] == before:
                break
        assert seen(app)[1].endswith(" line 1")
        # And back to the end, page by page, without a line left out.
        for _ in range(60):
            log.scroll_rows(log.last_top)
            await until(pilot, lambda: not log._waiting)
            assert len(log._held.lines) <= MOST
            ids = [line.id for line in log._held.lines]
            assert ids == list(range(ids[0], ids[-1] + 1))
            if not log._held.cut and log.top == log.last_top:
                break
        assert seen(app)[-1].endswith("line 12000")


async def test_home_shows_the_first_line_of_a_long_log_and_end_the_last(room: Room) -> None:
    room.many(9_000)
    app = Screen(room)
    async with app.run_test(size=(60, 10)) as pilot:
        app.renew()
        app.log_.focus()
        await pilot.press("home")
        await until(pilot, lambda: any(row.endswith(" line 1") for row in seen(app)))
        assert len(app.log_._held.lines) <= 2 * PAGE
        await pilot.press("f")
        assert seen(app)[-1].endswith("line 9000")


async def test_a_level_reaches_behind_the_lines_of_the_picture(room: Room) -> None:
    room.write("the one warning", level="warning")
    room.many(3_000)
    app = Screen(room)
    async with app.run_test(size=(60, 10)) as pilot:
        app.renew()
        app.log_.focus()
        await pilot.press("l")
        await until(pilot, lambda: any("WARNING the one warning" in row for row in seen(app)))
        assert "warning and above" in seen(app)[0]
        await pilot.press("l")
        await until(pilot, lambda: any("no line of error and above" in row for row in seen(app)))


async def test_what_is_found_is_marked_and_walked_through_all_of_the_log(room: Room) -> None:
    room.write("Loss exploded at the beginning")
    room.many(5_000)
    room.write("the loss is 0.5", "and a loss of 0.4")
    app = Screen(room)
    async with app.run_test(size=(70, 10)) as pilot:
        app.renew()
        app.log_.focus()
        app.log_.find("loss")
        assert marked(app) == ["loss", "loss"]
        assert "'loss' 2 here" in seen(app)[0]
        await pilot.press("N")
        assert app.log_._held.lines[app.log_._here()].text == "the loss is 0.5"
        await pilot.press("N")
        await until(pilot, lambda: any("Loss exploded" in row for row in seen(app)))
        assert marked(app)[0] == "Loss"
        await pilot.press("n")
        await until(pilot, lambda: any("the loss is 0.5" in row for row in seen(app)))
        await pilot.press("m")
        await until(pilot, lambda: sum("oss" in row for row in seen(app)[1:]) == 3)
        assert "only 'loss'" in seen(app)[0]


async def test_what_is_sought_is_text(room: Room) -> None:
    room.write("100% of [it]", "100 of it", "ÄRGER im Protokoll")
    app = Screen(room)
    async with app.run_test(size=(60, 10)) as pilot:
        app.renew()
        await pilot.pause()
        app.log_.find("0%")
        assert marked(app) == ["0%"]
        app.log_.find("[it]")
        assert marked(app) == ["[it]"]
    pages = LogPages(room.workspace)
    assert [line.text for line in pages.older(Sieve(room.run, words="0% O"), None, 9)] == ["100% of [it]"]
    assert [line.text for line in pages.older(Sieve(room.run, words="_"), None, 9)] == []
    assert [line.text for line in pages.newer(Sieve(room.run, words="ärger"), 0, 9)] == ["ÄRGER im Protokoll"]


async def test_a_hit_far_to_the_right_is_brought_into_view(room: Room) -> None:
    room.write("x" * 300 + " needle " + "y" * 300)
    app = Screen(room)
    async with app.run_test(size=(60, 6)) as pilot:
        app.renew()
        await pilot.pause()
        app.log_.find("needle")
        assert any("needle" in row for row in seen(app))


async def test_a_traceback_is_folded_and_enter_shows_all_of_it(room: Room) -> None:
    frames = "\n".join(f'  File "a.py", line {i}' for i in range(40))
    room.write(f"Traceback (most recent call last):\n{frames}\nValueError: no pairs", level="error")
    app = Screen(room)
    async with app.run_test(size=(80, 20)) as pilot:
        app.renew()
        app.log_.focus()
        await pilot.pause()
        rows = [row for row in seen(app) if row]
        assert "ERROR Traceback" in rows[0]
        assert "40 more rows, enter shows them" in rows[1]
        assert "ValueError: no pairs" in rows[2]
        assert len(rows) == 3
        await pilot.press("enter")
        await pilot.pause()
        assert app.screen.is_modal
        card = app.screen.query("Card").first()
        assert any("line 7" in card.render_line(y).text for y in range(card.size.height))


async def test_a_line_is_copied_and_the_whole_log_written(room: Room) -> None:
    room.many(1_200)
    room.write("a \x1b[31mred\x1b[0m line")
    app = Screen(room)
    async with app.run_test(size=(60, 10)) as pilot:
        app.renew()
        app.log_.focus()
        await pilot.pause()
        await pilot.press("y")
        assert app.copied[-1].endswith("info    a ␛[31mred␛[0m line")
        await pilot.press("Y")
        assert app.copied[-1].count("\n") == app.log_.page - 1
        await pilot.press("x")
        path = room.workspace.outputs / "logs" / f"{room.run}.txt"
        await until(pilot, path.exists)
    text = path.read_text()
    assert text.count("\n") == 1_201
    assert "\x1b" not in text
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


async def test_another_run_is_shown_from_its_end(room: Room) -> None:
    room.many(100)
    app = Screen(room)
    async with app.run_test(size=(60, 10)) as pilot:
        app.renew()
        app.log_.focus()
        await pilot.press("home", "down")
        room.run = runs.create(room.db, "dpo", config={}).id
        room.write("of the other run")
        app.renew()
        await until(pilot, lambda: any("of the other run" in row for row in seen(app)))
        assert not any("line 1" in row for row in seen(app))


async def test_rows_out_of_view_are_not_made(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    room.many(500)
    app = Screen(room)
    made = []
    async with app.run_test(size=(60, 10)) as pilot:
        app.renew()
        await pilot.pause()
        row = Log.row

        def counted(self: Log, y: int, width: int) -> object:
            made.append(y)
            return row(self, y, width)

        monkeypatch.setattr(Log, "row", counted)
        room.write("one more")
        app.renew()
        await pilot.pause()
    assert 0 < len(made) <= 30


def test_a_picture_that_does_not_reach_to_the_last_one_leaves_no_hole(room: Room) -> None:
    room.many(10)
    window = Window()
    window.run, window.tail = room.run, tuple(room.tail(5))
    window.to_tail()
    room.many(20)
    window.grow(room.tail(5), following=False)
    assert window.cut
    page = LogPages(room.workspace).newer(Sieve(room.run), window.last, log_window.PAGE)
    window.add_newer(page)
    assert not window.cut
    assert [line.id for line in window.lines] == list(range(6, 31))


def test_what_was_read_ahead_of_the_picture_is_not_shown_twice(room: Room) -> None:
    room.many(10)
    window = Window()
    window.run, window.tail = room.run, tuple(room.tail(5))
    window.to_tail()
    room.many(3)
    window.put([], LogPages(room.workspace).newer(Sieve(room.run), 0, PAGE))
    window.grow(room.tail(8), following=False)
    assert [line.id for line in window.lines] == list(range(1, 14))


def test_no_more_than_a_page_is_held_where_the_end_is_followed(room: Room) -> None:
    window = Window()
    window.run = room.run
    for _ in range(6):
        room.many(PAGE // 2)
        window.grow(room.tail(), following=True)
        assert len(window.lines) <= PAGE
    assert window.lines[-1].text == f"line {PAGE // 2}"


async def test_a_log_that_cannot_be_read_is_told_once_and_what_is_there_stays(room: Room) -> None:
    room.many(20)

    class Broken(LogPages):
        def older(self, sieve: Sieve, before: int | None, limit: int) -> list[Line]:
            raise UserError("runs.db cannot be read")

    app = Screen(room)
    async with app.run_test(size=(60, 40)) as pilot:
        app.log_._pages = Broken(room.workspace)
        app.renew()
        await until(pilot, lambda: [notice.message for notice in app._notifications] == ["runs.db cannot be read"])
        room.write("and on it goes")
        app.renew()
        await until(pilot, lambda: any("and on it goes" in row for row in seen(app)))
        assert len(app._notifications) == 1
