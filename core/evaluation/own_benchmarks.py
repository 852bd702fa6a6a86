"""A person's own benchmark: questions of a file, put to the model, and its answers held against those of the file."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from core.config.evaluate import Benchmark
from core.data.jsonl import BadRow
from core.data.tokenize import TemplateRefusal
from core.errors import UserError
from core.evaluation.answering import Answerer, Completion, Likelihood, Scored
from core.evaluation.items import Measured, Unmeasured, conditions, items_hash, measured
from core.evaluation.own_answers import contains, exact, same_number
from core.evaluation.own_items import OwnItem, OwnItems, drawn, read_items, shots
from core.evaluation.own_pattern import Pattern, TooSlow
from core.evaluation.session import Session
from core.models.load import LanguageModel
from core.text import one_line, printable

# Of how answers are asked for and told. Results of two versions are not compared.
HARNESS, VERSION = "dpotui", "1"
# Between two examples, and what ends an answer that stands behind examples.
BETWEEN = "\n\n"
# Bad rows that are named, and texts that a pattern may be too slow for.
_SHOWN, _SLOW = 20, 5

Row = dict[str, Any]


class Own:
    """One such benchmark, read and not yet asked.

    Raises:
        UserError: a file cannot be read or has no item, the pattern is none, or there are too few examples.
    """

    def __init__(self, workspace_path: Callable[[str], Path], name: str, benchmark: Benchmark, seed: int) -> None:
        assert benchmark.file is not None and benchmark.answer is not None
        self.name = name
        self.benchmark = benchmark
        self.seed = seed
        self.read = read_items(workspace_path(benchmark.file), benchmark)
        self.items = drawn(self.read.items, benchmark.limit, seed)
        self.examples: OwnItems | None = None
        if benchmark.shots_file is not None:
            self.examples = read_items(workspace_path(benchmark.shots_file), benchmark)
        pool = self.read if self.examples is None else self.examples
        there = len(pool.items) - (self.examples is None)
        if benchmark.num_shots > there:
            beside, way = ("", "add rows to that file") if self.examples else (" beside the item", "name a shots_file")
            raise UserError(
                f"capability_benchmarks.{name}.num_shots: {benchmark.num_shots} examples are wanted and"
                f" {printable(str(pool.path))} has {max(0, there)}{beside}: lower it, or {way}"
            )
        if benchmark.pattern is not None:
            try:
                Pattern(benchmark.pattern).close()
            except UserError as error:
                raise UserError(f"capability_benchmarks.{name}.{error}") from error

    def shots(self, item: OwnItem) -> tuple[OwnItem, ...]:
        pool = self.read if self.examples is None else self.examples
        return shots(item, pool.items, self.benchmark.num_shots, self.seed)


def run(session: Session, own: Own, answerer: Answerer, share: tuple[int, int]) -> Measured:
    """Ask all items and tell which answers are right.

    Raises:
        Unmeasured: there is no chat template, it refuses the items, or the pattern is too slow.
    """
    began = time.monotonic()
    _say_bad(session, own)
    loaded = session.model()
    if own.benchmark.answer == "multiple_choice":
        rows, chance, notes = _choose(session, own, answerer, loaded, share)
    else:
        rows, notes = _write(session, own, answerer, loaded, share)
        chance = None
    if answerer.cut:
        notes += (
            f"{answerer.cut} texts were longer than the model's {answerer.room} positions and lost their beginning",
        )
    benchmark = own.benchmark
    asked = [item.identity for item in own.items]
    examples = [[example.identity for example in own.shots(item)] for item in own.items] if benchmark.num_shots else []
    found = conditions(
        benchmark,
        harness=HARNESS, version=VERSION, task=benchmark.answer or "", task_version=VERSION, seed=own.seed,
        items=items_hash([*asked, *examples]), pattern=benchmark.pattern, stop=list(benchmark.stop),
        template=_template(loaded) if benchmark.apply_chat_template else None,
    )  # fmt: skip
    seconds = time.monotonic() - began
    return measured(rows, conditions=found, chance=chance, seconds=seconds, metric=benchmark.metric, notes=notes)


def _say_bad(session: Session, own: Own) -> None:
    for read in filter(None, (own.read, own.examples)):
        name = printable(str(read.path.name))
        for bad in read.bad[:_SHOWN]:
            _left_out(session, name, bad)
        if read.bad:
            rows = f"{len(read.bad)} of {len(read.bad) + len(read.items)} rows"
            session.context.log(f"{own.name}: {rows} of {name} are left out", "warning")


def _left_out(session: Session, file: str, bad: BadRow) -> None:
    session.context.log(f"left out: {file}:{bad.line}: {bad.reason}", "warning")


# What is asked


def _glue(prompt: str) -> str:
    """Between a prompt and its answer, where the prompt does not end with a blank of its own."""
    return "" if prompt[-1:].isspace() else " "


def context(own: Own, item: OwnItem, loaded: LanguageModel) -> str:
    """What stands before the answer.

    Raises:
        Unmeasured: the model has no chat template, or it refuses the item.
    """
    examples = own.shots(item)
    if not own.benchmark.apply_chat_template:
        lines = [f"{one.prompt}{_glue(one.prompt)}{one.answers[0].strip()}" for one in examples]
        return BETWEEN.join([*lines, item.prompt])
    tokenizer = loaded.tokenizer
    if not (getattr(tokenizer, "has_chat_template", False) or getattr(tokenizer, "chat_template", None)):
        raise Unmeasured("the model's tokenizer has no chat template: set apply_chat_template: false")
    messages = []
    for one in examples:
        messages += [{"role": "user", "content": one.prompt}, {"role": "assistant", "content": one.answers[0].strip()}]
    messages.append({"role": "user", "content": item.prompt})
    try:
        return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
    except Exception as error:  # a template is a program of the model's maker
        why = one_line(str(TemplateRefusal(error)), 160)
        raise Unmeasured(
            f"the chat template refuses line {item.line} ({why}): set apply_chat_template: false"
        ) from error


def _template(loaded: LanguageModel) -> str:
    return hashlib.sha256(str(loaded.tokenizer.chat_template).encode()).hexdigest()


# Multiple choice


def _choose(
    session: Session, own: Own, answerer: Answerer, loaded: LanguageModel, share: tuple[int, int]
) -> tuple[list[Row], float, tuple[str, ...]]:
    """By the log-likelihood of each choice behind the question, as lm-eval's `acc`; per character as its `acc_norm`."""
    items = _short(session, own, answerer)
    chat = own.benchmark.apply_chat_template
    requests: list[Likelihood] = []
    for item in items:
        before = context(own, item, loaded)
        glue = "" if chat else _glue(before)
        requests += [Likelihood(before, glue + choice) for choice in item.choices]
    session.stretch(
        f"{own.name}: log-likelihoods", len(set(requests)), answerer.known(list(dict.fromkeys(requests))), share
    )
    scored = iter(answerer.likelihoods(requests))
    rows = [_chosen(item, [next(scored) for _ in item.choices]) for item in items]
    chance = sum(1 / len(item.choices) for item in items) / len(items)
    normalized = sum(row["correct_normalized"] for row in rows) / len(rows)
    return rows, chance, (f"{normalized:.4g} by the log-likelihood per character",)


