"""What the judges of a run come to: counts, the pull of the first position, agreement, and the pairs that were made."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from core.config.judge import Pairing
from core.data.agreement import Agreement, agreement
from core.generation.groups import Group
from core.generation.pairing import Made, Opinion, cyclic, pairs
from core.intervals import wilson


@dataclass(slots=True)
class Tally:
    """Of one judge, over all rows.

    `counts` are questions (asked, and those without a verdict by reason), comparisons of two responses (decided, ties,
    inconsistent, one_order) and rows (cyclic).
    """

    counts: Counter[str] = field(default_factory=Counter)
    first_wins: list[float] = field(default_factory=list)
    # On the pairs of the file: agrees, differs, tie.
    against_file: Counter[str] = field(default_factory=Counter)

    def position(self) -> tuple[float, float, float, int] | None:
        """How often the response that was read first won, over comparisons decided in both orders; 0.5 has no pull.

        With its Wilson interval: both orders of a comparison are one observation, ties count half.
        """
        n = len(self.first_wins)
        won = math.fsum(self.first_wins)
        return (won / n, *wilson(won, n), n) if n else None

    def with_file(self) -> tuple[float, float, float, int] | None:
        """The share of the file's own preferences that the judge shares, ties half, its Wilson interval, and n."""
        n = sum(self.against_file.values())
        if not n:
            return None
        right = self.against_file["agrees"] + self.against_file["tie"] / 2
        return right / n, *wilson(right, n), n


