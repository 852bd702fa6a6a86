"""The model card: README.md with front matter as the hub reads it; each figure from a fact, what is not known said."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from core.config.export import ExportConfig
from core.handover.evidence import Evidence
from core.handover.scoring import Agreement
from core.handover.subject import Subject
from core.report.document import Block, Bullets, Cell, Paragraph, Report, Section, cell, row, table
from core.report.markdown import escape, render
from core.report.numbers import NOTHING, interval, number
from core.report.provenance import data_lineage, environment
from core.report.sources import Sources
from core.store.facts import Fact

# Facts that a reader of a card looks for, and what they are called there.
_FIGURES = {
    "eval.win_rate": "win rate against the model before DPO",
    "eval.win_rate_length_controlled": "the same at equal length",
    "eval.preference_accuracy": "preference accuracy, held-out pairs",
    "eval.preference_gap": "preference gap (mean reward margin), held-out pairs",
    "eval.kl_divergence": "KL from the reference, on its own responses",
    "eval.retention": "capability retention, mean of the benchmarks",
    "eval.retention_worst": "capability retention, worst benchmark",
    "eval.critical_regressions": "benchmarks that lost more than a tenth",
    "eval.perplexity": "perplexity, validation responses",
    "eval.human_score": "human score",
    "eval.human_agreement": "agreement of the raters",
    "eval.decontamination": "share of training pairs without items of the benchmarks",
    "dpo.preference_accuracy": "preference accuracy, validation pairs",
    "dpo.preference_gap": "preference gap, validation pairs",
    "dpo.kl_divergence": "KL from the reference at the end of training",
    "sft.perplexity": "perplexity of the model before DPO",
}
# Sections and keys of a run's configuration that say how it was trained.
_SETTINGS = {
    "training": ("beta", "loss_type", "label_smoothing", "learning_rate", "batch_size", "gradient_accumulation_steps",
                 "max_steps", "warmup_steps", "seed"),
    "optimization": ("optimizer", "weight_decay", "max_grad_norm", "lr_scheduler"),
    "adapter": ("type", "rank", "alpha", "scale", "dropout", "num_layers", "keys"),
    "data": ("train_file", "validation_file", "max_prompt_length", "max_response_length", "apply_chat_template"),
    "constraints": ("kl_target", "preference_gap_target"),
}  # fmt: skip
_METHODS = {"dpo": "Direct Preference Optimization", "sft": "supervised fine-tuning"}


@dataclass(frozen=True, slots=True)
class Contents:
    """What was written beside the card, and what it was found to be."""

    weights: str
    parameters: int
    bits: int | None
    gguf: str | None  # the file
    peft: dict[str, Any] | None  # its adapter_config.json
    in_transformers: str  # why transformers is not said to open it; "" where it does
    agreement: Agreement
    peft_agreement: Agreement | None
    scored_in: str = "float32"


def front(evidence: Evidence, contents: Contents) -> str:
    """The YAML between the first two lines of dashes."""
    chain = evidence.chain
    found: dict[str, Any] = {}
    if evidence.license is not None:
        found["license"] = evidence.license
    if evidence.hub is not None:
        found["base_model"] = evidence.hub
        found["base_model_relation"] = (
            "quantized" if chain.dpo is None and chain.sft is None and contents.bits else "finetune"
        )
    tags = ["mlx", *(["dpo", "preference-optimization"] if chain.dpo else []), *(["sft"] if chain.sft else [])]
    tags += ["gguf"] if contents.gguf else []
    tags += [f"{contents.bits}-bit"] if contents.bits else []
    found |= {"library_name": "mlx", "pipeline_tag": "text-generation", "tags": tags}
    return f"---\n{yaml.safe_dump(found, sort_keys=False)}---\n"


def card(sources: Sources, subject: Subject, evidence: Evidence, config: ExportConfig, contents: Contents) -> str:
    parts = [
        front(evidence, contents),
        f"# {escape(title(sources, subject, evidence))}\n",
        *_lead(sources, subject, evidence),
    ]
    parts += ["## Use\n", *_use(contents)]
    sections = (
        _model(sources, subject, evidence, contents),
        _agreement(sources, config, contents),
        _training(sources, evidence),
        data_lineage(sources, evidence.chain) if evidence.chain.runs else None,
        _figures(sources, evidence),
        _benchmarks(sources, evidence),
        _gates(sources, evidence),
        _missing(sources, evidence),
        _decision(sources, evidence),
        environment(sources, evidence.chain) if evidence.chain.runs else None,
    )
    for section in sections:
        if section is not None:
            parts.append("\n".join(line.text for line in list(render(Report("", (), (section,))))[2:]))
    parts.append("Every figure above was measured by the run that stands beside it; `export.json` names the hashes, "
                 "and `SHA256SUMS` is for `sha256sum -c` or `shasum -a 256 -c`.\n")  # fmt: skip
    return re.sub(r"\n{3,}", "\n\n", "\n".join(parts))


def title(sources: Sources, subject: Subject, evidence: Evidence) -> str:
    base = short(evidence.base or subject.base.name)
    run = subject.run
    if run is None:
        return sources.clean(subject.folder.name, 80)
    named = run.name if run.name != run.id else f"{base} after {'DPO' if run.kind == 'dpo' else 'SFT'}"
    return sources.clean(f"{named} ({run.id})", 100)


def short(name: str) -> str:
    return name.rstrip("/").rsplit("/", 1)[-1]


def _lead(sources: Sources, subject: Subject, evidence: Evidence) -> Iterator[str]:
    run = subject.run
    began = sources.clean.path(evidence.hub or evidence.base or "a model that is not recorded")
    if run is None:
        yield escape("A model folder that no run of its workspace wrote: how it was trained is not recorded.") + "\n"
    else:
        step = f", checkpoint {subject.checkpoint}" if subject.checkpoint is not None else ""
        yield escape(f"Trained with {_METHODS[run.kind]} from {began} by {run.id}{step}, in dpotui with MLX.") + "\n"
    if evidence.hub is None:
        yield escape("Its base is not known by a name on the hub, so base_model is left out above.") + "\n"
    told = "left out above: no card of its base names one, so ask whoever made it before you pass this on"
    words = f"{evidence.license}, as {sources.clean.path(evidence.license_from)} has it" if evidence.license else told
    yield escape(f"License: {words}.") + "\n"


def _use(contents: Contents) -> Iterator[str]:
    yield '```sh\npython -m mlx_lm generate --model THIS_FOLDER --prompt "…"\n```\n'
    if not contents.in_transformers:
        yield (
            "```python\nfrom transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
            'model = AutoModelForCausalLM.from_pretrained("THIS_FOLDER")\n'
            'tokenizer = AutoTokenizer.from_pretrained("THIS_FOLDER")\n```\n'
        )
    else:
        yield escape(f"transformers is not said to open it: {contents.in_transformers}.") + "\n"
    if contents.peft is not None:
        yield (
            "The adapter alone, on the model that `peft/adapter_config.json` names:\n\n```python\n"
            "from peft import PeftModel\nfrom transformers import AutoModelForCausalLM\n\n"
            'base = AutoModelForCausalLM.from_pretrained("BASE_MODEL")\n'
            'model = PeftModel.from_pretrained(base, "THIS_FOLDER/peft")\n```\n'
        )
    if contents.gguf is not None:
        yield f"```sh\nllama-cli -m THIS_FOLDER/{contents.gguf}\n```\n"


def _model(sources: Sources, subject: Subject, evidence: Evidence, contents: Contents) -> Section:
    run, chain = subject.run, evidence.chain
    rows = [
        row("made by", cell(run.id, f", {_METHODS[run.kind]}") if run else "no run of this workspace"),
        row("began from", sources.clean.path(evidence.base or NOTHING)),
        row("weights", contents.weights),
        row("parameters", f"{contents.parameters:,}"),
    ]
    if chain.dpo is not None:
        reference = str((chain.dpo.config.get("model") or {}).get("reference_model", NOTHING))
        rows.append(row("reference of DPO", sources.clean.path(reference)))
    if chain.sft is not None:
        rows.append(row("SFT by", chain.sft.id))
    if contents.peft is not None:
        peft = contents.peft
        kind = "DoRA" if peft["use_dora"] else "LoRA"
        rows.append(row("adapter in peft/", sources.clean(
            f"{kind}, r {peft['r']}, alpha {peft['lora_alpha']:g}, on {', '.join(peft['target_modules'])};"
            f" stands on {peft['base_model_name_or_path']}", 400)))  # fmt: skip
    return Section("model", "Model", (table(("", ""), rows),))


def _agreement(sources: Sources, config: ExportConfig, contents: Contents) -> Section:
    found = contents.agreement
    rows = f"{found.rows} {'examples' if config.examples else 'pairs'} of {config.pairs}"
    words = f"These files were loaded again and scored against the model that was trained, in {contents.scored_in}"
    blocks: list[Block] = [Paragraph((sources.clean(f"{words}, on {rows}: {found.words}.", 600),))]
    if contents.peft_agreement is not None:
        text = f"The adapter in peft/, merged as PEFT defines it: {contents.peft_agreement.words}."
        blocks.append(Paragraph((sources.clean(text, 600),)))
    return Section("agreement", "The same as what was trained", tuple(blocks))


def _training(sources: Sources, evidence: Evidence) -> Section | None:
    trained = [run for run in (evidence.chain.sft, evidence.chain.dpo) if run is not None]
    if not trained:
        return None
    blocks: list[Block] = []
    for run in trained:
        rows = []
        for section, keys in _SETTINGS.items():
            values = run.config.get(section)
            # Of a training of every weight the rank of no adapter tells anything.
            alone = section == "adapter" and isinstance(values, dict) and values.get("type") == "full"
            for key in ("type",) if alone else keys:
                if isinstance(values, dict) and values.get(key) is not None:
                    rows.append(row(f"{section}.{key}", sources.config(run.id, f"{section}.{key}")))
        rows.append(row("steps", sources.run_figure(run.id, "steps")))
        blocks += [Paragraph((f"{run.id}: {_METHODS[run.kind]}",)), table(("key", "value"), rows)]
    return Section("training", "Training", tuple(blocks))


def _figures(sources: Sources, evidence: Evidence) -> Section:
    rows = []
    for name, words in _FIGURES.items():
        fact = evidence.facts.get(name)
        if fact is None or fact.value is None:
            continue
        stale = evidence.stale.get(name)
        where = sources.clean(f"STALE: {stale}; {fact.source}" if stale else fact.source or NOTHING, 320)
        rows.append(row(words, _value(fact), interval(fact.low, fact.high), _count(fact.n), fact.run or NOTHING, where))
    blocks: tuple[Block, ...] = (Paragraph(("Nothing was measured of this model.",), "warn"),)
    if rows:
        blocks = (table(("what", "value", "95 % interval", "n", "run", "where from"), rows, (1, 3)),)
    return Section("evaluation", "Evaluation", blocks)


def _value(fact: Fact) -> str:
    return number(fact.value, fact.unit)


def _count(n: int | None) -> str:
    return NOTHING if n is None else str(n)


def _benchmarks(sources: Sources, evidence: Evidence) -> Section | None:
    if not evidence.benchmarks:
        return None
    rows = []
    for name, pair in evidence.benchmarks.items():
        cells: list[str | Cell] = []
        for result in pair:
            told = ["not measured", NOTHING, NOTHING]
            if result is not None:
                told = [number(result.value), interval(result.low, result.high), str(result.n)]
            cells += told
        chance = next((each.chance for each in pair if each is not None), None)
        rows.append(row(sources.clean(name, 60), *cells, number(chance)))
    head = ("benchmark", "this model", "95 % interval", "n", "before DPO", "95 % interval", "n", "chance")
    return Section("benchmarks", "Benchmarks", (table(head, rows, (1, 3, 4, 6, 7)),))


def _gates(sources: Sources, evidence: Evidence) -> Section:
    rows = []
    for found in evidence.gates:
        if found.verdict == "UNKNOWN":
            continue
        name = f"{found.gate.stage} {sources.clean(found.gate.title, 60)}"
        value = found.shown if found.value is not None else NOTHING
        why = sources.clean(found.source if found.verdict in ("PASS", "FAIL") else found.reason, 240)
        rows.append(row(name, found.verdict, value, found.gate.target, interval(found.low, found.high), _count(found.n),
                        found.run or NOTHING, why))  # fmt: skip
    verdicts = [found.verdict for found in evidence.gates]
    counts = ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in ("PASS", "FAIL", "STALE", "UNKNOWN"))
    if evidence.no_gates:
        return Section(
            "gates", "Quality gates", (Paragraph((sources.clean(f"Not judged: {evidence.no_gates}"),), "warn"),)
        )
    words = f"{counts}. UNKNOWN was not measured of this model or its data, and is not a pass."
    head = ("stage and gate", "verdict", "value", "target", "95 % interval", "n", "run", "where from")
    blocks: list[Block] = [Paragraph((words,))]
    return Section("gates", "Quality gates", (*blocks, *([table(head, rows, (2, 3, 5))] if rows else [])))


def _missing(sources: Sources, evidence: Evidence) -> Section:
    """What this card cannot speak of."""
    items = (
        [cell(sources.clean(f"{evidence.why_less}: its figures are left out here", 240))] if evidence.why_less else []
    )
    gated = {found.gate.fact for found in evidence.gates}
    for found in evidence.gates:
        if found.verdict == "UNKNOWN":
            title = f"gate of stage {found.gate.stage}, {found.gate.title}: {found.reason}"
            items.append(cell(sources.clean(title, 240)))
    for name, words in _FIGURES.items():
        fact = evidence.facts.get(name)
        if name in gated or (fact is not None and fact.value is not None):
            continue
        why = fact.source if fact is not None and fact.source else "not measured of these weights"
        items.append(cell(sources.clean(f"{words}: {why}", 240)))
    items.append(cell("bias, toxicity, factuality and safety beyond what stands above: not measured"))
    return Section("missing", "Not measured", (Bullets(tuple(items)),))


def _decision(sources: Sources, evidence: Evidence) -> Section | None:
    made = evidence.decision
    if made is None:
        return None
    words = cell("Decision on this model: ", made.choice, ", ", sources.clean(made.note, 2000))
    against = f" Against criteria that were not met: {', '.join(made.against)}." if made.against else ""
    return Section("decision", "Decision", (Paragraph(cell(*words, sources.clean(against, 400))),))
