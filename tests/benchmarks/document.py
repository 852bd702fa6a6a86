"""docs/BENCHMARKS.md from the JSON files of the measurements: what was measured, how, and the tables."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

from tests.benchmarks.figures import Figures, Spread, figures
from tests.benchmarks.peers.process import SIDE
from tests.benchmarks.specs import DRIVERS, PROGRAMS, TRAINING

GIB = 2**30
OURS, AGAIN, PEER, TRL, TRL_AHEAD = PROGRAMS

# What the training core is to reach: mix, words, the figure, the peer, at least how many times the peer's
# (for memory: at most what part of it).
GOALS = (
    ("response-heavy", "pairs/s, first epoch", "first", PEER, 1.8),
    ("response-heavy", "pairs/s, from the second epoch on", "later", PEER, 4.0),
    ("prompt-heavy", "pairs/s, first epoch", "first", PEER, 3.0),
    ("prompt-heavy", "pairs/s, from the second epoch on", "later", PEER, 6.0),
    ("response-heavy", "pairs/s, from the second epoch on", "later", TRL, 1.0),
    ("prompt-heavy", "pairs/s, from the second epoch on", "later", TRL, 1.0),
    ("response-heavy", "memory above the weights", "above_weights", PEER, 1 / 3),
    ("prompt-heavy", "memory above the weights", "above_weights", PEER, 1 / 3),
)

_GROWTH = {
    "length": ("Growth with the length of a sequence", "tokens"),
    "vocabulary": ("Growth with the vocabulary", "vocabulary"),
    "batch": ("Growth with the batch", "pairs a batch"),
}


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement of one program, over its rounds. `failed` says why there are no figures."""

    measurement: dict[str, Any]
    program: str
    records: list[dict[str, Any]]
    rounds: list[Figures]
    failed: str

    def spread(self, name: str) -> Spread | None:
        values = [getattr(one, name) for one in self.rounds]
        known = [value for value in values if value is not None]
        return Spread.of(known) if known else None


def load(results: Path) -> dict[str, list[dict[str, Any]]]:
    """The records of each machine's folder, oldest first."""
    found = {}
    for folder in sorted(path for path in results.iterdir() if path.is_dir()) if results.is_dir() else []:
        records = [json.loads(file.read_text("utf-8")) for file in sorted(folder.glob("*.json"))]
        if records:
            found[folder.name] = sorted(records, key=lambda record: str(record["date"]))
    return found


def rows(records: Iterable[dict[str, Any]]) -> list[Row]:
    """Records put together by measurement and program, in the order first measured.

    Of one measurement made several times (other code, more pairs) only the records like the newest one count.
    """
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for record in records:
        groups.setdefault((record["measurement"]["name"], record["program"]), []).append(record)
    found = []
    for (_, program), members in groups.items():
        newest = members[-1]
        members = [member for member in members if _sort(member) == _sort(newest)]
        latest = {member["round"]: member for member in members}
        good = [member for member in latest.values() if "failed" not in member]
        bad = [member["failed"] for member in latest.values() if "failed" in member]
        size = newest["measurement"]
        counted = [
            figures(member["result"], size["pairs"], size["batch_size"], fill_known=DRIVERS[program] != "ours")
            for member in good
        ]
        found.append(Row(size, program, good or members, counted, "" if good else bad[-1]))
    return found


def _sort(record: dict[str, Any]) -> tuple[Any, ...]:
    size = {k: v for k, v in record["measurement"].items() if k not in ("rounds", "programs")}
    return json.dumps(size, sort_keys=True), record["model"], record["data"], record["code"], str(record["settings"])


def document(machines: dict[str, list[dict[str, Any]]], commit: str, line: str = "Not measured yet.") -> str:
    """The whole document; `commit` is the one it was written at, `line` its part on the terminal."""
    parts = [part for records in machines.values() for part in _machine(records)]
    said = "\n\n".join(parts) or "Nothing has been measured yet."
    template = Template((Path(__file__).parent / "template.md").read_text("utf-8"))
    return template.substitute(TRAINING, machines=said, side=SIDE, commit=commit, line=line)


def _machine(records: list[dict[str, Any]]) -> list[str]:
    everything = rows(records)
    here = records[-1]["machine"]
    title = f"{here['processor']}, {here['cores']} cores, {here['memory_gib']} GiB, {here['system']}"
    title += f", {here['accelerator']}" if here["accelerator"] else ", on the CPU"
    parts = [f"## {title}", _conditions(everything)]
    by_name: dict[str, list[Row]] = {}
    for row in everything:
        by_name.setdefault(row.measurement["name"], []).append(row)
    mixes = {name: members for name, members in by_name.items() if members[0].measurement["group"] == "mix"}
    for name, members in mixes.items():
        parts += [f"### {name.capitalize()}", _mix(members)]
    if mixes:
        parts += ["### Goals", _goals(mixes)]
    for group, (title, unit) in _GROWTH.items():
        members = [row for row in everything if row.measurement["group"] == group]
        if members:
            parts += [f"### {title}", _growth(members, unit)]
    parts += ["### Speed of each process's BLAS", _blas(everything), "### Versions", _versions(everything)]
    return parts


