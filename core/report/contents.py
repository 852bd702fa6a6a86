"""One report from runs.db and the files of a workspace. Nothing in it depends on when, where or by whom it is built."""

from __future__ import annotations

from core.report.clean import moment
from core.report.document import Block, Mood, Paragraph, Report, cell, plain, row, table
from core.report.judged import checklists, decision
from core.report.measured import alignment, capability, curves, gates_of_all_stages, missing
from core.report.provenance import ancestry, configurations, data_lineage, environment, runs_and_warnings
from core.report.records import SELF
from core.report.rounds import rounds, warnings
from core.report.sources import Sources


def build(sources: Sources) -> Report:
    found = sources.chain
    sections = (
        decision(sources),
        missing(sources),
        gates_of_all_stages(sources),
        capability(sources),
        alignment(sources),
        rounds(sources),
        ancestry(sources, found),
        data_lineage(sources, found),
        configurations(sources, found),
        curves(sources, found),
        checklists(sources),
        environment(sources, found),
        runs_and_warnings(sources, found),
    )
    name = sources.clean.path(found.final_model) if found.final_model else "no model yet"
    kept = tuple(each for each in sections if each is not None)
    return Report(f"Evaluation report: {name}", _lead(sources), kept)


def _lead(sources: Sources) -> tuple[Block, ...]:
    """What a reader in a hurry needs: of which model, the decision, what failed, what is not known."""
    passed, failed, unknown, stale = (sources.tally(verdict) for verdict in ("PASS", "FAIL", "UNKNOWN", "STALE"))
    words = cell("Gates: ", failed, " FAIL, ", unknown, " UNKNOWN, ", stale, " STALE, ", passed, " PASS.")
    settled = failed.raw == unknown.raw == stale.raw == "0" and sources.gates
    blocks: list[Block] = [
        Paragraph((_model(sources),)),
        *warnings(sources),
        *_decided(sources),
        Paragraph(words, "good" if settled else "bad" if failed.raw != "0" else "warn"),
    ]
    rows, unmeasured = [], []
    for (stage, name), result in sources.gates.items():
        title = f"{stage} {sources.clean(result.gate.title, 60)}"
        if result.verdict == "UNKNOWN":
            unmeasured.append(title)
        elif result.verdict != "PASS":
            parts = [sources.gate(stage, name, part) for part in ("verdict", "value", "target", "interval", "n")]
            rows.append(row(title, *parts))
    if rows:
        head = ("gate that did not pass", "verdict", "value", "target", "95 % interval", "n")
        blocks.append(table(head, sorted(rows, key=lambda each: plain(each[1]) != "FAIL"), (2, 3, 5)))
    if unmeasured:
        blocks.append(Paragraph((f"UNKNOWN, because nothing measured them: {', '.join(unmeasured)}.",)))
    blocks.append(Paragraph(cell("Success criteria met: ", sources.tally("criteria"), ".")))
    blocks.append(Paragraph((f"Newest record: {moment(_newest(sources))}.",)))
    return tuple(blocks)


def _model(sources: Sources) -> str:
    """Which model this is about, and which runs say so."""
    found, clean = sources.chain, sources.clean
    if found.final_model is None:
        return "No run made a final model yet: nothing here is about one."
    made = f", made by {found.dpo.id}" if found.dpo else ""
    if found.final is None:
        return f"Model: {clean.path(found.final_model)}{clean(made)}. It was not evaluated yet."
    against = f", against the baseline {clean.path(found.baseline_model)}" if found.baseline_model else ""
    state = "" if found.final.state == "finished" else f", which is {found.final.state}"
    told = f"evaluated by {found.final.id}{state}"
    return f"Model: {clean.path(found.final_model)}{clean(made)}, {clean(told)}{against}."


def _decided(sources: Sources) -> list[Block]:
    made = sources.decision
    if made is None:
        return [Paragraph(cell("Decision: ", sources.decided("choice"), "."), "warn")]
    words = cell("Decision: ", sources.decided("choice"), ", signed by ", sources.decided("who"), " on ",
                 sources.decided("time"), ": ", sources.decided("note"))  # fmt: skip
    overridden = made.choice == "deploy" and bool(made.unmet)
    if overridden:
        words = cell(*words, " (OVERRIDE, against ", sources.decided("against"), ")")
    mood: Mood = "bad" if overridden else "good" if made.choice == "deploy" else "warn"
    blocks: list[Block] = [Paragraph(words, mood)]
    final = sources.chain.final
    if made.run != (final.id if final else None):
        of = f"rests on {made.run}" if made.run else "rests on no evaluation"
        speaks = f"speaks of {final.id}" if final else "has none"
        told = f"This decision {of}, and this report {speaks}: it was not made on these figures."
        blocks.append(Paragraph((sources.clean(told),), "bad"))
    return blocks


def _newest(sources: Sources) -> float | None:
    """When the newest thing that the report speaks of came about."""
    sql = (
        "SELECT max(at) FROM (SELECT max(coalesce(ended, started, created)) AS at FROM runs"
        " UNION ALL SELECT max(time) FROM facts WHERE name != ? UNION ALL SELECT max(time) FROM decisions"
        " UNION ALL SELECT max(time) FROM benchmarks)"
    )
    newest: float | None = sources.db.execute(sql, [SELF]).fetchone()[0]
    return newest
