"""Which model a figure is of: the final one of this report, or one that another round of DPO made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.errors import UserError
from core.report.chain import setting
from core.report.document import Block, Figure, Paragraph, Section, row, table
from core.report.numbers import NOTHING, number
from core.store import facts, runs
from core.store.runs import Run

if TYPE_CHECKING:
    from core.report.sources import Sources

_ROUNDS = 12
_STRAYS = 12
# What was measured of each round: by its DPO run, and by the evaluation of its model.
_TRAINED = ("dpo.kl_divergence", "dpo.preference_gap")
_EVALUATED = ("eval.kl_divergence", "eval.preference_gap", "eval.retention", "eval.win_rate")
_HEAD = ("DPO run", "model", "evaluated by", "KL after training", "margin on validation", "final KL", "final margin",
         "retention", "win rate")  # fmt: skip


def stray(sources: Sources, name: str, run_id: str | None) -> str:
    """Of what else a fact is than of the models of this report; "" where it is of them."""
    chain = sources.chain
    try:
        run = sources.run(run_id) if run_id else None
    except UserError:
        return ""
    if run is None:
        return ""
    subject = name.partition(".")[0]
    if run.kind == "evaluate" and subject in ("eval", "sft"):
        role, wanted = ("final", chain.final_model) if subject == "eval" else ("baseline", chain.baseline_model)
        model = setting(run, "model", role)
        if model is not None and wanted is not None and model != wanted:
            return sources.clean(f"of {model} ({run.id}), not of {wanted}", 200)
    trained = {"sft": chain.sft, "reward": chain.reward, "dpo": chain.dpo}.get(subject)
    if trained is not None and run.kind == trained.kind and run.id != trained.id:
        return sources.clean(f"of {run.id}, not of {trained.id}", 200)
    return ""


def warnings(sources: Sources) -> list[Block]:
    """What a reader has to know before they read a figure: a newer model, figures of another one."""
    chain = sources.chain
    found: list[Block] = []
    newer = [
        run.id for run in _trained(sources) if chain.dpo and run.created > chain.dpo.created and sources.stands(run)
    ]
    if newer and chain.final is not None and chain.dpo is not None:
        words = f"Newer than this model and not evaluated yet: {', '.join(newer)}. This report does not speak of it."
        found.append(Paragraph((sources.clean(words),), "warn"))
    strays = []
    for result in sources.gates.values():
        if of := stray(sources, result.gate.fact, result.run):
            strays.append(f"gate {result.gate.stage} {result.gate.title} is {of}")
    gated = {result.gate.fact for result in sources.gates.values()}
    for name, fact in sources.facts.items():
        if name not in gated and name.startswith("eval.") and (of := stray(sources, name, fact.run)):
            strays.append(f"{name} is {of}")
    if strays:
        more = f"; and {len(strays) - _STRAYS} more" if len(strays) > _STRAYS else ""
        words = f"Measured on another model, and no evidence for this one: {'; '.join(strays[:_STRAYS])}{more}."
        found.append(Paragraph((sources.clean(words, 1600),), "bad"))
    return found


def rounds(sources: Sources) -> Section | None:
    """All rounds of DPO beside each other, where there was more than one."""
    trained = _trained(sources)
    if len(trained) < 2:
        return None
    evaluations = runs.listing(sources.db, kind="evaluate", states=("finished",))
    rows = []
    for run in trained[-_ROUNDS:]:
        evaluation = _evaluation(run, evaluations)
        here = sources.chain.dpo is not None and run.id == sources.chain.dpo.id
        name = f"{run.id} (this report)" if here else run.id
        rows.append(
            row(
                name,
                sources.clean.path(run.output_dir or NOTHING),
                evaluation.id if evaluation else "not evaluated",
                *(measured(sources, run.id, fact) for fact in _TRAINED),
                *(measured(sources, evaluation.id, fact) if evaluation else NOTHING for fact in _EVALUATED),
            )
        )
    more = len(trained) - _ROUNDS
    words = "Every other section speaks of one model, the one marked here. "
    words += f"The newest {_ROUNDS} of {len(trained)} rounds." if more > 0 else ""
    return Section("rounds", "Rounds of DPO", (Paragraph((words.strip(),)), table(_HEAD, rows, range(3, 9))))


def measured(sources: Sources, run_id: str, name: str) -> Figure:
    """A figure of one run, whatever was measured since."""
    fact = facts.of_run(sources.db, run_id).get(name)
    if fact is None or fact.value is None:
        return Figure(("measured", run_id, name), NOTHING, NOTHING)
    unit = fact.unit if fact.unit == "%" else ""
    return Figure(("measured", run_id, name), number(fact.value, unit), repr(fact.value))


def _trained(sources: Sources) -> list[Run]:
    """Oldest first."""
    found = runs.listing(sources.db, kind="dpo", states=("finished",))
    return [run for run in reversed(found) if not sources.is_trial(run)]


def _evaluation(run: Run, evaluations: list[Run]) -> Run | None:
    """The newest of what this run wrote, before another run wrote there."""
    if not run.output_dir:
        return None
    for each in evaluations:
        model = setting(each, "model", "final") or ""
        final = (each.config.get("evaluation") or {}).get("subject", "final") == "final"
        inside = model == run.output_dir or model.startswith(f"{run.output_dir}/")
        if final and inside and (each.started or each.created) >= (run.started or run.created):
            return each
    return None