def _conditions(everything: Sequence[Row]) -> str:
    records = [record for row in everything for record in row.records]
    dates = sorted(record["date"][:10] for record in records)
    commits = sorted({record["commit"] for row in everything if DRIVERS[row.program] == OURS for record in row.records})
    others = [100 * record["others"] for record in records]
    text = f"Measured {dates[0]}" + (f" to {dates[-1]}" if dates[-1] != dates[0] else "")
    text += f"; dpotui at {', '.join(commits) or 'no commit'}."
    if any(name.endswith("+") for name in commits):
        text += " A plus says that files of `core` were changed since that commit."
    text += (
        " Share of the cores that other programs took meanwhile:"
        f" median {statistics.median(others):.0f} %, largest {max(others):.0f} %."
    )
    settings = sorted({json.dumps(r["settings"]) for r in records if r["settings"]})
    return text + (f" Settings of dpotui besides its defaults: `{'`, `'.join(settings)}`." if settings else "")


def _mix(members: Sequence[Row]) -> str:
    size = members[0].measurement
    prompt = round(size["length"] * size["prompt_share"])
    record = members[0].records[-1]
    lines = [
        f"{size['pairs']} pairs, {size['epochs']} epochs, batches of {size['batch_size']} pairs,"
        f" {prompt} tokens of prompt and {size['length'] - prompt} of each response;"
        f" model: {record['model']}; texts: {record['data']}.",
    ]
    head = [
        "program", "pairs/s, first epoch, all counted", "the same, fill of caches left out",
        "pairs/s, from the second epoch on", "memory above the weights, GiB", "resident memory above, GiB",
        "time to first step, s", "loss reported in the last epoch", "loss over all pairs after training",
    ]  # fmt: skip
    again = next((row for row in members if row.program == AGAIN), None)
    table = []
    for row in _in_order(members):
        if row.failed:
            table.append([PROGRAMS[row.program], f"failed: {_cell(row.failed)}", *[""] * (len(head) - 2)])
            continue
        # Our fill is left out by running again on the same pairs: everything is in the workspace by then.
        unfilled = again.spread("first") if row.program == OURS and again else row.spread("first_unfilled")
        table.append(
            [
                PROGRAMS[row.program],
                _rate(row.spread("first")),
                _rate(unfilled),
                _rate(row.spread("later")),
                _bytes(row.spread("above_weights")),
                _bytes(row.spread("resident_above")),
                _plain(row.spread("to_first_step"), ".1f"),
                _plain(row.spread("last_epoch_loss"), ".4f"),
                _plain(row.spread("loss"), ".4f"),
            ]
        )
    lines.append(_table(head, table))
    ours = next((row for row in members if row.program == OURS and not row.failed), None)
    peers = [row for row in _in_order(members) if DRIVERS[row.program] != OURS and not row.failed]
    if ours and peers:
        head = [
            "dpotui against",
            "first epoch",
            "fill left out",
            "from the second epoch on",
            "memory above",
            "resident",
        ]
        unfilled = again.spread("first") if again else None
        ratios = [
            [
                PROGRAMS[row.program],
                _times(ours.spread("first"), row.spread("first")),
                _times(unfilled, row.spread("first_unfilled")),
                _times(ours.spread("later"), row.spread("later")),
                _share(ours.spread("above_weights"), row.spread("above_weights")),
                _share(ours.spread("resident_above"), row.spread("resident_above")),
            ]
            for row in peers
        ]
        lines.append(_table(head, ratios))
    return "\n\n".join(lines)


def _goals(mixes: dict[str, list[Row]]) -> str:
    table = []
    for mix, words, name, peer, goal in GOALS:
        by_program = {row.program: row for row in mixes.get(mix, [])}
        if OURS not in by_program or peer not in by_program:
            continue
        a, b = by_program[OURS].spread(name), by_program[peer].spread(name)
        memory = name == "above_weights"
        if a is None or b is None:
            table.append([mix, words, PROGRAMS[peer], _goal(goal, memory), "not measured", ""])
            continue
        ratio = a.median / b.median
        reached = ratio <= goal if memory else ratio >= goal
        said = (_share if memory else _times)(a, b)
        table.append([mix, words, PROGRAMS[peer], _goal(goal, memory), said, "yes" if reached else "**no**"])
    return _table(["mix", "figure", "against", "goal", "measured", "reached"], table)


