"""What votes come to: who prefers what of a pair, how far people agree, how fast they are; and that as facts."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from core.data.agreement import Agreement, agreement
from core.data.comparisons import comparison_key
from core.data.messages import Text, text_key
from core.errors import UserError
from core.store import Database, facts, files
from core.store.facts import Fact
from core.store.votes import Tally, Vote, of_file, tally_of
from core.workspace import Workspace, templates

# Below this share of the votes on one answer a pair is called one of low agreement.
LOW_AGREEMENT = 0.6
GUIDELINES = "configs/annotation_guidelines.md"
# A longer time between two votes was a pause.
PAUSE_SECONDS = 300.0


def votes_on(tallies: Mapping[str, Tally], prompt: Text, first: Text, second: Text) -> Tally | None:
    """The votes on two responses to a prompt, in the order given here: `first` may be the chosen one of a pair.

    `tallies` are those of `core.store.votes.tally`, which count in the order of the texts.
    """
    found = tallies.get(comparison_key(prompt, first, second))
    if found is None or text_key(first) <= text_key(second):
        return found
    return found.swapped()


def shares(tally: Tally) -> tuple[float, float]:
    """The scores of the first and the second response: their shares of the votes. A tie is half a vote for each, a
    rejection a vote for neither."""
    if not tally.votes:
        return 0.0, 0.0
    return (tally.first + tally.tie / 2) / tally.votes, (tally.second + tally.tie / 2) / tally.votes


def is_low(tally: Tally, at_least: float = LOW_AGREEMENT) -> bool:
    """Whether people disagree on it: fewer than `at_least` of at least two votes say the same."""
    return tally.votes > 1 and (tally.agreement or 0.0) < at_least


def agreement_of(votes: Iterable[Vote]) -> Agreement:
    """How far people agree on what they all voted on. Skips say nothing; ties and rejections are answers."""
    return agreement((vote.who, vote.key, vote.choice) for vote in votes if vote.choice != "skip")


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a person has come with a file. `seconds` are those between votes, pauses left out."""

    who: str
    votes: int
    skips: int
    ties: int
    rejects: int
    a_share: float | None  # of the votes for one side, those for the side A
    confidence: float | None  # mean
    notes: int
    seconds: float
    rate: float | None  # votes and skips a minute
    last: float


def progress(votes: Sequence[Vote]) -> list[Progress]:
    """How far each person has come, by name."""
    by_person: dict[str, list[Vote]] = {}
    for vote in votes:
        by_person.setdefault(vote.who, []).append(vote)
    return [_progress(who, cast) for who, cast in sorted(by_person.items())]


def _progress(who: str, cast: Sequence[Vote]) -> Progress:
    times = sorted(vote.time for vote in cast)
    sides = [vote.letter for vote in cast if vote.letter in ("A", "B")]
    sure = [vote.confidence for vote in cast if vote.confidence is not None and vote.choice != "skip"]
    seconds, rate = pace(times)
    return Progress(
        who=who,
        votes=sum(vote.choice != "skip" for vote in cast),
        skips=sum(vote.choice == "skip" for vote in cast),
        ties=sum(vote.choice == "tie" for vote in cast),
        rejects=sum(vote.choice == "reject" for vote in cast),
        a_share=sides.count("A") / len(sides) if sides else None,
        confidence=math.fsum(sure) / len(sure) if sure else None,
        notes=sum(bool(vote.note) for vote in cast),
        seconds=seconds,
        rate=rate,
        last=times[-1],
    )


def pace(times: Sequence[float]) -> tuple[float, float | None]:
    """Seconds spent between votes, pauses left out, and votes a minute; None before there are two."""
    gaps = [after - before for before, after in pairwise(times)]
    worked = [gap for gap in gaps if gap <= PAUSE_SECONDS]
    seconds = math.fsum(worked)
    return seconds, 60 * len(worked) / seconds if seconds > 0 else None


def votes_words(count: int) -> str:
    return f"{count:,} vote{'' if count == 1 else 's'}"


def guidelines_fact(workspace: Workspace) -> Fact:
    """Whether the guidelines for annotators were written: the template is none."""
    path = workspace.path(GUIDELINES)
    try:
        text = path.read_bytes()
    except OSError:
        return Fact("data.guidelines", 0.0, source=f"{GUIDELINES} is missing")
    inputs = {GUIDELINES: hashlib.sha256(text).hexdigest()}
    template = templates() / Path(GUIDELINES).name
    if not text.strip() or (template.is_file() and template.read_bytes().strip() == text.strip()):
        return Fact("data.guidelines", 0.0, source=f"{GUIDELINES} is still the template: edit it", inputs=inputs)
    words = len(text.split())
    return Fact("data.guidelines", 1.0, source=f"{GUIDELINES}, {words} words", inputs=inputs)


def _pairs(count: int) -> str:
    return f"{count:,} pair{'' if count == 1 else 's'}"


def facts_of(db: Database, workspace: Workspace, relative: str) -> list[Fact]:
    """What the votes on a file come to: their number, the agreement of those who voted, the guidelines."""
    votes = of_file(db, relative)
    inputs = files.fingerprints(db, workspace, relative)
    tallies = tally_of(votes)
    people = {vote.who for vote in votes if vote.choice != "skip"}
    total = sum(tally.votes for tally in tallies.values())
    told = f"{total} by {len(people)} {'person' if len(people) == 1 else 'people'} on {_pairs(len(tallies))}"
    cast = Fact("data.votes", float(total), "votes", n=total, source=f"{relative}: {told}", text=told, inputs=inputs)
    found = agreement_of(votes)
    observed = f", observed {found.observed:.2f}" if found.observed is not None else ""
    words = f"{found.kind}'s kappa, {found.coders} people, {_pairs(found.items)}{observed}"
    low = sum(is_low(tally) for tally in tallies.values())
    source = f"{relative}: {words}, {_pairs(low)} of low agreement" if found.items else f"{relative}: {found.reason}"
    if found.items and found.reason:
        source += f"; {found.reason}"
    text = f"{found.kappa:.2f} ({words})" if found.kappa is not None else None
    agree = Fact("data.annotator_agreement", found.kappa, "", low=found.low, high=found.high, n=found.items,
                 source=source, text=text, inputs=inputs)  # fmt: skip
    return [cast, agree, guidelines_fact(workspace)]


def record_facts(db: Database, workspace: Workspace, relative: str) -> list[Fact]:
    """Measure and record what the votes on a file come to.

    Raises:
        UserError: nobody has voted on it.
    """
    found = facts_of(db, workspace, relative)
    if not found[0].value:
        raise UserError(f"{relative} has no votes: cast some with 'dpotui annotate vote {relative}'")
    now = time.time()
    facts.record(db, *(replace(fact, time=now) for fact in found))
    return found
