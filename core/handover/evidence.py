"""What was measured of one model, and of the data and models it was made from: of these very bytes, or not at all."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from core import gates
from core.errors import UserError
from core.gates import Gate, GateResult
from core.gates.thresholds import DPO_FILE
from core.handover.subject import Subject
from core.model_folder import find_folder
from core.report.chain import Chain, setting
from core.runs.lineage import writer
from core.store import Database, benchmarks, decisions, facts, files, runs
from core.store.benchmarks import Result
from core.store.decisions import Decision
from core.store.facts import Fact
from core.store.runs import Kind, Run
from core.workspace import Workspace

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
# Where the hub's cache keeps a model.
_SNAPSHOT = re.compile(r"/models--(?P<owner>[\w.-]+?)--(?P<name>[\w.-]+)/snapshots/")
_LICENSE = re.compile(r"[a-z0-9][a-z0-9.+-]{1,40}")
_FRONT = re.compile(r"\A---\r?\n(.*?)\r?\n---\s*(?:\n|\Z)", re.DOTALL)
_LONGEST_README = 1_000_000


@dataclass(frozen=True, slots=True)
class Evidence:
    """`facts` and `gates` speak of the model that is handed over and of what it was made from, of no other.

    Attributes:
        base: what training began from, as the configuration names it.
        hub: its name on the hub, where it has one.
        license: as the base says it; `license_from` where that stands.
        no_gates: why no gate could be judged.
        why_less: why what the run measured does not speak of this model; "" where it does.
    """

    chain: Chain
    facts: dict[str, Fact]
    gates: list[GateResult]
    benchmarks: dict[str, tuple[Result | None, Result | None]]  # final and baseline
    decision: Decision | None
    base: str | None
    hub: str | None
    license: str | None
    license_from: str = ""
    why_less: str = ""
    no_gates: str = ""
    stale: dict[str, str] = field(default_factory=dict)


def gather(workspace: Workspace, db: Database, subject: Subject) -> Evidence:
    run = subject.run
    dpo = run if run is not None and run.kind == "dpo" else None
    digest = files.sha256(db, workspace, subject.name)
    final = _evaluation(db, "final", {digest}) if dpo else None
    sft = run if run is not None and run.kind == "sft" else _sft(db, dpo)
    start = {run.inputs.get(str(setting(dpo, "model", "reference_model")))} if run is not None and dpo else {digest}
    baseline = _evaluation(db, "baseline", start)
    less = _why_less(db, subject)
    of_data = _check(db, dpo, "data_check", setting(dpo, "data", "train_file"))
    of_start = _check(db, dpo, "init_check", setting(dpo, "model", "reference_model"))
    checks = tuple(check for check in (of_data, of_start) if check is not None)
    chain = Chain(sft, _reward(db, final), dpo, baseline, final, checks)
    measuring = [*checks, sft, baseline, chain.reward, *(() if less else (dpo,)), final]
    found: dict[str, Fact] = {}
    for each in measuring:
        found |= facts.of_run(db, each.id) if each is not None else {}
    stale = {name: why for name, fact in found.items() if (why := files.stale_reason(db, workspace, fact))}
    after, before = (
        {one.name: one for one in benchmarks.of_run(db, each.id)} if each else {} for each in (final, baseline)
    )
    judged, no_gates = _gates(workspace, chain, found, stale)
    decision = decisions.latest(db)
    base = setting(sft, "model", "base_model") or setting(dpo, "model", "base_model")
    license, where = _license(workspace, [subject.base, *_folders(workspace, base)])
    return Evidence(
        chain=chain,
        facts=found,
        gates=judged,
        no_gates=no_gates,
        benchmarks={name: (after.get(name), before.get(name)) for name in dict.fromkeys([*after, *before])},
        decision=decision if decision is not None and final is not None and decision.run == final.id else None,
        base=base,
        hub=hub_name(workspace, base) if base else hub_name(workspace, str(subject.base)),
        license=license,
        license_from=where,
        why_less=less,
        stale=stale,
    )


def hub_name(workspace: Workspace, name: str) -> str | None:
    """The name that a model has on the hub: it is called so and no folder here is, or lies in the hub's cache."""
    cached = _SNAPSHOT.search(f"{name}/")
    if cached is not None:
        return f"{cached['owner']}/{cached['name']}"
    return name if _HUB_ID.fullmatch(name) and not workspace.path(name).exists() else None


