"""The part 'benchmarks' of an evaluation: all of the configuration, one after the other, each item on disk."""

from __future__ import annotations

import json

from core.config.evaluate import STANDARD, Benchmark
from core.errors import UserError
from core.evaluation import harness, items, own_benchmarks, retention
from core.evaluation.answering import Answerer
from core.evaluation.items import Measured, Unmeasured
from core.evaluation.kept import Kept
from core.evaluation.own_benchmarks import Own
from core.evaluation.session import Session
from core.store import benchmarks
from core.store.benchmarks import Result
from core.store.facts import Fact
from core.text import one_line, printable


def run(session: Session) -> None:
    """Measure every benchmark that has no result in this run yet, and what is left of the baseline's abilities."""
    every = session.config.capability_benchmarks
    if not every:
        session.context.log("no benchmark is measured: capability_benchmarks names none", "warning")
    done = {result.name: result for result in benchmarks.of_run(session.context.db, session.context.run.id)}
    # A file that cannot be read is found out now and not after hours.
    own = {
        name: Own(session.context.workspace.path, name, benchmark, session.config.evaluation.seed)
        for name, benchmark in every.items()
        if benchmark.answer is not None and name not in done
    }
    unharnessed = _unharnessed(session, [name for name in every if name not in own and name not in done])
    for number, (name, benchmark) in enumerate(every.items()):
        if name in done:
            session.context.log(f"{name}: is measured already")
            continue
        if name in unharnessed:
            continue
        # Of what lies there now: what changes while it is measured makes the fact stale.
        inputs = _inputs(session, benchmark)
        try:
            found = _measure(session, name, benchmark, own.get(name), (number, len(every)))
        except (Unmeasured, UserError) as reason:
            if isinstance(reason, UserError) and name in own:
                raise  # what is wrong with the model is wrong with all
            session.context.log(f"{name} is not measured: {reason}", "warning")
            session.record(Fact(items.fact_name(session.prefix, name), None, source=str(reason), inputs=inputs))
        else:
            _record(session, name, benchmark, found, inputs)
    _domain(session)
    _retained(session)


def _unharnessed(session: Session, names: list[str]) -> list[str]:
    """Those that cannot be measured because the harness is not here: said once, before a model is loaded."""
    if not names:
        return []
    try:
        harness.installed()
    except Unmeasured as reason:
        are = "is" if len(names) == 1 else "are"
        session.context.log(f"{', '.join(names)} {are} not measured: {reason}", "warning")
        for name in names:
            inputs = _inputs(session, session.config.capability_benchmarks[name])
            session.record(Fact(items.fact_name(session.prefix, name), None, source=str(reason), inputs=inputs))
        return names
    return []


def _measure(session: Session, name: str, benchmark: Benchmark, own: Own | None, share: tuple[int, int]) -> Measured:
    with kept_answers(session, name, kept_of(session, benchmark)) as kept:
        return answer(session, name, benchmark, own, share, kept)


def kept_of(session: Session, benchmark: Benchmark) -> str:
    """What an answer depends on beside the question: a run that goes on with another model asks anew."""
    of = [_inputs(session, benchmark, files=False), session.config.subject_model, str(session.dtype)]
    return json.dumps([*of, session.config.evaluation.batch_size], sort_keys=True)


def kept_answers(session: Session, name: str, of: str) -> Kept:
    """The file of the answers to a benchmark's questions."""
    return Kept(session.folder / items.FOLDER / f"{name}.answers.jsonl", of)


def answer(
    session: Session, name: str, benchmark: Benchmark, own: Own | None, share: tuple[int, int], kept: Kept
) -> Measured:
    """Ask what is not in `kept` yet, and tell what of it is right."""
    loaded = session.model()
    size = session.config.evaluation.batch_size
    answerer = Answerer(loaded, kept, batch_size=size, between=session.between, answered=session.advance)
    if answerer.why_not_shared:
        session.context.log(f"{name}: every question is run whole: {one_line(answerer.why_not_shared, 200)}", "debug")
    if own is not None:
        return own_benchmarks.run(session, own, answerer, share)
    return harness.run(session, name, benchmark, answerer, share=share)


