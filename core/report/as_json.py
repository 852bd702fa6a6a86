"""A report for programs: its decision, criteria, gates and figures as one JSON document."""

from __future__ import annotations

import json
from typing import Any

from core.report.document import Report
from core.report.pages import figures_of, kept
from core.report.sources import Sources
from core.store.decisions import Decision

JSON = ".json"
# What a file of it begins with, so that no other file is written over.
KIND = '"kind": "dpotui report"'


def as_json(sources: Sources, report: Report) -> str:
    """The whole file. The same runs.db and files give the same bytes."""
    return json.dumps(document(sources, report), indent=2, ensure_ascii=True, allow_nan=False) + "\n"


def document(sources: Sources, report: Report) -> dict[str, Any]:
    return {
        "kind": "dpotui report",
        "title": report.title,
        "decision": _decision(sources.decision),
        "criteria": [
            {"name": each.name, "title": each.title, "met": each.met, "verdict": each.verdict, "by": each.by}
            for each in sources.criteria
        ],
        "gates": [
            {
                "stage": stage,
                "name": name,
                "verdict": result.verdict,
                "value": sources.gate(stage, name, "value").shown,
                "target": result.gate.target,
                "run": result.run,
            }
            for (stage, name), result in sources.gates.items()
        ],
        "figures": [
            {
                "id": "/".join(map(str, figure.key)),
                "shown": figure.shown,
                "raw": kept(figure),
                "stale": figure.stale or None,
            }
            for figure in figures_of(report)
        ],
    }


def _decision(made: Decision | None) -> dict[str, Any] | None:
    if made is None:
        return None
    return {
        "choice": made.choice,
        "who": made.who,
        "note": made.note,
        "time": made.time,
        "run": made.run,
        "against": list(made.against),
    }
