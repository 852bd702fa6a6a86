"""Preference: how often, and by how much, the policy would rather give the chosen answer of a held-out pair.

The reward of an answer is β (log π_θ - log π_ref), as in DPO; what is counted is what a DPO run reports of its
validation pairs as `eval_rewards/accuracies` and `eval_rewards/margins`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import numpy as np

from core.data.batches import Budget, in_order
from core.evaluation.held_out import HeldOut, read_held_out
from core.evaluation.origin import Origin
from core.evaluation.perplexity_part import tokens_at_a_time
from core.evaluation.references import Against, against
from core.evaluation.rows import Rows, write_json, write_lines
from core.evaluation.session import Session
from core.intervals import mean_interval, wilson
from core.models.load import LanguageModel
from core.store.facts import Fact
from core.text import printable
from core.training.dpo import TIE
from core.training.forward import PairForward
from core.training.logprobs import row_sums
from core.training.losses import PairLoss

ROWS = "preference.parts.jsonl"
ACCURACY, GAP = "eval.preference_accuracy", "eval.preference_gap"


@dataclass(frozen=True, slots=True)
class _Margin:
    """What the policy makes of a pair. `nats` is the difference of the log-ratios, before β."""

    pair: HeldOut
    policy: tuple[float, float]
    reference: tuple[float, float]

    @property
    def nats(self) -> float:
        return (self.policy[0] - self.reference[0]) - (self.policy[1] - self.reference[1])

    @property
    def won(self) -> float:
        return 0.5 if abs(self.nats) < TIE else float(self.nats > 0)


def run(session: Session) -> None:
    """Measure `eval.preference_accuracy` and `eval.preference_gap`; the pairs one by one are in preference.jsonl."""
    model = session.config.subject_model
    test_set = session.config.alignment_evaluation.preference_validation.test_set
    against_what = against(session)
    inputs = session.reads(model, test_set)
    if against_what.reference is None:
        unknown(session, against_what.why, inputs)
        return
    inputs |= session.reads(against_what.reference)
    with session.rows(ROWS) as found:
        margins = [_margin(pair, found) for pair in fill(session, found, against_what)]
    _record(session, against_what, margins, inputs)


def fill(session: Session, found: Rows, what: Against) -> list[HeldOut]:
    """Fill in (policy or reference, line): the summed log-probs of chosen and rejected. Returns the pairs."""
    loaded = session.model()
    pairs = read_held_out(session, loaded, what.made)
    _measure(session, loaded, "policy", pairs, found, what.made, 0)
    if what.reference is not None and not _reference_free(what.made):
        _under_reference(session, what.reference, pairs, found, what.made)
    return pairs


def unknown(session: Session, why: str, inputs: dict[str, str]) -> None:
    session.context.log(f"preference on held-out pairs is not measured: {why}", "warning")
    facts = (Fact(ACCURACY, None, unit="%", source=why, inputs=inputs), Fact(GAP, None, source=why, inputs=inputs))
    session.record(*facts)


def _under_reference(session: Session, name: str, pairs: list[HeldOut], found: Rows, made: Origin) -> None:
    if all(("reference", pair.line) in found for pair in pairs):
        return
    with session.using(name) as loaded:
        _measure(session, loaded, "reference", pairs, found, made, 1)


def _measure(
    session: Session, loaded: LanguageModel, who: str, pairs: list[HeldOut], found: Rows, made: Origin, stretch: int
) -> None:
    """Fill in the summed log-probs of both responses of each pair under a model.

    Batches are the same however often the run was ended, and so is every digit.
    """
    there = sum((who, pair.line) in found for pair in pairs)
    session.stretch(f"held-out pairs under the {who}", len(pairs), there, share=(stretch, 2))
    if there == len(pairs):
        return
    alpha = made.config.training.ld_alpha if made.config is not None else None
    forward = PairForward(loaded.model, tail_weight=1.0 if alpha is None else alpha)
    tokens = [pair.tokens for pair in pairs]
    for group, indices in enumerate(in_order([pair.length for pair in pairs], Budget(tokens_at_a_time(), rows=2))):
        if all((who, pairs[index].line) in found for index in indices) or not session.mine(group):
            continue
        session.between()
        inputs = forward.inputs(forward.collate(tokens, indices))
        values, _ = forward.head.measure(forward.features(inputs), inputs["targets"])
        sums = np.array(row_sums(values, inputs["rows"], inputs["weights"], 2 * len(indices)), np.float64)
        if not np.isfinite(sums).all():
            raise session.no_numbers(session.config.subject_model if who == "policy" else "the reference")
        chosen, rejected = sums[: len(indices)].tolist(), sums[len(indices) :].tolist()
        new = [((who, pairs[i].line), [chosen[row], rejected[row]]) for row, i in enumerate(indices)]
        session.advance(sum(key not in found for key, _ in new))
        found.add(new)
        mx.clear_cache()
    session.between()


def _margin(pair: HeldOut, found: Rows) -> _Margin:
    key = ("reference", pair.line)
    return _Margin(pair, tuple(found["policy", pair.line]), tuple(found[key]) if key in found else (0.0, 0.0))


def _reference_free(made: Origin) -> bool:
    return made.config is not None and PairLoss.of(made.config.training).reference_free


@dataclass(frozen=True, slots=True)
class _Figures:
    """Of some pairs: the share that is won with its Wilson interval, and the mean margin in nats with its own."""

    n: int
    accuracy: tuple[float, float, float]
    nats: tuple[float, float | None, float | None]

    @classmethod
    def of(cls, margins: Sequence[_Margin]) -> _Figures:
        n, won = len(margins), math.fsum(one.won for one in margins)
        nats = [one.nats for one in margins]
        mean = math.fsum(nats) / n
        deviation = float(np.std(nats, ddof=1)) if n > 1 else 0.0
        return cls(n, (won / n, *wilson(won, n)), (mean, *mean_interval(mean, deviation, n)))

    def fields(self, beta: float | None) -> dict[str, Any]:
        names = ("", "_low", "_high")
        found: dict[str, Any] = {"pairs": self.n}
        found |= {f"accuracy{name}": value for name, value in zip(names, self.accuracy, strict=True)}
        found |= {f"margin_nats{name}": value for name, value in zip(names, self.nats, strict=True)}
        if beta is not None:
            scaled = (None if value is None else beta * value for value in self.nats)
            found |= {f"margin{name}": value for name, value in zip(names, scaled, strict=True)}
        return found


def _record(session: Session, what: Against, margins: list[_Margin], inputs: dict[str, str]) -> None:
    config, made = session.config, what.made
    beta = made.config.training.beta if made.config is not None else None
    whole = _Figures.of(margins)
    by_category: dict[str, list[_Margin]] = {}
    for one in margins:
        if one.pair.category:
            by_category.setdefault(one.pair.category, []).append(one)
    categories = {name: _Figures.of(some) for name, some in sorted(by_category.items())}
    path = config.alignment_evaluation.preference_validation.test_set
    file = printable(path)
    relative = session.context.workspace.relative(session.folder)
    write_lines(session.folder / "preference.jsonl", [_row(one, beta) for one in margins])
    likelier = math.fsum(one.policy[0] > one.policy[1] for one in margins) / len(margins)
    document = {
        "model": config.subject_model, "reference": what.reference, "run": made.run and made.run.id, "beta": beta,
        "file": path, **whole.fields(beta), "ties": sum(one.won == 0.5 for one in margins),
        "likelier_under_the_policy": likelier,
        "categories": {name: figures.fields(beta) for name, figures in categories.items()},
    }  # fmt: skip
    write_json(session.folder / "preference.json", document)
    for name in ("preference.jsonl", "preference.json"):
        session.context.artifact("evaluation", f"{relative}/{name}")
    words = "" if _reference_free(made) else f", reference {what.words}"
    measured = f"{whole.n} pairs of {file}{words}"
    share, low, high = (100 * value for value in whole.accuracy)
    facts = [Fact(ACCURACY, share, unit="%", low=low, high=high, n=whole.n, source=measured, inputs=inputs)]
    if beta is None:
        why = f"β is not known: {made.why}; the log-ratio margin is {whole.nats[0]:.4g} nats"
        facts.append(Fact(GAP, None, n=whole.n, source=why, inputs=inputs))
        session.context.log(f"the reward margin is not measured: {why}", "warning")
    else:
        gap, *bounds = (None if value is None else beta * value for value in whole.nats)
        source = f"reward margin, β {beta:g} of {made.run.id if made.run else ''}, {measured}"
        facts.append(Fact(GAP, gap, low=bounds[0], high=bounds[1], n=whole.n, source=source, inputs=inputs))
    _say(session, whole, categories, beta)
    session.record(*facts)


def _say(session: Session, whole: _Figures, categories: dict[str, _Figures], beta: float | None) -> None:
    for name, figures in [("all", whole), *list(categories.items())[:20]]:
        share, low, high = (100 * value for value in figures.accuracy)
        margin = f"{figures.nats[0]:.3g} nats" if beta is None else f"{beta * figures.nats[0]:.3g}"
        session.context.log(
            f"{name}: the chosen answer is preferred in {share:.1f} % ({low:.1f} to {high:.1f}) of {figures.n} pairs,"
            f" margin {margin}"
        )


def _row(one: _Margin, beta: float | None) -> dict[str, Any]:
    return {
        "line": one.pair.line,
        "category": one.pair.category,
        "policy": one.policy,
        "reference": one.reference,
        "margin_nats": one.nats,
        "margin": None if beta is None else beta * one.nats,
        "won": one.won,
    }
