"""Whether the pairs that a final model was trained and tested on hold items of the benchmarks it is measured on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from core.data.benchmarks import benchmarks_folder
from core.data.decontamination import decontaminate, decontamination_fact, find_benchmarks
from core.data.pairs import Pair, read_pairs
from core.evaluation.origin import Origin, changed_since
from core.evaluation.session import Session
from core.store.facts import Fact
from core.text import printable

NAME = "eval.decontamination"


def measure(session: Session, made: Origin, model: dict[str, str]) -> Fact:
    """`eval.decontamination`, measured as `data.decontamination` is; None with the reason where it cannot be.

    Args:
        made: where the final model comes from.
        model: its hashes.
    """
    context, config = session.context, session.config
    workspace = context.workspace
    if made.config is None or made.run is None:
        return Fact(NAME, None, source=f"the pairs it was trained on are not known: {made.why}", inputs=model)
    trained = (made.config.data.train_file, made.config.data.validation_file)
    names = list(dict.fromkeys([config.alignment_evaluation.preference_validation.test_set, *trained]))
    paths = [workspace.path(name) for name in names]
    gone = [printable(name) for name, path in zip(names, paths, strict=True) if not path.is_file()]
    if gone:
        return Fact(NAME, None, source=f"{', '.join(gone)} of {made.run.id} is gone", inputs=model)
    changed = list(changed_since(made.run, context.inputs(*trained)))
    if changed:
        why = f"{printable(', '.join(changed))} changed since {made.run.id} was trained on it"
        return Fact(NAME, None, source=why, inputs=model)
    benchmarks, without = benchmark_files(session)
    inputs = model | session.reads(*names)
    if benchmarks:
        inputs |= session.reads(*(str(path) for path in benchmarks))
        # Tells of files that come later.
        inputs |= session.reads(str(benchmarks_folder(workspace)))
        session.say("comparing pairs with the benchmarks")
        found = decontaminate(_pairs(paths), benchmarks, progress=lambda count: session.between())
        fact = decontamination_fact(found, paths, inputs)
    else:
        fact = decontamination_fact(None, paths, inputs)
    rest = f"; not compared, for there is no file of it here: {printable(', '.join(without))}" if without else ""
    return replace(fact, name=NAME, source=fact.source + rest)


def benchmark_files(session: Session) -> tuple[list[Path], list[str]]:
    """The files of the benchmarks that are measured and those of data/benchmarks; and the benchmarks without a file."""
    workspace = session.context.workspace
    every = session.config.capability_benchmarks
    named = [workspace.path(benchmark.file) for benchmark in every.values() if benchmark.file is not None]
    paths = {path.resolve(): path for path in (*find_benchmarks(workspace), *named) if path.is_file()}
    return list(paths.values()), [name for name, benchmark in every.items() if benchmark.file is None]


def _pairs(paths: Sequence[Path]) -> Iterator[Pair]:
    for path in paths:
        for pair in read_pairs(path):
            if isinstance(pair, Pair):
                yield pair
