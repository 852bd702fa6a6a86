"""Before the first step: output folder, machine, model, tokenized data; each with a clear word when it is not there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

import mlx.core as mx
import numpy as np
from mlx_lm.models.switch_layers import QuantizedSwitchLinear, SwitchLinear

from core.config import DPOConfig, SFTConfig, TrainingConfig, answers, plan_for
from core.data.batches import Budget, Size
from core.data.examples import Example, read_examples
from core.data.jsonl import BadRow
from core.data.pairs import Pair, read_pairs
from core.data.tokenize import Limits, TemplateRefusal, Tokens, learnable, refuse_unknown_tokens, tokenize
from core.errors import UserError
from core.models.device import use_device
from core.models.load import LanguageModel, load, resolve
from core.models.save import save, whole_folder
from core.store import runs
from core.text import printable
from core.training.context import Context
from core.training.guard import Guard
from core.training.loop import Plan
from core.training.schedules import BetaSchedule

# Bad rows of a file that are logged one by one.
SHOWN = 5


class LeftOut(Exception):
    """A row that is not learned from: the word under which such rows are counted, and why."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


class _Tokenized(Protocol):
    @property
    def length(self) -> int: ...


T = TypeVar("T", bound=_Tokenized)


def claim_output(context: Context, wanted: str) -> Path:
    """The run's own folder: the configured one, or the next free `-2`, `-3`, ... when another run's files are in it."""
    if context.run.output_dir is not None:
        return context.workspace.path(context.run.output_dir)
    number, relative = 1, wanted.rstrip("/")
    try:
        while (folder := context.workspace.path(relative)).exists() and any(folder.iterdir()):
            number += 1
            relative = f"{wanted.rstrip('/')}-{number}"
        if number > 1:
            context.log(f"{wanted} holds another run's files: this run writes to {relative}", "warning")
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
    except OSError as error:  # a file lies there, or nobody may write
        raise UserError(
            f"logging.output_dir: {printable(relative)} cannot be made or written ({error.strerror or error}): name"
            " another folder"
        ) from error
    runs.update(context.db, context.run.id, output_dir=relative)
    context.run = runs.get(context.db, context.run.id)
    return folder


def use_machine(context: Context, config: TrainingConfig) -> mx.Dtype:
    """Set MLX's device for this thread and say what the configuration becomes here; returns the type of the weights."""
    for sentence in answers(config):
        context.log(sentence)
    return use_device(plan_for(config))


def load_for(context: Context, name: str, config: TrainingConfig, dtype: mx.Dtype) -> LanguageModel:
    context.progress(context.run.step, context.run.steps, f"loading {name}")
    path = resolve(context.workspace, name)
    loaded = load(path, dtype=dtype, trust_remote_code=config.model.trust_remote_code)
    experts = any(isinstance(module, SwitchLinear | QuantizedSwitchLinear) for module in loaded.model.modules())
    if experts and dtype != mx.float32 and mx.default_device() == mx.Device(mx.cpu):
        raise UserError(
            f"compute.dtype: {config.compute.dtype}: MLX multiplies the experts of {name} in float32 only on a CPU: "
            "set it to float32"
        )
    return loaded


def standing_alone(
    context: Context, loaded: LanguageModel, path: Path, config: TrainingConfig, folder: Path
) -> LanguageModel:
    """The model that a new adapter is to stand on. One that was read from an adapter folder is written to the run's
    own folder, both as one model: an adapter on it cannot name two to stand on."""
    if config.adapter.type == "full" or not (path / "adapter_config.json").is_file():
        return loaded
    target = folder / "base"
    if not target.exists():
        with whole_folder(target) as part:
            save(loaded, part)
        context.log(f"it starts from an adapter: {context.workspace.relative(target)} is both as one model")
    return replace(loaded, path=target)


def load_pairs(context: Context, loaded: LanguageModel, relative: str, config: DPOConfig) -> list[Tokens]:
    """The pairs of a file as token ids; rows that cannot be used are counted and said."""
    vocabulary = loaded.vocabulary

    def convert(row: Pair) -> Tokens:
        responses = (row.chosen, row.rejected)
        chat = config.data.apply_chat_template
        return checked(tokenize(loaded.tokenizer, row.prompt, responses, _limits(config), chat=chat), vocabulary)

    return load_rows(context, relative, read_pairs, convert)


