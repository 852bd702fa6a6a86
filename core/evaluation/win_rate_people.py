"""People as judge of a win rate: their blind votes on answers.jsonl, counted whenever somebody has voted."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

from core.config import EvalConfig
from core.data.messages import text_key
from core.data.votes import agreement_of, record_facts, votes_on, votes_words
from core.errors import UserError
from core.evaluation.win_rate_compared import ANSWERS, BASELINE, OPEN, POLICY, Compared, read_answers, settle
from core.evaluation.win_rate_results import conclude, read_figures
from core.store import Database, runs, votes
from core.store.runs import Run
from core.store.votes import Tally, Vote
from core.text import one_line, printable
from core.workspace import Workspace


def count_votes(
    db: Database, workspace: Workspace, run: Run, asked: dict[str, Any], inputs: dict[str, str]
) -> list[str]:
    """Make the figures of a run from the votes that stand now; returns what they come to, in sentences.

    Of each comparison the answer that most people chose wins; where none has more votes than any other (ties and
    rejections of both are one answer: neither) it is a tie. While some comparisons have no vote, as many of those that
    needed none are counted as corresponds to the share that was voted on: else identical answers, ties all, would pull
    the rate to one half.
    """
    assert run.output_dir is not None
    relative = f"{run.output_dir}/{ANSWERS}"
    rows = read_answers(workspace.path(relative))
    settled, open_ = [], {}
    for row in rows:
        if settle(row):
            settled.append(row)
        else:
            open_[row.key] = row
    cast = [vote for vote in votes.standing(db) if vote.key in open_ and vote.choice != "skip"]
    tallies = votes.tally_of(cast)
    for row in open_.values():
        tally = votes_on(tallies, row.prompt, row.policy, row.baseline)
        row.outcome = _majority(tally) if tally is not None else None
        row.why = "" if tally is not None else OPEN
    for vote in cast:
        row = open_[vote.key]
        row.told.append({"who": vote.who, "choice": _choice(vote, row), **({"text": vote.note} if vote.note else {})})
    # The same prompt with the same two answers stands there once; comparisons are of different prompts.
    voted = [row for row in open_.values() if row.outcome is not None]
    share = len(voted) / len(open_) if open_ else 1.0
    counted = [*voted, *_sample(settled, share)]
    unknown = ""
    if open_ and not voted:
        unknown = (
            f"people judge, and nobody has voted yet: {len(open_)} comparisons wait for 'dpotui annotate vote"
            f" {printable(relative)}', or for the key a in stage 7; the win rate is counted when voting ends"
        )
    judge = _judge(cast, voted, len(open_))
    return conclude(db, workspace, run, asked, judge, rows, inputs, counted=counted, unknown=unknown)


def recount(db: Database, workspace: Workspace, run: Run) -> list[str]:
    """Take in the votes of an evaluation whose comparisons people judge.

    Raises:
        UserError: it is no such evaluation, or its files are not what it wrote.
    """
    if run.kind != "evaluate":
        raise UserError(f"{run.id} is a run of kind {run.kind}: a win rate is part of an evaluation")
    config = EvalConfig.model_validate(run.config)
    if "win_rate" not in config.parts:
        raise UserError(f"{run.id} measured no win rate (its parts: {', '.join(config.parts)})")
    by = config.alignment_evaluation.preference_validation.judge
    if by is not None:
        raise UserError(
            f"{run.id} was judged by {by.kind} {printable(by.model)}, not by people: votes on its answers are kept and"
            " change no figure; leave preference_validation.judge out and evaluate anew to have people judge"
        )
    figures = read_figures(workspace.path(run.output_dir)) if run.output_dir is not None else None
    if figures is None:
        raise UserError(f"{run.id} has no answers yet: finish it with 'dpotui evaluate --resume {run.id}'")
    # Hashes are those that the run itself kept.
    inputs = {path: run.inputs[path] for path in figures.get("inputs", {}) if path in run.inputs}
    return count_votes(db, workspace, run, figures["asked"], inputs)


def evaluation_of(db: Database, file: str) -> Run | None:
    """The newest evaluation whose answers a file of the workspace is, if any."""
    if file.rpartition("/")[2] != ANSWERS:
        return None
    return next((run for run in runs.listing(db, kind="evaluate") if f"{run.output_dir}/{ANSWERS}" == file), None)


def record_votes(db: Database, workspace: Workspace, file: str) -> str | None:
    """For who ends voting: what the votes on a file come to, as facts. On the answers of an evaluation they are its win
    rate, and say nothing of the preference data; on any other file they are counted as `core.data.votes` does.

    Returns:
        The win rate in words; None of any other file.

    Raises:
        UserError: nobody has voted on it.
    """
    run = evaluation_of(db, file)
    if run is None:
        record_facts(db, workspace, file)
        return None
    try:
        return recount(db, workspace, run)[0]
    except UserError as error:
        return str(error)


def _majority(tally: Tally) -> float:
    """Of votes in the order policy, baseline."""
    neither = tally.tie + tally.reject
    if tally.first > max(tally.second, neither):
        return 1.0
    return 0.0 if tally.second > max(tally.first, neither) else 0.5


def _choice(vote: Vote, row: Compared) -> str:
    if vote.choice not in ("first", "second"):
        return vote.choice
    policy_first = text_key(row.policy) <= text_key(row.baseline)
    return POLICY if (vote.choice == "first") == policy_first else BASELINE


def _sample(rows: Sequence[Compared], share: float) -> list[Compared]:
    """That share of the rows, always the same ones."""
    ordered = sorted(rows, key=lambda row: blake2b(row.key.encode(), digest_size=8).digest())
    return ordered[: round(share * len(rows))]


def _judge(cast: Sequence[Vote], voted: Sequence[Compared], whole: int) -> dict[str, Any]:
    people = sorted({vote.who for vote in cast})
    named = ", ".join(one_line(who, 40) for who in people[:4]) + (f" and {len(people) - 4} more" if people[4:] else "")
    several = sum(len(row.told) > 1 for row in voted)
    told: dict[str, Any] = {
        "kind": "people",
        "by": f"by {votes_words(len(cast))} of {named or 'nobody'}",
        "people": people,
        "votes": len(cast),
        "voted": len(voted),
        "open": whole - len(voted),
        "lines": [f"{len(voted)} of {whole} comparisons were voted on, {several} of them by several people"],
    }
    if several:
        found = agreement_of(cast)
        kappa = f"{found.kind}'s kappa {found.kappa:.2f}" if found.kappa is not None else f"no kappa ({found.reason})"
        interval = f" [{found.low:.2f}, {found.high:.2f}]" if found.low is not None else ""
        same = f", the same answer in {100 * found.observed:.1f} %" if found.observed is not None else ""
        told["lines"].append(f"agreement of the people: {kappa}{interval}{same} over {found.items} comparisons")
        told |= {"kappa": found.kappa, "kappa_kind": found.kind, "observed": found.observed}
    return told
