"""Sections on what was measured: curves, gates, capability, alignment; and on what was not."""

from __future__ import annotations

import json

from core.report import people
from core.report.chain import Chain
from core.report.document import Block, Bullets, Chart, Charts, Figure, Line, Paragraph, Section, cell, row, table
from core.report.numbers import NOTHING
from core.report.rounds import stray
from core.report.sources import Sources
from core.report.success import label
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
_UNITS = {
    "rewards/margins": "β × nats",
    "margin": "difference of rewards",
    "rewards/accuracies": "share of pairs",
    "accuracy": "share of pairs",
    "kl_divergence": "nats per token, on chosen responses",
}
_CHARTS = 6  # of one run
_BENCHMARKS = 60
_MISSING = 80
_NAMES = {"sft": "supervised fine-tuning", "reward": "reward model", "dpo": "DPO"}
# Facts of the last stages that a reader of a report looks for, whether or not this workspace has a gate on them.
_WANTED = {
    "sft.perplexity": "perplexity of the baseline",
    "sft.mmlu": "MMLU of the baseline",
    "sft.humaneval": "HumanEval of the baseline",
    "sft.gsm8k": "GSM8K of the baseline",
    "reward.calibration": "calibration of the reward model",
    "eval.checkpoint_loaded": "the final model, loaded",
    "eval.mmlu": "MMLU of the final model",
    "eval.humaneval": "HumanEval of the final model",
    "eval.gsm8k": "GSM8K of the final model",
    "eval.domain": "benchmarks of one's own",
    "eval.perplexity": "perplexity of the final model",
    "eval.retention": "capability retention",
    "eval.retention_worst": "the worst retention",
    "eval.critical_regressions": "critical regressions",
    "eval.win_rate": "win rate against the baseline",
    "eval.win_rate_length_controlled": "win rate at equal length",
    "eval.preference_accuracy": "preference accuracy on held-out pairs",
    "eval.kl_divergence": "KL divergence of the final model",
    "eval.preference_gap": "preference gap of the final model",
    "eval.decontamination": "contamination of the evaluation",
    "eval.human_score": "human score",
    "eval.human_agreement": "agreement of the raters",
}
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


def missing(sources: Sources) -> Section:
    """What was not measured, could not be, or is stale: gates, and facts that items and readers look for."""
    rows = []
    for (stage, name), result in sources.gates.items():
        if result.verdict in ("UNKNOWN", "STALE"):
            verdict = sources.gate(stage, name, "verdict")
            title = f"gate of stage {stage}: {sources.clean(result.gate.title, 60)}"
            rows.append(row(title, verdict, sources.clean(result.reason, 240)))
    gated = {result.gate.fact for result in sources.gates.values()}
    bound = {name: item for item in sources.items.values() for name in item.facts}
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
        words = _WANTED.get(name) or label(sources, bound[name])
        rows.append(row(f"{words} ({sources.clean(name, 60)})", sources.fact(name), why))
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
            blocks.append(Charts(f"{run.id}: {_NAMES[run.kind]}, {run.steps or run.step} steps", charts))
    return Section("curves", "Training curves", tuple(blocks) or (Paragraph(("No run trained yet.",), "warn"),))


def _charts(sources: Sources, run: Run) -> list[Chart]:
    names = set(sources.summary(run.id))
    found = []
    for name in _FIRST:
        lines = [each for each in (name, f"eval_{name}") if each in names]
        drawn = tuple(line for each in lines if (line := _line(sources, run.id, each)) is not None)
        if drawn:
            found.append(Chart(name, drawn, _limit(run, name), _unit(run, name), _wide(drawn)))
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


def _unit(run: Run, name: str) -> str:
    """What a metric counts in, as core.training computes it."""
    if name == "loss":
        return "nats per token" if run.kind == "sft" else "nats per pair"
    return _UNITS.get(name, "")


def _wide(lines: tuple[Line, ...]) -> bool:
    """Whether only a logarithmic axis shows the end of these curves beside their beginning."""
    if not any(line.name.endswith("perplexity") for line in lines):
        return False
    values = [value for line in lines for each in line.bins for value in (each.low, each.high)]
    return bool(values) and min(values) > 0 and max(values) > 100 * min(values)


