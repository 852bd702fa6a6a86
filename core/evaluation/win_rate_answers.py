"""Both models answer the same held-out prompts: kept as they come, and in the end the file that judges and people read.

Rows of answers.jsonl have the form of candidates, the policy's answer first. Decoding and random numbers are those of
`core.evaluation.decoding`: the same prompt has the same numbers under both models, so that two equal models answer
alike, and a run that was killed goes on to the same tokens.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from core.config.evaluate import PreferenceValidation
from core.data.tokenize import TemplateRefusal, Tokens, prompt_ids, refuse_unknown_tokens
from core.evaluation.decoding import Asked, respond
from core.evaluation.rows import Rows, write_lines
from core.evaluation.session import Session
from core.evaluation.win_rate_compared import ANSWERS, BASELINE, POLICY
from core.evaluation.win_rate_prompts import HeldOut
from core.generation.draw import Settings, stream
from core.models.load import LanguageModel
from core.text import one_line, printable
from core.training.prepare import SHOWN

ROWS = "answers.parts.jsonl"


def answer(
    session: Session, settings: PreferenceValidation, prompts: Sequence[HeldOut], stretches: int
) -> Counter[str]:
    """Have both models answer, and write answers.jsonl; how many prompts were left out, by the reason."""
    with session.rows(ROWS) as found:
        fill(session, found, settings, prompts, stretches)
        return write(session, found, prompts)


def write(session: Session, found: Rows, prompts: Sequence[HeldOut]) -> Counter[str]:
    """Write answers.jsonl of what is filled in; how many prompts were left out, by the reason."""
    models = _models(session)
    without: Counter[str] = Counter()
    both = []
    for prompt in prompts:
        told = {who: found[who, prompt.line] for who in models if (who, prompt.line) in found}
        why = next((one["why"] for one in told.values() if left_out(one)), None)
        if why is not None:
            without[why] += 1
            continue
        responses = [{"model": models[who], "recipe": who, **one} for who, one in told.items()]
        both.append({"line": prompt.line, "category": prompt.category, "prompt": prompt.prompt, "responses": responses})
    write_lines(session.folder / ANSWERS, both)
    return without


def left_out(row: Any) -> bool:
    """Whether a row says of a prompt that it cannot be asked."""
    return isinstance(row, dict) and row.get("text", "") is None


def fill(
    session: Session, found: Rows, settings: PreferenceValidation, prompts: Sequence[HeldOut], stretches: int
) -> None:
    """Fill in (policy or baseline, line): the answer, or why there is none."""
    out: set[int] = set()
    for number, (who, name) in enumerate(_models(session).items()):
        # What the policy could not be asked is no comparison: the baseline is not asked it either.
        asked = [prompt for prompt in prompts if prompt.line not in out]
        if any((who, prompt.line) not in found for prompt in asked):
            with session.using(name) as loaded:
                _answer(session, settings, loaded, who, name, asked, found, (number, stretches))
        out |= {p.line for p in asked if (who, p.line) in found and found[who, p.line]["text"] is None}


def _models(session: Session) -> dict[str, str]:
    model = session.config.model
    return {POLICY: model.final, BASELINE: model.baseline}


def _answer(
    session: Session,
    settings: PreferenceValidation,
    loaded: LanguageModel,
    who: str,
    name: str,
    prompts: Sequence[HeldOut],
    found: Rows,
    share: tuple[int, int],
) -> None:
    """One model answers what it has not answered yet."""
    asked = []
    seed = session.config.evaluation.seed
    left_out = 0
    for prompt in prompts:
        ids, why, words = _ids(settings, loaded, prompt)
        if ids:
            asked.append(Asked(prompt.line, prompt.prompt, ids, stream("win rate", seed, *ids)))
            continue
        left_out += 1
        if left_out <= SHOWN and (who, prompt.line) not in found:
            session.context.log(
                f"left out: {printable(settings.test_set)}:{prompt.line}: {one_line(words, 200)}", "warning"
            )
        found.add([((who, prompt.line), {"text": None, "why": why})])
    if left_out > SHOWN:
        session.context.log(f"left out: {left_out} prompts that {printable(name)} cannot be asked", "warning")
    known = sum((who, one.line) in found for one in asked)
    session.stretch(f"answers of the {who}", len(asked), known, share=share)
    respond(
        session, loaded, name, who, asked, found, Settings(settings.temperature, settings.top_p),
        max_tokens=settings.max_tokens, chat=settings.apply_chat_template,
    )  # fmt: skip


def _ids(settings: PreferenceValidation, loaded: LanguageModel, prompt: HeldOut) -> tuple[list[int], str, str]:
    """The prompt's tokens; none, with the reason in a word and in a sentence, where it cannot be asked."""
    try:
        ids = prompt_ids(loaded.tokenizer, prompt.prompt, chat=settings.apply_chat_template)
    except TemplateRefusal as refusal:
        return [], "refused_by_the_chat_template", f"the chat template refuses it ({refusal})"
    if not ids:
        return [], "without_tokens", "the tokenizer leaves nothing of it"
    if len(ids) > settings.max_prompt_length:
        return [], "too_long", f"{len(ids)} tokens, more than max_prompt_length ({settings.max_prompt_length})"
    refuse_unknown_tokens(Tokens(ids, ([],)), loaded.vocabulary)
    return ids, "", ""
