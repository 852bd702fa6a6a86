"""What the comparisons come to, written down: figures, all comparisons, those that were lost, and the facts."""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from core.errors import UserError
from core.evaluation.rows import write_json, write_lines
from core.evaluation.win_rate import Count, count, same_as_even
from core.evaluation.win_rate_compared import EMPTY, IDENTICAL, OPEN, Compared
from core.evaluation.win_rate_length import length_controlled
from core.store import Database, artifacts, facts, files
from core.store.facts import Fact
from core.store.runs import Run
from core.text import one_line, printable
from core.workspace import Workspace

COMPARISONS, LOST, FIGURES = "comparisons.jsonl", "lost.jsonl", "win_rate.json"
RATE, CONTROLLED = "eval.win_rate", "eval.win_rate_length_controlled"
# A row whose category is not said.
NO_CATEGORY = "(none)"
_SIDES = {"win": 1.0, "tie": 0.5, "loss": 0.0}
# Categories that the log tells of.
_SHOWN = 12


def conclude(
    db: Database,
    workspace: Workspace,
    run: Run,
    asked: dict[str, Any],
    judge: dict[str, Any],
    rows: Sequence[Compared],
    inputs: dict[str, str],
    *,
    counted: Sequence[Compared] | None = None,
    unknown: str = "",
) -> list[str]:
    """Write the files and facts of a win rate; returns sentences for people.

    Args:
        asked: what was asked of whom: names of both models and of the test set, prompts, left_out.
        judge: who judged: kind, "by" (in words), and what else is to be told.
        rows: all comparisons; `counted` those that the figures are of, where that is not all that are decided.
        inputs: hashes of what it stands on.
        unknown: why there are no figures yet; "" where there are.
    """
    assert run.output_dir is not None
    folder = workspace.path(run.output_dir)
    counted = [row for row in (rows if counted is None else counted) if row.outcome is not None]
    figures = _figures(rows, counted)
    figures = {"asked": asked, "judge": judge, **figures, "inputs": inputs, "unknown": unknown}
    write_lines(folder / COMPARISONS, map(_fields, rows))
    lost = [row for row in counted if row.outcome is not None and row.outcome < 0.5]
    # What is empty is no response of a pair.
    pairs = [_lost(row) for row in lost if row.policy.strip()]
    write_lines(folder / LOST, pairs) if pairs else (folder / LOST).unlink(missing_ok=True)
    write_json(folder / FIGURES, figures)
    for kind, name in (("comparisons", COMPARISONS), ("comparisons", LOST), ("report", FIGURES)):
        _keep(db, workspace, run, kind, name)
    rate, controlled = _facts(run, figures, inputs)
    facts.record(db, rate, controlled)
    return lines(figures)


def _figures(rows: Sequence[Compared], counted: Sequence[Compared]) -> dict[str, Any]:
    # A judge's probability counts as the side it is on, in every figure alike.
    outcomes = [_SIDES[result(row.outcome)] for row in counted]
    open_ = [row for row in rows if row.outcome is None]
    unread = [row for row in open_ if row.why != OPEN]
    whole, every = count(outcomes), count(row.outcome for row in rows if row.outcome is not None)
    by_category: dict[str, list[float]] = {}
    for row in counted:
        if row.outcome is not None:
            by_category.setdefault(row.category or NO_CATEGORY, []).append(row.outcome)
    named = set(by_category) - {NO_CATEGORY}
    controlled = length_controlled(outcomes, [row.lengths for row in counted])
    return {
        "comparisons": len(rows),
        **_counted(whole),
        "p_value": whole.p_value if whole.n else None,
        # Had those without a verdict all been lost, or all been won. Who votes begins with a random sample instead.
        "bounds": [every.won / len(rows), (every.won + len(unread)) / len(rows)] if unread else None,
        "undecided": dict(sorted(Counter(row.why for row in open_).items())),
        "identical": sum(row.why == IDENTICAL for row in counted),
        "empty": sum(row.why == EMPTY for row in counted),
        "length_controlled": asdict(controlled),
        "categories": {name: _counted(count(by_category[name])) for name in sorted(by_category)} if named else {},
        "mean_characters": _means(row.lengths for row in counted),
        "mean_tokens": _means(row.tokens for row in counted),
    }


