"""How good a preference data set is: rows and errors, prompts and responses, the preference gap; and that as facts."""

from __future__ import annotations

import time
from array import array
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from core.data.gap import Gap, Scale, Scores, gap_of
from core.data.jsonl import BadRow
from core.data.messages import MASK, text_hash, text_key
from core.data.pairs import Pair, read_pairs
from core.errors import UserError
from core.store import Database, facts, files
from core.store.facts import Fact
from core.text import printable
from core.workspace import Workspace

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

    Texts are not kept, only their hashes: about half a gigabyte for a million pairs.

    Args:
        paths: JSONL files that belong to one data set (its training and its validation part).
        scale: lowest and highest possible score; without it it is found from the scores, and the source says which.

    Raises:
        UserError: a file cannot be read at all, or scores lie outside the declared scale.
    """
    errors: Counter[str] = Counter()
    examples: list[tuple[Path, BadRow]] = []
    by_file: list[int] = []
    prompts: dict[int, int] = {}  # hash -> index into the arrays below
    responses = array("L")
    first_file = array("L")
    shared = bytearray()
    said: set[int] = set()
    seen: set[int] = set()
    duplicates = 0
    scores: dict[str, Scores] = {}
    for number, path in enumerate(paths):
        valid = 0
        for row in read_pairs(path):
            if isinstance(row, BadRow):
                errors[row.kind] += 1
                if len(examples) < EXAMPLES:
                    examples.append((path, row))
                continue
            valid += 1
            prompt, chosen, rejected = _hashes(row)
            index = prompts.setdefault(prompt, len(prompts))
            if index == len(responses):
                responses.append(0)
                first_file.append(number)
                shared.append(0)
            elif first_file[index] != number:
                shared[index] = 1
            for response in (chosen, rejected):
                before = len(said)
                said.add(response)
                responses[index] += len(said) - before
            # A pair is the two responses in this order.
            pair = (chosen * 3 + rejected) & MASK
            duplicates += pair in seen
            seen.add(pair)
            if row.chosen_score is not None and row.rejected_score is not None:
                scores.setdefault(row.score_fields, Scores()).add(row.chosen_score, row.rejected_score, index)
        by_file.append(valid)
    valid = sum(by_file)
    gap, reason = gap_of(scores, valid, scale)
    return Quality(
        paths=paths,
        rows=valid + errors.total(),
        valid=valid,
        errors=dict(sorted(errors.items())),
        examples=tuple(examples),
        pairs_by_file=tuple(by_file),
        unique_prompts=len(prompts),
        shared_prompts=sum(shared),
        duplicates=duplicates,
        responses_min=min(responses, default=0),
        responses_mean=sum(responses) / len(responses) if responses else 0.0,
        responses_max=max(responses, default=0),
        scored=sum(len(found.gaps) for found in scores.values()),
        gap=gap,
        gap_reason=reason,
    )


def _hashes(pair: Pair) -> tuple[int, int, int]:
    """Of the prompt, and of both responses to that prompt."""
    prompt = text_key(pair.prompt)
    chosen, rejected = text_key(pair.chosen), text_key(pair.rejected)
    return text_hash(prompt), text_hash(f"{prompt}\x1d{chosen}"), text_hash(f"{prompt}\x1d{rejected}")


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
    whole = _names(quality.paths)
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
        _gap_fact("data.preference_gap", quality),
        Fact("data.decontamination", None, n=quality.valid, source=NO_BENCHMARKS),
    ]


def _gap_fact(name: str, quality: Quality) -> Fact:
    gap, whole = quality.gap, _names(quality.paths)
    if gap is None:
        return Fact(name, None, source=f"{quality.gap_reason}; {whole}")
    return Fact(name, gap.mean, low=gap.low, high=gap.high, n=gap.n, source=f"{gap.source}; {whole}")


def _names(paths: tuple[Path, ...]) -> str:
    return " and ".join(printable(path.name) for path in paths)


def measure_files(
    db: Database, workspace: Workspace, train: Path, validation: Path | None = None, scale: Scale | None = None
) -> tuple[Quality, list[Fact]]:
    """Measure a training file and, if there is one, its validation file; as facts with the hashes of what was read.

    `data.pairs`, `data.unique_prompts`, `data.responses_per_prompt`, `data.format_valid`, `data.preference_gap` and
    `data.decontamination` are of both files together; `data.validation_share` is the part of the pairs that is in the
    validation file, and `data.validation_gap` is the preference gap of that file, which the gate of stage 5 looks at.

    Raises:
        UserError: as `measure`; or a file changed while it was read.
    """
    both = [train] if validation is None else [train, validation]
    names = [workspace.relative(path) for path in both]
    before, started = files.fingerprints(db, workspace, *names), time.time()
    quality = measure(*both, scale=scale)
    held_out = None if validation is None else measure(validation, scale=scale)
    if files.fingerprints(db, workspace, *names) != before:
        raise UserError(f"{' or '.join(map(printable, names))} changed while it was read: check it again")
    found = [replace(fact, inputs=before, time=started) for fact in data_facts(quality)]
    if held_out is not None:
        share = held_out.valid / quality.valid if quality.valid else None
        source = f"{held_out.valid} of {quality.valid} pairs are in {printable(names[1])}"
        only = {name: digest for name, digest in before.items() if name == names[1]}
        found += [
            Fact("data.validation_share", share, n=quality.valid, source=source, inputs=before, time=started),
            replace(_gap_fact("data.validation_gap", held_out), inputs=only, time=started),
        ]
    return quality, found


def check(
    db: Database,
    workspace: Workspace,
    run_id: str,
    train_path: Path,
    validation_path: Path | None,
    log: Callable[[str], None],
) -> list[Fact]:
    """What a run of kind `data_check` does: measure, log what was found, record the facts."""
    quality, measured = measure_files(db, workspace, train_path, validation_path)
    report(quality, log)
    found = [replace(fact, run=run_id) for fact in measured]
    facts.record(db, *found)
    return found


def report(quality: Quality, log: Callable[[str], None]) -> None:
    """What was found, a line each."""
    log(f"{_names(quality.paths)}: rows {quality.rows}, valid pairs {quality.valid}")
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
