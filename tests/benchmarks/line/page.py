"""What it costs to watch a run, as a part of docs/BENCHMARKS.md."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# What is promised: bytes a second by width, share of a core, seconds, milliseconds.
BYTES = {80: 2000, 200: 6000}
CPU, PAINT, KEY = 3.0, 0.5, 50.0


def load(results: Path) -> list[dict[str, Any]]:
    """What was measured, a file for each machine."""
    return [json.loads(file.read_text("utf-8")) for file in sorted(results.glob("*.json"))]


def page(found: Sequence[dict[str, Any]]) -> str:
    return "\n\n".join(_machine(one) for one in found) or "Not measured yet."


def _machine(found: dict[str, Any]) -> str:
    here = found["machine"]
    head = ["program", "screen", "bytes/s", "bytes/s, idle", "CPU, %", "first paint, s", "key to paint, ms: p50", "p99"]
    table = [
        [
            row["program"],
            f"{row['size'][0]}x{row['size'][1]}",
            f"{row['bytes']:,.0f}",
            f"{row['idle']:,.0f}" if "idle" in row else "–",
            f"{row['cpu']:.1f}",
            f"{row['paint']:.2f}",
            f"{row['p50']:.1f}",
            f"{row['p99']:.1f}",
        ]
        for row in found["rows"]
    ]
    parts = [
        f"### {here['processor']}, {here['cores']} cores, {here['system']}",
        f"Measured {found['date'][:10]}; dpotui at {found['commit']}. All that ran on the machine, these among it, took"
        f" {found['others']:.0f} % of its cores meanwhile.",
        _table(head, table),
        _budgets(found),
    ]
    return "\n\n".join(parts)


def _budgets(found: dict[str, Any]) -> str:
    table: list[list[str]] = []

    def add(words: str, value: float, unit: str, most: float) -> None:
        table.append([words, f"≤ {most:g} {unit}", f"{value:.4g} {unit}", "yes" if value <= most else "**no**"])

    for row in found["rows"]:
        if row["program"] != "dpotui":
            continue
        size = f"{row['size'][0]}x{row['size'][1]}"
        add(f"{size}: training at 10 points/s", row["bytes"], "bytes/s", BYTES[row["size"][0]])
        add(f"{size}: idle", row["idle"], "bytes/s", 0)
        add(f"{size}: processor while training", row["cpu"], "% of a core", CPU)
        add(f"{size}: first paint, with the checklists", row["paint"], "s", PAINT)
        add(f"{size}: key to paint while training, p99", row["p99"], "ms", KEY)
        add(f"{size}: another mode while training, p50", row["modes"]["p50"], "ms", KEY)
        add(f"{size}: another mode while training, p99", row["modes"]["p99"], "ms", KEY)
    huge = found["huge"]
    of = f"{huge['runs']:,} runs and {huge['rows']:,} rows"
    add(f"{of}: first paint", huge["paint"], "s", PAINT)
    add(f"{of}: another mode, p50", huge["modes"]["p50"], "ms", KEY)
    add(f"{of}: another mode, p99", huge["modes"]["p99"], "ms", KEY)
    add(f"{of}: a page or an end of the list, p50", huge["list"]["p50"], "ms", KEY)
    add(f"{of}: a page or an end of the list, p99", huge["list"]["p99"], "ms", KEY)
    add(f"{of}: the charts of the run that has them", huge["charts"], "s", 1.0)
    return _table(["budget", "promised", "measured", "kept"], table)


def _table(head: Sequence[str], table: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *table]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
