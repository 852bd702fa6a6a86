"""The tree of checklists: what is seen, what is found, where the cursor stands."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from rich.cells import cell_len
from textual.app import App, ComposeResult

from core.checklist import Item, ItemState, Target, parse
from core.checklist.state import Evidence
from core.store.facts import Fact
from dpotui.theme import DARK
from dpotui.widgets import item_line as item_lines
from dpotui.widgets.checklist import ChecklistTree, Verb
from dpotui.widgets.item_line import item_line

NOW = 1_790_000_000.0
_PAGE = """\
# Stage 5: DPO Optimization <!-- id: dpo -->

- [ ] Hyperparameters configured <!-- id: dpo.config -->
- [ ] Quality gates checked: <!-- id: dpo.gates -->
  - [ ] KL divergence: _____ (target ≤0.1) <!-- id: dpo.gates.kl fact: dpo.kl_divergence -->
  - [ ] Preference gap: _____ (target ≥0.15) <!-- id: dpo.gates.gap fact: dpo.preference_gap -->
- [ ] Best checkpoint identified <!-- id: dpo.best -->
"""


def page(text: str, name: str = "configs/checklists/5-dpo.md") -> Item:
    root = parse(text, name).root
    assert root is not None
    return root


def plain(roots: list[Item], **others: ItemState) -> dict[str, ItemState]:
    """All items open; `others` by their ids with _ for a dot."""
    found = {}
    for root in roots:
        for item in root.walk():
            leaves = sum(each.leaf for each in item.walk())
            own = others.get(item.id.replace(".", "_"))
            found[item.id] = own or ItemState("open", values=(None,) * len(item.blanks), total=leaves)
    return found


class Screen(App[None]):
    def __init__(self) -> None:
        super().__init__()
        self.register_theme(DARK)
        self.theme = DARK.name
        self.verbs: list[tuple[str, str]] = []
        self.looked: list[str] = []

    def compose(self) -> ComposeResult:
        yield ChecklistTree()

    @property
    def items(self) -> ChecklistTree:
        return self.query_one(ChecklistTree)

    def show(self, roots: list[Item], states: Mapping[str, ItemState], problem: str | None = None) -> None:
        self.items.fill(roots, states, NOW, [item.id for root in roots for item in root.walk()], problem)

    def on_mount(self) -> None:
        self.items.desk = self

    def asked(self, verb: Verb, item: Item) -> None:
        self.verbs.append((verb, item.id))

    def undo(self, *, redo: bool = False) -> None:
        self.verbs.append(("redo" if redo else "undo", ""))

    def show_history(self) -> None:
        self.verbs.append(("history", ""))

    def changed_by_me(self) -> Collection[str]:
        return {"dpo.config", "dpo.gates"}

    def on_checklist_tree_looked(self, event: ChecklistTree.Looked) -> None:
        self.looked.append(event.item.id)


def seen(app: Screen) -> list[str]:
    tree = app.items
    rows = [tree.render_line(y).text.rstrip(" ▐") for y in range(tree.size.height)]
    return [row for row in rows if row]


def words(item: Item, state: ItemState, width: int, **where: Any) -> str:
    spans = item_line(item, state, width, NOW, depth=where.get("depth", 2), unfolded=False)
    text = "".join(text for text, _ in spans)
    assert cell_len(text) == width
    return text


# One item on one line


def test_what_matters_most_stays_on_a_narrow_line() -> None:
    kl = next(item for item in page(_PAGE).walk() if item.id == "dpo.gates.kl")
    measured = Fact("dpo.kl_divergence", 0.1004, run="dpo-002", time=NOW - 7200)
    state = ItemState("open", "0.1004", 0.1004, ("0.1004",), "FAIL", "fact", NOW - 7200, fact=measured, total=1)
    wide, narrow, tiny = (words(kl, state, width) for width in (120, 80, 40))
    assert "KL divergence: 0.1004 (target ≤0.1)" in wide
    for shown in (wide, narrow):
        assert "FAIL" in shown
        assert "dpo-002" in shown
        assert "2 h" in shown
    assert "0.1004" in tiny
    assert "FAIL" in tiny
    assert "dpo-002" not in tiny


def test_a_value_whose_words_are_cut_stands_beside_them() -> None:
    long = page("# T <!-- id: t -->\n\n- [ ] " + "words " * 20 + ": _____ (target ≤0.1) <!-- id: t.a -->\n").children[0]
    assert "0.08" in words(long, ItemState("open", "0.08", 0.08, ("0.08",), "PASS", total=1), 60)


def test_target_note_and_evidence_have_room_on_a_wide_line() -> None:
    item = Item("a", "Pairs collected", "item", 2, "f.md", 1, target=Target(">", Decimal(0)))
    evidence = Evidence("file", "outputs/a.md", "ana", NOW)
    state = ItemState("done", "1204", note="why", by="ana", time=NOW - 60, evidence=(evidence,), total=1, done=1)
    wide = words(item, state, 140)
    assert "1204 >0 note · 1 evidence" in wide
    assert "1 m" in wide
    assert "note" not in words(item, state, 80)


def test_columns_stand_below_their_titles() -> None:
    kl = next(item for item in page(_PAGE).walk() if item.id == "dpo.gates.kl")
    state = ItemState("open", "0.2", 0.2, ("0.2",), "FAIL", "bo", NOW - 7200, total=1)
    for width in (70, 80, 120):
        title = item_lines.titles(width).rjust(width)
        line = words(kl, state, width)
        assert title.index("verdict") == line.index("FAIL")
        assert title.index("by") == line.index("bo")


def test_an_item_of_which_nothing_was_said_has_the_line_for_its_words() -> None:
    text = "Environment variables set (MLX_METAL_PREALLOCATE, FAST_SYNCH)"
    item = Item("a", text, "item", 5, "f.md", 1)
    assert text in words(item, ItemState("open", total=1), 80)


def test_hostile_words_keep_the_line_in_its_width() -> None:
    for text in ("\x1b[31mred", "[red]x[/red]", "漢字" * 60, "e\u0301" * 90, "\u202eabc", "x" * 100_000):
        item = Item("a", text, "item", 5, "f.md", 1)
        shown = words(item, ItemState("open", note="n", by=text, verdict="FAIL", total=1), 80)
        assert "\x1b" not in shown
        assert "\u202e" not in shown


# The tree


async def test_parents_count_and_fold() -> None:
    root = page(_PAGE)
    states = plain([root], dpo=ItemState("partial", done=2, total=4, failing=1))
    app = Screen()
    async with app.run_test(size=(80, 12)) as pilot:
        app.show([root], states)
        app.items.focus()
        await pilot.pause()
        assert "▾ [-] 5 DPO Optimization" in seen(app)[1]
        assert seen(app)[1].endswith("1 FAIL      2/4")
        await pilot.press("space")
        assert len(seen(app)) == 2
        assert app.verbs == []
        await pilot.press("right", "down", "space")
        await pilot.pause()
        assert app.verbs == [("tick", "dpo.config")]
        await pilot.press("u", "U", "H")
        assert [verb for verb, _ in app.verbs[1:]] == ["undo", "redo", "history"]
        await pilot.press("minus")
        assert len(seen(app)) == 2
        assert app.items.item is root
        await pilot.press("plus")
        assert len(seen(app)) == 7
        await pilot.press("end", "left")
        assert app.items.item is root


async def test_the_cursor_stays_on_its_item_and_line_when_others_come_and_go() -> None:
    root = page(_PAGE)
    app = Screen()
    async with app.run_test(size=(80, 6)) as pilot:
        app.show([root], plain([root]))
        app.items.focus()
        app.items.select("dpo.best")
        await pilot.pause()
        line = next(y for y, row in enumerate(seen(app)) if "Best checkpoint" in row)
        more = page(_PAGE.replace("- [ ] Quality", "- [ ] New <!-- id: dpo.new -->\n- [ ] Quality"))
        app.show([more], plain([more]))
        await pilot.pause()
        assert app.items.item is not None
        assert app.items.item.id == "dpo.best"
        assert "Best checkpoint" in seen(app)[line]
        fewer = page(_PAGE.replace("- [ ] Best checkpoint identified <!-- id: dpo.best -->\n", ""))
        app.show([fewer], plain([fewer]))
        await pilot.pause()
        assert app.items.item is not None
        assert app.items.item.id == "dpo.gates.gap"


async def test_a_page_that_cannot_be_read_is_told_and_the_old_one_stays() -> None:
    root = page(_PAGE)
    app = Screen()
    async with app.run_test(size=(80, 12)) as pilot:
        app.show([root], plain([root]), "configs/checklists/5-dpo.md:3: unknown key 'idd' in the comment")
        await pilot.pause()
        assert "5-dpo.md:3: unknown key 'idd'" in seen(app)[0]
        assert any("KL divergence" in row for row in seen(app))
        app.show([root], plain([root]))
        await pilot.pause()
        assert "5-dpo.md" not in "".join(seen(app))


async def test_filters_leave_what_is_looked_for() -> None:
    root = page(_PAGE)
    stale = Evidence("file", "data/a.jsonl", "ana", NOW, "it changed since")
    states = plain(
        [root],
        dpo=ItemState("partial", done=2, total=4, failing=1),
        dpo_config=ItemState("done", by="ana", done=1, total=1),
        dpo_gates_kl=ItemState("open", "0.2", 0.2, ("0.2",), "FAIL", total=1, failing=1),
        dpo_gates_gap=ItemState("done", "0.2", 0.2, ("0.2",), "STALE", total=1, done=1, stale=1),
        dpo_best=ItemState("done", by="bo", done=1, total=1, evidence=(stale,)),
    )
    app = Screen()
    async with app.run_test(size=(80, 12)) as pilot:
        app.show([root], states)
        app.items.focus()
        left = {}
        for _ in range(5):
            head = seen(app)[0].split()[0]
            kind = "items" if "done" in seen(app)[0] else head
            left[kind] = {row.item.id for row in app.items._shown if row.item.leaf}
            await pilot.press("f")
        assert left == {
            "items": {"dpo.config", "dpo.gates.kl", "dpo.gates.gap", "dpo.best"},
            "open": {"dpo.gates.kl"},
            "failed": {"dpo.gates.kl"},
            "stale": {"dpo.gates.gap", "dpo.best"},
            "mine": {"dpo.config"},
        }
        assert seen(app)[0].split()[:4] == ["2/4", "done", "1", "FAIL"]


@pytest.mark.parametrize(
    ("sought", "found"),
    [
        ("kl div", {"dpo.gates.kl"}), ("GATES", {"dpo.gates.kl", "dpo.gates.gap"}),
        ("dpo.preference_gap", {"dpo.gates.gap"}), ("too long", {"dpo.best"}), ("bo", {"dpo.best"}),
        ("nothing like it", set()),
    ],
)  # fmt: skip
async def test_items_are_found_by_words_id_fact_note_and_person(sought: str, found: set[str]) -> None:
    root = page(_PAGE)
    states = plain([root], dpo_best=ItemState("done", by="Bo", note="took too long", done=1, total=1))
    app = Screen()
    async with app.run_test(size=(80, 12)) as pilot:
        app.show([root], states)
        app.items.find(sought)
        await pilot.pause()
        assert {row.item.id for row in app.items._shown if row.item.leaf} == found
        if not found:
            assert any("no item with" in row for row in seen(app))


async def test_letters_within_a_heading_find_nothing_and_the_first_that_is_found_is_gone_to() -> None:
    root = page(
        "# Stage 5: A checklist <!-- id: dpo -->\n\n- [ ] One <!-- id: one -->\n- [ ] Two <!-- id: two -->\n"
        "- [ ] Quick look <!-- id: quick -->\n- [ ] KL <!-- id: kl -->\n"
    )
    app = Screen()
    async with app.run_test(size=(80, 12)):
        app.show([root], plain([root]))
        app.items.find("kl")
        assert [row.item.id for row in app.items._shown if row.item.leaf] == ["kl"]
        assert app.items.item is not None and app.items.item.id == "kl"
        app.items.find("check")
        assert len([row for row in app.items._shown if row.item.leaf]) == 4


async def test_next_and_last_open_item_go_round() -> None:
    root = page(_PAGE)
    states = plain([root], dpo_gates_kl=ItemState("done", values=("0.1",), done=1, total=1))
    app = Screen()
    async with app.run_test(size=(80, 12)) as pilot:
        app.show([root], states)
        app.items.focus()
        went = []
        for key in ("o", "o", "o", "o", "O", "O"):
            await pilot.press(key)
            assert app.items.item is not None
            went.append(app.items.item.id)
        assert went == ["dpo.config", "dpo.gates.gap", "dpo.best", "dpo.config", "dpo.best", "dpo.gates.gap"]


async def test_an_item_is_gone_to_through_a_filter_and_before_it_is_there() -> None:
    root = page(_PAGE)
    app = Screen()
    async with app.run_test(size=(80, 12)) as pilot:
        app.items.select("dpo.gates.gap")
        app.show([root], plain([root]))
        assert app.items.item is not None
        assert app.items.item.id == "dpo.gates.gap"
        app.items.find("hyper")
        app.items.select("dpo.best")
        await pilot.pause()
        assert app.items.item.id == "dpo.best"
        assert app.items.filter_words == ""


async def test_thousands_of_items_cost_what_is_seen_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    root = page(
        "# Stage 5: Big <!-- id: big -->\n\n"
        + "".join(
            f"- [ ] Group {group}: <!-- id: g{group} -->\n"
            + "".join(f"  - [ ] Item {group} {i} <!-- id: g{group}.i{i} -->\n" for i in range(49))
            for group in range(100)
        )
    )
    states = plain([root])
    made: list[str] = []

    def counted(item: Item, *args: Any, **keys: Any) -> Any:
        made.append(item.id)
        return item_line(item, *args, **keys)

    monkeypatch.setattr("dpotui.widgets.checklist.item_line", counted)
    app = Screen()
    async with app.run_test(size=(80, 24)) as pilot:
        app.show([root], states)
        app.items.focus()
        await pilot.pause()
        assert app.items.rows == 5001
        acts: tuple[Callable[[], object], ...] = (
            lambda: app.show([root], {**states, "g3.i4": replace(states["g3.i4"], state="done", done=1)}),
            lambda: app.items.find("item 7"),
            lambda: app.items.find(""),
            app.items.action_filter,
            lambda: app.items.action_open(-1),
            lambda: app.items.action_move(1),
        )
        for act in acts:
            made.clear()
            act()
            await pilot.pause()
            # Laid out, and once more where the scroll bar came or went.
            assert len(made) <= 3 * 24, act