def _why_less(db: Database, subject: Subject) -> str:
    """What a run measures at its end is of the checkpoint that it hands over."""
    run = subject.run
    if run is None:
        return "no run of this workspace wrote these files"
    if subject.checkpoint is None:
        return ""
    best = facts.of_run(db, run.id).get("dpo.best_checkpoint")
    if best is not None and best.text is not None and best.text.endswith(f"/checkpoint-{subject.checkpoint}"):
        return ""
    return f"what {run.id} measured at its end is not of its checkpoint {subject.checkpoint}"


def _evaluation(db: Database, subject: str, digests: set[str | None]) -> Run | None:
    """The newest finished evaluation that read a model of these bytes as its subject."""
    role = "final" if subject == "final" else "baseline"
    for run in runs.listing(db, kind="evaluate", states=("finished",)):
        what = (run.config.get("evaluation") or {}).get("subject", "final")
        named = setting(run, "model", role)
        if what == subject and named is not None and run.inputs.get(named) in digests - {None}:
            return run
    return None


def _sft(db: Database, dpo: Run | None) -> Run | None:
    name = setting(dpo, "model", "reference_model")
    if dpo is None or name is None:
        return None
    wrote = writer(db, name, sha256=dpo.inputs.get(name), kind="sft", before=dpo.started or dpo.created)
    return runs.get(db, wrote) if wrote else None


def _reward(db: Database, final: Run | None) -> Run | None:
    """The training of the reward model that judged the answers."""
    if final is None:
        return None
    for name, digest in final.inputs.items():
        wrote = writer(db, name, sha256=digest, kind="reward", before=final.started or final.created)
        if wrote is not None:
            return runs.get(db, wrote)
    return None


def _check(db: Database, dpo: Run | None, kind: Kind, name: str | None) -> Run | None:
    """The newest run of a kind that looked at the very file or model that was trained on."""
    if dpo is None or name is None:
        return None
    for run in runs.listing(db, kind=kind, states=("finished",)):
        if name in run.inputs and run.inputs[name] == dpo.inputs.get(name):
            return run
    return None


def _gates(
    workspace: Workspace, chain: Chain, found: dict[str, Fact], stale: dict[str, str]
) -> tuple[list[GateResult], str]:
    """Every gate, with the targets that the runs themselves had; and why there is none."""
    try:
        usual = gates.load_gates(workspace)
    except UserError as error:
        return [], str(error).splitlines()[0]
    results = []
    for stage in range(1, 8):
        own = _own_gates(workspace, chain, stage) or usual
        wanted = [gate for gate in own if gate.stage == stage]
        results += [gates.judge(gate, found.get(gate.fact), stale.get(gate.fact)) for gate in wanted]
    return results, ""


def _own_gates(workspace: Workspace, chain: Chain, stage: int) -> list[Gate]:
    """With the targets of the run that measured them; none where its configuration has not all of them."""
    run, file = {5: (chain.dpo, DPO_FILE), 7: (chain.final, "eval_config.yaml")}.get(stage, (None, ""))
    try:
        return gates.load_gates(workspace, run.config, file) if run is not None else []
    except UserError:
        return []


def _folders(workspace: Workspace, name: str | None) -> list[Path]:
    folder = find_folder(workspace, name) if name else None
    return [folder] if folder is not None else []


def _license(workspace: Workspace, folders: list[Path]) -> tuple[str | None, str]:
    """The license that a model's own card names."""
    for folder in folders:
        named = front_matter(folder / "README.md").get("license")
        if isinstance(named, str) and _LICENSE.fullmatch(named):
            return named, f"{workspace.relative(folder)}/README.md"
    return None, ""


def front_matter(file: Path) -> dict[str, Any]:
    """What stands between the first two lines of dashes of a model card; empty where there is none to read."""
    try:
        if file.stat().st_size > _LONGEST_README:
            return {}
        match = _FRONT.match(file.read_text("utf-8", "replace"))
        found = yaml.safe_load(match[1]) if match else None
    except (OSError, yaml.YAMLError, RecursionError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
