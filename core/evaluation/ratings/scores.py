"""What marks come to: of each model and criterion a mean, final against baseline, agreement, notes; and as facts."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from core.evaluation.ratings.agreement import Alpha, mean_alpha
from core.evaluation.ratings.figures import Difference, Estimate, clustered, unpaired
from core.evaluation.ratings.sample import BASELINE, FINAL, Catalogue
from core.evaluation.ratings.source import Source
from core.store import Database, facts, ratings
from core.store.facts import Fact
from core.store.ratings import NOTE, Rating, Tally
from core.text import one_line
from core.workspace import Workspace

# All criteria together.
ALL = "all"


@dataclass(frozen=True, slots=True)
class Scores:
    """Of one model. `of` holds a mean for each criterion and for `ALL`; None where there is no mark.

    Attributes:
        rated: answers that somebody has marked by every criterion, or passed over there.
        planned: answers of the sample.
    """

    role: str
    of: dict[str, Estimate | None]
    rated: int
    planned: int


@dataclass(frozen=True, slots=True)
class Summary:
    """
    Attributes:
        models: the final one first.
        difference: final - baseline by criterion and for `ALL`.
        agreement: by criterion and for `ALL`, which is the mean over criteria.
        notes: newest first.
        lost: marks of answers that the file does not hold any more.
        planned: answers in the sample, of all models.
    """

    source: Source
    raters: tuple[Tally, ...]
    models: tuple[Scores, ...]
    difference: dict[str, Difference]
    agreement: dict[str, Alpha]
    notes: tuple[Rating, ...]
    lost: int
    planned: int
    catalogue: Catalogue

    def model(self, role: str) -> Scores | None:
        return next((scores for scores in self.models if scores.role == role), None)

    @property
    def marks(self) -> int:
        return sum(rater.marks for rater in self.raters)


def summary(db: Database, source: Source) -> Summary:
    """Read all marks of a file and count them.

    Raises:
        UserError: the file cannot be read.
    """
    catalogue = source.catalogue()
    every = ratings.of_file(db, source.file)
    there = [one for one in every if one.key in catalogue.entries]
    given = [one for one in there if one.criterion in source.criteria]
    drawn = catalogue.drawn(source.human.sample_size, source.seed)
    shown = catalogue.roles
    if FINAL in shown:
        shown = tuple(role for role in (FINAL, BASELINE) if role in shown)
    return Summary(
        source=source,
        raters=tuple(ratings.tally(one for one in there if one.criterion in (*source.criteria, NOTE))),
        models=tuple(_scores(role, given, source, catalogue, drawn) for role in shown),
        difference=_differences(given, source, catalogue),
        agreement=_agreement(given, source.criteria),
        notes=tuple(one for one in sorted(there, key=lambda one: -one.time) if one.note),
        lost=sum(one.mark is not None for one in every) - sum(one.mark is not None for one in there),
        planned=len(drawn),
        catalogue=catalogue,
    )


# By answer, criterion and rater the mark.
_Marks = dict[str, dict[str, dict[str, int]]]


def _marks(given: Iterable[Rating]) -> _Marks:
    found: _Marks = {}
    for one in given:
        if one.mark is not None:
            found.setdefault(one.key, {}).setdefault(one.criterion, {})[one.who] = one.mark
    return found


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return math.fsum(found) / len(found)


def _scores(role: str, given: Sequence[Rating], source: Source, catalogue: Catalogue, drawn: Sequence[str]) -> Scores:
    of = [one for one in given if role in catalogue.entries[one.key].roles]
    cells = {key: {c: _mean(by.values()) for c, by in said.items()} for key, said in _marks(of).items()}
    found = {c: clustered(cells, [c], source.bounds) for c in source.criteria}
    found[ALL] = clustered(cells, source.criteria, source.bounds)
    said: dict[tuple[str, str], set[str]] = {}
    for one in of:
        said.setdefault((one.key, one.who), set()).add(one.criterion)
    rated = {key for (key, _), criteria in said.items() if criteria.issuperset(source.criteria) and key in cells}
    planned = sum(role in catalogue.entries[key].roles for key in drawn)
    return Scores(role, found, len(rated), planned)


def _differences(given: Sequence[Rating], source: Source, catalogue: Catalogue) -> dict[str, Difference]:
    if not {FINAL, BASELINE} <= set(catalogue.roles):
        return {}
    marks = _marks(given)
    by_role: dict[str, dict[str, list[str]]] = {FINAL: {}, BASELINE: {}}
    for key in marks:
        entry = catalogue.entries[key]
        for role in {FINAL, BASELINE}.intersection(entry.roles):
            by_role[role].setdefault(entry.prompt, []).append(key)
    cells: dict[str, dict[str, float]] = {}
    for prompt, finals in by_role[FINAL].items():
        for criterion in source.criteria:
            apart = [
                _by_person(marks, finals, criterion, who) - _by_person(marks, baselines, criterion, who)
                for baselines in (by_role[BASELINE].get(prompt, []),)
                for who in _people(marks, finals, criterion) & _people(marks, baselines, criterion)
            ]
            if apart:
                cells.setdefault(prompt, {})[criterion] = _mean(apart)
    found = {}
    means = {role: _cells_of(marks, catalogue, role) for role in (FINAL, BASELINE)}
    for name, criteria in [*((c, [c]) for c in source.criteria), (ALL, list(source.criteria))]:
        paired = clustered(cells, criteria)
        if paired is not None and paired.n > 1:
            found[name] = Difference(paired, paired=True)
            continue
        final, baseline = clustered(means[FINAL], criteria), clustered(means[BASELINE], criteria)
        if final is not None and baseline is not None:
            found[name] = Difference(unpaired(final, baseline), paired=False)
    return found


def _cells_of(marks: _Marks, catalogue: Catalogue, role: str) -> dict[str, dict[str, float]]:
    return {
        key: {criterion: _mean(by.values()) for criterion, by in said.items()}
        for key, said in marks.items()
        if role in catalogue.entries[key].roles
    }


def _people(marks: _Marks, keys: Sequence[str], criterion: str) -> set[str]:
    return {who for key in keys for who in marks[key].get(criterion, ())}


def _by_person(marks: _Marks, keys: Sequence[str], criterion: str, who: str) -> float:
    return _mean(marks[key][criterion][who] for key in keys if who in marks[key].get(criterion, ()))


def _agreement(given: Sequence[Rating], criteria: Sequence[str]) -> dict[str, Alpha]:
    marks = _marks(given)
    units = {
        c: {key: [float(mark) for mark in said[c].values()] for key, said in marks.items() if c in said}
        for c in criteria
    }
    return {**{c: mean_alpha({c: units[c]}) for c in criteria}, ALL: mean_alpha(units)}


def facts_of(db: Database, workspace: Workspace, found: Summary) -> list[Fact]:
    """`eval.human_score`, the mean of the final model over criteria, and `eval.human_agreement`, alpha."""
    source, inputs = found.source, found.source.inputs(db, workspace)
    run = source.run.id if source.run is not None else None
    unit = f"/{source.bounds[1]}"
    final = found.model(FINAL)
    estimate = final.of[ALL] if final is not None else None
    if final is None or estimate is None:
        why = _why_unknown(found, final)
        score = Fact("eval.human_score", None, unit, run=run, source=f"{source.file}: {why}", inputs=inputs)
    else:
        score = Fact(
            "eval.human_score", estimate.value, unit, run=run, low=estimate.low, high=estimate.high, n=estimate.n,
            source=f"{source.file}: {_score_words(found, final)}", inputs=inputs,
        )  # fmt: skip
    alpha = found.agreement[ALL]
    told = [f"{c} {a.value:.2f}" for c in source.criteria if (a := found.agreement[c]).value is not None]
    words = f"Krippendorff's alpha (interval), mean over criteria: {', '.join(told)}" if told else ""
    reason = "; ".join(part for part in (words, alpha.reason) if part)
    agree = Fact(
        "eval.human_agreement", alpha.value, "", run=run, low=alpha.low, high=alpha.high, n=alpha.answers,
        source=f"{source.file}: {reason}", text=None, inputs=inputs,
    )  # fmt: skip
    return [score, agree]


def _why_unknown(found: Summary, final: Scores | None) -> str:
    if final is None:
        names = ", ".join(one_line(role, 24) or "(no name)" for role in found.catalogue.roles[:4])
        return f"no answer is by the final model (models there: {names}): {CALLED}"
    if not any(final.of.values()):
        return "no answer of the final model is rated"
    missing = [c for c in found.source.criteria if final.of[c] is None]
    return f"no answer of the final model has a mark for {', '.join(missing)}"


# The mend where a file's models are not known.
CALLED = "model.final in configs/eval_config.yaml says what it is called"


def people(raters: Sequence[Tally]) -> str:
    marked = [rater.who for rater in raters if rater.marks]
    return f"{len(marked)} {'rater' if len(marked) == 1 else 'raters'} ({', '.join(marked)})"


def _score_words(found: Summary, final: Scores) -> str:
    means = ", ".join(f"{c} {e.value:.2f}" for c in found.source.criteria if (e := final.of[c]) is not None)
    of = f"all {final.planned}" if final.rated >= final.planned else f"{final.rated} of {final.planned}"
    part = "" if final.rated >= final.planned else "partial sample: "
    return f"{part}{of} answers of the final model rated by {people(found.raters)}; {means}"


def record_facts(db: Database, workspace: Workspace, source: Source) -> tuple[Summary, list[Fact]]:
    """Count the marks and record what they come to; nothing new is recorded where it was said already.

    Raises:
        UserError: the file cannot be read.
    """
    found = summary(db, source)
    measured = facts_of(db, workspace, found)
    known = facts.latest(db)
    now = time.time()
    new = [replace(fact, time=now) for fact in measured if not _same(known.get(fact.name), fact)]
    if new and (found.marks or any(fact.name in known for fact in measured)):
        facts.record(db, *new)
    return found, measured


def _same(known: Fact | None, fact: Fact) -> bool:
    return known is not None and replace(known, id=0, time=0.0) == replace(fact, id=0, time=0.0)


def by_role(found: Summary, note: Rating) -> str:
    """Whose answer a note speaks of: to be told after the rating, never on its screen."""
    return " and ".join(found.catalogue.entries[note.key].roles)


def mean_words(estimate: Estimate | None) -> str:
    """`7.42 (7.10–7.74)`; where one of them is negative `-0.42 (-0.74 to -0.10)`."""
    if estimate is None:
        return "–"
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.2f}"
    to = "–" if estimate.low >= 0 else " to "
    return f"{estimate.value:.2f} ({estimate.low:.2f}{to}{estimate.high:.2f})"


def as_json(found: Summary, measured: Sequence[Fact]) -> Mapping[str, object]:
    """The document of `dpotui annotate rate --count --json`."""

    def told(estimate: Estimate | None) -> Mapping[str, object] | None:
        if estimate is None:
            return None
        return {"mean": estimate.value, "low": estimate.low, "high": estimate.high, "n": estimate.n}

    source = found.source
    return {
        "file": source.file, "run": source.run.id if source.run else None, "criteria": list(source.criteria),
        "scale": source.human.scale, "sample": found.planned, "seed": source.seed, "marks": found.marks,
        "marks_of_answers_gone": found.lost,
        "raters": [
            {"who": one.who, "marks": one.marks, "passed_over": one.passed, "answers": one.answers,
             "notes": one.notes, "last": one.last}
            for one in found.raters
        ],
        "models": [
            {"model": one.role, "rated": one.rated, "planned": one.planned,
             "scores": {name: told(estimate) for name, estimate in one.of.items()}}
            for one in found.models
        ],
        "difference": {
            name: {**(told(one.estimate) or {}), "paired": one.paired} for name, one in found.difference.items()
        },
        "agreement": {
            name: {"alpha": one.value, "low": one.low, "high": one.high, "answers": one.answers, "exact": one.exact,
                   "reason": one.reason}
            for name, one in found.agreement.items()
        },
        "notes": [
            {"model": by_role(found, one), "line": one.line, "who": one.who, "note": one.note, "time": one.time}
            for one in found.notes
        ],
        "facts": [
            {"name": one.name, "value": one.value, "unit": one.unit, "low": one.low, "high": one.high, "n": one.n,
             "source": one.source}
            for one in measured
        ],
    }  # fmt: skip
