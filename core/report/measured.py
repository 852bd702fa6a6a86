"""Sections on what was measured: curves, gates, capability, alignment; and on what was not."""

from __future__ import annotations

import json

from core.report.chain import Chain
from core.report.clean import moment
from core.report.document import Block, Bullets, Cell, Chart, Charts, Figure, Line, Paragraph, Section, cell, row, table
from core.report.numbers import NOTHING
from core.report.sources import Sources
from core.store import notes
from core.store.benchmarks import Result
from core.store.runs import Run

# Metrics first to be drawn; "eval_" + name shares their chart.
_FIRST = (
    "loss",
    "rewards/margins",
    "rewards/accuracies",
    "kl_divergence",
    "accuracy",
    "margin",
    "eval_perplexity",
    "grad_norm",
    "learning_rate",
)
_CHARTS = 6  # of one run
_BENCHMARKS = 60
_NOTES = 60
_MISSING = 80
# Facts of the last stages that a reader of a report looks for, whether or not this workspace has a gate on them.
_WANTED = (
    "sft.perplexity",
    "sft.mmlu",
    "sft.humaneval",
    "sft.gsm8k",
    "reward.calibration",
    "eval.checkpoint_loaded",
    "eval.mmlu",
    "eval.humaneval",
    "eval.gsm8k",
    "eval.domain",
    "eval.perplexity",
    "eval.retention",
    "eval.retention_worst",
    "eval.critical_regressions",
    "eval.win_rate",
    "eval.win_rate_length_controlled",
    "eval.preference_accuracy",
    "eval.kl_divergence",
    "eval.preference_gap",
    "eval.decontamination",
    "eval.human_score",
    "eval.human_agreement",
)
_ALIGNMENT = (
    ("eval.win_rate", "win rate against the baseline"),
    ("eval.win_rate_length_controlled", "win rate, length controlled"),
    ("eval.preference_accuracy", "preference accuracy on held-out pairs"),
    ("eval.kl_divergence", "KL divergence from the reference, nats per token"),
    ("eval.preference_gap", "preference gap (mean reward margin)"),
    ("eval.decontamination", "decontamination"),
    ("eval.perplexity", "perplexity"),
    ("eval.human_score", "human score"),
    ("eval.human_agreement", "agreement of the raters"),
    ("reward.calibration", "calibration error of the reward model"),
)
_CRITERIA = 9


def missing(sources: Sources) -> Section:
    """What was not measured, could not be, or is stale: gates, and facts that items and readers look for."""
    rows = []
    for (stage, name), result in sources.gates.items():
        if result.verdict in ("UNKNOWN", "STALE"):
            verdict = sources.gate(stage, name, "verdict")
            title = f"gate of stage {stage}: {sources.clean(result.gate.title, 60)}"
            rows.append(row(title, verdict, sources.clean(result.reason, 240)))
    gated = {result.gate.fact for result in sources.gates.values()}
    bound = [name for item in sources.items.values() for name in item.facts]
    for name in dict.fromkeys([*_WANTED, *bound]):
        fact = sources.facts.get(name)
        if name in gated or (fact is not None and fact.value is not None and not sources.stale(fact)):
            continue
        if fact is None:
            why = "no run measured it"
        elif fact.value is None:
            why = sources.clean(fact.source or "it could not be measured", 240)
        else:
            why = "STALE: " + sources.stale(fact)
        rows.append(row(sources.clean(name, 60), sources.fact(name), why))
    shown = rows[:_MISSING]
    if len(rows) > _MISSING:
        shown.append(row(f"… and {len(rows) - _MISSING} more", "", ""))
    if not rows:
        return Section(
            "missing", "Not measured", (Paragraph(("Everything that is looked for was measured.",), "good"),)
        )
    warning = Paragraph(("This report cannot speak of the following: not measured, or changed since.",), "warn")
    return Section("missing", "Not measured", (warning, table(("what", "stands as", "why"), shown)))


def curves(sources: Sources, chain: Chain) -> Section:
    """The metrics of the training runs."""
    blocks: list[Block] = []
    for run in chain.training:
        charts = tuple(_charts(sources, run))
        if charts:
            blocks.append(Charts(f"{run.id} ({run.kind})", charts))
    return Section("curves", "Training curves", tuple(blocks) or (Paragraph(("No run trained yet.",), "warn"),))


def _charts(sources: Sources, run: Run) -> list[Chart]:
    names = set(sources.summary(run.id))
    found = []
    for name in _FIRST:
        lines = [each for each in (name, f"eval_{name}") if each in names]
        drawn = tuple(line for each in lines if (line := _line(sources, run.id, each)) is not None)
        if drawn:
            found.append(Chart(name, drawn, _limit(run, name)))
    return found[:_CHARTS]


def _line(sources: Sources, run: str, name: str) -> Line | None:
    bins = sources.bins(run, name)
    if not bins:
        return None
    first, last, low, high = (sources.metric(run, name, part) for part in ("first", "last", "low", "high"))
    return Line(
        name,
        bins,
        sources.curve(run, name, "data"),
        sources.curve(run, name, "spark"),
        sources.metric(run, name, "points"),
        first,
        last,
        low,
        high,
    )


def _limit(run: Run, name: str) -> float | None:
    value = (run.config.get("constraints") or {}).get("kl_target") if name == "kl_divergence" else None
    return float(value) if isinstance(value, int | float) else None


