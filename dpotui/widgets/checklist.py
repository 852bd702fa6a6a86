"""The checklists as a tree that can be ticked: box, words, value, verdict and who said it, on one line each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal, cast

from rich.cells import cell_len
from rich.style import Style
from rich.text import Text
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import Tree
from textual.widgets.tree import TreeNode

from core.checklist import Item, ItemState
from core.text import one_line
from dpotui import roles, say
from dpotui.commands.checklist_view import MARKS, text_of
from dpotui.roles import Palette

Verb = Literal["tick", "value", "note", "evidence", "details"]

_BOXES = {"done": "good", "partial": "warn", "open": ""}
# Items that a person looks for, chosen with one key; each says what it leaves.
FILTERS = ("all", "open", "failing")


class ChecklistTree(Tree[Item]):
    DEFAULT_CSS = """
    ChecklistTree {
        background: $background; padding: 0; scrollbar-size-vertical: 1; overflow-x: hidden;
        background-tint: $background 0%;
        &:focus { background-tint: $background 0%; }
        & > .tree--cursor { background: $panel; text-style: none; }
        &:focus > .tree--cursor { background: $block-cursor-background; color: $foreground; text-style: none; }
        & > .tree--highlight-line { background: $background; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "ask('tick')", "Tick", id="item.tick"),
        Binding("v", "ask('value')", "Value", id="item.value"),
        Binding("n", "ask('note')", "Note", id="item.note"),
        Binding("e", "ask('evidence')", "Evidence", show=False, id="item.evidence"),
        Binding("u", "undo", "Undo", id="item.undo"),
        Binding("enter", "ask('details')", "Details", id="item.details"),
        Binding("f", "filter", "Filter", show=False, id="item.filter"),
        Binding("o", "next_open", "Next open", show=False, id="item.next-open"),
        Binding("left,h", "fold(True)", "Fold", show=False, id="item.fold"),
        Binding("right", "fold(False)", "Unfold", show=False, id="item.unfold"),
        Binding("j", "cursor_down", "Down", show=False, id="item.down"),
        Binding("k", "cursor_up", "Up", show=False, id="item.up"),
    ]

    class Asked(Message):
        """A person wants something done with an item."""

        def __init__(self, verb: Verb, item: Item) -> None:
            super().__init__()
            self.verb, self.item = verb, item

    class UndoAsked(Message):
        """The last change should be taken back."""

    class Looked(Message):
        """The cursor stands on another item."""

        def __init__(self, item: Item) -> None:
            super().__init__()
            self.item = item

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__("", id=id, classes=classes)
        self.show_root = False
        self.show_guides = False
        self.guide_depth = 2
        self.auto_expand = False
        self.palette = Palette(self)
        self._roots: tuple[Item, ...] = ()
        self._states: Mapping[str, ItemState] = {}
        self._now = 0.0
        self._text = ""
        self._only = FILTERS[0]
        self._unfolded: set[str] = set()
        self._seen: set[str] = set()  # ids that were shown before: what is folded of them stays so
        self._by_id: dict[str, TreeNode[Item]] = {}

    @property
    def item(self) -> Item | None:
        """The item under the cursor."""
        return self.cursor_node.data if self.cursor_node is not None else None

    @property
    def filter_words(self) -> str:
        words = [self._only] if self._only != "all" else []
        return " ".join([*words, *([f"'{self._text}'"] if self._text else [])])

    def fill(self, roots: Sequence[Item], states: Mapping[str, ItemState], now: float, unfold: Iterable[str]) -> None:
        """Show these items; `unfold`: ids of the nodes that are open when they are seen for the first time."""
        old, self._states, self._now = self._states, states, now
        if tuple(roots) != self._roots:
            new = {item.id for root in roots for item in root.walk()} - self._seen
            self._unfolded |= new & set(unfold)
            self._seen |= new
            self._roots = tuple(roots)
            self._build_nodes()
        elif self._only != "all" and {i for i in old if self._fits_state(old[i])} != {
            i for i in states if self._fits_state(states[i])
        }:
            self._build_nodes()
        else:
            for id_, node in self._by_id.items():
                if old.get(id_) != states.get(id_):
                    node.refresh()

    def find(self, text: str) -> None:
        self._text = text.casefold()
        self._build_nodes()

    def select(self, item_id: str) -> None:
        """Set the cursor on an item, opening what it lies in."""
        node = self._by_id.get(item_id)
        parent = node.parent if node else None
        while parent is not None and not parent.is_root:
            parent.expand()
            parent = parent.parent
        if node is not None:
            self.call_after_refresh(self.move_cursor, node)

    # What is shown

    def _fits_state(self, state: ItemState) -> bool:
        if self._only == "open":
            return state.state != "done"
        if self._only == "failing":
            return state.verdict in ("FAIL", "STALE") or state.failing > 0 or state.stale > 0
        return True

    def _fits(self, item: Item) -> bool:
        """Whether an item or something below it is looked for."""
        state = self._states.get(item.id)
        own = self._text in text_of(item, state).casefold() if state else False
        if not item.children:
            return own and state is not None and self._fits_state(state)
        return any(self._fits(child) for child in item.children) or (
            own and bool(self._text) and state is not None and self._fits_state(state)
        )

    def _build_nodes(self) -> None:
        here = self.item
        filtered = bool(self._text) or self._only != "all"
        self.clear()
        self._by_id = {}

        def add(parent: TreeNode[Item], item: Item) -> None:
            if filtered and not self._fits(item):
                return
            unfolded = filtered or item.id in self._unfolded
            node = parent.add("", item, expand=unfolded, allow_expand=bool(item.children))
            self._by_id[item.id] = node
            for child in item.children:
                add(node, child)

        for root in self._roots:
            add(self.root, root)
        self.root.expand()
        node = self._by_id.get(here.id) if here else None
        if node is None:
            self.cursor_line = 0 if self._by_id else -1
        else:
            self.call_after_refresh(self.move_cursor, node)

    def get_label_width(self, node: TreeNode[Item]) -> int:
        # Labels are laid out to the width of the tree: it never scrolls sideways.
        return 1

    def render_label(self, node: TreeNode[Item], base_style: Style, style: Style) -> Text:
        item = node.data
        state = self._states.get(item.id) if item else None
        if item is None or state is None:
            return Text("")
        depth = 0
        parent = node.parent
        while parent is not None and not parent.is_root:
            depth, parent = depth + 1, parent.parent
        width = self.scrollable_content_region.width - depth * self.guide_depth
        return self._label(node, item, state, width, base_style + style)

    def _label(self, node: TreeNode[Item], item: Item, state: ItemState, width: int, base: Style) -> Text:
        fold = (("▾ " if node.is_expanded else "▸ ") if item.children else "  ", "faint")
        head = [fold, (f"{MARKS[state.state]} ", _BOXES[state.state])]
        tail = self._counts(state) if not item.leaf else self._measured(item, state, width)
        used = sum(cell_len(text) for text, _ in [*head, *tail])
        room = max(4, width - used - 2)
        stage = f"{item.stage} " if item.kind == "stage" and item.stage is not None else ""
        words = one_line(stage + _title(item, state), room)
        role = "title" if item.kind != "item" else "dim" if state.state == "done" else ""
        label = Text(end="", no_wrap=True)
        pad = " " * max(1, width - used - cell_len(words) - 1)
        for text, name in [*head, (words, role), (pad, ""), *tail, (" ", "")]:
            label.append(roles.plain(text), base + self.palette.style(name))
        return label

    def _counts(self, state: ItemState) -> list[roles.Span]:
        spans = []
        if state.failing:
            spans.append((f"{state.failing} FAIL  ", "bad"))
        if state.stale:
            spans.append((f"{state.stale} STALE  ", "warn"))
        return [*spans, (f"{state.done}/{state.total}".rjust(7), "good" if state.state == "done" else "dim")]

    def _measured(self, item: Item, state: ItemState, width: int) -> list[roles.Span]:
        """Value, verdict and source; a note and the age where there is room."""
        spans: list[roles.Span] = []
        if state.value is not None and not item.blanks:
            spans.append((one_line(state.value, 16) + " ", ""))
        target = str(item.target) if item.target is not None and item.blanks and width >= 100 else ""
        if target and target not in item.text:
            spans.append((target + " ", "dim"))
        verdict = "OVERRIDE" if state.override else state.verdict or ""
        if verdict:
            spans.append((f" {verdict:8}", "warn" if state.override else roles.VERDICTS[verdict]))
        if width < 60:
            return spans
        source = _source(state)
        spans.append((f" {one_line(source, 10):10}", "dim"))
        if width >= 90:
            spans.append((f"{say.age(self._now, state.time) if state.by else '':>5}", "faint"))
        return spans

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self.palette.forget()

    # What is asked

    def action_ask(self, verb: str) -> None:
        item = self.item
        if item is None:
            return
        if verb == "tick" and item.children:
            # A parent is done when its items are; the key that ticks an item opens it.
            self._fold(cast("TreeNode[Item]", self.cursor_node), self.cursor_node.is_expanded)  # type: ignore[union-attr]
            return
        self.post_message(self.Asked(cast(Verb, verb), item))

    def action_undo(self) -> None:
        self.post_message(self.UndoAsked())

    def action_filter(self) -> None:
        self._only = FILTERS[(FILTERS.index(self._only) + 1) % len(FILTERS)]
        self._build_nodes()
        self.notify({"all": "all items", "open": "open items", "failing": "FAIL and STALE"}[self._only], timeout=2)

    def action_fold(self, fold: bool) -> None:
        node = self.cursor_node
        if node is None or node.data is None:
            return
        if fold and not (node.data.children and node.is_expanded):
            parent = node.parent
            if parent is not None and not parent.is_root:
                self.move_cursor(parent)
            return
        self._fold(node, fold)

    def action_next_open(self) -> None:
        """To the next item that is not done, wherever it is folded away."""
        items = [item for root in self._roots for item in root.walk()]
        ids = [item.id for item in items]
        start = ids.index(self.item.id) + 1 if self.item and self.item.id in ids else 0
        for item in [*items[start:], *items[:start]]:
            if item.leaf and self._states[item.id].state != "done" and item.id in self._by_id:
                self.select(item.id)
                return

    def _fold(self, node: TreeNode[Item], fold: bool) -> None:
        if node.data is None:
            return
        (self._unfolded.discard if fold else self._unfolded.add)(node.data.id)
        (node.collapse if fold else node.expand)()

    def on_tree_node_highlighted(self, event: Tree.NodeHighlighted[Any]) -> None:
        event.stop()
        if event.node.data is not None:
            self.post_message(self.Looked(event.node.data))


def _title(item: Item, state: ItemState) -> str:
    text = text_of(item, state)
    # "Stage 5: DPO Optimization" reads "5 DPO Optimization" in a list of stages.
    return text.split(":", 1)[1].strip() if item.kind == "stage" and text.startswith("Stage ") and ":" in text else text


def _source(state: ItemState) -> str:
    """Who said it: the run that measured it, or the person."""
    if state.by == "fact":
        return (state.fact.run if state.fact else None) or "fact"
    if state.by is None and state.verdict and state.fact:
        return state.fact.run or "fact"
    return state.by or ""
