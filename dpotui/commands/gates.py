"""`dpotui gates`: enforce the quality gates of a stage; exit 0 when all pass, 1 when one does not."""

from __future__ import annotations

import difflib
import json
import math
import sys
from pathlib import Path
from typing import Any

import click

from core import gates
from core.errors import UserError
from core.gates import STAGES, GateResult
from core.store import open_store, runs
from core.text import printable
from core.workspace import Workspace, open_workspace
from dpotui.commands.options import scale_option

# Which stage an option is for.
_OPTIONS = {"pairs": "preference_data", "kl": "dpo_training", "retention": "evaluation"}


@click.command()
@click.argument("stage", required=False)
@click.option("--pairs", type=click.Path(path_type=Path), metavar="FILE", help="preference_data: measure this file.")
@scale_option
@click.option("--kl", type=float, metavar="NATS", help="dpo_training: judge this KL divergence, in nats per token.")
@click.option("--run", "run_id", metavar="RUN", help="Judge what this run measured, by its own configuration.")
@click.option("--retention", type=float, metavar="PERCENT", help="evaluation: judge this capability retention.")
@click.option("--history", "past", is_flag=True, help="List what was judged before, newest first.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@click.option("-w", "--workspace", metavar="DIR", help="The workspace (default: here).")
def command(
    stage: str | None,
    pairs: Path | None,
    scale: tuple[float, float] | None,
    kl: float | None,
    run_id: str | None,
    retention: float | None,
    past: bool,
    as_json: bool,
    workspace: str | None,
) -> None:
    """Enforce the quality gates of a stage.

    STAGE is 0 to 7 or a name: planning, sft, preference_data, initialization, preference_modeling, dpo_training,
    iterative_training, evaluation. Without it all gates are judged by the newest facts of the workspace.

    \b
    dpotui gates preference_data --pairs data/pairs.jsonl
    dpotui gates dpo_training --kl 0.08
    dpotui gates dpo_training --run dpo-003
    dpotui gates evaluation --retention 96.5
    dpotui gates 5 --history

    With --pairs, --kl or --retention no workspace is needed; without one the thresholds are those of the templates.
    Exit status: 0 all gates pass, 1 one fails, is unknown or stale, 2 wrong use.
    """
    given = [
        name
        for name, value in (("pairs", pairs), ("kl", kl), ("run", run_id), ("retention", retention))
        if value is not None
    ]
    if len(given) > 1:
        raise UserError(f"--{given[0]} and --{given[1]} do not go together: give one")
    if scale is not None and pairs is None:
        raise UserError("--scale goes with --pairs")
    if past and given:
        raise UserError(f"--history and --{given[0]} do not go together: the history is of the workspace")
    name = _stage_name(stage)
    if past:
        from dpotui.commands.gates_history import show

        show(
            open_workspace(Path(workspace or ".")),
            _shown_stage(stage, name),
            None if name is None else STAGES[name],
            as_json,
        )
        return
    if given and given[0] in _OPTIONS:
        wanted = _OPTIONS[given[0]]
        if name not in (None, wanted):
            raise UserError(f"--{given[0]} is for stage {wanted}, not {name}")
        for option, value in (("kl", kl), ("retention", retention)):
            if value is not None and value < 0:
                raise UserError(f"--{option} {value:g}: it cannot be negative")
        name = wanted
        results = gates.enforced(
            wanted,
            dpo_pairs_path=pairs,
            kl_divergence=kl,
            capability_retention=retention,
            workspace=_workspace_if_any(workspace),
            scale=scale,
        )
    else:
        results, name = _of_workspace(open_workspace(Path(workspace or ".")), name, run_id)
    verdict = gates.overall(results)
    if as_json:
        click.echo(
            json.dumps(
                _document(_shown_stage(stage, name), verdict, results), indent=2, ensure_ascii=False, allow_nan=False
            )
        )
    else:
        table(results)
        where = f"stage {STAGES[name]} {name}" if name is not None else "all stages"
        click.echo(f"\n{where}: {verdict}" if verdict else f"{where}: no gates")
    sys.exit(0 if verdict in ("PASS", None) else 1)


def _shown_stage(stage: str | None, name: str | None) -> str | int | None:
    """As it was asked for: by its number or its name."""
    return STAGES[name] if stage is not None and stage.isdigit() and name is not None else name


def _stage_name(stage: str | None) -> str | None:
    if stage is None:
        return None
    names = {str(number): name for name, number in STAGES.items()}
    name = names.get(stage, stage)
    if name in STAGES:
        return name
    near = difflib.get_close_matches(stage, list(STAGES), 1)
    hint = f"did you mean {near[0]}?" if near else f"0 to 7, or {', '.join(STAGES)}"
    raise UserError(f"'{printable(stage)}' is no stage: {hint}")


def _workspace_if_any(folder: str | None) -> Workspace | None:
    """The workspace around the current folder, if there is one; one that is named must be there."""
    try:
        return open_workspace(Path(folder or "."))
    except UserError:
        if folder is not None:
            raise
        return None


def _of_workspace(workspace: Workspace, name: str | None, run_id: str | None) -> tuple[list[GateResult], str | None]:
    db = open_store(workspace.database)
    try:
        if run_id is None:
            results = gates.evaluate(db, workspace, None if name is None else STAGES[name])
            gates.record(db, results)
            return results, name
        run = runs.get(db, run_id)
        number = run.stage if name is None else STAGES[name]
        names = {number: name for name, number in STAGES.items()}
        return gates.evaluate_run(db, workspace, run, number), names[number]
    finally:
        db.close()


def _document(stage: str | int | None, verdict: str | None, results: list[GateResult]) -> dict[str, Any]:
    return {"stage": stage, "verdict": verdict, "gates": [_gate(result) for result in results]}


def _gate(result: GateResult) -> dict[str, Any]:
    gate = result.gate
    known = result.low is not None and result.high is not None
    return {
        "name": gate.name,
        "value": result.value if result.value is not None and math.isfinite(result.value) else None,
        "op": gate.ascii_op,
        "threshold": gate.threshold,
        "verdict": result.verdict,
        "n": result.n,
        "interval": [result.low, result.high] if known else None,
        "run": result.run,
        "source": result.source,
        "reason": result.reason,
        "stage": gate.stage,
        "title": gate.title,
        "fact": gate.fact,
        "unit": gate.unit,
        "threshold_from": {"file": gate.file, "key": gate.key or None},
        "time": result.time or None,
    }


def table(results: list[GateResult]) -> None:
    """Aligned columns; the last one is as long as it is."""
    rows = [("verdict", "gate", "value", "target", "95 % interval", "n", "run", "why or where from")] if results else []
    stage = len({result.gate.stage for result in results}) > 1
    for result in results:
        interval = ""
        if result.low is not None and result.high is not None:
            interval = f"{result.low:.4g} to {result.high:.4g}"
        why = result.source if result.verdict in ("PASS", "FAIL") else result.reason
        rows.append(
            (
                result.verdict,
                f"{result.gate.stage} {result.gate.title}" if stage else result.gate.title,
                result.shown if result.verdict != "UNKNOWN" else "—",
                result.gate.target,
                interval,
                "" if result.n is None else str(result.n),
                result.run or "",
                printable(why),
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(7)] if rows else []
    # A column that nothing stands in is left out.
    kept = [column for column in range(7) if any(row[column] for row in rows[1:])]
    for row in rows:
        click.echo("  ".join([row[c].ljust(widths[c]) for c in kept] + [row[7]]).rstrip())