def gates_of_all_stages(sources: Sources) -> Section:
    rows = []
    for (stage, name), result in sources.gates.items():
        parts = [
            sources.gate(stage, name, part) for part in ("verdict", "value", "target", "interval", "n", "run", "time")
        ]
        why = result.reason or result.source
        rows.append(row(f"{stage} {sources.clean(result.gate.title, 60)}", *parts, sources.clean(why, 200)))
    head = (
        "stage and gate",
        "verdict",
        "value",
        "target",
        "95 % interval",
        "n",
        "run",
        "measured",
        "why or where from",
    )
    counts: list[str | Figure] = []
    for verdict in ("PASS", "FAIL", "UNKNOWN", "STALE"):
        counts += [", " if counts else "", sources.tally(verdict), f" {verdict}"]
    return Section("gates", "Gates", (Paragraph(cell(*counts)), table(head, rows, (2, 3, 5))))


def capability(sources: Sources) -> Section:
    """Benchmarks of the baseline and the final model, and what was retained."""
    final, baseline = sources.results("final"), sources.results("baseline")
    rows = []
    for name in list(dict.fromkeys([*final, *baseline]))[:_BENCHMARKS]:
        parts = [
            sources.benchmark(subject, name, part)
            for subject in ("final", "baseline")
            for part in ("value", "interval", "n")
        ]
        chance = sources.benchmark("final" if name in final else "baseline", name, "chance")
        rows.append(
            row(
                sources.clean(name, 60), *parts, chance, sources.clean(_alike(final.get(name), baseline.get(name)), 240)
            )
        )
    blocks: list[Block] = [_facts(sources, (
        ("eval.retention", "retention, mean over benchmarks"),
        ("eval.retention_worst", "retention, worst benchmark"),
        ("eval.critical_regressions", "critical regressions"),
    ))]  # fmt: skip
    if rows:
        head = ("benchmark", "final", "interval", "n", "baseline", "interval", "n", "chance", "conditions")
        blocks.append(table(head, rows, (1, 3, 4, 6, 7)))
    else:
        blocks.append(Paragraph(("No benchmark was run.",), "warn"))
    return Section("capability", "Capability and retention", tuple(blocks))


def _alike(final: Result | None, baseline: Result | None) -> str:
    """Under which conditions, and whether they are the same."""
    one = final or baseline
    assert one is not None
    told = ", ".join(f"{key} {_word(value)}" for key, value in sorted(one.conditions.items()))
    if final is None or baseline is None:
        return f"only the {'baseline' if final is None else 'final'}; {told}"
    differing = [
        f"{key} {_word(final.conditions.get(key))} against {_word(baseline.conditions.get(key))}"
        for key in sorted({*final.conditions, *baseline.conditions})
        if final.conditions.get(key) != baseline.conditions.get(key)
    ]
    return f"NOT COMPARABLE: {'; '.join(differing)}" if differing else told


def _word(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return text[:16] if len(text) == 64 else text


def alignment(sources: Sources) -> Section:
    """Whether its answers are preferred: by judges, by the policy itself, and by people."""
    blocks: list[Block] = [_facts(sources, _ALIGNMENT)]
    sql = "SELECT DISTINCT criterion FROM ratings WHERE undone = 0 ORDER BY criterion LIMIT ?"
    names = [name for (name,) in sources.db.execute(sql, [_CRITERIA])]
    if names:
        parts = ("mean", "n", "raters")
        rows = [row(sources.clean(name, 40), *(sources.ratings(name, part) for part in parts)) for name in names]
        blocks.append(Paragraph(("Marks by people:",)))
        blocks.append(table(("criterion", "mean mark", "marks", "raters"), rows, (1, 2, 3)))
    remarks = _remarks(sources)
    blocks.append(Paragraph(("Notes by people:",)))
    blocks.append(Bullets(tuple(remarks)) if remarks else Paragraph(("none",)))
    return Section("alignment", "Alignment", tuple(blocks))


def _remarks(sources: Sources) -> list[Cell]:
    """What people wrote beside their marks and on runs."""
    sql = (
        "SELECT who, time, note, criterion FROM ratings WHERE undone = 0 AND note != '' GROUP BY who, note, key"
        " ORDER BY min(id) LIMIT ?"
    )
    found = [
        cell(f"{sources.clean(who, 40)}, {moment(when)}: ", sources.clean(note, 500))
        for who, when, note, _ in sources.db.execute(sql, [_NOTES])
    ]
    subjects = sources.db.execute("SELECT DISTINCT subject FROM notes ORDER BY subject LIMIT ?", [_NOTES])
    for (subject,) in subjects.fetchall():
        for note in notes.of(sources.db, subject)[: max(0, _NOTES - len(found))]:
            about = sources.clean(subject, 60)
            found.append(
                cell(f"{sources.clean(note.who, 40)} on {about}, {moment(note.time)}: ", sources.clean(note.text, 500))
            )
    return found


def _facts(sources: Sources, wanted: tuple[tuple[str, str], ...]) -> Block:
    rows = []
    for name, words in wanted:
        fact = sources.facts.get(name)
        parts = [sources.fact(name, part) for part in ("value", "interval", "n", "run")]
        where = sources.clean(fact.source, 200) if fact is not None and fact.source else NOTHING
        if fact is not None and fact.value is not None and (stale := sources.stale(fact)):
            where = f"STALE: {stale}; {where}"
        rows.append(row(words, *parts, where))
    return table(("what", "value", "95 % interval", "n", "run", "where from"), rows, (1, 3))
