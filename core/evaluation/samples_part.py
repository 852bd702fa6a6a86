"""Samples: the same prompts answered by the base model, the baseline and the final one, side by side."""

from __future__ import annotations

from typing import Any

import numpy as np

from core.data.messages import Text
from core.data.prompts import Prompt, load_prompts
from core.data.tokenize import TemplateRefusal, Tokens, prompt_ids, refuse_unknown_tokens
from core.errors import UserError
from core.evaluation.decoding import Asked, respond
from core.evaluation.rows import Rows, write_lines
from core.evaluation.session import Session
from core.generation.draw import Settings, stream
from core.models.load import LanguageModel
from core.store.facts import Fact
from core.text import one_line, printable
from core.training.prepare import SHOWN

NAME = "samples.jsonl"


def run(session: Session) -> None:
    """Write samples.jsonl, a prompt with all its answers a line, and record `{prefix}.samples`."""
    config, fact = session.config, f"{session.prefix}.samples"
    file, subject = config.samples.prompts_file, config.subject_model
    if file is None:
        why = "samples.prompts_file names no file"
        session.context.log(f"no samples: {why}", "warning")
        session.record(Fact(fact, None, source=why, inputs=session.reads(subject)))
        return
    models = answering(session)
    inputs = session.reads(file, *models.values())
    prompts = {prompt.line: prompt for prompt in _prompts(session, file)}
    with Rows(session.folder / "samples.parts.jsonl") as found:
        for number, (who, name) in enumerate(models.items()):
            if ("prompts",) in found and all((who, line) in found for line in found["prompts",]):
                continue
            with session.using(name) as loaded:
                chosen = _chosen(session, loaded, prompts, found)
                _answer(session, loaded, who, name, chosen, found, (number, len(models)))
        chosen = [prompts[line] for line in found["prompts",]]
        rows = [
            {
                "line": prompt.line,
                "prompt": prompt.text,
                "answers": [{"who": who, "model": name, **found[who, prompt.line]} for who, name in models.items()],
            }
            for prompt in chosen
        ]
    write_lines(session.folder / NAME, rows)
    session.context.artifact("samples", f"{session.context.workspace.relative(session.folder)}/{NAME}")
    for row in rows[:SHOWN]:
        _say(session, row)
    who = ", ".join(f"{who} {printable(name)}" for who, name in models.items())
    source = f"{len(rows)} prompts of {printable(file)} answered by {who}: {NAME}"
    session.record(Fact(fact, 1.0, text=f"{len(rows)} prompts", n=len(rows), source=source, inputs=inputs))


def answering(session: Session) -> dict[str, str]:
    """Who answers, the subject first: it says which prompts are short enough."""
    model = session.config.model
    every = {"final": model.final, "baseline": model.baseline, "base": model.base}
    if session.subject == "baseline":
        every.pop("final")
    return {who: name for who, name in every.items() if name is not None}


def _prompts(session: Session, file: str) -> tuple[Prompt, ...]:
    name = printable(file)
    found = load_prompts(session.context.workspace.path(file), shown=SHOWN)
    for row in found.examples:
        session.context.log(f"left out: {name}:{row.line}: {row.reason}", "warning")
    if not found.prompts:
        raise UserError(f"samples.prompts_file: {name} has no prompt: a row is {{'prompt': text or chat messages}}")
    return found.prompts


def _chosen(session: Session, loaded: LanguageModel, prompts: dict[int, Prompt], found: Rows) -> list[Prompt]:
    """The prompts that all are asked: drawn by the seed among those that the subject can take, and kept."""
    if ("prompts",) not in found:
        every = list(prompts.values())
        chosen: list[int] = []
        for place in np.random.default_rng(session.config.evaluation.seed).permutation(len(every)).tolist():
            prompt = every[place]
            ids, why = _ids(session, loaded, prompt.text)
            if ids:
                chosen.append(prompt.line)
            else:
                session.context.log(f"not asked: the prompt in line {prompt.line}: {why}", "warning")
            if len(chosen) == session.config.samples.count:
                break
        if not chosen:
            raise UserError("samples.prompts_file: the model can take none of its prompts: the log says why")
        found.add([(("prompts",), sorted(chosen))])
    return [prompts[line] for line in found["prompts",]]


def _ids(session: Session, loaded: LanguageModel, text: Text) -> tuple[list[int], str]:
    """The prompt's tokens; none with the reason where a model cannot be asked it."""
    most = session.config.alignment_evaluation.preference_validation.max_prompt_length
    try:
        ids = prompt_ids(loaded.tokenizer, text, chat=session.config.samples.apply_chat_template)
    except TemplateRefusal as refusal:
        return [], f"the chat template refuses it ({refusal})"
    except UserError as error:  # a base model often has no chat template
        return [], str(error)
    if not ids:
        return [], "the tokenizer leaves nothing of it"
    if len(ids) > most:
        return [], f"{len(ids)} tokens, more than preference_validation.max_prompt_length"
    refuse_unknown_tokens(Tokens(ids, ([],)), loaded.vocabulary)
    return ids, ""


def _answer(
    session: Session,
    loaded: LanguageModel,
    who: str,
    name: str,
    prompts: list[Prompt],
    found: Rows,
    share: tuple[int, int],
) -> None:
    """Fill in what one model answers."""
    settings, seed = session.config.samples, session.config.evaluation.seed
    asked = []
    for prompt in prompts:
        ids, why = _ids(session, loaded, prompt.text)
        if ids:
            # The same random numbers for all models: where they agree, they write the same.
            asked.append(Asked(prompt.line, prompt.text, ids, stream("samples", seed, prompt.line)))
        else:
            found.add([((who, prompt.line), {"text": None, "why": printable(why)[:300]})])
    known = sum((who, one.line) in found for one in asked)
    session.stretch(f"samples of the {who} model", len(asked), known, share=share)
    respond(
        session, loaded, name, who, asked, found, Settings(settings.temperature), max_tokens=settings.max_tokens,
        chat=settings.apply_chat_template,
    )  # fmt: skip


def _say(session: Session, row: dict[str, Any]) -> None:
    """One line of a sample, for the log; samples.jsonl has it whole."""
    prompt = row["prompt"] if isinstance(row["prompt"], str) else row["prompt"][-1]["content"]
    answers = " | ".join(f"{answer['who']}: {one_line(answer['text'] or '—', 40)}" for answer in row["answers"])
    session.context.log(f"{one_line(prompt, 40)} → {answers}")
