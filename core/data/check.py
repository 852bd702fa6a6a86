"""A whole check of preference data: everything that is measured of it, and as facts of the workspace."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from operator import itemgetter
from pathlib import Path

from core.data import quality as measuring
from core.data.gap import Scale
from core.data.index import Index, Interrupted, Progress, build
from core.data.jsonl import BadRow
from core.data.pairs import Pair, read_pairs
from core.data.quality import Quality
from core.data.tokenize import Limits
from core.errors import UserError
from core.intervals import wilson
from core.store import Database
from core.store.facts import Fact
from core.store.files import fingerprints
from core.text import printable
from core.workspace import Workspace

PERSONAL = ("email", "phone", "key")


@dataclass(frozen=True, slots=True)
class Spread:
    """Lengths of one field."""

    min: int
    median: float
    p95: int
    max: int


@dataclass(frozen=True, slots=True)
class LengthBias:
    """How often the longer response (in characters) is the chosen one, of the pairs whose responses differ in length.

    The interval is Wilson's with as many pairs as independent ones would be: pairs of one prompt are one cluster.
    """

    longer: int
    shorter: int
    ties: int
    low: float | None
    high: float | None

    @property
    def share(self) -> float | None:
        n = self.longer + self.shorter
        return self.longer / n if n else None


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check found. `counts` are pairs by kind of finding; `conflicts` counts comparisons, not pairs.

    Lengths are in tokens, None without a tokenizer; then `tokens_reason` says why.
    """

    index: Index
    paths: tuple[Path, ...]
    quality: Quality
    held_out: Quality | None
    counts: dict[str, int]
    conflicts: int
    truncated: int | None
    personal: int
    lengths: dict[str, Spread] | None
    characters: dict[str, Spread]
    tokens_reason: str
    bias: LengthBias
    limits: Limits | None
    facts: tuple[Fact, ...]


@dataclass(frozen=True, slots=True)
class Tokenizing:
    """With what lengths are measured: a model's folder, or why there is none."""

    folder: Path | None = None
    chat: bool = False
    limits: Limits | None = None
    reason: str = "no model was named (--model)"


def check(
    paths: Sequence[Path],
    folder: Path,
    *,
    tokenizing: Tokenizing | None = None,
    scale: Scale | None = None,
    workspace: Workspace | None = None,
    db: Database | None = None,
    progress: Progress | None = None,
    wants_stop: Callable[[], bool] | None = None,
) -> Checked:
    """Check a file of pairs, and if there is one its validation file.

    Args:
        paths: the training file, and the validation file.
        folder: where the index lies; the caller closes it.
        tokenizing: for lengths in tokens.
        scale: of the scores.
        workspace: whose benchmarks and versions are looked at.
        db: of the workspace, for people's votes.
        progress, wants_stop: as `core.data.index.build`.

    Raises:
        UserError: a file cannot be read, or changed meanwhile.
        Interrupted: `wants_stop` said so.
    """
    tokens = tokenizing or Tokenizing()
    limits = tokens.limits if tokens.folder is not None else None
    tell = progress or (lambda done, total, phase: None)
    index = build(
        [path.absolute() for path in paths],
        folder,
        tokenizer=tokens.folder,
        limits=limits,
        scale=scale,
        chat=tokens.chat,
        progress=tell,
        wants_stop=wants_stop,
    )
    try:
        tell(0, 1, "measuring")
        quality = measuring.quality_of(index, paths, scale=scale)
        held_out = measuring.quality_of(index, paths, scale=scale, file=1) if len(paths) > 1 else None
        found = Checked(
            index=index,
            paths=tuple(paths),
            quality=quality,
            held_out=held_out,
            counts=index.counts(),
            conflicts=_one(
                index,
                "SELECT count(*) FROM (SELECT DISTINCT prompt, min(chosen, rejected), max(chosen, rejected)"
                " FROM findings JOIN pairs ON id = pair WHERE kind = 'conflict')",
            ),
            truncated=None
            if limits is None
            else _one(
                index,
                "SELECT count(DISTINCT pair) FROM findings WHERE kind IN ('truncated_prompt', 'truncated_response')",
            ),
            personal=_one(index, "SELECT count(DISTINCT pair) FROM findings WHERE kind IN ('email', 'phone', 'key')"),
            lengths=_spreads(index, "tokens"),
            characters=_spreads(index, "chars") or {},
            tokens_reason=tokens.reason if tokens.folder is None else "",
            bias=length_bias(index),
            limits=limits,
            facts=(),
        )
        facts = _facts(found, tokens, workspace, db, tell, wants_stop)
        return replace(found, facts=tuple(facts), counts=index.counts())
    except BaseException:
        index.close()
        raise


def _one(index: Index, sql: str) -> int:
    return int(index.rows(sql)[0][0])


