"""A lineage in lines: what a run was made from above it, what was made from it below, one line a run or file."""

from __future__ import annotations

from collections.abc import Iterator

from core.runs.lineage import Lineage, Node
from core.store.runs import Run
from core.text import one_line
from dpotui.roles import STATES, Span

# Files from outside of all runs are many at an evaluation: the first of them are told.
_FILES = 4
_KEYS = 2
_WAITED = {"parent": "its parent: it waited for its end", "child": "a child: it waited for the end"}


def rows(found: Lineage, run: Run) -> list[list[Span]]:
    lines: list[list[Span]] = []
    lines += [[("made from", "title")], *_nodes(found.above)]
    if not found.above:
        lines.append([("  nothing that was recorded", "dim")])
    name = "" if run.name == run.id else f"  {one_line(run.name, 60)}"
    lines += [[], [(run.id, "title"), (f"  {run.state}", STATES[run.state]), (name, "")]]
    lines += [[(f"  writes {run.output_dir}", "dim")]] if run.output_dir else []
    lines += [[], [("used by", "title")], *_nodes(found.below)]
    if not found.below:
        lines.append([("  nothing yet", "dim")])
    if found.more:
        lines.append([("  … and more: dpotui runs list --filter finds them", "dim")])
    return lines


def _nodes(nodes: tuple[Node, ...]) -> Iterator[list[Span]]:
    files = 0
    for index, node in enumerate(nodes):
        if node.how == "outside":
            files += 1
            if files <= _FILES:
                yield _file(node)
            beyond = nodes[index + 1] if index + 1 < len(nodes) else None
            if beyond is None or beyond.how != "outside" or beyond.depth != node.depth:
                if files > _FILES:
                    yield [(f"{_indent(node)}… and {files - _FILES} more files", "dim")]
                files = 0
            continue
        yield _run(node)


def _indent(node: Node) -> str:
    return "  " * (node.depth - 1) + "  "


def _run(node: Node) -> list[Span]:
    assert node.run is not None
    assert node.state is not None
    spans: list[Span] = [(f"{_indent(node)}", ""), (node.run, "title"), (f"  {node.state}", STATES[node.state])]
    if node.name:
        spans.append((f"  {one_line(node.name, 40)}", ""))
    if node.how in _WAITED:
        spans.append((f"  {_WAITED[node.how]}", "dim"))
    else:
        spans.append((f"  {node.path}{_keys(node)}", "dim"))
    if not node.same:
        spans.append(("  other bytes than it recorded", "warn"))
    if node.how == "again":
        spans.append(("  shown elsewhere", "faint"))
    return spans


def _file(node: Node) -> list[Span]:
    return [(f"{_indent(node)}{node.path}{_keys(node)}", "dim"), ("  from outside", "faint")]


def _keys(node: Node) -> str:
    if not node.keys:
        return ""
    more = f" and {len(node.keys) - _KEYS} more" if len(node.keys) > _KEYS else ""
    return f" ({', '.join(node.keys[:_KEYS])}{more})"