def _short(session: Session, own: Own, answerer: Answerer) -> list[OwnItem]:
    """The items whose choices the model has positions for."""
    found = []
    for item in own.items:
        longest = max(item.choices, key=lambda choice: len(choice.encode(errors="replace")))
        # A token is a byte at least.
        if len(longest.encode(errors="replace")) >= answerer.room and answerer.tokens(longest) >= answerer.room:
            reason = f"a choice is longer than the model's {answerer.room} positions"
            _left_out(session, printable(own.read.path.name), BadRow(item.line, "too_long", "choices", reason))
        else:
            found.append(item)
    if not found:
        raise Unmeasured(f"every item has a choice that is longer than the model's {answerer.room} positions")
    return found


def _chosen(item: OwnItem, scored: Sequence[Scored]) -> Row:
    logprobs = [one.logprob for one in scored]
    each = [one.logprob / len(choice) for one, choice in zip(scored, item.choices, strict=True)]
    best, normalized = logprobs.index(max(logprobs)), each.index(max(each))
    return {
        "id": item.id,
        "line": item.line,
        "correct": float(best == item.right),
        "correct_normalized": float(normalized == item.right),
        "answer": item.choices[best],
        "answer_normalized": item.choices[normalized],
        "target": item.choices[item.right],
        "prompt": item.prompt,
        "choices": list(item.choices),
        "logprobs": logprobs,
        "tokens": [one.tokens for one in scored],
    }


# Written answers


def _write(
    session: Session, own: Own, answerer: Answerer, loaded: LanguageModel, share: tuple[int, int]
) -> tuple[list[Row], tuple[str, ...]]:
    benchmark = own.benchmark
    requests = [Completion(context(own, item, loaded), _stop(own, item), benchmark.max_tokens) for item in own.items]
    once = list(dict.fromkeys(requests))
    session.stretch(f"{own.name}: answers", len(once), answerer.known(once), share)
    texts = answerer.completions(requests)
    if benchmark.answer != "regex":
        told = {"exact": exact, "contains": contains, "numeric": same_number}[benchmark.answer or ""]
        rows = [
            _told(item, text, any(told(text, answer) for answer in item.answers))
            for item, text in zip(own.items, texts, strict=True)
        ]
        return rows, ()
    return _by_pattern(own, texts)


def _stop(own: Own, item: OwnItem) -> tuple[str, ...]:
    """Behind examples an answer ends where the next one would begin; unless an answer has such a gap itself."""
    words = tuple(own.benchmark.stop)
    if not own.benchmark.num_shots or own.benchmark.apply_chat_template:
        return words
    gaps = any(BETWEEN in example.answers[0].strip() for example in own.shots(item))
    return words if gaps else (*words, BETWEEN)


def _told(item: OwnItem, text: str, right: bool, **more: Any) -> Row:
    return {
        "id": item.id,
        "line": item.line,
        "correct": float(right),
        "answer": text,
        "target": item.answers[0] if len(item.answers) == 1 else list(item.answers),
        "prompt": item.prompt,
        **more,
    }


def _by_pattern(own: Own, texts: Sequence[str]) -> tuple[list[Row], tuple[str, ...]]:
    """By what a pattern finds in the answer.

    Raises:
        Unmeasured: it takes too long for several answers.
    """
    rows = []
    slow = 0
    assert own.benchmark.pattern is not None
    with Pattern(own.benchmark.pattern) as pattern:
        for item, text in zip(own.items, texts, strict=True):
            try:
                found = pattern.first(text)
                why = {} if found is not None else {"why": "the pattern finds nothing"}
            except TooSlow:
                found, slow = None, slow + 1
                why = {"why": "the pattern was not done in time"}
                if slow >= _SLOW:
                    raise Unmeasured(
                        f"pattern: '{one_line(own.benchmark.pattern, 60)}' was not done in time with {slow} answers:"
                        " nested repeats such as (a+)+ need ages: write it another way"
                    ) from None
            right = found is not None and any(exact(found, answer) for answer in item.answers)
            rows.append(_told(item, text, right, found=found, **why))
    return rows, (f"the pattern was not done in time with {slow} answers, which count as wrong",) if slow else ()
