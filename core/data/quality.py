"""How good a preference data set is: rows and errors, prompts and responses, the preference gap; and that as facts."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path

from core.data.gap import Gap, Scale, Scores, gap_of
from core.data.index import Filter, Index, build
from core.data.jsonl import BadRow
from core.store.facts import Fact
from core.text import printable

# Errors that are kept word for word; the rest is counted.
EXAMPLES = 20
NO_BENCHMARKS = "no benchmark files have been compared with the pairs"


@dataclass(frozen=True, slots=True)
class Quality:
    """What one or more files of pairs hold together."""

    paths: tuple[Path, ...]
    rows: int
    valid: int
    errors: dict[str, int]  # by kind
    examples: tuple[tuple[Path, BadRow], ...]  # the first ones
    pairs_by_file: tuple[int, ...]
    unique_prompts: int
    shared_prompts: int  # prompts that stand in more than one of the files
    duplicates: int  # pairs that stood there before, word for word
    responses_min: int  # different responses a prompt
    responses_mean: float
    responses_max: int
    scored: int
    gap: Gap | None
    gap_reason: str  # why there is no gap; empty when there is one


def measure(*paths: Path, scale: Scale | None = None) -> Quality:
    """Read files of preference pairs once and measure them together.

    In memory are the scores and the pairs of one prompt at a time; the rest is an index on disk.

    Args:
        paths: JSONL files that belong to one data set (its training and its validation part).
        scale: lowest and highest possible score; without it it is found from the scores, and the source says which.

    Raises:
        UserError: a file cannot be read at all, or scores lie outside the declared scale.
    """
    with tempfile.TemporaryDirectory(prefix="dpotui-") as folder, build(paths, Path(folder), rows_only=True) as index:
        return quality_of(index, paths, scale=scale)


def quality_of(index: Index, paths: Sequence[Path], *, scale: Scale | None = None, file: int | None = None) -> Quality:
    """What an index says of its files, or of one of them.

    Args:
        paths: of the files, as they are to be called.
    """
    numbers = range(len(index.files)) if file is None else range(file, file + 1)
    only = Filter(file=file)
    errors = index.bad_counts(file)
    prompts = shared = duplicates = said = 0
    fewest, most = 0, 0
    scores: dict[str, Scores] = {}
    rows = index.stream(
        "SELECT prompt, chosen, rejected, file, score_fields, chosen_score, rejected_score FROM pairs"
        " WHERE ?1 IS NULL OR file = ?1 ORDER BY prompt",
        [file],
    )
    for prompt, group in groupby(rows, key=itemgetter(0)):
        responses: set[int] = set()
        seen: set[tuple[int, int]] = set()
        in_files: set[int] = set()
        for _, chosen, rejected, number, fields, chosen_score, rejected_score in group:
            responses |= {chosen, rejected}
            duplicates += (chosen, rejected) in seen
            seen.add((chosen, rejected))
            in_files.add(number)
            if chosen_score is not None and rejected_score is not None:
                name = index.score_fields[fields]
                scores.setdefault(name, Scores()).add(chosen_score, rejected_score, prompt)
        prompts += 1
        shared += len(in_files) > 1
        said += len(responses)
        fewest = min(fewest or len(responses), len(responses))
        most = max(most, len(responses))
    valid = index.count(only)
    gap, reason = gap_of({name: scores[name] for name in index.score_fields if name in scores}, valid, scale)
    return Quality(
        paths=tuple(paths[number] for number in numbers),
        rows=valid + sum(errors.values()),
        valid=valid,
        errors=errors,
        examples=tuple((paths[number], row) for number, row in index.numbered_bad_rows(file, EXAMPLES)),
        pairs_by_file=tuple(index.files[number].pairs for number in numbers),
        unique_prompts=prompts,
        shared_prompts=shared,
        duplicates=duplicates,
        responses_min=fewest,
        responses_mean=said / prompts if prompts else 0.0,
        responses_max=most,
        scored=sum(len(found.gaps) for found in scores.values()),
        gap=gap,
        gap_reason=reason,
    )


@dataclass(frozen=True, slots=True)
class PairMetrics:
    """What the gates of the workflow read of a file of pairs. None is UNKNOWN, never a number made up."""

    avg_gap: float | None
    total_pairs: int
    decontamination: float | None
    gap_share: float | None  # share of scored pairs whose gap is at least the threshold
    quality: Quality


def validate_dpo_pairs(dpo_path: Path, gap_threshold: float, scale: Scale | None = None) -> PairMetrics:
    """Measure a file of preference pairs for the gates.

    Args:
        dpo_path: JSONL file.
        gap_threshold: the gap that counts as enough, for `gap_share`.
        scale: of the scores, when they do not say it themselves.
    """
    quality = measure(Path(dpo_path), scale=scale)
    gap = quality.gap
    return PairMetrics(
        avg_gap=gap.mean if gap else None,
        total_pairs=quality.valid,
        decontamination=None,
        gap_share=gap.share(gap_threshold) if gap else None,
        quality=quality,
    )


def data_facts(quality: Quality) -> list[Fact]:
    """What the gates and checklists of stage 2 ask of a data set, without run and inputs, which the caller adds.

    They speak of the whole set: of all files of `quality` together. The workflow measures pairs before they are split
    into training and validation.
    """
    whole = names(quality.paths)
    kinds = ", ".join(f"{count} {kind}" for kind, count in quality.errors.items())
    errors = quality.rows - quality.valid
    return [
        Fact("data.pairs", float(quality.valid), "pairs", n=quality.rows, source=f"valid rows of {whole}"),
        Fact(
            "data.unique_prompts",
            float(quality.unique_prompts),
            "prompts",
            n=quality.valid,
            source=f"prompts of {whole}",
        ),
        Fact(
            "data.responses_per_prompt",
            float(quality.responses_min) if quality.valid else None,
            "responses",
            n=quality.unique_prompts,
            source=f"fewest different responses to one prompt; mean {quality.responses_mean:.2f},"
            f" most {quality.responses_max}; {whole}",
        ),
        Fact(
            "data.format_valid",
            float(not errors),
            n=quality.rows,
            source=f"{errors} of {quality.rows} rows of {whole} are no pairs ({kinds})"
            if errors
            else f"all of {whole}",
        ),
        gap_fact("data.preference_gap", quality),
        Fact("data.decontamination", None, n=quality.valid, source=NO_BENCHMARKS),
    ]


def gap_fact(name: str, quality: Quality) -> Fact:
    gap, whole = quality.gap, names(quality.paths)
    if gap is None:
        return Fact(name, None, source=f"{quality.gap_reason}; {whole}")
    return Fact(name, gap.mean, low=gap.low, high=gap.high, n=gap.n, source=f"{gap.source}; {whole}")


def names(paths: tuple[Path, ...]) -> str:
    return " and ".join(printable(path.name) for path in paths)


def report(quality: Quality, log: Callable[[str], None]) -> None:
    """What was found, a line each."""
    log(f"{names(quality.paths)}: rows {quality.rows}, valid pairs {quality.valid}")
    for path, row in quality.examples:
        log(f"{printable(path.name)}:{row.line}: {row.reason}")
    if quality.rows - quality.valid > len(quality.examples):
        log(f"more rows that are no pairs: {quality.rows - quality.valid - len(quality.examples)}")
    log(f"unique prompts {quality.unique_prompts}, different responses to each {quality.responses_mean:.2f}")
    if quality.duplicates:
        log(f"pairs that stand there again, word for word: {quality.duplicates}")
    if quality.shared_prompts:
        log(f"prompts in both files: {quality.shared_prompts}; validation is not held out for them")
    if quality.gap is None:
        log(f"preference gap unknown: {quality.gap_reason}")
        return
    gap = quality.gap
    interval = "" if gap.low is None or gap.high is None else f" [{gap.low:.4f}, {gap.high:.4f}]"
    log(f"preference gap {gap.mean:.4f}{interval}, median {gap.median:.4f}; {gap.source}")
    if gap.inverted:
        log(f"pairs with the higher score on the rejected response: {gap.inverted}")