def load_examples(context: Context, loaded: LanguageModel, relative: str, config: SFTConfig) -> list[Tokens]:
    """The examples of a file as token ids; rows that cannot be used are counted and said."""
    vocabulary = loaded.vocabulary

    def convert(row: Example) -> Tokens:
        chat = config.data.apply_chat_template
        return checked(tokenize(loaded.tokenizer, row.prompt, (row.response,), _limits(config), chat=chat), vocabulary)

    return load_rows(context, relative, read_examples, convert)


def checked(tokens: Tokens, vocabulary: int) -> Tokens:
    """Tokens that can be learned from or measured.

    Raises:
        LeftOut, UserError: nothing is left of them; they are another model's.
    """
    if not learnable(tokens):
        raise LeftOut("nothing to learn", "nothing is left of prompt or response")
    refuse_unknown_tokens(tokens, vocabulary)
    return tokens


def batch_limit(config: TrainingConfig) -> Size:
    """How large a batch may be: by tokens where that is asked for, else so many pairs (SFT: examples)."""
    training = config.training
    if training.batch_tokens is None:
        return training.batch_size
    return Budget(training.batch_tokens, rows=1 if isinstance(config, SFTConfig) else 2)


def plan_of(config: TrainingConfig) -> Plan:
    training = config.training
    beta = guard = None
    if isinstance(config, DPOConfig):
        guard = Guard.of(config)
        beta = BetaSchedule.of(config.training, guarded=guard is not None and guard.action == "raise_beta")
    return Plan(
        learning_rate=training.learning_rate,
        batch_size=batch_limit(config),
        gradient_accumulation_steps=training.gradient_accumulation_steps,
        max_steps=training.max_steps,
        warmup_steps=training.warmup_steps,
        logging_steps=training.logging_steps,
        eval_steps=training.eval_steps,
        save_steps=training.save_steps,
        save_total_limit=training.save_total_limit,
        early_stopping_patience=training.early_stopping_patience,
        seed=training.seed,
        optimization=config.optimization,
        gradient_checkpointing=config.compute.gradient_checkpointing,
        beta=beta,
        guard=guard,
    )


def evaluated(examples: list[T], limit: int, seed: int) -> list[T]:
    """The examples that evaluations look at: all (limit 0), or the same drawn `limit` of them every time."""
    if not limit or limit >= len(examples):
        return examples
    chosen = np.random.default_rng(seed).choice(len(examples), limit, replace=False)
    return [examples[i] for i in sorted(chosen)]


def _limits(config: TrainingConfig) -> Limits:
    return Limits(config.data.max_prompt_length, config.data.max_response_length)


def load_rows(
    context: Context,
    relative: str,
    read: Callable[[Path], Iterator[Any]],
    convert: Callable[[Any], T],
) -> list[T]:
    """What `convert` makes of the rows of a file. Those that are bad, or for which it raises LeftOut, are counted."""
    context.progress(context.run.step, context.run.steps, f"reading {relative}")
    found: list[T] = []
    left_out: Counter[str] = Counter()
    for row in read(context.workspace.path(relative)):
        if isinstance(row, BadRow):
            kind, reason = row.kind, row.reason
        else:
            try:
                found.append(convert(row))
                continue
            except TemplateRefusal as refusal:
                kind, reason = "chat template", f"the chat template refuses it ({refusal})"
            except LeftOut as why:
                kind, reason = why.kind, str(why)
        left_out[kind] += 1
        if left_out.total() <= SHOWN:
            context.log(f"left out: {relative}:{row.line}: {reason}", "warning")
    if left_out.total() > SHOWN:
        kinds = ", ".join(f"{count} {kind}" for kind, count in left_out.most_common())
        context.log(f"left out of {relative}: {left_out.total()} rows ({kinds})", "warning")
    if not found:
        raise UserError(f"{relative} has no row to learn from: check it with 'dpotui data check {relative}'")
    context.log(f"{relative}: {len(found)} rows, longest {max(t.length for t in found)} tokens")
    return found