def tally(found: Mapping[str, Any]) -> str:
    """'77 won, 1 tie, 50 lost'."""
    return f"{found['wins']} won, {found['ties']} tie{'' if found['ties'] == 1 else 's'}, {found['losses']} lost"


def _counted(found: Count) -> dict[str, Any]:
    low, high = found.interval or (None, None)
    return {**asdict(found), "n": found.n, "win_rate": found.share, "low": low, "high": high}


def _means(both: Iterable[tuple[int, int]]) -> list[float] | None:
    """Of the policy's and the baseline's."""
    every = list(both)
    return [math.fsum(one) / len(every) for one in zip(*every, strict=True)] if every else None


def _fields(row: Compared) -> dict[str, Any]:
    return {
        "line": row.line,
        "category": row.category,
        "prompt": row.prompt,
        "policy": row.policy,
        "baseline": row.baseline,
        "outcome": row.outcome,
        "result": result(row.outcome),
        "why": row.why,
        "told": row.told,
    }


def result(outcome: float | None) -> str:
    if outcome is None:
        return "undecided"
    return "tie" if outcome == 0.5 else "win" if outcome > 0.5 else "loss"


def _lost(row: Compared) -> dict[str, Any]:
    """As a preference pair: what was better, and what the policy wrote."""
    beside = {"category": row.category} if row.category else {}
    judged = "\n".join(_words(told) for told in row.told)
    return {
        "prompt": row.prompt, "chosen": row.baseline, "rejected": row.policy, **beside, "line": row.line,
        "judge": judged,
    }  # fmt: skip


def _words(told: dict[str, Any]) -> str:
    """One verdict in words."""
    text = f": {told['text']}" if told.get("text") else ""
    if "who" in told:
        return f"{told['who']}: {told['choice']}{text}"
    for kind in ("reward", "score"):
        if kind in told:
            value = told[kind]
            return f"{kind} of the {told['of']}'s {'unknown' if value is None else f'{value:.4g}'}{text}"
    return f"{told['first']} read first, better is {told['better'] or 'not said'}{text}"


def _keep(db: Database, workspace: Workspace, run: Run, kind: str, name: str) -> None:
    """A file of this run as its artifact; what is gone is none any more."""
    relative = f"{run.output_dir}/{name}"
    digest = files.sha256(db, workspace, relative)
    if digest is None:
        artifacts.forget(db, run.id, relative)
    else:
        artifacts.record(db, run.id, kind, relative, digest, workspace.path(relative).stat().st_size)


def _facts(run: Run, figures: dict[str, Any], inputs: dict[str, str]) -> tuple[Fact, Fact]:
    now, n = time.time(), figures["n"]
    if figures["unknown"] or not n:
        why = figures["unknown"] or "the judge decided none of the comparisons: " + _why_none(figures["undecided"])
        return (
            Fact(RATE, None, "%", run=run.id, time=now, n=n, source=why, inputs=inputs),
            Fact(CONTROLLED, None, "%", run=run.id, time=now, n=n, source=why, inputs=inputs),
        )
    rate = Fact(
        RATE, 100 * figures["win_rate"], "%", run=run.id, time=now, low=100 * figures["low"],
        high=100 * figures["high"], n=n, source=sentence(figures), inputs=inputs,
    )  # fmt: skip
    told = figures["length_controlled"]
    if told["share"] is None:
        return rate, Fact(CONTROLLED, None, "%", run=run.id, time=now, n=n, source=told["reason"], inputs=inputs)
    return rate, Fact(
        CONTROLLED, 100 * told["share"], "%", run=run.id, time=now, low=100 * told["low"], high=100 * told["high"],
        n=n, source=controlled_sentence(figures), inputs=inputs,
    )  # fmt: skip


