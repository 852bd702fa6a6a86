"""A YAML file with some of its values changed: every byte that says nothing of them stays as it was.

A key that goes is commented out, as the templates show keys that are not set; one that comes takes the place of its
commented line where there is one. What cannot be changed without rewriting more than the value is refused.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import yaml

from core.config.document import KeyPath, parse
from core.config.writing import block, flow, scalar
from core.errors import UserError
from core.text import printable

# The keys of the section at a path in the order of its model; None where the path is no section.
Order = Callable[[KeyPath], "Sequence[str] | None"]

_BREAK = re.compile(r"\r\n|[\n\r\x85\u2028\u2029]")
# A comment that goes on from the line above it.
_CONTINUED = re.compile(r"#\s{3,}\S")


def same(one: object, other: object) -> bool:
    """Whether two plain values would be read as the same: 1, 1.0 and true are not."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and repr(one) == repr(other)


def rewritten(text: str, wanted: dict[str, Any], name: str, order: Order) -> str:
    """The text with the values of `wanted`.

    Args:
        text: a YAML file as `core.config.document.parse` takes it.
        wanted: all that it is to hold, as plain values.
        name: of the file, for errors.
        order: places new keys among the others.

    Raises:
        UserError: the text is no such file, or a place of it cannot be changed alone; with file and line.
    """
    before = parse(text, name).value
    if same(before, wanted):
        return text
    found = _Rewriter(text, name, order).text_with(before, wanted)
    try:
        reached = same(parse(found, name).value, wanted)
    except UserError:
        reached = False
    if not reached:
        _refuse(name, 1, "a value stands here in more than one place")
    return found


def _refuse(name: str, line: int, why: str) -> NoReturn:
    raise UserError(f"{name}:{line}: cannot be changed here, because {why}: change it in the file itself")


