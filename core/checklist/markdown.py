"""Markdown task lists to a tree of items.

A file is one checklist. Its first heading of level 1, when no item stands above it, is its title; other headings are
groups. An item is one line, `- [ ] text` (also `*`, `+`, `1.`), with what `core.checklist.comment` describes behind
it. Two columns more than the item above make it a sub-item; tabs go to the next multiple of four. A fenced block
indented under an item is its code sample. Everything else is prose and stays in the file. Items in code and in HTML
comments are none.

The text is kept as it was read, line ends included: an export is this text with boxes and blanks rewritten.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Literal

from core.checklist import comment, ids
from core.checklist.line import Line, matcher, read_filled, read_heading, read_item, slug_of, without_code
from core.checklist.tree import Blank, Item
from core.errors import UserError

MOST_NESTED = 24

_BULLET = r"^\ufeff?(?P<indent>[ \t]*)(?:[-*+]|[0-9]{1,9}[.)])"
_ITEM = re.compile(_BULLET + r"[ \t]+\[(?P<box>[ xX])\](?:[ \t]+(?P<text>.*))?$")
# What was meant as a box and is none on any page that renders Markdown. A link or a footnote looks otherwise.
_ALMOST = re.compile(_BULLET + r"[ \t]*(?P<box>\[(?: *|[xX]|[^\w\s\]])\])(?![(\[:])")
_HEADING = re.compile(r"^\ufeff? {0,3}(?P<marks>#{1,6})[ \t]+(?P<text>.*)$")
_FENCE = re.compile(r"^(?P<indent>[ \t]*(?:[-*+][ \t]+)?)(?P<marks>`{3,}|~{3,})(?P<info>.*)$")
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_KEYED = re.compile(rf"<!--\s*(?:{'|'.join(comment.KEYS)}):")


@dataclass(frozen=True, slots=True)
class Document:
    """A checklist file: its text as it was read and its tree. A file without items has no root."""

    name: str  # from the workspace
    text: str
    root: Item | None


@dataclass(slots=True)
class _Draft:
    kind: Literal["stage", "group", "item"]
    line: int
    said: Line
    parent: _Draft | None
    depth: int
    slug: str
    indent: int = 0
    text_at: int = 0
    box_at: int = 0
    box: bool = False
    id: str = ""
    code: list[str] = field(default_factory=list)
    children: list[_Draft] = field(default_factory=list)


def parse(text: str, name: str) -> Document:
    """Read a checklist.

    Args:
        text: the file's text; CRLF line ends are kept.
        name: the file's name, for errors, for its stage (the number in front) and for its id when its title has none.

    Raises:
        UserError: file, line and what is wrong there.
    """
    return _document(_Reader(text, name, read_item).read(), text, name)


def parse_filled(text: str, name: str, known: Iterable[Item] = ()) -> Document:
    """Read an edited export: ids, boxes and words only, because blanks are filled and comparisons may be values.

    Args:
        known: the items of the checklist it was exported from. An item without an id of its own gets the id it has
            there, whatever stands in its blanks.
    """
    drafts = _Reader(text, name, read_filled).read()
    _recognize(drafts, known)
    return _document(drafts, text, name)


def _document(drafts: list[_Draft], text: str, name: str) -> Document:
    if not any(draft.kind == "item" for draft in drafts):
        return Document(name, text, None)
    _name(drafts, name)
    return Document(name, text, _build(drafts, name))


class _Reader:
    """One pass over the lines of a file."""

    def __init__(self, text: str, name: str, read_item: Callable[[str], Line]) -> None:
        self.name = name
        self.read_item = read_item
        self.lines = [line.removesuffix("\r") for line in text.split("\n")]
        stem = re.sub(r"^[0-9]+[-_. ]*", "", PurePosixPath(name).stem) or PurePosixPath(name).stem
        self.root = _Draft("stage", 0, Line(stem.replace("-", " ")), None, 0, ids.slug(stem))
        self.drafts = [self.root]
        self.groups: list[tuple[int, _Draft]] = []  # open headings with their level
        self.open: list[_Draft] = []  # open items, outermost first

    def fail(self, line: int, why: object) -> UserError:
        return UserError(f"{self.name}:{line}: {why}")

    def read(self) -> list[_Draft]:
        number = 0
        while number < len(self.lines):
            line, number = self.lines[number], number + 1
            if found := _CONTROL.search(line):
                raise self.fail(number, f"control character 0x{ord(found[0]):02x}: take it out")
            if fence := _FENCE.match(line):
                if fence["marks"][0] == "~" or "`" not in fence["info"]:
                    number = self.fence(number, fence)
            elif found := _ITEM.match(line):
                self.item(number, found)
            elif found := _ALMOST.match(line):
                what = line[: found.end("box")].strip()
                raise self.fail(number, f"'{what}' is no box: write '- [ ] text' or '- [x] text'")
            elif found := _HEADING.match(line):
                self.heading(number, found)
            elif _KEYED.search(without_code(line)):
                raise self.fail(number, "this comment belongs to no item: put it at the end of the item's line")
            elif "<!--" in re.sub(r"<!--.*?-->", "", without_code(line)):
                number = self.remark(number)
        return self.drafts

    def fence(self, number: int, opened: re.Match[str]) -> int:
        """Take a fenced block; returns the number of its last line."""
        marks, indent = opened["marks"], len(opened["indent"].expandtabs(4))
        closed = re.compile(rf"[ \t]*{re.escape(marks[0])}{{{len(marks)},}}[ \t]*")
        for last in range(number, len(self.lines)):
            if closed.fullmatch(self.lines[last]):
                break
        else:
            raise self.fail(number, f"the block opened here with '{marks}' is never closed: end it with '{marks}'")
        while self.open and self.open[-1].indent >= indent:
            self.open.pop()
        if self.open:
            body = [line.expandtabs(4) for line in self.lines[number:last]]
            self.open[-1].code += [line[min(indent, len(line) - len(line.lstrip(" "))) :] for line in body]
        return last + 1

    def remark(self, number: int) -> int:
        """Pass over an HTML comment of several lines; returns the number of its last line."""
        for last in range(number, len(self.lines)):
            if "-->" in self.lines[last]:
                return last + 1
        raise self.fail(number, "the comment opened here is never closed: end it with '-->'")

    def heading(self, number: int, found: re.Match[str]) -> None:
        said = self.said(number, read_heading, found["text"])
        level = len(found["marks"])
        self.open.clear()
        if level == 1 and len(self.drafts) == 1 and self.root.line == 0:
            self.root.line, self.root.said = number, said
            return
        while self.groups and self.groups[-1][0] >= level:
            self.groups.pop()
        parent = self.groups[-1][1] if self.groups else self.root
        draft = _Draft("group", number, said, parent, parent.depth + 1, slug_of(said.text))
        self.groups.append((level, draft))
        self.add(draft)

    def item(self, number: int, found: re.Match[str]) -> None:
        indent = len(found["indent"].expandtabs(4))
        said = self.said(number, self.read_item, found["text"] or "")
        while self.open and self.open[-1].indent + 2 > indent:
            self.open.pop()
        parent = self.open[-1] if self.open else self.groups[-1][1] if self.groups else self.root
        draft = _Draft("item", number, said, parent, parent.depth + 1, slug_of(said.text), indent)
        draft.text_at, draft.box_at, draft.box = found.start("text"), found.start("box"), found["box"] != " "
        if draft.depth > MOST_NESTED:
            raise self.fail(number, f"nested more than {MOST_NESTED} deep: indent it less")
        self.open.append(draft)
        self.add(draft)

    def add(self, draft: _Draft) -> None:
        assert draft.parent is not None
        draft.parent.children.append(draft)
        self.drafts.append(draft)
        above = draft.parent
        if above.kind == "item" and above.said.facts:
            raise self.fail(
                above.line,
                f"line {draft.line} is a sub-item, and an item with sub-items takes its state from them:"
                " give the fact to a sub-item",
            )

    def said(self, number: int, read: Callable[[str], Line], text: str) -> Line:
        try:
            return read(text)
        except ValueError as error:
            raise self.fail(number, error) from None


def _recognize(drafts: list[_Draft], known: Iterable[Item]) -> None:
    """Give items whose blanks were filled the words they had when the blanks were empty."""
    free = [item for item in known if not item.own_id and item.kind == "item"]
    for draft in drafts:
        if draft.kind != "item" or draft.said.id is not None:
            continue
        for item in free:
            if matcher(item.text).fullmatch(draft.said.text):
                draft.slug = slug_of(item.text)
                free.remove(item)
                break


def _name(drafts: list[_Draft], name: str) -> None:
    """Give every draft its id."""
    root = drafts[0]
    taken: dict[str, int] = {}
    root.id = root.said.id or root.slug
    for draft in drafts:
        if draft.said.id is None:
            continue
        if draft.said.id in taken:
            first = taken[draft.said.id]
            raise UserError(f"{name}:{draft.line}: id '{draft.said.id}' is that of line {first} too: change one")
        draft.id = draft.said.id
        taken[draft.id] = draft.line
    nameless = [draft for draft in drafts[1:] if draft.said.id is None]
    paths = []
    for draft in nameless:
        path, above = [draft.slug], draft.parent
        while above is not None and above is not root:
            path.append(above.slug)
            above = above.parent
        paths.append(path)
    for draft, made in zip(nameless, ids.assign(root.id, paths, {*taken, root.id}), strict=True):
        draft.id = made


def _build(drafts: list[_Draft], name: str) -> Item:
    """Freeze the drafts, the deepest first. Headings without items below them are prose."""
    number = re.match(r"[0-9]+", PurePosixPath(name).name)
    built: dict[int, Item] = {}
    for draft in reversed(drafts):
        children = tuple(built[id(child)] for child in draft.children if id(child) in built)
        if draft.kind == "group" and not children:
            continue
        said = draft.said
        built[id(draft)] = Item(
            id=draft.id,
            text=said.text,
            kind=draft.kind,
            stage=int(number[0]) if number else None,
            file=name,
            line=draft.line,
            children=children,
            blanks=tuple(_moved(blank, draft.text_at) for blank in said.blanks),
            unit=said.unit,
            target=said.target,
            facts=said.facts,
            measured=said.measured,
            signed=said.signed,
            optional=said.optional,
            code="\n".join(draft.code) if draft.code else None,
            box=draft.box,
            box_at=draft.box_at,
            own_id=said.id is not None,
        )
    return built[id(drafts[0])]


def _moved(blank: Blank, by: int) -> Blank:
    return Blank(blank.start + by, blank.end + by, blank.label, blank.unit, blank.bare, blank.fact)
