"""Preference pairs from one format to another; what the other format has no place for is left out and counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

from core.data.formats import (
    SPEAKER_OF,
    STRENGTH_FIELDS,
    helpsteer_prompt,
    is_transcript,
    number,
    strength_of,
    write_transcript,
)
from core.data.jsonl import BadRow, Row, read_rows
from core.data.manifest import writing
from core.data.messages import Message, Refused, Text, as_messages, text_key, text_of
from core.data.outputs import refuse_overwriting
from core.data.pairs import Pair, pair_of
from core.errors import UserError
from core.text import one_line, printable

# What can be written, and what it is.
FORMATS = {
    "ours": "prompt, chosen, rejected as they are, text or messages, with chosen_score and rejected_score",
    "plain": "all three as text: one question, one answer each",
    "conversational": "all three as lists of messages",
    "trl": "TRL's explicit prompt: as ours, with score_chosen and score_rejected",
    "trl-implicit": "TRL's implicit prompt: chosen and rejected as whole conversations",
    "hh": "Anthropic's transcripts: chosen and rejected as text with Human: and Assistant:",
}

# Fields that mean nothing any more once a pair was made of them.
_SPENT = {"prompt", "chosen", "rejected", "messages", "completions", "generations", "ratings"} | STRENGTH_FIELDS | {
    "individual_preference", "instruction", "response", "models", "model_names", "generation_models",
}  # fmt: skip
_HELPSTEER = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")
# Responses to one prompt in rows of their own: more than these are taken for something else.
_MOST_RESPONSES = 64
EXAMPLES = 20


@dataclass(frozen=True, slots=True)
class Converted:
    """What `convert` wrote. Units are rows, or groups of rows where several hold the responses to one prompt."""

    rows: int
    written: int
    left_out: dict[str, int]  # by kind
    examples: tuple[BadRow, ...]  # the first ones


def convert(
    path: Path,
    out: Path,
    to: str,
    *,
    score: str | None = None,
    prompt: str | None = None,
    common_text: bool = False,
    command: str = "data convert",
    progress: Callable[[int], None] | None = None,
) -> Converted:
    """Write the pairs of a file in another format, in their order, with their scores and other fields.

    Reads what `read_pairs` reads, and sets of scored responses of which it makes pairs, best against worst:
    UltraFeedback (`completions`), distilabel (`generations` and `ratings`), HelpSteer (rows of one prompt in a row).
    Each row is read back before it is written: it says the same pair, or is left out.

    Args:
        to: one of FORMATS.
        score: which score of a response counts (default: `overall_score` of UltraFeedback, `helpfulness` of HelpSteer;
            `annotations` is the mean of UltraFeedback's ratings of aspects).
        prompt: the field that holds the prompt, where it has another name.
        progress: told now and then how many rows were read.
        common_text: where chosen and rejected are text and there is no prompt, it is what both begin with.

    Raises:
        UserError: the file cannot be read to its end, nothing in it can be written so, or `out` cannot be written.
    """
    if to not in FORMATS:
        raise UserError(f"'{one_line(to, 24)}' is no format: {', '.join(FORMATS)}")
    refuse_overwriting([out], [path])
    left_out: Counter[str] = Counter()
    examples: list[BadRow] = []
    parameters: dict[str, Any] = {"to": to}
    parameters |= {"score": score} if score else {}
    parameters |= {"prompt": prompt} if prompt else {}
    parameters |= {"common_text": True} if common_text else {}
    with writing(out, command=command, parameters=parameters, parents=[path]) as writer:
        for row in _rows(_prompted(path, prompt, common_text, progress), score):
            made = row if isinstance(row, BadRow) else _convert(row, to)
            if not isinstance(made, BadRow):
                try:
                    writer.row(made)
                    continue
                except ValueError:  # 1e999, in a field that no pair is made of
                    made = BadRow(row.line, "json", None, "a field holds a number beyond all that can be written")
            left_out[made.kind] += 1
            if len(examples) < EXAMPLES:
                examples.append(made)
        if not writer.rows:
            first = examples[0]
            raise UserError(
                f"{printable(str(path))}: no row of it can be written as {to}; line {first.line}: {first.reason}"
            )
        writer.counts.update({f"left out: {kind}": count for kind, count in left_out.items()})
    return Converted(writer.rows + left_out.total(), writer.rows, dict(sorted(left_out.items())), tuple(examples))


# Writing


def _convert(row: Row, to: str) -> dict[str, Any] | BadRow:
    pair = pair_of(row)
    if isinstance(pair, BadRow):
        return pair
    try:
        fields = _WRITERS[to](pair)
        used = pair.score_fields.partition(" ")[0].split("/")
        names = ("score_chosen", "score_rejected") if to.startswith("trl") else ("chosen_score", "rejected_score")
        for name, score in zip(names, (pair.chosen_score, pair.rejected_score), strict=True):
            if score is not None:
                fields[name] = score
        rest = {key: value for key, value in row.fields.items() if key not in _SPENT and key not in used + list(fields)}
        return _checked(row, pair, fields | rest)
    except Refused as refused:
        return refused.row(row)


def _checked(row: Row, pair: Pair, fields: dict[str, Any]) -> dict[str, Any]:
    """The fields, if they are read back as the pair they were made of."""
    again = pair_of(Row(row.line, fields))
    if isinstance(again, BadRow):
        raise Refused("format", again.field or "the row", f"would not be read back: {again.reason}")
    if _turns(again) != _turns(pair) or (again.chosen_score, again.rejected_score) != (
        pair.chosen_score,
        pair.rejected_score,
    ):
        raise Refused("format", "the row", "would be read back as another pair: both answers begin with the same turns")
    return fields


def _turns(pair: Pair) -> tuple[list[Message], list[Message], list[Message]]:
    return (
        as_messages(pair.prompt, "user"),
        as_messages(pair.chosen, "assistant"),
        as_messages(pair.rejected, "assistant"),
    )


def _ours(pair: Pair) -> dict[str, Any]:
    return {"prompt": pair.prompt, "chosen": pair.chosen, "rejected": pair.rejected}


def _plain(pair: Pair) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    roles = ("user", "assistant", "assistant")
    for name, turns, role in zip(("prompt", "chosen", "rejected"), _turns(pair), roles, strict=True):
        if len(turns) != 1 or turns[0]["role"] != role:
            held = ", ".join(turn["role"] for turn in turns[:4]) + (", ..." if len(turns) > 4 else "")
            raise Refused("turns", name, f"holds turns ({held}), and plain text has place for one of the {role}")
        fields[name] = turns[0]["content"]
    return fields


def _conversational(pair: Pair) -> dict[str, Any]:
    return dict(zip(("prompt", "chosen", "rejected"), _turns(pair), strict=True))


def _implicit(pair: Pair) -> dict[str, Any]:
    prompt, chosen, rejected = _turns(pair)
    return {"chosen": prompt + chosen, "rejected": prompt + rejected}


def _hh(pair: Pair) -> dict[str, Any]:
    prompt, chosen, rejected = _turns(pair)
    for turn in (*prompt, *chosen, *rejected):
        if turn["role"] not in SPEAKER_OF:
            raise Refused(
                "turns", "the row", f"holds a turn of the {turn['role']}, which a transcript has no place for"
            )
    return {"chosen": write_transcript(prompt + chosen), "rejected": write_transcript(prompt + rejected)}


_WRITERS: Mapping[str, Callable[[Pair], dict[str, Any]]] = {
    "ours": _ours,
    "plain": _plain,
    "conversational": _conversational,
    "trl": _ours,
    "trl-implicit": _implicit,
    "hh": _hh,
}


# Reading sets of scored responses


def _prompted(
    path: Path, name: str | None, common_text: bool, progress: Callable[[int], None] | None
) -> Iterator[Row | BadRow]:
    """The rows, with their prompt under its name."""
    for count, row in enumerate(read_rows(path), 1):
        if progress is not None and count % 1000 == 0:
            progress(count)
        if isinstance(row, Row):
            fields = row.fields
            if name is not None and name != "prompt" and name in fields:
                fields["prompt"] = fields.pop(name)
            if common_text and fields.get("prompt") is None:
                _take_common_text(fields)
        yield row


def _take_common_text(fields: dict[str, Any]) -> None:
    """Take the prompt off two texts as TRL's `extract_prompt` does: what both begin with, less a space at its end."""
    chosen, rejected = fields.get("chosen"), fields.get("rejected")
    if not isinstance(chosen, str) or not isinstance(rejected, str) or is_transcript(chosen):
        return
    alike = takewhile(lambda two: two[0] == two[1], zip(chosen, rejected, strict=False))
    shared = sum(1 for _ in alike)
    if shared and chosen[shared - 1] == " ":
        shared -= 1
    if shared:
        fields |= {"prompt": chosen[:shared], "chosen": chosen[shared:], "rejected": rejected[shared:]}


def _rows(rows: Iterable[Row | BadRow], score: str | None) -> Iterator[Row | BadRow]:
    """The rows, each a pair of its own; responses with scores are brought to that, best against worst."""
    group: list[Row] = []
    for row in rows:
        part = isinstance(row, Row) and _is_one_response(row.fields)
        if group and not (part and len(group) < _MOST_RESPONSES and _same_prompt(row, group[0])):
            yield _of_group(group, score)
            group = []
        if isinstance(row, BadRow):
            yield row
        elif part:
            group.append(row)
        elif strength_of(row.fields) is None and _listed(row.fields):
            yield _of_list(row, score)
        else:
            yield row
    if group:
        yield _of_group(group, score)


def _same_prompt(row: Row | BadRow, other: Row) -> bool:
    return isinstance(row, Row) and row.fields.get("prompt") == other.fields.get("prompt")


def _is_one_response(fields: dict[str, Any]) -> bool:
    return "chosen" not in fields and {"prompt", "response", "helpfulness"} <= fields.keys()


def _listed(fields: dict[str, Any]) -> bool:
    return "chosen" not in fields and any(isinstance(fields.get(name), list) for name in ("completions", "generations"))


def _of_group(group: list[Row], score: str | None) -> Row | BadRow:
    """A pair of HelpSteer's rows: the same prompt, a response each."""
    first = group[0]
    name = score or "helpfulness"
    try:
        prompt = helpsteer_prompt(first.fields["prompt"], "prompt")
        found = []
        for row in group:
            if row.fields.get(name) is None:
                raise Refused("score", name, f"is missing in line {row.line}: name another with --score")
            found.append((number(row.fields[name], name), text_of(row.fields["response"], "response"), ""))
        rest = {key: value for key, value in first.fields.items() if key not in (*_HELPSTEER, name)}
        return _best_and_worst(first, prompt, found, rest)
    except Refused as refused:
        return refused.row(first)


def _of_list(row: Row, score: str | None) -> Row | BadRow:
    """A pair of UltraFeedback's or distilabel's row: an instruction and its responses with scores."""
    fields = row.fields
    try:
        asked = "instruction" if fields.get("instruction") is not None else "prompt"
        if fields.get(asked) is None:
            raise Refused("missing", "instruction", "is missing")
        prompt = text_of(fields[asked], asked)
        found = _completions(fields, score) if isinstance(fields.get("completions"), list) else _generations(fields)
        return _best_and_worst(row, prompt, found, fields)
    except Refused as refused:
        return refused.row(row)


def _completions(fields: dict[str, Any], score: str | None) -> list[tuple[float, Text, str]]:
    name, found = score or "overall_score", []
    for index, completion in enumerate(fields["completions"]):
        where = f"completions[{index}]"
        if not isinstance(completion, dict):
            raise Refused("type", where, "must be an object with response and scores")
        value = _mean_rating(completion.get(name)) if name == "annotations" else completion.get(name)
        if value is None or (isinstance(value, str) and value.strip() in ("", "N/A")):
            continue  # nobody scored it
        model = completion.get("model")
        response = text_of(completion.get("response"), f"{where}.response")
        found.append((number(value, f"{where}.{name}"), response, model if isinstance(model, str) else ""))
    return found


def _mean_rating(annotations: object) -> float | None:
    """The mean of UltraFeedback's ratings of aspects, those that are numbers."""
    if not isinstance(annotations, dict):
        return None
    ratings = []
    for aspect in annotations.values():
        rating = aspect.get("Rating") if isinstance(aspect, dict) else None
        if rating not in (None, "", "N/A"):
            ratings.append(number(rating, "annotations"))
    return sum(ratings) / len(ratings) if ratings else None


def _generations(fields: dict[str, Any]) -> list[tuple[float, Text, str]]:
    texts, ratings = fields["generations"], fields.get("ratings")
    if not isinstance(ratings, list) or len(ratings) != len(texts):
        raise Refused("score", "ratings", "must be a list with a number for each of generations")
    models = fields.get("generation_models") or fields.get("model_names") or []
    named = models if isinstance(models, list) and len(models) == len(texts) else [""] * len(texts)
    return [
        (number(rating, "ratings"), text_of(text, f"generations[{index}]"), model if isinstance(model, str) else "")
        for index, (text, rating, model) in enumerate(zip(texts, ratings, named, strict=True))
        if rating is not None and text is not None
    ]


def _best_and_worst(row: Row, prompt: Text, found: list[tuple[float, Text, str]], rest: dict[str, Any]) -> Row:
    """The pair of the first of the best and the first of the worst."""
    if len(found) < 2:
        raise Refused("single", "the prompt", "has fewer than two responses with a score")
    best, worst = max(found, key=lambda scored: scored[0]), min(found, key=lambda scored: scored[0])
    if best[0] == worst[0]:
        raise Refused("tie", "the responses", f"all have the same score, {best[0]:g}")
    fields: dict[str, Any] = {"prompt": prompt, "chosen": best[1], "rejected": worst[1]}
    fields |= {"chosen_score": best[0], "rejected_score": worst[0]}
    if best[2] or worst[2]:
        fields |= {"chosen_model": best[2], "rejected_model": worst[2]}
    if text_key(best[1]) == text_key(worst[1]):
        raise Refused("identical", "the responses", "with the best and the worst score are the same")
    return Row(row.line, fields | {key: value for key, value in rest.items() if key not in _SPENT | fields.keys()})
