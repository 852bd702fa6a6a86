"""What is rated: answers of a file of candidates, drawn by seed, and an order of their own for each rater."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from pathlib import Path

from core.data.candidates import Candidates, candidates_of
from core.data.jsonl import BadRow, Row, read_rows
from core.data.messages import Text, text_key
from core.errors import UserError
from core.text import printable

FINAL, BASELINE = "final", "baseline"


def answer_key(prompt: Text, answer: str) -> str:
    """32 hex digits of a prompt and an answer: the same words of two models are one answer, rated once."""
    digest = blake2b(text_key(prompt).encode(), digest_size=16)
    digest.update(b"\x1d" + text_key(answer).encode())
    return digest.hexdigest()


def prompt_key(prompt: Text) -> str:
    return blake2b(text_key(prompt).encode(), digest_size=16).hexdigest()


def _place(*of: object) -> int:
    """A number that a seed draws."""
    return int.from_bytes(blake2b("\0".join(map(str, of)).encode(), digest_size=8).digest(), "big")


@dataclass(frozen=True, slots=True)
class Entry:
    """An answer of the file: of which prompt, on which line, by whom (final, baseline, or a model's own name)."""

    prompt: str
    line: int
    roles: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Every answer of a file by its key, without the texts.

    Attributes:
        roles: final and baseline first, then other models by name.
        bad: rows that cannot be read; `why` tells of the first.
    """

    path: Path
    entries: dict[str, Entry]
    roles: tuple[str, ...]
    bad: int = 0
    why: str = ""
    drawn_before: dict[tuple[int, int], tuple[str, ...]] = field(default_factory=dict, repr=False, compare=False)

    def drawn(self, size: int, seed: int) -> tuple[str, ...]:
        """The keys of the answers that are rated: of `size` prompts drawn by seed one answer of each model.

        Where there is a final model, the prompts are drawn among those that it answers, so that its mean rests on
        `size` answers; those of the baseline to the same prompts come with them, others do not. A smaller sample of a
        seed is part of every larger one.
        """
        if (size, seed) not in self.drawn_before:
            self.drawn_before[size, seed] = self._draw(size, seed)
        return self.drawn_before[size, seed]

    def _draw(self, size: int, seed: int) -> tuple[str, ...]:
        has_final = FINAL in self.roles
        wanted = {FINAL, BASELINE} if has_final else set(self.roles)
        first: dict[str, dict[str, tuple[int, str]]] = {}
        for key, entry in self.entries.items():
            for role in wanted.intersection(entry.roles):
                of_prompt = first.setdefault(entry.prompt, {})
                of_prompt[role] = min(of_prompt.get(role, (1 << 64, "")), (_place("answer", seed, key), key))
        prompts = [prompt for prompt, answers in first.items() if not has_final or FINAL in answers]
        prompts.sort(key=lambda prompt: _place("prompt", seed, prompt))
        keys = (answers[role][1] for answers in map(first.__getitem__, prompts[:size]) for role in sorted(answers))
        return tuple(dict.fromkeys(keys))


def in_order(keys: Collection[str], seed: int, who: str) -> list[str]:
    """The order in which a person sees them: drawn by seed and name, whatever the order of the file."""
    return sorted(keys, key=lambda key: _place("order", seed, who, key))


def catalogue(path: Path, names: Mapping[str, str]) -> Catalogue:
    """Look through a file of candidates once.

    Args:
        names: what models are called in the file: final, baseline.

    Raises:
        UserError: the file cannot be read at all, or has no answer.
    """
    entries: dict[str, Entry] = {}
    seen: Counter[str] = Counter()
    bad, why = 0, ""
    for row in _rows(path):
        if isinstance(row, BadRow):
            bad += 1
            why = why or f"line {row.line}: {row.reason}"
            continue
        prompt = prompt_key(row.prompt)
        for response in row.responses:
            role = names.get(response.model, response.model)
            key = answer_key(row.prompt, response.text)
            seen[role] += 1
            known = entries.get(key)
            if known is None:
                entries[key] = Entry(prompt, row.line, (role,))
            elif role not in known.roles:
                entries[key] = replace(known, roles=tuple(sorted((*known.roles, role), key=_rank)))
    if not entries:
        name = printable(str(path))
        raise UserError(f"{name} has no answer to rate{f': {why}' if why else ''}")
    return Catalogue(path, entries, tuple(sorted(seen, key=_rank)), bad, why)


def _rank(role: str) -> tuple[int, str]:
    return {FINAL: 0, BASELINE: 1}.get(role, 2), role


def texts(path: Path, keys: Collection[str]) -> dict[str, tuple[Text, str]]:
    """The prompt and the words of some answers.

    Raises:
        UserError: the file cannot be read, or is another one by now.
    """
    wanted = set(keys)
    found: dict[str, tuple[Text, str]] = {}
    for row in _rows(path):
        if not isinstance(row, BadRow):
            for response in row.responses:
                key = answer_key(row.prompt, response.text)
                if key in wanted:
                    # Blanks at the ends would tell two models apart, and are none of the answer.
                    found.setdefault(key, (row.prompt, response.text.strip()))
    if len(found) < len(wanted):
        raise UserError(f"{printable(str(path))} changed while it was read: open it again")
    return found


def _rows(path: Path) -> Iterator[Candidates | BadRow]:
    for row in read_rows(path):
        yield row if isinstance(row, BadRow) else _with_empty_answers(row)


def _with_empty_answers(row: Row) -> Candidates | BadRow:
    """A row of candidates. A model that said nothing has answered: left out, its bad answers would not count."""
    responses = row.fields.get("responses")
    empty = []
    if isinstance(responses, list):
        empty = [index for index, response in enumerate(responses) if _is_empty(response)]
    if not empty:
        return candidates_of(row)
    filled = [
        ({**response, "text": "-"} if isinstance(response, dict) else "-") if index in empty else response
        for index, response in enumerate(responses or [])
    ]
    found = candidates_of(replace(row, fields={**row.fields, "responses": filled}))
    if isinstance(found, BadRow):
        return found
    told = (replace(one, text="") if index in empty else one for index, one in enumerate(found.responses))
    return replace(found, responses=tuple(told))


def _is_empty(response: object) -> bool:
    text = response.get("text") if isinstance(response, dict) else response
    return isinstance(text, str) and not text.strip()
