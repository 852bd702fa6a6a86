"""Votes out of runs.db and back: as preference pairs by majority, and as votes for other tools and machines."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import json
import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from core.data.comparisons import Comparison, comparison_key, comparisons
from core.data.jsonl import BadRow, Row, kind_of, read_rows
from core.data.manifest import writing
from core.data.messages import Refused, Text, text_key, text_of
from core.data.votes import LOW_AGREEMENT, shares, votes_on
from core.data.votes_order import canonical
from core.errors import UserError
from core.store import Database, transaction, votes
from core.store.votes import CHOICES, Choice, Side, Tally, Vote, voter
from core.text import one_line, printable
from core.workspace import private_folder

# The columns of votes, in their order. The texts stand there for other tools; `key` alone names the comparison.
COLUMNS = (
    "key", "choice", "who", "side", "confidence", "note", "time", "file", "line", "seed", "prompt", "first", "second",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written, and what was left out and why: no votes, too few, a tie, rejected, undecided, low agreement,
    the same comparison again, unreadable."""

    rows: int
    left_out: dict[str, int]


def export_pairs(
    db: Database, path: Path, out: Path, *, min_votes: int = 1, min_agreement: float = LOW_AGREEMENT
) -> Exported:
    """Write the comparisons of a file as preference pairs, chosen by the majority of the votes, in the file's order.

    `chosen_score` and `rejected_score` are shares of the votes (a tie is half a vote for each), so the preference gap
    is read from them.

    Raises:
        UserError: a file cannot be read or written.
    """
    tallies = votes.tally(db)
    left_out: Counter[str] = Counter()
    parameters = {"min_votes": min_votes, "min_agreement": min_agreement, "votes_sha256": _digest(tallies)}
    with writing(out, command="annotate export", parameters=parameters, parents=[path]) as writer:
        for comparison in _once(path, left_out):
            tally = votes_on(tallies, comparison.prompt, comparison.first, comparison.second) or Tally()
            why = _left_out(tally, min_votes, min_agreement)
            if why:
                left_out[why] += 1
                continue
            texts, scores = [comparison.first, comparison.second], list(shares(tally))
            if tally.majority == "second":
                texts.reverse()
                scores.reverse()
            writer.row(
                {
                    "prompt": comparison.prompt,
                    "chosen": texts[0],
                    "rejected": texts[1],
                    "chosen_score": round(scores[0], 6),
                    "rejected_score": round(scores[1], 6),
                    "votes": tally.votes,
                    "agreement": round(tally.agreement or 0.0, 6),
                }
            )
        writer.counts.update(left_out)
        rows = writer.rows
    return Exported(rows, dict(sorted(left_out.items())))


def _left_out(tally: Tally, min_votes: int, min_agreement: float) -> str:
    """Why a comparison makes no pair; empty where it does."""
    if not tally.votes:
        return "no votes"
    if tally.votes < min_votes:
        return "too few votes"
    if tally.majority is None:
        return "undecided"
    if tally.majority == "tie":
        return "tie"
    if tally.majority == "reject":
        return "rejected"
    return "low agreement" if (tally.agreement or 0.0) < min_agreement else ""


def export_votes(db: Database, path: Path, out: Path) -> Exported:
    """Write every standing vote on the comparisons of a file, with its texts; CSV where the name ends so, else JSONL.

    Raises:
        UserError: a file cannot be read or written.
    """
    by_key: dict[str, list[Vote]] = {}
    for vote in votes.standing(db):
        by_key.setdefault(vote.key, []).append(vote)
    left_out: Counter[str] = Counter()
    rows = _rows(path, by_key, left_out)
    if out.suffix.lower() == ".csv":
        return Exported(_write_csv(out, path, rows), dict(sorted(left_out.items())))
    digest = _digest({key: [(v.who, v.choice, v.time) for v in found] for key, found in by_key.items()})
    parameters = {"format": "votes", "votes_sha256": digest}
    with writing(out, command="annotate export", parameters=parameters, parents=[path]) as writer:
        for row in rows:
            writer.row(row)
        writer.counts.update(left_out)
    return Exported(writer.rows, dict(sorted(left_out.items())))


def _rows(path: Path, by_key: Mapping[str, list[Vote]], left_out: Counter[str]) -> Iterator[dict[str, Any]]:
    for comparison in _once(path, left_out):
        found = canonical(comparison)
        texts = {"prompt": found.prompt, "first": found.first, "second": found.second}
        left_out["no votes"] += found.key not in by_key
        for vote in by_key.get(found.key, ()):
            yield {name: texts[name] if name in texts else getattr(vote, name) for name in COLUMNS}
    if not left_out["no votes"]:
        del left_out["no votes"]


def _write_csv(out: Path, path: Path, rows: Iterable[Mapping[str, Any]]) -> int:
    """Write votes for a spreadsheet, whole or not at all: no data set of the workspace, so without a manifest."""
    name = printable(str(out))
    if out.exists() and (not out.is_file() or out.samefile(path)):
        raise UserError(f"{name} is not a file that may be replaced: name another one")
    part = out.with_name(out.name + ".part")
    count = 0
    try:
        private_folder(out.parent)
        handle = os.open(part, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            for row in rows:
                writer.writerow([_cell(row[name]) for name in COLUMNS])
                count += 1
        part.replace(out)
    except OSError as error:
        raise UserError(f"{name} cannot be written ({error.strerror}): name another file") from error
    finally:
        part.unlink(missing_ok=True)
    return count


def _once(path: Path, left_out: Counter[str]) -> Iterator[Comparison]:
    seen: set[str] = set()
    for found in comparisons(path):
        if isinstance(found, BadRow):
            left_out["unreadable"] += 1
        elif found.key in seen:
            left_out["the same comparison again"] += 1
        else:
            seen.add(found.key)
            yield found


def _cell(value: object) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False)