def _limit(run: Run, name: str) -> float | None:
    value = (run.config.get("constraints") or {}).get("kl_target") if name == "kl_divergence" else None
    return float(value) if isinstance(value, int | float) else None


def gates_of_all_stages(sources: Sources) -> Section:
    rows = []
    for (stage, name), result in sources.gates.items():
        parts = [
            sources.gate(stage, name, part) for part in ("verdict", "value", "target", "interval", "n", "run", "time")
        ]
        why = result.source if result.verdict in ("PASS", "FAIL") else result.reason
        if of := stray(sources, result.gate.fact, result.run):
            why = f"ANOTHER MODEL: {of}; {why}"
        rows.append(row(f"{stage} {sources.clean(result.gate.title, 60)}", *parts, sources.clean(why, 320)))
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
    rows, conditions = [], []
    for name in list(dict.fromkeys([*final, *baseline]))[:_BENCHMARKS]:
        told = sources.compared.get(name)
        # A result of another model is none of the final model's.
        after = final.get(name) if told is None or told.final is not None else None
        before = baseline.get(name) if told is None or told.baseline is not None else None
        parts: list[str | Figure] = []
        for subject, result in (("final", after), ("baseline", before)):
            of = [sources.benchmark(subject, name, part) for part in ("value", "interval", "n")]
            parts += of if result is not None else ["not measured", NOTHING, NOTHING]
        parts += [sources.retained(name, part) for part in ("percent", "interval")]
        chance = sources.benchmark("final" if name in final else "baseline", name, "chance")
        why = sources.clean(told.why, 240) if told is not None and told.why else ""
        words = f"not compared: {why}" if why else "more than a tenth is lost" if told and told.critical else ""
        rows.append(row(sources.clean(name, 60), *parts, chance, words))
        conditions.append(cell(sources.clean(f"{name}: {_conditions(after or before)}", 300)))
    blocks: list[Block] = [_facts(sources, (
        ("eval.retention", "retention, mean over benchmarks"),
        ("eval.retention_worst", "retention, worst benchmark"),
        ("eval.critical_regressions", "critical regressions"),
    ))]  # fmt: skip
    if rows:
        head = ("benchmark", "final", "95 % interval", "n", "baseline", "95 % interval", "n", "retained",
                "95 % interval", "chance", "")  # fmt: skip
        blocks.append(table(head, rows, (1, 3, 4, 6, 7, 9)))
        blocks.append(Paragraph(("Measured with:",)))
        blocks.append(Bullets(tuple(conditions)))
    else:
        blocks.append(Paragraph(("No benchmark was run.",), "warn"))
    return Section("capability", "Capability and retention", tuple(blocks))


def _conditions(result: Result | None) -> str:
    """Under which conditions, as far as they say anything."""
    if result is None:
        return "no result of these models"
    told = [f"metric {result.metric}"] if "metric" not in result.conditions else []
    told += [
        f"{key.replace('_', ' ')} {_word(value)}"
        for key, value in sorted(result.conditions.items())
        if value not in (None, "", [], {})
    ]
    return ", ".join(told)


def _word(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return text[:16] if len(text) == 64 else text


def alignment(sources: Sources) -> Section:
    """Whether its answers are preferred: by judges, by the policy itself, and by people."""
    blocks: list[Block] = [_facts(sources, _ALIGNMENT)]
    blocks += people.marks(sources)
    blocks += people.remarks(sources)
    return Section("alignment", "Alignment", tuple(blocks))


def _facts(sources: Sources, wanted: tuple[tuple[str, str], ...]) -> Block:
    rows = []
    for name, words in wanted:
        fact = sources.facts.get(name)
        parts = [sources.fact(name, part) for part in ("value", "interval", "n", "run")]
        where = sources.clean(fact.source, 320) if fact is not None and fact.source else NOTHING
        if fact is not None and fact.value is not None and (stale := sources.stale(fact)):
            where = f"STALE: {stale}; {where}"
        if fact is not None and (of := stray(sources, name, fact.run)):
            where = f"ANOTHER MODEL: {of}; {where}"
        rows.append(row(words, *parts, where))
    return table(("what", "value", "95 % interval", "n", "run", "where from"), rows, (1, 3))
