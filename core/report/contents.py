"""One report from runs.db and the files of a workspace. Nothing in it depends on when, where or by whom it is built."""

from __future__ import annotations

from core.report.chain import chain
from core.report.clean import moment
from core.report.document import Block, Paragraph, Report, cell
from core.report.judged import checklists, decision
from core.report.measured import alignment, capability, curves, gates_of_all_stages, missing
from core.report.provenance import ancestry, configurations, data_lineage, environment, runs_and_warnings
from core.report.sources import SELF, Sources


def build(sources: Sources) -> Report:
    found = chain(sources)
    sections = (
        decision(sources),
        missing(sources),
        gates_of_all_stages(sources),
        capability(sources),
        alignment(sources),
        ancestry(sources, found),
        data_lineage(sources, found),
        configurations(sources, found),
        curves(sources, found),
        checklists(sources),
        environment(sources, found),
        runs_and_warnings(sources, found),
    )
    name = sources.clean.path(found.final_model) if found.final_model else "no model yet"
    return Report(f"Evaluation report: {name}", _lead(sources), sections)


def _lead(sources: Sources) -> tuple[Block, ...]:
    """What a reader in a hurry needs: the decision, what failed, what is not known."""
    passed, failed, unknown, stale = (sources.tally(verdict) for verdict in ("PASS", "FAIL", "UNKNOWN", "STALE"))
    words = cell("Gates: ", passed, " PASS, ", failed, " FAIL, ", unknown, " UNKNOWN, ", stale, " STALE.")
    settled = failed.raw == unknown.raw == stale.raw == "0" and sources.gates
    return (
        Paragraph(cell("Decision: ", sources.decided("choice"), "."), "" if sources.decision else "warn"),
        Paragraph(words, "good" if settled else "bad" if failed.raw != "0" else "warn"),
        Paragraph(cell("Success criteria met: ", sources.tally("criteria"), ".")),
        Paragraph((f"Newest record: {moment(_newest(sources))}.",)),
    )


def _newest(sources: Sources) -> float | None:
    """When the newest thing that the report speaks of came about."""
    sql = (
        "SELECT max(at) FROM (SELECT max(coalesce(ended, started, created)) AS at FROM runs"
        " UNION ALL SELECT max(time) FROM facts WHERE name != ? UNION ALL SELECT max(time) FROM decisions"
        " UNION ALL SELECT max(time) FROM benchmarks)"
    )
    newest: float | None = sources.db.execute(sql, [SELF]).fetchone()[0]
    return newest
