"""Perplexity: the exponential of the mean negative log-likelihood per response token, of examples that were held out.

Rows are read, put into tokens and measured as SFT does it, so that the number is SFT's `eval_perplexity`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import mlx.core as mx

from core.config import SFTConfig
from core.config.evaluate import Perplexity
from core.data.batches import Budget, arrays, collate, in_order
from core.data.examples import Example, read_examples
from core.data.tokenize import Limits, Tokens, tokenize
from core.errors import UserError
from core.evaluation.origin import run_named
from core.evaluation.ratio import mean_per_token
from core.evaluation.rows import Rows, write_json
from core.evaluation.session import Session
from core.models.head import Head
from core.models.load import LanguageModel
from core.store import runs
from core.store.facts import Fact
from core.text import printable
from core.training.logprobs import response_logps
from core.training.prepare import checked, load_rows

ROWS = "perplexity.jsonl"
# Tokens in one forward pass: on the CPU more is no faster.
TOKENS_CPU, TOKENS_GPU = 512, 8192


@dataclass(frozen=True, slots=True)
class _Row:
    line: int
    tokens: Tokens

    @property
    def length(self) -> int:
        return self.tokens.length


def run(session: Session) -> None:
    """Measure `{prefix}.perplexity`, with an interval over examples; what was found of each is in perplexity.jsonl."""
    settings, fact = session.config.perplexity, f"{session.prefix}.perplexity"
    file, model = settings.validation_file, session.config.subject_model
    if file is None:
        why = "perplexity.validation_file names no file"
        session.context.log(f"perplexity is not measured: {why}", "warning")
        session.record(Fact(fact, None, source=why, inputs=session.reads(model)))
        return
    inputs = session.reads(model, file)
    say_how_it_was_trained(session, settings)
    with session.rows(ROWS) as found:
        rows = fill(session, found, file)
        measured = [found["example", row.line] for row in rows]
    sums, counts = [nll for nll, _ in measured], [count for _, count in measured]
    mean, low, high = mean_per_token(sums, counts)
    value = _exp(mean)
    interval = (None, None) if low is None or high is None else (_exp(low), _exp(high))
    shown = printable(file)
    write_json(
        session.folder / "perplexity.json",
        {
            "model": model, "file": file, "perplexity": value, "low": interval[0], "high": interval[1],
            "mean_nll": mean, "examples": len(rows), "response_tokens": sum(counts),
            **settings.model_dump(mode="json", exclude={"validation_file"}),
        },
    )  # fmt: skip
    session.context.artifact("evaluation", session.context.workspace.relative(session.folder / "perplexity.json"))
    said = f"{value:.4g}" + (f" ({interval[0]:.4g} to {interval[1]:.4g})" if interval[0] is not None else "")
    session.context.log(f"perplexity of {printable(model)} on {shown}: {said}, {sum(counts)} response tokens")
    session.record(
        Fact(
            fact, value, low=interval[0], high=interval[1], n=len(rows), inputs=inputs,
            source=f"{sum(counts)} response tokens of {shown}; the interval is over examples",
        )
    )  # fmt: skip


def fill(session: Session, found: Rows, file: str) -> list[_Row]:
    """Fill in ("example", line): negative log-likelihood and response tokens. Returns the rows of `file`."""
    loaded = session.model()
    rows = _read(session, loaded, file, session.config.perplexity)
    _measure(session, loaded, rows, found)
    return rows


def say_how_it_was_trained(session: Session, settings: Perplexity) -> None:
    """A model that was trained in the chat template and is measured without it has a perplexity that means nothing."""
    workspace, name = session.context.workspace, session.config.subject_model
    named = run_named(workspace.path(name))
    run = next((run for run in runs.listing(session.context.db, kind="sft") if run.id == named), None)
    if run is None:
        return
    trained = SFTConfig.model_validate(run.config).data
    for key in ("apply_chat_template", "max_prompt_length", "max_response_length"):
        ours, theirs = getattr(settings, key), getattr(trained, key)
        if ours != theirs:
            session.context.log(
                f"perplexity.{key} is {_yaml(ours)}, and {run.id} trained {printable(name)} with {_yaml(theirs)}",
                "warning",
            )


def _yaml(value: object) -> str:
    return str(value).lower()


def _read(session: Session, loaded: LanguageModel, file: str, settings: Perplexity) -> list[_Row]:
    limits = Limits(settings.max_prompt_length, settings.max_response_length)
    vocabulary = loaded.vocabulary

    def convert(row: Example) -> _Row:
        chat = settings.apply_chat_template
        tokens = tokenize(loaded.tokenizer, row.prompt, (row.response,), limits, chat=chat)
        return _Row(row.line, checked(tokens, vocabulary))

    return load_rows(session.context, file, read_examples, convert)


def _measure(session: Session, loaded: LanguageModel, rows: list[_Row], found: Rows) -> None:
    """Fill in (negative log-likelihood, response tokens) of each row.

    Batches are the same however often the run was ended, and so is every digit.
    """
    batches = in_order([row.length for row in rows], Budget(tokens_at_a_time()))
    there = sum(("example", row.line) in found for row in rows)
    session.stretch("perplexity", len(rows), there)
    head = Head(loaded.model)
    examples = [row.tokens for row in rows]
    for group, indices in enumerate(batches):
        if all(("example", rows[index].line) in found for index in indices) or not session.mine(group):
            continue
        session.between()
        sums, counts = response_logps(head, *arrays(collate(examples, indices)))
        mx.eval(sums, counts)
        new = [
            (("example", rows[index].line), (-float(sums[place]), round(float(counts[place]))))
            for place, index in enumerate(indices)
        ]
        if not all(math.isfinite(nll) for _, (nll, _) in new):
            raise session.no_numbers(session.config.subject_model)
        session.advance(sum(key not in found for key, _ in new))
        found.add(new)
    session.between()


def tokens_at_a_time() -> int:
    """Tokens in one forward pass of this thread's device."""
    return TOKENS_GPU if mx.default_device() == mx.Device(mx.gpu) else TOKENS_CPU


def _exp(value: float) -> float:
    if value >= 700:
        raise UserError(f"the mean negative log-likelihood is {value:.0f} nats a token: the model's weights are broken")
    return math.exp(value)