def _digest(of: Mapping[str, object]) -> str:
    """What the votes were, as far as they matter: the same votes make the same file."""
    lines = "\n".join(f"{key} {of[key]}" for key in sorted(of))
    return hashlib.sha256(lines.encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of the rows of a file of votes.

    Attributes:
        new: votes that were not there.
        changed: those that take the place of an older one of the same person.
        known: those that were there already.
        older: those whose person has said something newer here.
        bad: rows that are no votes, the first of them.
        bad_rows: how many there are.
    """

    new: int
    changed: int
    known: int
    older: int
    bad: tuple[BadRow, ...]
    bad_rows: int


# Bad rows that are told one by one.
_TOLD = 20


def import_votes(db: Database, path: Path) -> Imported:
    """Take in votes that `export_votes` or another tool wrote; all of them or, where reading fails, none.

    A row has `choice` (first, second, tie, reject, skip) and `who`, and `key` or the texts `prompt`, `first` and
    `second`. The same vote is not taken twice; of two votes of a person on a comparison the newer one counts.

    Raises:
        UserError: the file cannot be read at all.
    """
    counts: Counter[str] = Counter()
    bad: list[BadRow] = []
    with transaction(db):
        for row in read_rows(path):
            vote: Vote | BadRow
            if isinstance(row, Row):
                try:
                    vote = _vote(row)
                except Refused as refused:
                    vote = refused.row(row)
                except UserError as error:
                    vote = BadRow(row.line, "who", "who", str(error), row.offset, row.length)
            else:
                vote = row
            if isinstance(vote, BadRow):
                counts["bad"] += 1
                bad += [vote] if len(bad) < _TOLD else []
                continue
            counts[_take(db, vote)] += 1
    return Imported(counts["new"], counts["changed"], counts["known"], counts["older"], tuple(bad), counts["bad"])


def _take(db: Database, vote: Vote) -> str:
    if votes.was_cast(db, vote):
        return "known"
    there = votes.standing_of(db, vote.key, vote.who)
    if there is not None and there.time >= vote.time:
        # Without a time of its own the same answer is the same vote.
        return "known" if there.choice == vote.choice else "older"
    votes.cast(db, vote)
    return "changed" if there is not None else "new"


def _vote(row: Row) -> Vote:
    fields = {name: value for name, value in row.fields.items() if value not in (None, "")}
    choice, who = fields.get("choice"), fields.get("who")
    if choice not in CHOICES:
        shown = f"not '{one_line(choice, 24)}'" if isinstance(choice, str) else "and is missing"
        raise Refused("choice", "choice", f"must be one of {', '.join(CHOICES)}, {shown}")
    if not isinstance(who, str):
        raise Refused("missing", "who", "is missing: the annotator's name is wanted")
    key, swapped = _key(fields)
    if swapped and choice in ("first", "second"):
        choice = "second" if choice == "first" else "first"
    side = fields.get("side")
    if side not in (None, "A", "B"):
        raise Refused("side", "side", f"must be A or B, not '{one_line(str(side), 24)}'")
    if swapped and side is not None:
        side = "B" if side == "A" else "A"
    return Vote(
        key=key,
        choice=cast(Choice, choice),
        who=voter(who),
        side=cast(Side | None, side),
        confidence=_whole(fields, "confidence", 1, 5),
        note=_words(fields, "note"),
        file=_words(fields, "file"),
        line=_whole(fields, "line", 0, 2**53),
        seed=_whole(fields, "seed", 0, 2**53),
        time=_time(fields),
    )


def _key(fields: Mapping[str, Any]) -> tuple[str, bool]:
    """The key of the comparison, and whether its responses stand there in the other order."""
    key = fields.get("key")
    texts = [fields[name] for name in ("prompt", "first", "second") if name in fields]
    if len(texts) == 3:
        prompt, first, second = (
            _text(value, name) for value, name in zip(texts, ("prompt", "first", "second"), strict=True)
        )
        found = comparison_key(prompt, first, second)
        if key is not None and key != found:
            raise Refused("key", "key", "does not belong to the texts beside it")
        if text_key(first) == text_key(second):
            raise Refused("identical", "second", "is the same as first: there is nothing to prefer")
        return found, text_key(first) > text_key(second)
    if not isinstance(key, str) or len(key) != 32 or set(key) - set("0123456789abcdef"):
        raise Refused("key", "key", "must be 32 hex digits, or prompt, first and second must be there")
    return key, False


def _text(value: object, name: str) -> Text:
    """A text of a row; in CSV a chat is written as JSON."""
    if isinstance(value, str) and value.startswith('[{"role"'):
        with contextlib.suppress(ValueError):
            value = json.loads(value)
    return text_of(value, name)


def _words(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name, "")
    if not isinstance(value, str):
        raise Refused("type", name, f"must be text, not {kind_of(value)}")
    return value


def _whole(fields: Mapping[str, Any], name: str, low: int, high: int) -> int | None:
    value = fields.get(name)
    if isinstance(value, str) and value.strip().lstrip("-").isdecimal():
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high):
        raise Refused(name, name, f"must be a whole number from {low} to {high}, not '{one_line(str(value), 24)}'")
    return value


def _time(fields: Mapping[str, Any]) -> float:
    value = fields.get("time", 0.0)
    try:
        moment = float(value) if not isinstance(value, bool) else math.nan
    except (TypeError, ValueError, OverflowError):
        moment = math.nan
    if not math.isfinite(moment) or moment < 0:
        raise Refused("time", "time", f"must be in seconds since 1970, not '{one_line(str(value), 24)}'")
    return moment
