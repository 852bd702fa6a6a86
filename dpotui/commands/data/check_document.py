"""What `dpotui data check --json` prints of a file of pairs."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from core.data.gap import Gap
from core.data.jsonl import BadRow
from core.gates import Gate
from core.store.facts import Fact

if TYPE_CHECKING:
    from core.data.check import Checked


def document(found: Checked, target: Gate, limit: int, show: str | None) -> dict[str, Any]:
    quality, bias = found.quality, found.bias
    findings: dict[str, Any] = {
        "files": [str(path) for path in quality.paths],
        "pairs_by_file": list(quality.pairs_by_file),
        "duplicates": quality.duplicates,
        "shared_prompts": quality.shared_prompts,
        "responses_per_prompt": {
            "min": quality.responses_min,
            "mean": quality.responses_mean,
            "max": quality.responses_max,
        },
        "scored": quality.scored,
        "gap": _gap_document(quality.gap, target) if quality.gap else None,
        "gap_reason": quality.gap_reason,
        "rows": [{"file": str(path), **row_document(row)} for path, row in quality.examples],
        "tokens": None if found.lengths is None else {name: asdict(spread) for name, spread in found.lengths.items()},
        "tokens_reason": found.tokens_reason,
        "characters": {name: asdict(spread) for name, spread in found.characters.items()},
        "limits": None if found.limits is None else asdict(found.limits),
        "truncated": found.truncated,
        "length_bias": {
            "share": bias.share,
            "interval": None if bias.low is None else [bias.low, bias.high],
            "longer": bias.longer,
            "shorter": bias.shorter,
            "ties": bias.ties,
        },
        "conflicts": found.conflicts,
        "personal": found.personal,
        "counts": found.counts,
        "pairs": {
            kind: _pairs_document(found, kind, count, limit)
            for kind, count in found.counts.items()
            if show in (None, kind)
        },
    }
    return {
        "rows": quality.rows,
        "valid": quality.valid,
        "errors": quality.errors,
        "findings": findings,
        "facts": {fact.name: _fact(fact) for fact in found.facts},
    }


def _pairs_document(found: Checked, kind: str, count: int, limit: int) -> dict[str, Any]:
    shown = []
    for one in found.index.found(kind, 0, limit):
        entry = found.index.entry(one.pair)
        first = None if one.cluster is None else found.index.entry(one.cluster)
        shown.append(
            {
                "file": str(found.paths[entry.file]),
                "line": entry.line,
                "detail": one.detail,
                **({} if first is None else {"with": {"file": str(found.paths[first.file]), "line": first.line}}),
            }
        )
    return {"count": count, "first": shown, "more": count - len(shown)}


def row_document(row: BadRow) -> dict[str, Any]:
    return {"line": row.line, "kind": row.kind, "field": row.field, "reason": row.reason}


def _gap_document(gap: Gap, target: Gate) -> dict[str, Any]:
    return {
        "mean": gap.mean,
        "interval": None if gap.low is None else [gap.low, gap.high],
        "median": gap.median,
        "target": target.threshold,
        "share_at_target": gap.share(target.threshold),
        "n": gap.n,
        "inverted": gap.inverted,
        "histogram": [list(bin) for bin in gap.histogram],
        "source": gap.source,
    }


def _fact(fact: Fact) -> dict[str, Any]:
    return {
        "value": fact.value,
        "unit": fact.unit,
        "low": fact.low,
        "high": fact.high,
        "n": fact.n,
        "source": fact.source,
        "run": fact.run,
    }
