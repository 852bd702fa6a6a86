"""What the cards say of a data file: its check in numbers, and what it was made of."""

from __future__ import annotations

import json
from collections.abc import Sequence

from core.data.findings import FINDINGS
from core.data.lineage import Node
from core.text import one_line, printable
from dpotui import say
from dpotui.browse.library import DataFile
from dpotui.browse.report import Report
from dpotui.widgets.card import BLANK, Entry

_BAR = 16
_STATES = {"same": "same", "changed": "CHANGED", "gone": "GONE", "unknown": "unknown"}
_ROLES = {"same": "good", "changed": "warn", "gone": "bad", "unknown": "dim"}


def size(count: int) -> str:
    for limit, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= limit:
            return f"{count / limit:.1f} {unit}"
    return f"{count} B"


def of_file(file: DataFile, now: float) -> list[Entry]:
    entries = [Entry("", file.name, "title"), Entry("holds", f"{file.kind}, {size(file.size)}")]
    if file.rows is not None:
        entries.append(Entry("rows", f"{file.rows:,}"))
    if file.problem:
        entries.append(Entry("problem", file.problem, "bad"))
    if file.checked is not None:
        entries.append(Entry("checked", f"{say.date(file.checked)} ({say.ago(now, file.checked)})"))
    if file.stale:
        entries.append(Entry("STALE", f"{file.stale}: what was measured speaks of other bytes, check it again", "warn"))
    return entries


def of_report(found: Report, target: float | None, met: float | None) -> list[Entry]:
    """`target`: of the preference gap; `met`: the share of scored pairs that reaches it."""
    entries = [BLANK, Entry("", "Report of the index", "title")]
    bad = sum(found.bad.values())
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in found.bad.items())
    entries.append(Entry("pairs", f"{found.pairs:,} of {found.rows:,} rows"))
    entries.append(Entry("no pairs", f"{bad:,} rows: {kinds}" if bad else "no row", "bad" if bad else ""))
    each = f", {found.pairs / found.prompts:.2f} pairs each" if found.prompts else ""
    entries.append(Entry("prompts", f"{found.prompts:,} different{each}"))
    if found.pairs:
        longer = found.longer_chosen + found.longer_rejected
        share = f"{100 * found.longer_chosen / longer:.1f} %" if longer else "—"
        entries.append(Entry("longer one", f"is the chosen one in {share} of {longer:,} pairs of unequal length"))
    for length in found.lengths:
        entries.append(
            Entry(length.what, f"{length.median:,.0f} {length.unit} in the middle, {length.longest:,} at most")
        )
    entries += [BLANK, Entry("", "Preference gap", "title"), *_gap(found, target, met)]
    if found.findings:
        entries += [BLANK, Entry("", "Found", "title")]
        for kind, count in found.findings.items():
            title = FINDINGS[kind].title if kind in FINDINGS else kind
            part = f"  {100 * count / found.pairs:.1f} %" if found.pairs and count else ""
            entries.append(Entry("", f"{count:>7,}  {title}{part}", "warn" if count else "dim", code=True))
        entries.append(Entry("", "f shows the pairs of one of them", "faint"))
    return entries


def _gap(found: Report, target: float | None, met: float | None) -> list[Entry]:
    if found.mean is None or found.median is None:
        return [Entry("gap", "unknown: the pairs have no scores on a known scale", "warn")]
    entries = [Entry("mean", f"{found.mean:.4f}  median {found.median:.4f}")]
    if target is not None and met is not None:
        entries.append(Entry("target", f"{target:g}: {100 * met:.1f} % of the scored pairs reach it"))
    part = "all pairs" if found.scored == found.pairs else f"{found.scored:,} of {found.pairs:,} pairs"
    entries.append(
        Entry("scored", part + (f", {found.inverted:,} with the rejected one higher" if found.inverted else ""))
    )
    most = max((count for *_, count in found.histogram), default=0)
    lined = target is None
    for low, high, count in found.histogram:
        mark = ""
        if not lined and target is not None and target < high:
            lined = True
            mark = f" ◂ target {target:g}" if target >= low else f" ◂ target {target:g} is below"
        bar = "█" * round(_BAR * count / most) if most else ""
        bar = bar or ("▏" if count else "")
        entries.append(Entry("", f"{low:>5.1f} {bar:<{_BAR}} {count:,}{mark}", "bar", code=True))
    return entries


def of_lineage(nodes: Sequence[Node], relative: str) -> list[Entry]:
    entries: list[Entry] = []
    for node in nodes:
        indent = "  " * min(node.depth, 8)
        name = relative if node.depth == 0 else node.name
        state = _STATES[node.state] if node.depth or node.recorded else "no manifest"
        rows = f"  {node.rows:,} rows" if node.rows is not None else ""
        mark = "└ " if node.depth else ""
        words = f"{indent}{mark}{one_line(name, 80)}  {state}{rows}"
        entries.append(Entry("", words, "title" if node.depth == 0 else _ROLES[node.state], code=True))
        inner = f"{indent}  " if node.depth else ""
        if node.command:
            entries.append(Entry("", f"{inner}  made by {node.command}, {node.program}", "dim", code=True))
            for key, value in list(node.parameters.items())[:16]:
                words = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
                entries.append(Entry("", f"{inner}    {printable(key)}: {one_line(words, 120)}", "dim", code=True))
            counts = ", ".join(f"{count:,} {key}" for key, count in node.counts.items())
            entries += [Entry("", f"{inner}    {counts}", "dim", code=True)] if counts else []
        elif node.depth or not node.recorded:
            entries.append(Entry("", f"{inner}  came from outside: nothing says what made it", "faint", code=True))
        if node.note:
            entries.append(Entry("", f"{inner}  {node.note}", "warn", code=True))
    changed = sum(node.state in ("changed", "gone") for node in nodes)
    if changed:
        words = f"{changed} changed or gone since this was made: it is not what they would give now"
        entries += [BLANK, Entry("", words, "warn")]
    return entries