def _goal(goal: float, memory: bool) -> str:
    return f"at most {goal:.2f} of it" if memory else f"at least {goal:g} ×"


def _growth(members: Sequence[Row], unit: str) -> str:
    size, record = members[0].measurement, members[0].records[-1]
    fixed = {
        "length": f"{size['length']} tokens",
        "batch": f"batches of {size['batch_size']}",
        "prompt": f"prompt {100 * size['prompt_share']:.0f} % of the sequence",
    }
    fixed.pop(size["group"], None)
    model = f"model: {record['model']}"
    if size["group"] == "vocabulary":
        model = "generated models of SmolLM2-135M's shape"
    # As many pairs as the largest batch where batches grow.
    pairs = sorted({row.measurement["pairs"] for row in members})
    said = f"{', '.join(fixed.values())}; {' or '.join(map(str, pairs))} pairs, {size['epochs']} epochs; {model}."
    programs = [p for p in PROGRAMS if any(row.program == p for row in members)]
    head = [unit]
    for words in ("pairs/s, first epoch", "pairs/s, from the second on", "GiB above the weights"):
        head += [f"{PROGRAMS[p]}: {words}" for p in programs]
    head += [f"from the second epoch on, against {PROGRAMS[p]}" for p in programs if DRIVERS[p] != OURS]
    table = []
    for value in sorted({row.measurement["value"] for row in members}):
        of = {row.program: row for row in members if row.measurement["value"] == value}
        cells = [f"{value:,}"]
        cells += [_grown(of.get(p), lambda row: _rate(row.spread("first"))) for p in programs]
        cells += [_grown(of.get(p), lambda row: _rate(row.spread("later"))) for p in programs]
        cells += [_grown(of.get(p), _above) for p in programs]
        ours = of.get(OURS)
        for p in programs:
            if DRIVERS[p] != OURS:
                peer = of.get(p)
                cells.append(_times(ours.spread("later"), peer.spread("later")) if ours and peer else "")
        table.append(cells)
    return f"{said}\n\n{_table(head, table)}"


def _grown(row: Row | None, cell: Callable[[Row], str]) -> str:
    if row is None:
        return ""
    return "failed" if row.failed else cell(row)


def _above(row: Row) -> str:
    """By the allocator where it counts, else by resident memory, marked."""
    counted = row.spread("above_weights")
    return _bytes(counted) if counted else f"{_bytes(row.spread('resident_above'))} (resident)"


def _blas(everything: Sequence[Row]) -> str:
    table = []
    for program in PROGRAMS:
        found = [
            record["result"]["blas"]
            for row in everything
            for record in row.records
            if row.program == program and "result" in record
        ]
        if found:
            libraries = sorted({name for blas in found for name in blas["libraries"]})
            speed = Spread.of([blas["gflops"] for blas in found])
            table.append([PROGRAMS[program], ", ".join(libraries) or "?", _plain(speed, ".0f")])
    return _table(["program", "BLAS loaded in the process", "GFLOP/s, float32 matrix product"], table)


def _versions(everything: Sequence[Row]) -> str:
    table = []
    for program in (OURS, PEER, TRL):
        found = [
            r["result"]["versions"]
            for row in everything
            if row.program == program
            for r in row.records
            if "result" in r
        ]
        if found:
            table.append([PROGRAMS[program], ", ".join(f"{k} {v}" for k, v in found[-1].items())])
    return _table(["program", "versions"], table)


def _in_order(members: Sequence[Row]) -> list[Row]:
    order = list(PROGRAMS)
    return sorted(members, key=lambda row: order.index(row.program))


def _rate(value: Spread | None) -> str:
    return _plain(value, ".3f")


def _plain(value: Spread | None, form: str) -> str:
    if value is None:
        return "–"
    middle = f"{value.median:{form}}"
    low, high = f"{value.low:{form}}", f"{value.high:{form}}"
    return middle if low == high else f"{middle} ({low} to {high})"


def _bytes(value: Spread | None) -> str:
    if value is None:
        return "–"
    return _plain(Spread(value.median / GIB, value.low / GIB, value.high / GIB, value.rounds), ".2f")


def _times(ours: Spread | None, theirs: Spread | None) -> str:
    return f"{ours.median / theirs.median:.2f} ×" if ours and theirs else "–"


def _share(ours: Spread | None, theirs: Spread | None) -> str:
    return f"{ours.median / theirs.median:.2f} of it" if ours and theirs else "–"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "/").split())


def _table(head: Sequence[str], table: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *table]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
