"""Sections on where a model comes from: its ancestry, its data, its configurations, its machine and its runs."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import accumulate
from typing import Any

from core.errors import UserError
from core.report.chain import Chain, setting
from core.report.document import Block, Bullets, Cell, Figure, Inline, Paragraph, Section, cell, row, table
from core.report.sources import Sources, flattened, outside
from core.store import log, runs
from core.store.runs import Run
from core.workspace import templates

_NODES = 40  # of one lineage
_KEYS = 60  # of one comparison of configurations
_RUNS = 30
_WARNINGS = 40
_TEMPLATES = {"sft": "sft", "reward": "reward", "dpo": "dpo", "evaluate": "eval"}
_VERSIONS = ("dpotui", "mlx", "mlx-lm", "transformers", "tokenizers", "python", "system", "chip")


def ancestry(sources: Sources, chain: Chain) -> Section:
    """Base, SFT, reward and DPO: hashes, runs, who started them."""
    steps = (
        ("base model", chain.base, None),
        ("SFT model (baseline)", chain.baseline_model, chain.sft),
        ("reward model", setting(chain.reward, "model", "checkpoint"), chain.reward),
        ("final model (DPO)", chain.final_model, chain.dpo),
    )
    rows = []
    for role, path, run in steps:
        if path is None and run is None:
            rows.append(row(role, "not there", "", "", "", ""))
            continue
        rows.append(
            row(
                role,
                sources.clean.path(path or "—"),
                sources.resolve(("file", path)) if path is not None else None,
                run.id if run else "",
                sources.run_figure(run.id, "who") if run else None,
                sources.run_figure(run.id, "started") if run else None,
            )
        )
    blocks: list[Block] = [table(("model", "where", "sha256 now", "made by", "started by", "started"), rows)]
    if any(run.inputs for run in chain.runs):
        words = "What the runs read, with its hash when they read it, and whether it is the same now:"
        blocks.append(Paragraph((words,)))
        blocks.append(_inputs(sources, chain))
    return Section("model", "Model and ancestry", tuple(blocks))


def _inputs(sources: Sources, chain: Chain) -> Block:
    """A row for each file in each state that it was read in."""
    readers: dict[tuple[str, str], list[str]] = {}
    for run in chain.runs:
        for path in sorted(run.inputs)[:_NODES]:
            readers.setdefault((path, run.inputs[path]), []).append(run.id)
    rows = []
    for (path, _), ids in sorted(readers.items()):
        # One of them stands for all: they read the same bytes.
        figures: tuple[Inline, Inline]
        if outside(path):
            figures = (sources.recorded(ids[0], path).shown, "outside of the workspace")
        else:
            figures = (sources.recorded(ids[0], path), sources.since(ids[0], path))
        rows.append(row(sources.clean.path(path), *figures, sources.clean(", ".join(ids), 200)))
    return table(("file or model", "sha256 when read", "now", "read by"), rows)


def data_lineage(sources: Sources, chain: Chain) -> Section:
    """Each data set that was trained or evaluated on, and what it was made of."""
    rows = []
    for path in _data_files(chain):
        nodes = sources.lineage(path)
        if not nodes or outside(path):
            rows.append(row(sources.clean.path(path), "not in the workspace", "", "", ""))
        for index, node in enumerate(nodes[:_NODES] if not outside(path) else ()):
            figures = [sources.resolve(("data", path, index, part)) for part in ("state", "rows", "sha256")]
            name = sources.clean.path(path if node.depth == 0 else node.name)
            made = f"{node.command} {node.program}".strip() or "from outside"
            note = f"; {node.note}" if node.note else ""
            label = "↳ " * node.depth + name
            rows.append(row(label, *figures, sources.clean(made + note, 160)))
        if len(nodes) > _NODES:
            rows.append(row(f"… and {len(nodes) - _NODES} more", "", "", "", ""))
    blocks: tuple[Block, ...] = (
        Paragraph(("A file below another is what it was made from. State compares it with what was recorded.",)),
        table(("file", "state", "rows", "sha256 recorded", "made by"), rows, (2,)),
    )
    return Section("data", "Data lineage", blocks if rows else (Paragraph(("No run read any data yet.",), "warn"),))


def _data_files(chain: Chain) -> list[str]:
    found = [
        setting(run, "data", key)
        for run in (chain.sft, chain.reward, chain.dpo)
        for key in ("train_file", "validation_file")
    ]
    config: dict[str, Any] = chain.final.config if chain.final else {}
    validation = config.get("alignment_evaluation", {}).get("preference_validation", {})
    found.append(validation.get("test_set"))
    for benchmark in (config.get("capability_benchmarks") or {}).values():
        found += [benchmark.get("file"), benchmark.get("shots_file")]
    found.append((config.get("perplexity") or {}).get("validation_file"))
    return list(dict.fromkeys(path for path in found if isinstance(path, str)))


def configurations(sources: Sources, chain: Chain) -> Section:
    """Where configurations differ from the templates, and the evaluations from each other."""
    blocks: list[Block] = []
    before = _before(sources, chain)
    if chain.dpo is not None and before is not None:
        title = f"{chain.dpo.id} against the round before it, {before.id}"
        blocks += _difference(sources, chain.dpo, before.config, title, before.id, before)
    for run in sorted(chain.runs, key=lambda run: run.kind != "dpo"):
        if run.kind not in _TEMPLATES or run is chain.baseline:
            continue
        template = _template(_TEMPLATES[run.kind])
        name = f"{_TEMPLATES[run.kind]}_config.yaml"
        blocks += _difference(sources, run, template, f"{run.id} against the template {name}", "template")
    if chain.baseline is not None and chain.final is not None:
        first, second = chain.baseline, chain.final
        blocks += _difference(
            sources, second, first.config, f"{second.id} (final) against {first.id} (baseline)", "baseline", first
        )
    return Section(
        "configuration",
        "Configuration differences",
        tuple(blocks) or (Paragraph(("No run that has a configuration yet.",), "warn"),),
    )


@cache
def _template(kind: str) -> dict[str, Any]:
    from core.config import RUN_CONFIGS, load_config

    try:
        return load_config(templates() / f"{kind}_config.yaml", RUN_CONFIGS[kind]).model_dump(mode="json")
    except UserError:
        return {}


def _difference(
    sources: Sources, run: Run, other: dict[str, Any], title: str, column: str, other_run: Run | None = None
) -> Iterator[Block]:
    mine, theirs = flattened(run.config), flattened(other)
    differing = [name for name in sorted({*mine, *theirs}) if mine.get(name) != theirs.get(name)]
    if not differing:
        yield Paragraph((f"{title}: nothing differs.",))
        return
    yield Paragraph((f"{title}:",))

    def before(name: str) -> str | Figure:
        return sources.config(other_run.id, name) if other_run is not None else sources.setting(name, theirs[name])

    rows = []
    figures: tuple[Inline | Cell, Inline | Cell]
    for name, below in _folded(differing, mine, theirs):
        if len(below) == 1:
            figures = (before(name) if name in theirs else "—", sources.config(run.id, name))
        elif below[0] in theirs:
            figures = (f"{len(below)} keys", "—")
        else:
            figures = ("—", _together(sources, run, name, below))
        rows.append(row(sources.clean(name if len(below) == 1 else f"{name}.*", 100), *figures))
    more = len(rows) - _KEYS
    yield table(("key", column, run.id), [*rows[:_KEYS], *([row(f"… and {more} more", "", "")] if more > 0 else [])])


def _folded(differing: list[str], mine: dict[str, Any], theirs: dict[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """Keys one by one; those of a part that one side lacks altogether as that part with all of them."""
    done: set[str] = set()
    for name in differing:
        if name in done:
            continue
        part = name
        for each in accumulate(name.split(".")[:-1], lambda above, key: f"{above}.{key}"):
            sides = [any(key.startswith(f"{each}.") for key in side) for side in (mine, theirs)]
            if sides.count(True) == 1:
                part = each
                break
        below = [key for key in differing if key == part or key.startswith(f"{part}.")]
        if part == name or len(below) == 1:
            below = [name]
        done |= set(below)
        yield (part if len(below) > 1 else name), below


def _together(sources: Sources, run: Run, part: str, names: list[str]) -> Cell:
    parts: list[str | Figure] = []
    for name in names[:_KEYS]:
        words = sources.clean(name.removeprefix(f"{part}."), 60)
        parts += [f"{', ' if parts else ''}{words} ", sources.config(run.id, name)]
    return cell(*parts)


def _before(sources: Sources, chain: Chain) -> Run | None:
    """The round of DPO before the one that made the final model."""
    if chain.dpo is None:
        return None
    every = runs.listing(sources.db, kind="dpo", states=("finished",))
    return next((run for run in every if (run.created, run.id) < (chain.dpo.created, chain.dpo.id)), None)


def environment(sources: Sources, chain: Chain) -> Section:
    """Chip and versions of the engines that executed the runs, as they recorded them."""
    if not chain.runs:
        return Section("environment", "Environment", (Paragraph(("Nothing ran yet.",), "warn"),))
    groups: dict[tuple[str, ...], list[str]] = {}
    for run in chain.runs:
        groups.setdefault(tuple(sources.environment(run.id, name).raw for name in _VERSIONS), []).append(run.id)
    rows = [row(name, *(sources.environment(ids[0], name) for ids in groups.values())) for name in _VERSIONS]
    heads = ["all runs"] if len(groups) == 1 else [sources.clean(", ".join(ids), 120) for ids in groups.values()]
    return Section("environment", "Environment", (table(("", *heads), rows),))


def runs_and_warnings(sources: Sources, chain: Chain) -> Section:
    """The newest runs, and what the runs of the chain warned of."""
    listed = runs.listing(sources.db, limit=_RUNS)
    ids = list(dict.fromkeys([run.id for run in chain.runs] + [run.id for run in listed]))
    rows = []
    for run_id in ids:
        parts = [sources.run_figure(run_id, part) for part in ("state", "steps", "who", "started", "took", "seed")]
        error = sources.run(run_id).error
        rows.append(row(run_id, *parts, sources.clean(error, 160) if error else ""))
    blocks: list[Block] = [
        Paragraph(("The runs that led to the model, and the newest.",)),
        table(("run", "state", "steps", "started by", "started", "took", "seed", "error"), rows),
    ]
    warnings = list(_warnings(sources, chain))
    blocks.append(Paragraph(("Warnings of the runs that led to the model:",)))
    blocks.append(Bullets(tuple(warnings)) if warnings else Paragraph(("none",)))
    return Section("runs", "Runs and warnings", tuple(blocks))


def _warnings(sources: Sources, chain: Chain) -> Iterator[Cell]:
    for run in chain.runs:
        lines = log.lines(sources.db, run.id, level="warning", limit=_WARNINGS + 1)
        if len(lines) > _WARNINGS:
            yield cell(f"{run.id}: more than {_WARNINGS}; the last of them:")
        for line in lines[-_WARNINGS:]:
            yield cell(f"{run.id} {line.level}: ", sources.clean(line.text, 300))
