"""Whether the pairs that a final model was trained on hold what it is measured on: benchmarks and test prompts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

from core.data.benchmarks import benchmarks_folder
from core.data.decontamination import decontaminate, decontamination_fact, find_benchmarks
from core.data.messages import text_key
from core.data.pairs import Pair, read_pairs
from core.evaluation.origin import Origin, changed_since
from core.evaluation.session import Session
from core.store.facts import Fact
from core.text import printable

NAME = "eval.decontamination"


def measure(session: Session, made: Origin, model: dict[str, str]) -> Fact:
    """`eval.decontamination`; None with the reason where it cannot be measured.

    1 - contaminated pairs / pairs, of the training and validation pairs. A pair is contaminated that holds an item of a
    benchmark, found as for `data.decontamination`, and a training pair whose prompt is one of the test set's.

    Args:
        made: where the final model comes from.
        model: its hashes.
    """
    context, config = session.context, session.config
    workspace = context.workspace
    if made.config is None or made.run is None:
        return Fact(NAME, None, source=f"the pairs it was trained on are not known: {made.why}", inputs=model)
    trained = list(dict.fromkeys((made.config.data.train_file, made.config.data.validation_file)))
    test_set = config.alignment_evaluation.preference_validation.test_set
    paths = [workspace.path(name) for name in trained]
    gone = [printable(name) for name, path in zip(trained, paths, strict=True) if not path.is_file()]
    if gone:
        return Fact(NAME, None, source=f"{', '.join(gone)} of {made.run.id} is gone", inputs=model)
    changed = list(changed_since(made.run, context.inputs(*trained)))
    if changed:
        why = f"{printable(', '.join(changed))} changed since {made.run.id} was trained on it"
        return Fact(NAME, None, source=why, inputs=model)
    benchmarks, without = benchmark_files(session)
    inputs = model | session.reads(*trained, test_set)
    if benchmarks:
        inputs |= session.reads(*(str(path) for path in benchmarks))
        # Tells of files that come later.
        inputs |= session.reads(str(benchmarks_folder(workspace)))
        session.say("comparing pairs with the benchmarks")
        asked = {text_key(pair.prompt) for pair in _pairs([workspace.path(test_set)])}
        repeated: set[int] = set()
        # Prompts of the validation pairs were not learned from; benchmarks should be in neither.
        pairs = chain(_marking(_pairs(paths[:1]), asked, repeated), _pairs(paths[1:]))
        found = decontaminate(pairs, benchmarks, progress=lambda count: session.between())
        fact = decontamination_fact(found, paths, inputs)
        bad = repeated.union(hit.number for hit in found.hits)
        words = f"{fact.source}; {len(repeated)} of {printable(trained[0])} have a prompt of {printable(test_set)}"
        fact = replace(fact, value=1 - len(bad) / found.pairs if found.pairs else None, source=words)
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


def _marking(pairs: Iterator[Pair], asked: set[str], repeated: set[int]) -> Iterator[Pair]:
    """The pairs; the numbers of those whose prompt is in `asked` go into `repeated`."""
    for number, pair in enumerate(pairs):
        if text_key(pair.prompt) in asked:
            repeated.add(number)
        yield pair