class Report:
    """Fed row by row; knows at the end."""

    def __init__(self, judges: Sequence[str], pairing_judge: str, rules: Pairing) -> None:
        self.tallies = {name: Tally() for name in judges}
        self.left: Counter[str] = Counter()
        self.rows: Counter[str] = Counter()
        self._pairing_judge = pairing_judge
        self._rules = rules
        self._labels: list[tuple[str, tuple[int, int, int], str]] = []

    def add(self, group: Group, opinions: dict[str, Opinion]) -> list[Made]:
        """Count a row; returns its pairs."""
        self.rows["prompts"] += 1
        self.rows["repeated_responses"] += group.repeated
        for name, opinion in opinions.items():
            tally = self.tallies[name]
            tally.counts += opinion.counts
            tally.first_wins += opinion.first_wins
            tally.counts["cyclic"] += cyclic(opinion)
            for (one, other), outcome in opinion.outcomes.items():
                label = "tie" if outcome == 0.5 else "first" if outcome > 0.5 else "second"
                self._labels.append((name, (group.line, one, other), label))
                if group.preferred:
                    tally.against_file[{"first": "agrees", "second": "differs", "tie": "tie"}[label]] += 1
        others = [opinion for name, opinion in opinions.items() if name != self._pairing_judge]
        found = pairs(opinions[self._pairing_judge], self._rules, others, self.left)
        self.rows["pairs"] += len(found)
        self.rows["prompts_without_a_pair"] += not found
        return found

    def agreement(self) -> Agreement | None:
        """Between the judges; None where there is one alone."""
        return agreement(self._labels) if len(self.tallies) > 1 else None

    def heard(self) -> list[str]:
        """The judges that decided anything."""
        return [name for name, tally in self.tallies.items() if tally.counts["decided"]]

    def counts(self) -> dict[str, int]:
        """For the manifest of the pairs: of the judge that made them, and what was left out."""
        tally = self.tallies[self._pairing_judge].counts
        names = ("comparisons", "decided", "ties", "inconsistent", "one_order", "unparseable", "too_long", "refused")
        found = {name: tally[name] for name in names} | {"cyclic_prompts": tally["cyclic"]}
        found |= {f"left_out_{name}": count for name, count in self.left.items() if count}
        rows = ("prompts", "prompts_without_a_pair", "pairs", "bad_rows", "single_response", "repeated_responses")
        return found | {name: self.rows[name] for name in rows}

    def document(self) -> dict[str, Any]:
        """judge_report.json."""
        found: dict[str, Any] = {"judges": {}, "rows": dict(sorted(self.rows.items()))}
        for name, tally in self.tallies.items():
            told: dict[str, Any] = {"counts": dict(sorted(tally.counts.items()))}
            position, with_file = tally.position(), tally.with_file()
            if position is not None:
                told["first_position_wins"] = {
                    "share": position[0], "low": position[1], "high": position[2], "n": position[3]
                }  # fmt: skip
            if with_file is not None:
                share, low, high, n = with_file
                told["agrees_with_the_file"] = {
                    "share": share, "low": low, "high": high, "n": n, "ties": tally.against_file["tie"]
                }  # fmt: skip
            found["judges"][name] = told
        between = self.agreement()
        if between is not None:
            found["agreement"] = {
                "kappa": between.kappa, "low": between.low, "high": between.high, "kind": between.kind,
                "comparisons": between.items, "observed": between.observed, "reason": between.reason,
            }  # fmt: skip
        found["left_out"] = {name: count for name, count in sorted(self.left.items()) if count}
        return found

    def lines(self) -> list[str]:
        """Sentences for the log."""
        said = []
        for name, tally in self.tallies.items():
            counts = tally.counts
            without = counts["unparseable"] + counts["too_long"] + counts["refused"]
            reasons = [f"{counts[why]} {why.replace('_', ' ')}" for why in ("unparseable", "too_long", "refused")]
            text = f"{name}: {counts['asked'] - without} of {counts['asked']} questions have a verdict"
            text += f" ({', '.join(reason for reason in reasons if not reason.startswith('0 '))})" if without else ""
            text += f"; {counts['decided']} of {counts['comparisons']} comparisons decided, {counts['ties']} ties"
            if tally.first_wins:
                text += f", {counts['inconsistent']} inconsistent between the orders"
            if counts["cyclic"]:
                text += f"; {counts['cyclic']} prompts with preferences in a circle"
            said.append(text)
            position = tally.position()
            if position is not None:
                share, low, high, n = position
                said.append(
                    f"{name}: the response read first wins {_share(share, low, high)} of {n} comparisons"
                    " (50 % has no pull)"
                )
            with_file = tally.with_file()
            if with_file is not None:
                share, low, high, n = with_file
                said.append(
                    f"{name}: shares {_share(share, low, high)} of the file's own preferences ({n} decided,"
                    f" {tally.against_file['tie']} of them ties, which count half)"
                )
        between = self.agreement()
        if between is not None:
            said.append(agreement_line(between, self.heard()))
        said.append(
            f"{self.rows['pairs']} pairs by {self._pairing_judge} of {self.rows['prompts']} prompts,"
            f" {self.rows['prompts_without_a_pair']} without a pair{_left(self.left)}"
        )
        return said


def agreement_line(between: Agreement, judges: Sequence[str]) -> str:
    if between.observed is None:
        return f"agreement of the judges: unknown, {between.reason}"
    who = ", ".join(judges)
    kappa = f"{between.kind} kappa {_number(between.kappa)}" if between.kappa is not None else "no kappa"
    interval = f" [{_number(between.low)}, {_number(between.high)}]" if between.low is not None else ""
    reason = f" ({between.reason})" if between.reason else ""
    return (
        f"agreement of {who}: {kappa}{interval}{reason}, the same verdict in {100 * between.observed:.1f} % over"
        f" {between.items} comparisons"
    )


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3f}"


def _share(share: float, low: float, high: float) -> str:
    return f"{100 * share:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"


_REASONS = {
    "tie": "no difference",
    "contradicted": "their own comparison says otherwise",
    "under_min_gap": "under min_gap",
    "disagreed": "another judge says the opposite",
    "over_max": "beyond max_pairs_per_prompt",
}


def _left(left: Counter[str]) -> str:
    told = [f"{count} {_REASONS[name]}" for name, count in left.items() if count]
    return f"; left out: {', '.join(told)}" if told else ""
