"""A run of kind `generate`: several responses to each prompt, kept as they are finished, written whole at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import mlx.core as mx

from core.config import GenerateConfig, plan
from core.config.models import AUTO
from core.data.manifest import manifest_path, writing
from core.data.prompts import Prompt, Prompts, load_prompts
from core.errors import UserError
from core.generation.candidates_part import NAME, Answer, Part
from core.generation.candidates_pass import Answering, longest
from core.generation.candidates_plan import Pass, passes, strategy
from core.generation.candidates_report import Report
from core.generation.decode import Decoder, bytes_per_row, choose
from core.generation.draw import NotNumbers
from core.generation.refusals import refuse_changed, refuse_to_replace
from core.hardware import memory_limit
from core.models.device import DTYPES, use_device
from core.models.load import LanguageModel, load, resolve
from core.store import facts
from core.store.facts import Fact
from core.text import one_line, printable
from core.training.context import Context
from core.training.prepare import SHOWN, claim_output

# Rows that decode together where that is left to the program: beyond them a machine has enough to do.
_ROWS = {"cpu": 32, "gpu": 64}
# Of the memory that is free once the model is loaded.
_OF_FREE = 0.5


# Lets one model answer the prompts that it has not answered yet.
Answerer = Callable[
    [Context, GenerateConfig, Pass, list[Pass], Path, Part, tuple[Prompt, ...], Literal["gpu", "cpu"]], None
]


def run(context: Context, answers: Answerer | None = None) -> None:
    """`answers`: who does it; without it this thread."""
    config = GenerateConfig.model_validate(context.run.config)
    folder = claim_output(context, config.logging.output_dir)
    output = context.workspace.path(config.data.output_file)
    refuse_to_replace(output, "generate")
    planned = plan(config.compute)
    use_device(planned)
    context.log(f"computes on the {planned.device.upper()}, weights in {planned.dtype}")
    part = Part(folder / NAME)
    try:
        _generate(context, config, part, planned.device, output, answers or answer)
    finally:
        part.close()


def _generate(
    context: Context, config: GenerateConfig, part: Part, device: Literal["gpu", "cpu"], output: Path, answers: Answerer
) -> None:
    every = passes(config)
    models = {one.model: resolve(context.workspace, one.model) for one in every}
    reads = (config.data.prompts_file, *map(str, models.values()))
    if len(part):
        refuse_changed(context, reads, "responses")
    hashes = context.reads(*reads)
    found = _read_prompts(context, config)
    total = len(found.prompts) * config.generation.responses_per_prompt
    context.set_steps(total)
    context.log(strategy(config))
    if len(part):
        context.log(f"goes on: {part.counts['responses']} responses are there")
    for one in every:
        if part.done(one.number) < len(found.prompts):
            answers(context, config, one, every, models[one.model], part, found.prompts, device)
            mx.clear_cache()
    context.progress(total, total, f"writing {config.data.output_file}")
    _write(context, config, every, models, part, found, output, hashes)
    context.progress(total, total, "")


def _read_prompts(context: Context, config: GenerateConfig) -> Prompts:
    name = printable(config.data.prompts_file)
    context.progress(context.run.step, context.run.steps, f"reading {name}")
    found = load_prompts(context.workspace.path(config.data.prompts_file), config.data.limit, SHOWN)
    for row in found.examples:
        context.log(f"left out: {name}:{row.line}: {row.reason}", "warning")
    if found.errors:
        kinds = ", ".join(f"{count} {kind}" for kind, count in found.errors.items())
        context.log(f"left out of {name}: {sum(found.errors.values())} rows ({kinds})", "warning")
    if not found.prompts:
        raise UserError(f"{name} has no prompt: a row is {{'prompt': text or chat messages}}")
    beside = [f"{found.duplicates} rows repeat one of them"] if found.duplicates else []
    beside += [f"{found.beyond} more are beyond data.limit"] if found.beyond else []
    context.log(f"{name}: {len(found.prompts)} different prompts{''.join('; ' + words for words in beside)}")
    return found


def answer(
    context: Context,
    config: GenerateConfig,
    one: Pass,
    every: list[Pass],
    path: Path,
    part: Part,
    prompts: tuple[Prompt, ...],
    device: str,
) -> None:
    """Let one model answer the prompts that it has not answered yet."""
    context.progress(context.run.step, context.run.steps, f"loading {printable(one.model)}")
    loaded = load(
        path, dtype=DTYPES[plan(config.compute).dtype], trust_remote_code=config.model.trust_remote_code, fused=None
    )
    how = part.settled.get(one.number)
    if how is None:
        how = settle(config, one, loaded, prompts, device, context.log)
        part.settle(one.number, how)
    decoder = Decoder(loaded.model, set(loaded.tokenizer.eos_token_ids), size=how["rows"], way=how["way"])
    left_out: Counter[str] = Counter()

    def leave_out(prompt: Prompt, why: str) -> None:
        left_out["prompts"] += 1
        if left_out["prompts"] <= SHOWN:
            name = printable(config.data.prompts_file)
            context.log(f"left out: {name}:{prompt.line}: {one_line(why, 200)}", "warning")

    report = Report(context, one, every, part, decoder, len(prompts))
    try:
        Answering(config, one, loaded, decoder, part, prompts, leave_out).work(report.between)
    except NotNumbers:
        raise UserError(
            f"{printable(one.model)} gives no numbers (NaN): its weights are broken, or overflow in"
            f" {plan(config.compute).dtype}: try compute.dtype: float32"
        ) from None
    report.end()
    if left_out["prompts"] > SHOWN:
        context.log(f"left out: {left_out['prompts']} prompts that {printable(one.model)} cannot take", "warning")


def settle(
    config: GenerateConfig,
    one: Pass,
    loaded: LanguageModel,
    prompts: tuple[Prompt, ...],
    device: str,
    log: Callable[..., None],
) -> dict[str, Any]:
    """How this model decodes here: by what way, and how many rows at a time."""
    name = printable(one.model)
    way, why = choose(loaded.model)
    if way != "together":
        slow = {"prompt": "the responses of one prompt at a time", "alone": "one response at a time"}[way]
        log(f"{name} decodes {slow}, which is slower: {one_line(why, 300)}", "warning")
    data = config.data
    tokens = longest(loaded.tokenizer, prompts, data.apply_chat_template, data.max_prompt_length)
    tokens += max(slot.max_tokens for slot in one.slots)
    each = bytes_per_row(loaded.model, tokens)
    free = memory_limit("gpu" if device == "gpu" else "cpu").bytes - (mx.get_active_memory() if device == "gpu" else 0)
    rows = config.generation.batch_size
    if rows == AUTO:
        most = max(1, int(_OF_FREE * max(0, free)) // max(1, each))
        rows = min(_ROWS[device], most, len(prompts) * len(one.slots))
        if rows > len(one.slots):
            rows -= rows % len(one.slots)
    needed = rows * each
    log(
        f"{name} loaded; {rows} responses decode at a time, their cache takes up to {needed / 1e9:.2f} GB"
        f" ({each / 1e6:.1f} MB each at {tokens} tokens) of {max(0, free) / 1e9:.1f} GB that are free"
    )
    if needed > free:
        log("that is more than is free: lower generation.batch_size or generation.max_tokens", "warning")
    return {"way": way, "rows": rows}


def _write(
    context: Context,
    config: GenerateConfig,
    every: list[Pass],
    models: dict[str, Path],
    part: Part,
    found: Prompts,
    output: Path,
    hashes: dict[str, str],
) -> None:
    """All responses as a data set in the order of the prompts, and what the record says of it."""
    names = {slot.index: one.model for one in every for slot in one.slots}
    fewest = most = None
    parameters = {
        **config.model_dump(mode="json", include={"model", "generation"}),
        **config.model_dump(mode="json", include={"data": {"limit", "max_prompt_length", "apply_chat_template"}})[
            "data"
        ],
        "sha256_of_models": {name: hashes[context.workspace.relative(path)] for name, path in models.items()},
    }
    # How many rows decode at a time is a matter of the machine.
    parameters["generation"].pop("batch_size")
    parents = [context.workspace.path(config.data.prompts_file)]
    with writing(output, command="generate", parameters=parameters, parents=parents) as file:
        for number, prompt in enumerate(found.prompts):
            answers = sorted(
                (answer for one in every for answer in part.answers(one.number, number)), key=lambda a: a.index
            )
            if not answers:
                continue
            distinct = len({answer.text.strip() for answer in answers})
            fewest = distinct if fewest is None else min(fewest, distinct)
            most = distinct if most is None else max(most, distinct)
            file.row({"prompt": prompt.text, "responses": [_fields(answer, names) for answer in answers]})
        counts = part.counts
        file.counts = {
            "responses": counts["responses"],
            "cut_at_max_tokens": counts["length"],
            "repeated": counts["repeated"],
            "left_out_empty": counts["empty_out"],
            "left_out_repeated": counts["repeated_out"],
        }
        if not file.rows:
            raise UserError(
                "no prompt got a response: the run's log says which were left out; raise data.max_prompt_length, or try"
                " another model or temperature"
            )
    name = config.data.output_file
    for artifact in (name, context.workspace.relative(manifest_path(output))):
        context.artifact("data", artifact)
    inputs = hashes | context.inputs(name)
    source = f"{context.run.id}: {strategy(config)}; {printable(name)}"
    facts.record(
        context.db,
        Fact("data.strategy", 1.0, text=strategy(config), run=context.run.id, source=source, inputs=inputs),
        Fact("data.generated_prompts", float(file.rows), "prompts", run=context.run.id, source=source, inputs=inputs),
        Fact(
            "data.generated_responses", float(fewest or 0), "responses", run=context.run.id, inputs=inputs, n=file.rows,
            low=float(fewest or 0), high=float(most or 0),
            source=f"different responses to a prompt, fewest to most; {source}",
        ),
    )  # fmt: skip
    without = len(found.prompts) - file.rows
    many = str(most) if fewest == most else f"{fewest} to {most}"
    context.log(
        f"{printable(name)}: {counts['responses']} responses to {file.rows} prompts, {many} different ones to each;"
        f" {counts['length']} were cut at max_tokens, {counts['repeated']} repeat another of their prompt"
    )
    gone = [
        f"{counts[key]} {words}" for key, words in (("empty_out", "empty"), ("repeated_out", "repeated")) if counts[key]
    ]
    if counts["redrawn"] or gone:
        context.log(
            f"{counts['redrawn']} responses were drawn again, {' and '.join(gone) or 'none'} left out in the end",
            "warning" if gone else "info",
        )
    if without:
        context.log(f"{without} of {len(found.prompts)} prompts have no response and are not in the file", "warning")


def _fields(answer: Answer, models: dict[int, str]) -> dict[str, Any]:
    return {
        "text": answer.text,
        "model": models[answer.index],
        "recipe": answer.recipe,
        "finish": answer.finish,
        "tokens": answer.tokens,
    }
