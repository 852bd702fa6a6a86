"""A lineage in lines: what a run was made from, itself, what was made from it; the same on screen and command line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from core.runs.lineage import Lineage, Node
from core.store.runs import Run
from core.text import one_line
from dpotui.roles import STATES, Span

# Files from outside of all runs are many at an evaluation: the first of them are told.
_FILES = 4
_KEYS = 2
_WAITED = {
    "parent": "its parent: it waited for its end",
    "child": "a child: it waited for the end",
    "whole": "the run that it is a part of",
    "part": "a part of it",
}


@dataclass(frozen=True, slots=True)
class Line:
    """`run` is the one that it is of; without one it is a title or a file. `own`: the run whose lineage this is."""

    run: str | None
    spans: tuple[Span, ...]
    own: bool = False

    @property
    def text(self) -> str:
        return "".join(text for text, _ in self.spans).rstrip()


_BLANK = Line(None, ())


def lines(found: Lineage, run: Run) -> list[Line]:
    name = "" if run.name == run.id else f"  {one_line(run.name, 60)}"
    writes = [Line(None, ((f"  writes {run.output_dir}", "dim"),))] if run.output_dir else []
    more = "… and more: an expression such as parent= or since: narrows the list"
    return [
        Line(None, (("made from", "title"),)),
        *_nodes(found.above),
        *([] if found.above else [Line(None, (("  nothing that was recorded", "dim"),))]),
        _BLANK,
        Line(run.id, ((run.id, "title"), (f"  {run.state}", STATES[run.state]), (name, "")), own=True),
        *writes,
        _BLANK,
        Line(None, (("used by", "title"),)),
        *_nodes(found.below),
        *([] if found.below else [Line(None, (("  nothing yet", "dim"),))]),
        *([Line(None, ((f"  {more}", "dim"),))] if found.more else []),
    ]


def _nodes(nodes: tuple[Node, ...]) -> Iterator[Line]:
    files = 0
    for index, node in enumerate(nodes):
        if node.how != "outside":
            yield _run(node)
            continue
        files += 1
        if files <= _FILES:
            yield _file(node)
        beyond = nodes[index + 1] if index + 1 < len(nodes) else None
        if beyond is None or beyond.how != "outside" or beyond.depth != node.depth:
            if files > _FILES:
                yield Line(None, ((f"{_indent(node)}… and {files - _FILES} more files", "dim"),))
            files = 0


def _indent(node: Node) -> str:
    return "  " * node.depth


def _run(node: Node) -> Line:
    assert node.run is not None
    assert node.state is not None
    spans: list[Span] = [(_indent(node), ""), (node.run, "title"), (f"  {node.state}", STATES[node.state])]
    if node.name:
        spans.append((f"  {one_line(node.name, 40)}", ""))
    if node.how in _WAITED:
        spans.append((f"  {_WAITED[node.how]}", "dim"))
    else:
        spans.append((f"  {one_line(node.path, 100)}{_keys(node)}", "dim"))
    if not node.same:
        spans.append(("  other bytes than it recorded", "warn"))
    if node.how == "again":
        spans.append(("  shown elsewhere", "faint"))
    return Line(node.run, tuple(spans))


def _file(node: Node) -> Line:
    return Line(None, ((f"{_indent(node)}{one_line(node.path, 100)}{_keys(node)}", "dim"), ("  from outside", "faint")))


def _keys(node: Node) -> str:
    if not node.keys:
        return ""
    more = f" and {len(node.keys) - _KEYS} more" if len(node.keys) > _KEYS else ""
    return f" ({', '.join(one_line(key, 60) for key in node.keys[:_KEYS])}{more})"