_COLUMNS = {
    ("prompt", "tokens"): "SELECT prompt_tokens, count(*) FROM pairs WHERE prompt_tokens NOT NULL GROUP BY 1",
    ("chosen", "tokens"): "SELECT chosen_tokens, count(*) FROM pairs WHERE prompt_tokens NOT NULL GROUP BY 1",
    ("rejected", "tokens"): "SELECT rejected_tokens, count(*) FROM pairs WHERE prompt_tokens NOT NULL GROUP BY 1",
    ("prompt", "chars"): "SELECT prompt_chars, count(*) FROM pairs GROUP BY 1",
    ("chosen", "chars"): "SELECT chosen_chars, count(*) FROM pairs GROUP BY 1",
    ("rejected", "chars"): "SELECT rejected_chars, count(*) FROM pairs GROUP BY 1",
}


def _spreads(index: Index, unit: str) -> dict[str, Spread] | None:
    """Of prompt, chosen and rejected; None where nothing has a length in this unit."""
    found = {name: _spread(index.rows(_COLUMNS[name, unit])) for name in ("prompt", "chosen", "rejected")}
    return {name: spread for name, spread in found.items() if spread is not None} or None


def _spread(counted: list[tuple[int, ...]]) -> Spread | None:
    """From values in their order and how often each is there."""
    total = sum(count for _, count in counted)
    if not total:
        return None

    def at(place: int) -> int:
        for value, count in counted:
            place -= count
            if place < 0:
                return value
        raise IndexError(place)

    median = (at((total - 1) // 2) + at(total // 2)) / 2
    return Spread(counted[0][0], median, at(math.ceil(0.95 * total) - 1), counted[-1][0])


def length_bias(index: Index) -> LengthBias:
    """See LengthBias."""
    longer = shorter = ties = 0
    for sign, count in index.rows(
        "SELECT sign(chosen_chars - rejected_chars), count(*) FROM pairs GROUP BY sign(chosen_chars - rejected_chars)"
    ):
        longer, shorter, ties = (
            (longer + count, shorter, ties)
            if sign > 0
            else (longer, shorter + count, ties)
            if sign < 0
            else (longer, shorter, ties + count)
        )
    n = longer + shorter
    if not n:
        return LengthBias(longer, shorter, ties, None, None)
    share = longer / n
    rows = index.stream(
        "SELECT prompt, chosen_chars > rejected_chars FROM pairs WHERE chosen_chars != rejected_chars ORDER BY prompt"
    )
    squares = clusters = 0.0
    for _, group in groupby(rows, key=itemgetter(0)):
        squares += sum(won - share for _, won in group) ** 2
        clusters += 1
    # How much wider the mean spreads than that of independent pairs; never taken for narrower.
    effect = 1.0
    if clusters > 1 and 0 < share < 1:
        effect = max(1.0, clusters / (clusters - 1) * squares / (n * share * (1 - share)))
    low, high = wilson(share * n / effect, n / effect)
    return LengthBias(longer, shorter, ties, low, high)


def _facts(
    found: Checked,
    tokens: Tokenizing,
    workspace: Workspace | None,
    db: Database | None,
    tell: Progress,
    wants_stop: Callable[[], bool] | None,
) -> list[Fact]:
    """All of it as facts; what needs a workspace is left out without one."""
    quality, whole = found.quality, measuring.names(found.paths)
    facts = {fact.name: fact for fact in measuring.data_facts(quality)}
    names = [path.absolute() if workspace is None else workspace.relative(path.absolute()) for path in found.paths]
    inputs = {str(name): file.sha256 for name, file in zip(names, found.index.files, strict=True)}

    def count(name: str, value: int | None, unit: str, source: str) -> None:
        facts[name] = Fact(name, None if value is None else float(value), unit, n=quality.valid, source=source)

    counts = found.counts
    count("data.duplicates", counts["duplicate"], "pairs", f"pairs of {whole} that stand there before, word for word")
    count(
        "data.near_duplicates",
        counts["near_duplicate"],
        "pairs",
        f"pairs of {whole} like an earlier one: Jaccard of neighbouring words at least 0.8, by MinHash and verified",
    )
    count(
        "data.conflicts",
        found.conflicts,
        "conflicts",
        f"comparisons that are preferred both ways, in {counts['conflict']} pairs of {whole}",
    )
    count("data.transitivity", counts["transitivity"], "pairs", f"pairs of {whole} that prefer in a circle")
    count("data.personal", found.personal, "pairs", f"pairs of {whole} with hints of personal data: {_hints(counts)}")
    if found.limits is None:
        reason = found.tokens_reason or "no limits are set (max_prompt_length, max_response_length)"
        count("data.truncated", None, "pairs", f"{reason}; {whole}")
    else:
        count(
            "data.truncated",
            found.truncated,
            "pairs",
            f"prompts over {found.limits.prompt} tokens in {counts['truncated_prompt']} pairs, responses over"
            f" {found.limits.response} in {counts['truncated_response']}; {whole}",
        )
    bias = found.bias
    facts["data.length_bias"] = Fact(
        "data.length_bias",
        bias.share,
        low=bias.low,
        high=bias.high,
        n=bias.longer + bias.shorter,
        source=f"pairs of {whole} whose chosen response has more characters; {bias.ties} of equal length left out",
    )
    if found.held_out is not None:
        held_out = found.held_out
        share = held_out.valid / quality.valid if quality.valid else None
        source = f"{held_out.valid} of {quality.valid} pairs are in {printable(str(names[1]))}"
        facts["data.validation_share"] = Fact("data.validation_share", share, n=quality.valid, source=source)
        facts["data.validation_gap"] = measuring.gap_fact("data.validation_gap", held_out)
        leaks = _one(
            found.index, "SELECT count(*) FROM findings JOIN pairs ON id = pair WHERE kind = 'leak' AND file = 1"
        )
        source = (
            f"pairs of {measuring.names(found.paths[1:])} whose prompt, or one like it, is in {found.paths[0].name};"
            " by MinHash and verified: of prompts alike by just Jaccard 0.8 it finds 99.8 %"
        )
        facts["data.leaks"] = Fact("data.leaks", float(leaks), "pairs", n=held_out.valid, source=printable(source))
    facts = {name: replace(fact, inputs=inputs) for name, fact in facts.items()}
    if found.held_out is not None:
        facts["data.validation_gap"] = replace(
            facts["data.validation_gap"], inputs={str(names[1]): inputs[str(names[1])]}
        )
    if found.limits is not None and tokens.folder is not None and workspace is not None:
        from core.data.manifest import file_sha256

        tokenizer = tokens.folder / "tokenizer.json"
        also = {workspace.relative(tokenizer.absolute()): file_sha256(tokenizer) or ""}
        facts["data.truncated"] = replace(facts["data.truncated"], inputs={**inputs, **also})
    if workspace is not None:
        if quality.gap is None and db is not None and not quality.scored:
            facts["data.preference_gap"] = _voted(found.paths, db, inputs) or facts["data.preference_gap"]
        facts["data.decontamination"] = _decontamination(found, workspace, db, inputs, tell, wants_stop)
        from core.data.versioned import versioned_fact

        facts["data.versioned"] = versioned_fact(workspace, [path.absolute() for path in found.paths])
    return list(facts.values())


def _hints(counts: dict[str, int]) -> str:
    return ", ".join(f"{counts[kind]} with {kind}" for kind in PERSONAL)


def _voted(paths: Sequence[Path], db: Database, inputs: dict[str, str]) -> Fact | None:
    """The preference gap from people's votes, where there are any on these pairs."""
    from core.data.gap_sources import gap_fact, measure_gap
    from core.store.votes import tally

    tallies = tally(db)
    if not tallies:
        return None
    found = measure_gap(paths, tallies=tallies)
    return None if found.gap is None else replace(gap_fact(found, paths), inputs=inputs)


def _decontamination(
    found: Checked,
    workspace: Workspace,
    db: Database | None,
    inputs: dict[str, str],
    tell: Progress,
    wants_stop: Callable[[], bool] | None,
) -> Fact:
    """Compare with the workspace's benchmarks; contaminated pairs become findings of the index."""
    from core.data.benchmarks import benchmarks_folder
    from core.data.decontamination import decontaminate, decontamination_fact, find_benchmarks, findings
    from core.data.manifest import file_sha256

    benchmarks = find_benchmarks(workspace)
    if not benchmarks:
        return decontamination_fact(None, found.paths, inputs)
    # Before anything is compared: what comes meanwhile was not.
    also = {workspace.relative(path): file_sha256(path) or "" for path in benchmarks}
    if db is not None:
        also |= fingerprints(db, workspace, workspace.relative(benchmarks_folder(workspace)))

    def watch(done: int) -> None:
        tell(done, found.quality.valid, "comparing with benchmarks")
        if wants_stop is not None and wants_stop():
            raise Interrupted

    compared = decontaminate(_pairs(found.paths), benchmarks, progress=watch)
    if not found.index.is_current():
        raise UserError(f"{measuring.names(found.paths)} changed while it was read: check it again")
    found.index.add_findings("contaminated", findings(compared))
    return decontamination_fact(compared, found.paths, {**inputs, **also})


def _pairs(paths: Sequence[Path]) -> Iterator[Pair]:
    for path in paths:
        for pair in read_pairs(path):
            if not isinstance(pair, BadRow):
                yield pair
