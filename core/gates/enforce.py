"""The workflow's own scripts: enforce the gates of a stage on a file or a value, check those of a training run."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from core.data.decontamination import decontaminate, decontamination_fact, find_benchmarks
from core.data.gap import Scale
from core.data.pairs import Pair, read_pairs
from core.data.quality import data_facts, measure, validate_dpo_pairs
from core.errors import UserError
from core.gates.thresholds import FILE, load_gates
from core.gates.verdicts import GateResult, judge, overall
from core.store.facts import Fact
from core.text import one_line
from core.workspace import Workspace


def enforced(
    stage: str,
    dpo_pairs_path: Path | None = None,
    kl_divergence: float | None = None,
    capability_retention: float | None = None,
    *,
    workspace: Workspace | None = None,
    scale: Scale | None = None,
) -> list[GateResult]:
    """Judge the gates that `enforce_gates` looks at, on what is given.

    Raises:
        UserError: the stage is none of the three, or what it needs is not given.
    """
    if stage == "preference_data":
        if dpo_pairs_path is None:
            raise UserError("dpo_pairs_path required for preference_data stage")
        known = {fact.name: fact for fact in data_facts(measure(Path(dpo_pairs_path), scale=scale))}
        benchmarks = find_benchmarks(workspace) if workspace is not None else []
        if benchmarks:
            pairs = (row for row in read_pairs(Path(dpo_pairs_path)) if isinstance(row, Pair))
            compared = decontamination_fact(decontaminate(pairs, benchmarks), [Path(dpo_pairs_path)])
            known[compared.name] = compared
    elif stage == "dpo_training":
        if kl_divergence is None:
            raise UserError("kl_divergence required for dpo_training stage")
        known = {"dpo.kl_divergence": Fact("dpo.kl_divergence", float(kl_divergence), source="given")}
    elif stage == "evaluation":
        if capability_retention is None:
            raise UserError("capability_retention required for evaluation stage")
        known = {"eval.retention": Fact("eval.retention", float(capability_retention), "%", source="given")}
    else:
        raise UserError(f"Unknown stage '{one_line(stage, 40)}'")
    gates = [gate for gate in load_gates(workspace) if gate.enforce == stage]
    if not gates:
        raise UserError(f"{FILE} has no gate with 'enforce: {stage}': nothing would be enforced")
    now = time.time()
    found = [known.get(gate.fact) for gate in gates]
    return [judge(gate, fact and replace(fact, time=now)) for gate, fact in zip(gates, found, strict=True)]


def enforce_gates(
    stage: str,
    dpo_pairs_path: Path | None = None,
    kl_divergence: float | None = None,
    capability_retention: float | None = None,
    *,
    workspace: Workspace | None = None,
    out: Callable[[str], None] = print,
) -> bool:
    """Enforce the quality gates of a stage, and say each with its target.

    Args:
        stage: "preference_data", "dpo_training" or "evaluation".
        dpo_pairs_path: preference pairs, for preference_data.
        kl_divergence: KL(π_θ ‖ π_ref) in nats per token, for dpo_training.
        capability_retention: in percent, for evaluation.
        workspace: whose thresholds count; without one those of the templates.
        out: takes each line.

    Returns:
        True if all gates passed. A gate that could not be measured has not.
    """
    rule = "=" * 60
    out(f"\n{rule}\nQuality Gate Enforcement: {one_line(stage, 40)}\n{rule}\n")
    missing = {
        "preference_data": ("dpo_pairs_path", dpo_pairs_path),
        "dpo_training": ("kl_divergence", kl_divergence),
        "evaluation": ("capability_retention", capability_retention),
    }
    if stage not in missing:
        out(f"❌ Error: Unknown stage '{one_line(stage, 40)}'")
        return False
    name, value = missing[stage]
    if value is None:
        out(f"❌ Error: {name} required for {stage} stage")
        return False
    results = enforced(stage, dpo_pairs_path, kl_divergence, capability_retention, workspace=workspace)
    for result in results:
        why = f" - {result.reason}" if result.verdict == "UNKNOWN" else ""
        out(f"{result.gate.title}: {result.shown} (target {result.gate.target}){why}")
    passed = overall(results) == "PASS"
    out(f"\n{rule}\nResult: {'✅ PASSED' if passed else '❌ FAILED'}\n{rule}\n")
    return passed


def check_quality_gates(checkpoint_dir: Path, config: Mapping[str, Any] | BaseModel) -> dict[str, Any]:
    """Check the thresholds of a training run: its KL, and the preference gap of its validation data.

    Args:
        checkpoint_dir: folder with `training_metrics.json`.
        config: the run's DPO configuration. Its validation file is meant from the current folder unless absolute.

    Returns:
        `kl_divergence` (infinite where the metrics hold none), `preference_gap` (None where the pairs have no scores),
        and `gates_passed`. Without the metrics file nothing is measured: None, None, False.
    """
    results: dict[str, Any] = {"kl_divergence": None, "preference_gap": None, "gates_passed": False}
    metrics_file = Path(checkpoint_dir) / "training_metrics.json"
    if not metrics_file.exists():
        return results
    if isinstance(config, BaseModel):
        config = config.model_dump(mode="json")
    try:
        kl_target, gap_target = (float(config["constraints"][key]) for key in ("kl_target", "preference_gap_target"))
        validation_file = Path(config["data"]["validation_file"])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            "the configuration needs constraints.kl_target and constraints.preference_gap_target (numbers) and"
            f" data.validation_file: {type(error).__name__} {one_line(str(error), 60)}"
        ) from error
    try:
        metrics = json.loads(metrics_file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise UserError(f"{metrics_file} is not JSON: {one_line(str(error), 80)}") from error
    if not isinstance(metrics, dict):
        raise UserError(f"{metrics_file} holds no metrics: an object is wanted")
    kl = metrics.get("kl_divergence", math.inf)
    if isinstance(kl, bool) or not isinstance(kl, int | float | None):
        raise UserError(f"{metrics_file}: kl_divergence must be a number")
    gap = validate_dpo_pairs(validation_file, gap_threshold=gap_target).avg_gap
    results["kl_divergence"] = kl
    results["preference_gap"] = gap
    results["gates_passed"] = (
        kl is not None
        and gap is not None
        and math.isfinite(kl)
        and math.isfinite(gap)
        and kl <= kl_target
        and gap >= gap_target
    )
    return results