def sentence(figures: dict[str, Any]) -> str:
    """The win rate in words, with all that must be known beside it."""
    asked = figures["asked"]
    told = (
        f"{printable(asked['policy'])} against {printable(asked['baseline'])} on {figures['n']} prompts of"
        f" {printable(asked['test_set'])}: {tally(figures)}"
        f" {printable(figures['judge']['by'])}; sign test p = {figures['p_value']:.3g}"
    )
    if same_as_even((figures["low"], figures["high"])):
        told += "; not different from 50 %"
    if figures["identical"] or figures["empty"]:
        same = figures["identical"]
        both = [f"{same} identical {'answer is a tie' if same == 1 else 'answers are ties'}"] if same else []
        both += [f"{figures['empty']} decided by an empty answer"] if figures["empty"] else []
        told += f"; {', '.join(both)}"
    if figures["undecided"]:
        told += f"; left out: {_reasons(figures['undecided'])}"
    if figures["bounds"]:
        told += ", which could make it {:.1f} to {:.1f} %".format(*(100 * bound for bound in figures["bounds"]))
    return told


def controlled_sentence(figures: dict[str, Any]) -> str:
    told = figures["length_controlled"]
    ours, theirs = figures["mean_characters"]
    even = "; not different from 50 %" if same_as_even((told["low"], told["high"])) else ""
    return (
        "win rate at equal length, by logistic regression on tanh(Δ/s) as AlpacaEval 2's: mean length"
        f" {ours:.0f} characters of the policy's answers, {theirs:.0f} of the baseline's; φ = {told['effect']:+.2f}"
        f" [{told['effect_low']:+.2f}, {told['effect_high']:+.2f}]{even}"
    )


_WHY = {
    "unparseable": "without a readable verdict",
    "too_long": "too long for the judge",
    "refused": "refused by the judge",
    "one_order": "readable in one order only",
    OPEN: "not voted on",
}


def _reasons(undecided: dict[str, int]) -> str:
    return ", ".join(f"{number} {_WHY.get(why, why)}" for why, number in undecided.items()) or "there is none"


# What to do where a judge decided nothing, for the commonest reason.
_MENDS = {
    "unparseable": "verdicts.jsonl has its words; raise max_tokens, set verdict: likelihood, or name another judge",
    "too_long": "raise max_input_tokens if the judge's model has more positions, or name another judge",
    "refused": "verdicts.jsonl has its words; name another judge",
}


def _why_none(undecided: dict[str, int]) -> str:
    mend = _MENDS.get(max(undecided, key=undecided.__getitem__)) if undecided else None
    return _reasons(undecided) + (f": {mend}" if mend else "")


def lines(figures: dict[str, Any]) -> list[str]:
    """Sentences for the log and the command line."""
    if figures["unknown"]:
        return [figures["unknown"]]
    if not figures["n"]:
        return [f"win rate unknown: {_why_none(figures['undecided'])}"]
    said = [f"win rate {share_words(figures, 'win_rate')}: {sentence(figures)}"]
    told = figures["length_controlled"]
    if told["share"] is None:
        said.append(f"length-controlled win rate unknown: {told['reason']}")
    else:
        said.append(f"length-controlled win rate {share_words(told, 'share')}: {controlled_sentence(figures)}")
    said += [printable(line) for line in figures["judge"].get("lines", ())]
    for name, found in list(figures["categories"].items())[:_SHOWN]:
        same = ", not different from 50 %" if same_as_even((found["low"], found["high"])) else ""
        counts = f"{tally(found)}{same}"
        said.append(f"{one_line(name, 40)}: {share_words(found, 'win_rate')}, {counts}")
    if len(figures["categories"]) > _SHOWN:
        said.append(f"and {len(figures['categories']) - _SHOWN} more categories: {FIGURES}")
    return said


def share_words(told: dict[str, Any], name: str) -> str:
    return f"{100 * told[name]:.1f} % [{100 * told['low']:.1f}, {100 * told['high']:.1f}]"


def read_figures(folder: Path) -> dict[str, Any] | None:
    """win_rate.json as `conclude` wrote it; None where there is none.

    Raises:
        UserError: another hand changed it.
    """
    path = folder / FIGURES
    try:
        found = json.loads(path.read_bytes())
        if not isinstance(found, dict) or "asked" not in found or "unknown" not in found or "n" not in found:
            raise ValueError
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not as this program writes it"
        raise UserError(
            f"{printable(str(path))}: {reason}: run the part again with 'dpotui evaluate --only win_rate'"
        ) from None
    return found