def _inputs(session: Session, benchmark: Benchmark, files: bool = True) -> dict[str, str]:
    named = [name for name in (benchmark.file, benchmark.shots_file) if name is not None] if files else []
    return session.reads(session.config.subject_model, *named)


def _record(session: Session, name: str, benchmark: Benchmark, found: Measured, inputs: dict[str, str]) -> None:
    context = session.context
    file = context.workspace.relative(items.write(session.folder, name, found.rows))
    context.artifact("evaluation", file)
    for note in found.notes:
        context.log(f"{name}: {note}")
    said = f"{found.value:.4g} ({found.low:.4g} to {found.high:.4g}), {found.n} items"
    chance = _chance(found)
    context.log(f"{name}: {found.metric} {said}, {found.seconds:.0f} s{chance}", "warning" if chance else "info")
    how = found.conditions
    by = " ".join(str(how[key]) for key in ("harness", "version") if how.get(key))
    source = (
        f"{found.n} items of {printable(benchmark.file or str(how.get('task') or name))}, {how.get('shots', 0)}-shot,"
    )
    source += f" {found.metric} by {by}"
    if found.stderr is not None:
        source += f", standard error {found.stderr:.3g}"
    session.record(
        Fact(
            items.fact_name(session.prefix, name), found.value, low=found.low, high=found.high, n=found.n,
            source=source + chance, inputs=inputs,
        )
    )  # fmt: skip
    # Last: a benchmark with a result is done, and not measured again by a run that goes on.
    benchmarks.record(
        context.db,
        Result(
            run=context.run.id, subject=session.subject, name=name, metric=found.metric, value=found.value, n=found.n,
            items=file, model=session.config.subject_model, conditions=found.conditions, stderr=found.stderr,
            low=found.low, high=found.high, chance=found.chance, seconds=found.seconds,
        ),
    )  # fmt: skip


def _chance(found: Measured) -> str:
    """What is said of a result that guessing gets too."""
    if not found.like_chance or found.chance is None:
        return ""
    return f"; not different from chance ({found.chance:.4g}): it cannot show a loss"


def _retained(session: Session) -> None:
    """Whichever of the two models was measured last, what is left of the baseline's abilities is said now."""
    found = retention.record(session.context.db, session.context.workspace)
    if found is None:
        return
    for one in found.compared:
        if not one.counts:
            session.context.log(f"retention without {one.name}: {one.why}", "warning")
        elif one.at_chance is not None:
            session.context.log(f"{one.name}: {one.at_chance}", "warning")
    for one in found.critical:
        session.context.log(f"critical regression: {one.name} keeps {one.percent:.4g} % of the baseline's", "warning")
    if found.percent is not None:
        session.context.log(f"retention: {found.percent:.4g} % of the baseline, mean of {len(found.counted)}")
    else:
        session.context.log(f"retention: UNKNOWN: {found.withheld}", "warning")


def _domain(session: Session) -> None:
    """The mean of the benchmarks that are not the three everybody knows."""
    names = [name for name in session.config.capability_benchmarks if name not in STANDARD]
    if not names:
        return
    found = {result.name: result for result in benchmarks.of_run(session.context.db, session.context.run.id)}
    there = [found[name] for name in names if name in found]
    inputs: dict[str, str] = {}
    for name in names:
        inputs |= _inputs(session, session.config.capability_benchmarks[name])
    missing = [name for name in names if name not in found]
    without = f"; without {', '.join(missing)}, which could not be measured" if missing else ""
    session.record(
        Fact(
            f"{session.prefix}.domain", sum(result.value for result in there) / len(there) if there else None,
            n=sum(result.n for result in there) or None, inputs=inputs,
            text=", ".join(f"{result.name} {result.value:.2f}" for result in there) or None,
            source=(f"mean of {len(there)} benchmarks, each counting the same" if there else "none could be measured")
            + without,
        )
    )  # fmt: skip
