"""A run of kind `sft`: from a base model and examples to a model folder that DPO takes as reference and policy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx

from core.config import SFTConfig
from core.data.batches import padded_width
from core.data.packing import Packed, fill_rows
from core.data.tokenize import Tokens
from core.models.adapters import fuse, make_trainable, save_adapters
from core.models.load import LanguageModel, resolve
from core.models.save import save, whole_folder
from core.store import facts
from core.store.facts import Fact
from core.store.log import Level
from core.training import checkpoints
from core.training.context import Context
from core.training.loop import fit
from core.training.prepare import (
    batch_limit,
    claim_output,
    evaluated,
    load_examples,
    load_for,
    plan_of,
    standing_alone,
    use_machine,
)
from core.training.ranks import ALONE, Ranks
from core.training.samples import sampler_of
from core.training.sft import SFT


def run(context: Context) -> None:
    """Train, write the model folder `model.checkpoint`, record stage 1's facts."""
    config = SFTConfig.model_validate(context.run.config)
    me = context.run.id
    folder = claim_output(context, config.logging.output_dir)
    dtype = use_machine(context, config)
    path = resolve(context.workspace, config.model.base_model)
    model_hash = context.reads(str(path))
    base = standing_alone(context, load_for(context, config.model.base_model, config, dtype), path, config, folder)
    train = load_examples(context, base, config.data.train_file, config)
    validation = load_examples(context, base, config.data.validation_file, config)
    files = context.reads(config.data.train_file, config.data.validation_file)
    share = len(validation) / (len(train) + len(validation))
    facts.record(
        context.db,
        Fact("sft.base_model_verified", 1.0, run=me, source=f"{config.model.base_model} loaded", inputs=model_hash),
        Fact("sft.config_valid", 1.0, run=me, source=context.run.config_path or "configuration accepted"),
        Fact("sft.data_valid", 1.0, run=me, n=len(train) + len(validation), source="rows read", inputs=files),
        Fact(
            "sft.validation_share",
            100 * share,
            unit="%",
            run=me,
            n=len(train) + len(validation),
            source=f"{len(train)} training, {len(validation)} validation rows",
            inputs=files,
        ),
    )

    mx.random.seed(config.training.seed)
    make_trainable(base.model, config.adapter)

    def write_model(target: Path) -> None:
        if config.adapter.type != "full":
            save_adapters(base.model, config.adapter, base.path.resolve(), target)
        else:
            save(base, target)

    held_out = evaluated(validation, config.training.eval_pairs, config.training.seed)

    def objective(packed: Packed | None = None, ranks: Ranks = ALONE) -> SFT:
        limit = batch_limit(config)
        return SFT(base.model, train, held_out, batch_size=limit, write_model=write_model, packed=packed, ranks=ranks)

    trained = objective(packing_of(config, train) if config.training.packing else None, context.ranks)
    say_packing(context, trained)
    sampler = sampler_of(context, config, base)
    outcome = fit(trained, replace(plan_of(config), batch_size=trained.size), context, folder, sampler)
    evaluation = outcome.evaluation

    target = context.workspace.path(config.model.checkpoint)
    context.progress(outcome.state.step, config.training.max_steps, f"writing {config.model.checkpoint}")
    keep_earlier(context, target)
    quantized = "quantization" in base.config
    fuse(base.model, dequantize=quantized and config.model.dequantize)
    if quantized:
        # Merged weights are rounded anew: what is handed over is what is measured.
        before = evaluation["eval_perplexity"]
        evaluation = objective().evaluate(outcome.state.step, lambda: False) or evaluation
        what = "written without quantization" if config.model.dequantize else "quantized again"
        level: Level = "info" if config.model.dequantize else "warning"
        context.log(f"{what}: perplexity {before:.3f} → {evaluation['eval_perplexity']:.3f}", level)
    with whole_folder(target) as part:
        save(LanguageModel(base.model, base.tokenizer, written_config(base.config, config), base.path), part)
        checkpoints.write_metrics(part, {"run": me, "best": outcome.best.name, **evaluation})
    context.artifact("model", config.model.checkpoint)
    inputs = context.inputs(config.model.checkpoint)
    facts.record(
        context.db,
        Fact("sft.finished", 1.0, run=me, source=f"{outcome.state.step} steps", inputs=files),
        Fact(
            "sft.perplexity",
            evaluation["eval_perplexity"],
            run=me,
            n=len(held_out),
            source=f"{config.data.validation_file}, response tokens",
            inputs={**inputs, **context.inputs(config.data.validation_file)},
        ),
        Fact(
            "sft.checkpoint_saved", 1.0, run=me, text=config.model.checkpoint, source="sha256 recorded", inputs=inputs
        ),
        Fact("sft.logs_saved", 1.0, run=me, source="log and metrics in runs.db"),
    )


def packing_of(config: SFTConfig, train: Sequence[Tokens]) -> Packed:
    """Rows as wide as the longest example: as many as `batch_size`, or as fit into `batch_tokens`."""
    width = padded_width(max(example.length for example in train))
    limit = batch_limit(config)
    if isinstance(limit, int):
        return Packed(limit, width)
    limit.refuse([width])
    return Packed(limit.usual([width]), width)


def say_packing(context: Context, objective: SFT) -> None:
    if objective.why_not_packed:
        context.log(f"training.packing: true: not for this model: {objective.why_not_packed}", "warning")
    if isinstance(objective.size, Packed):
        width, tokens = objective.size.width, sum(objective.lengths)
        rows = len(fill_rows(range(len(objective.lengths)), objective.lengths, width))
        share = 100 * tokens / (rows * width)
        context.log(f"{len(objective.lengths)} examples packed into {rows} rows of {width} tokens, {share:.1f} % full")


def written_config(read: dict[str, Any], config: SFTConfig) -> dict[str, Any]:
    """config.json of the finished model."""
    left_out = {"quantization", "quantization_config"} if config.model.dequantize else set()
    return {key: value for key, value in read.items() if key not in left_out}


def keep_earlier(context: Context, target: Path) -> None:
    """A model folder that stands where this run's goes is moved aside, not overwritten."""
    if not target.exists() or not any(target.iterdir()):
        return
    number = 1
    while (aside := target.with_name(f"{target.name}-earlier-{number}")).exists():
        number += 1
    target.rename(aside)
    context.log(f"the model that stood in {target.name} is kept in {aside.name}", "warning")