def end_of(node: yaml.Node) -> int:
    """Where the text of a node ends: YAML counts blank lines and comments after a block to it."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return end_of(last[1] if isinstance(last, tuple) else last)
    return int(node.end_mark.index)


class _Rewriter:
    """Collects what is put in the place of what, and does it at the end."""

    def __init__(self, text: str, name: str, order: Order) -> None:
        self.text, self.name, self.order = text, name, order
        self.newline = "\r\n" if "\r\n" in text else "\n"
        # Offsets at which lines begin, and the end.
        self.starts = [0, *(found.end() for found in _BREAK.finditer(text))]
        # From, rank, to, what comes there: of several from one offset whole lines come first.
        self.edits: list[tuple[int, int, int, str]] = []
        self.shared: set[int] = set()

    def text_with(self, before: dict[str, Any], wanted: dict[str, Any]) -> str:
        root = yaml.compose(self.text, Loader=yaml.SafeLoader)
        assert isinstance(root, yaml.MappingNode)
        self._find_shared(root, set())
        self._mapping(root, before, wanted, (), 0)
        return self._applied()

    def _find_shared(self, node: yaml.Node, seen: set[int]) -> None:
        """Nodes that stand in several places: behind an anchor and its aliases."""
        if id(node) in seen:
            self.shared.add(id(node))
            return
        seen.add(id(node))
        if isinstance(node, yaml.CollectionNode):
            for item in node.value:
                for part in item if isinstance(item, tuple) else (item,):
                    self._find_shared(part, seen)

    def _applied(self) -> str:
        pieces, at = [], 0
        for start, _, end, new in sorted(self.edits, key=lambda edit: edit[:2]):
            if start < at:
                _refuse(self.name, self._line(start) + 1, "two changes meet here")
            pieces += [self.text[at:start], new]
            at = end
        return "".join([*pieces, self.text[at:]])

    # Lines

    def _line(self, offset: int) -> int:
        """The line, from 0, in which an offset lies."""
        return bisect_right(self.starts, offset) - 1

    def _words(self, line: int) -> str:
        """A line without its break."""
        end = self.starts[line + 1] if line + 1 < len(self.starts) else len(self.text)
        return self.text[self.starts[line] : end].rstrip("\r\n\x85\u2028\u2029")

    def _insert_line(self, line: int, content: str) -> None:
        """Put whole lines before this one."""
        there = line < len(self.starts)
        at = self.starts[line] if there else len(self.text)
        self.edits.append((at, 0, at, content + self.newline if there else self.newline + content))

    def _comment_out(self, first: int, last: int, column: int) -> None:
        """Lines of content become comments; those that are comments already stay."""
        for line in range(first, last + 1):
            words = self._words(line)
            if not words.strip() or words.lstrip().startswith("#"):
                continue
            if words[:column].strip():
                _refuse(self.name, line + 1, "something else stands before it on its line")
            at = self.starts[line] + column
            self.edits.append((at, 1, at, "# "))

    # Values

    def _mapping(
        self, node: yaml.MappingNode, before: dict[str, Any], wanted: dict[str, Any], path: KeyPath, first: int
    ) -> None:
        """`first`: the line at which its lines may begin."""
        pairs = {printable(key.value): (key, item) for key, item in node.value}
        gone = [key for key in before if key not in wanted]
        new = [key for key in wanted if key not in before]
        if node.flow_style and (gone or new):
            kept = [(key, pairs[key]) for key in before if key in wanted]
            parts = [
                self.text[pair[0].start_mark.index : end_of(pair[1])]
                if same(before[key], wanted[key])
                else f"{self.text[pair[0].start_mark.index : pair[0].end_mark.index]}: {flow(wanted[key])}"
                for key, pair in kept
            ]
            parts += [f"{scalar(key, plain=True)}: {flow(wanted[key])}" for key in new]
            self._replace(node, "{" + ", ".join(parts) + "}")
            return
        for key, (key_node, item) in pairs.items():
            if key in wanted and not same(before[key], wanted[key]):
                self._value(key_node, item, before[key], wanted[key], (*path, key))
        for key in gone:
            key_node, item = pairs[key]
            self._whole(key_node)
            self._comment_out(key_node.start_mark.line, self._line(end_of(item)), key_node.start_mark.column)
        if new:
            column = node.value[0][0].start_mark.column
            last = self._line(end_of(node))
            self._insert(new, wanted, path, column, (first, last), pairs)

    def _value(self, key: yaml.Node, item: yaml.Node, before: Any, wanted: Any, path: KeyPath) -> None:
        if id(item) in self.shared:
            _refuse(self.name, key.start_mark.line + 1, "an alias (&, *) stands here")
        nothing = self.text[item.start_mark.index : end_of(item)] in ("", "{}")
        if isinstance(wanted, dict) and wanted and nothing and self.order(path) is not None and self._own_line(key):
            self._begin_section(key, item, wanted, path)
        elif isinstance(item, yaml.MappingNode) and isinstance(wanted, dict) and (wanted or item.flow_style):
            self._mapping(item, before, wanted, path, key.start_mark.line + 1)
        elif isinstance(item, yaml.SequenceNode) and isinstance(wanted, list):
            self._sequence(key, item, before, wanted)
        elif isinstance(item, yaml.CollectionNode) and not item.flow_style:
            self._instead_of_block(key, item, wanted)
        elif self.text[item.start_mark.index : end_of(item)] == "":
            at = item.start_mark.index
            self.edits.append((at, 1, at, f" {flow(wanted)}"))
        elif isinstance(item, yaml.ScalarNode):
            self._replace(item, scalar(wanted, plain=item.style is None, single=item.style == "'"))
        else:
            self._replace(item, flow(wanted))

    def _own_line(self, key: yaml.Node) -> bool:
        line = self._words(key.start_mark.line)
        return not line[: key.start_mark.column].strip()

    def _begin_section(self, key: yaml.Node, item: yaml.Node, wanted: dict[str, Any], path: KeyPath) -> None:
        """Keys for a section that stands there without any."""
        start = item.start_mark.index
        if end_of(item) > start:
            while self.text[start - 1] == " ":
                start -= 1
            self.edits.append((start, 2, end_of(item), ""))
        line = key.start_mark.line
        self._insert(list(wanted), wanted, path, key.start_mark.column + 2, (line + 1, line), {})

    def _sequence(self, key: yaml.Node, node: yaml.SequenceNode, before: list[Any], wanted: list[Any]) -> None:
        items = node.value
        if node.flow_style and len(items) != len(wanted):
            parts = [
                self.text[item.start_mark.index : end_of(item)] if same(old, new) else flow(new)
                for item, old, new in zip(items, before, wanted, strict=False)
            ]
            self._replace(node, "[" + ", ".join(parts + [flow(new) for new in wanted[len(items) :]]) + "]")
            return
        if not wanted:
            self._instead_of_block(key, node, wanted)
            return
        for item, old, new in zip(items, before, wanted, strict=False):
            if not same(old, new):
                if id(item) in self.shared or (isinstance(item, yaml.CollectionNode) and not item.flow_style):
                    _refuse(self.name, item.start_mark.line + 1, "more than a value stands here")
                self._replace(item, flow(new) if not isinstance(item, yaml.ScalarNode) else scalar(new))
        column = node.start_mark.column
        if len(items) > len(wanted):
            self._comment_out(items[len(wanted)].start_mark.line, self._line(end_of(node)), column)
        for new in wanted[len(items) :]:
            self._insert_line(self._line(end_of(node)) + 1, " " * column + f"- {flow(new)}")

    def _instead_of_block(self, key: yaml.Node, node: yaml.Node, wanted: Any) -> None:
        """A value on the line of its key; the lines of the block are commented out."""
        colon = self.text.index(":", key.end_mark.index) + 1
        if self._line(node.start_mark.index) == self._line(colon):
            _refuse(self.name, key.start_mark.line + 1, "a block begins on the line of its key")
        self._whole(node)
        self.edits.append((colon, 1, colon, f" {flow(wanted)}"))
        self._comment_out(node.start_mark.line, self._line(end_of(node)), node.start_mark.column)

    def _whole(self, node: yaml.Node) -> None:
        line = self._words(node.start_mark.line)
        if line[: node.start_mark.column].strip():
            _refuse(self.name, node.start_mark.line + 1, "something else stands before it on its line")

    def _replace(self, node: yaml.Node, new: str) -> None:
        start, end = node.start_mark.index, end_of(node)
        old = self.text[start:end]
        line = node.start_mark.line + 1
        if id(node) in self.shared or old[:1] in ("&", "*", "!"):
            _refuse(self.name, line, "an alias, an anchor or a tag (&, *, !) stands here")
        if "#" in old and isinstance(node, yaml.CollectionNode) and len(old.splitlines()) > 1:
            _refuse(self.name, line, "comments stand between the values")
        if isinstance(node, yaml.ScalarNode) and node.style in ("|", ">"):
            if "#" in old.splitlines()[0]:
                _refuse(self.name, line, "a comment stands in it")
            end = start + len(old.rstrip())
        self.edits.append((start, 2, end, new))

    # New keys

    def _insert(
        self,
        keys: list[str],
        wanted: dict[str, Any],
        path: KeyPath,
        column: int,
        lines: tuple[int, int],
        pairs: dict[str, tuple[yaml.Node, yaml.Node]],
    ) -> None:
        """Write keys into a block whose content lies in these lines: each in the place of its commented line, else
        after the key that comes before it in the model."""
        order = list(self.order(path) or ())
        places = {key: place for place, key in enumerate(order)}
        first, last = lines[0], self._region_end(lines[1], column)
        for key in sorted(keys, key=lambda key: places.get(key, len(order))):
            nested = isinstance(wanted[key], dict) and self.order((*path, key)) is not None
            if self._uncomment(key, wanted[key], column, range(first, last + 1)):
                continue
            before = [pairs[one] for one in order[: places.get(key, 0)] if one in pairs]
            if key not in places and pairs:
                before = [max(pairs.values(), key=lambda pair: int(pair[0].start_mark.index))]
            content = block(key, wanted[key], column, nested=nested).replace("\n", self.newline)
            if not before:
                # Above the first key of a file stands what is said of the file.
                tops = (key_node.start_mark.line for key_node, _ in pairs.values())
                self._insert_line(first if path else min(tops, default=first), content)
                continue
            line = self._after(self._line(end_of(before[-1][1])), column)
            if nested and not path and self._spaced(pairs):
                content = self.newline + content
            self._insert_line(line, content)

    def _spaced(self, pairs: dict[str, tuple[yaml.Node, yaml.Node]]) -> bool:
        """Whether an empty line stands before one of the sections."""
        lines = (key.start_mark.line for key, _ in pairs.values())
        return any(line and not self._words(line - 1).strip() for line in lines)

    def _after(self, line: int, column: int) -> int:
        """The line after a value and the comments that go on from it or stand deeper."""
        line += 1
        while line < len(self.starts):
            words = self._words(line)
            bare = words.lstrip(" ")
            at = len(words) - len(bare)
            if not bare.startswith("#") or at < column or (at == column and not _CONTINUED.match(bare)):
                break
            line += 1
        return line

    def _region_end(self, last: int, column: int) -> int:
        """The last line of a block, its comments after the last value counted."""
        line = last + 1
        while line < len(self.starts):
            words = self._words(line)
            bare = words.lstrip(" ")
            if bare and (not bare.startswith("#") or len(words) - len(bare) < column):
                break
            if bare:
                last = line
            line += 1
        return last

    def _uncomment(self, key: str, value: Any, column: int, lines: range) -> bool:
        """Give the key's commented line its value, where there is one such as `# key: 1  # what it does`."""
        pattern = re.compile(rf"( {{{column}}})# ?({re.escape(key)}: +)(?=[^\s#])")
        for line in lines:
            words = self._words(line) if line < len(self.starts) else ""
            found = pattern.match(words)
            if found is None:
                continue
            try:
                old = yaml.compose(words[found.end() :], Loader=yaml.SafeLoader)
            except yaml.YAMLError:
                continue
            if old is None or (isinstance(old, yaml.CollectionNode) and not old.flow_style) or _prose(old):
                continue
            quoted = isinstance(old, yaml.ScalarNode) and old.style is None and isinstance(value, str)
            new = scalar(value, plain=True) if quoted else flow(value)
            rest = words[found.end() + old.end_mark.index :]
            at = self.starts[line]
            self.edits.append((at, 2, at + len(words), f"{found[1]}{found[2]}{new}{rest}"))
            return True
        return False


def _prose(node: yaml.Node) -> bool:
    """Words after a colon that are no value: a sentence."""
    return isinstance(node, yaml.ScalarNode) and node.style is None and " " in node.value


def changed_lines(before: str, after: str) -> set[int]:
    """The lines of `after`, from 0, that are not in `before` in their place."""
    import difflib

    lines = (before.splitlines(), after.splitlines())
    blocks = difflib.SequenceMatcher(None, *lines, autojunk=False).get_matching_blocks()
    found: set[int] = set()
    ends = [0, *(block.b + block.size for block in blocks)]
    for end, block_ in zip(ends, blocks, strict=False):
        found.update(range(end, block_.b))
    return found


__all__ = ["Order", "changed_lines", "end_of", "rewritten", "same"]
