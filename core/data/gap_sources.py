"""The preference gap from the first that knows it: scores in the file or a judge's, people's votes, a reward model."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from core.data.formats import number
from core.data.gap import Gap, Scale, Scores, gap_of
from core.data.jsonl import BadRow, read_rows
from core.data.messages import Refused, text_hash, text_key
from core.data.pairs import Pair, read_pairs
from core.data.votes import shares, votes_on
from core.errors import UserError
from core.store import Database, files, runs
from core.store.facts import Fact
from core.store.votes import Tally
from core.text import one_line, printable
from core.workspace import Workspace

Source = Literal["fields", "votes", "reward"]
SCORES = "scores.jsonl"  # of a reward run, in its folder


@dataclass(frozen=True, slots=True)
class Rewards:
    """Rewards of both responses of pairs: by file and line, or one after the other for all pairs of one file."""

    name: str
    by_line: Mapping[tuple[Path, int], tuple[float, float]] = field(default_factory=dict)
    in_order: Sequence[tuple[float, float]] | None = None
    read_from: Path | None = None

    def of(self, path: Path, pair: Pair, place: int) -> tuple[float, float] | None:
        """The rewards of pair number `place`, if it was scored."""
        if self.in_order is None:
            return self.by_line.get((path, pair.line))
        return self.in_order[place] if place < len(self.in_order) else None


@dataclass(frozen=True, slots=True)
class GapFound:
    """The preference gap of files of pairs, or why there is none. `without` counts pairs that the source says nothing
    of: they are no part of the mean."""

    source: Source | None
    gap: Gap | None
    reason: str
    pairs: int
    bad_rows: int
    without: int


def measure_gap(
    paths: Sequence[Path],
    *,
    scale: Scale | None = None,
    tallies: Mapping[str, Tally] | None = None,
    rewards: Rewards | None = None,
    only: Source | None = None,
) -> GapFound:
    """The gap of files of pairs that belong together, in one pass, by the first source that knows anything.

    1. Fields of the file, such as `chosen_score` and `rejected_score`; a judge's are among them, and say its name.
    2. People's votes: a response's score is its share of the votes, a tie is half a vote for each.
    3. A reward model: 2σ(r_w - r_l) - 1, which is the chance that the chosen response is the better one, on -1 to 1.

    Never a length or a rank: where no source knows the pairs there is no gap.

    Args:
        scale: of scores in fields.
        tallies: as `core.store.votes.tally` gives them.
        only: this source and no other.

    Raises:
        UserError: a file cannot be read, scores lie outside the declared scale, rewards are not of these pairs.
    """
    found: dict[Source, dict[str, Scores]] = {"fields": {}, "votes": {}, "reward": {}}
    voted = Scores()
    votes = valid = bad = 0
    for path in paths:
        for pair in read_pairs(path):
            if isinstance(pair, BadRow):
                bad += 1
                continue
            place, valid = valid, valid + 1
            prompt = text_hash(text_key(pair.prompt))
            if pair.chosen_score is not None and pair.rejected_score is not None:
                scores = found["fields"].setdefault(pair.score_fields, Scores())
                scores.add(pair.chosen_score, pair.rejected_score, prompt)
            if tallies and (tally := votes_on(tallies, pair.prompt, pair.chosen, pair.rejected)) is not None:
                votes += tally.votes
                voted.add(*shares(tally), prompt)
            if rewards is not None and (pair_of_rewards := rewards.of(path, pair, place)) is not None:
                name = f"reward model {rewards.name} as 2σ(r_w - r_l) - 1"
                better = _sigmoid(pair_of_rewards[0] - pair_of_rewards[1])
                worse = _sigmoid(pair_of_rewards[1] - pair_of_rewards[0])
                found["reward"].setdefault(name, Scores()).add(better, worse, prompt)
    if rewards is not None and rewards.in_order is not None and len(rewards.in_order) != valid:
        raise UserError(
            f"{rewards.name} holds rewards of {len(rewards.in_order)} pairs, and there are {valid}: score this file"
        )
    if voted.gaps:
        found["votes"][f"{votes} human votes"] = voted
    source: Source | None = only or next((name for name in found if found[name]), None)
    if source is None:
        reason = "the pairs have no scores, such as chosen_score and rejected_score, and no votes" if valid else ""
        return GapFound(None, None, reason or "there are no valid pairs", valid, bad, valid)
    if not found[source]:
        return GapFound(None, None, _NOTHING[source] if valid else "there are no valid pairs", valid, bad, valid)
    gap, reason = gap_of(found[source], valid, scale if source == "fields" else None)
    scored = sum(len(scores.gaps) for scores in found[source].values())
    return GapFound(source, gap, reason, valid, bad, valid - scored)


_NOTHING: dict[Source, str] = {
    "fields": "the pairs have no scores, such as chosen_score and rejected_score",
    "votes": "nobody voted on any of the pairs: 'dpotui annotate' casts votes",
    "reward": "the reward model scored none of the pairs",
}


def _sigmoid(value: float) -> float:
    if value < 0:
        small = math.exp(value)
        return small / (1 + small)
    return 1 / (1 + math.exp(-value))


def gap_fact(found: GapFound, paths: Iterable[Path]) -> Fact:
    """`data.preference_gap`, without run and inputs, which the caller adds."""
    whole = " and ".join(printable(path.name) for path in paths)
    if found.gap is None:
        return Fact("data.preference_gap", None, n=0, source=f"{found.reason}; {whole}")
    gap = found.gap
    return Fact("data.preference_gap", gap.mean, low=gap.low, high=gap.high, n=gap.n, source=f"{gap.source}; {whole}")


# Rewards from files


def rewards_of_run(db: Database, workspace: Workspace, run_id: str, paths: Sequence[Path]) -> Rewards:
    """What a reward run's scores.jsonl says of these files.

    Raises:
        UserError: it is no reward run, left no scores, scored other files, or they changed since.
    """
    run = runs.get(db, run_id)
    if run.kind != "reward" or run.output_dir is None:
        raise UserError(f"{run.id} is a run of kind {run.kind} without scores: name a finished reward run")
    source = workspace.path(run.output_dir) / SCORES
    names = {"train": "train_file", "validation": "validation_file"}
    scored = {split: run.config.get("data", {}).get(key) for split, key in names.items()}
    by_line: dict[tuple[Path, int], tuple[float, float]] = {}
    rows = _reward_rows(source)
    for path in paths:
        relative = workspace.relative(path.expanduser().absolute())
        splits = {split for split, name in scored.items() if name and workspace.relative(Path(name)) == relative}
        if not splits:
            told = " and ".join(str(name) for name in scored.values() if name)
            raise UserError(f"{run.id} scored {told}, not {relative}: 'dpotui data gap FILE --reward MODEL' scores it")
        if run.inputs.get(relative, "") not in ("", files.sha256(db, workspace, relative)):
            raise UserError(f"{relative} changed since {run.id} scored it: train the reward model on it again")
        by_line |= {(path, line): rewards for split, line, rewards in rows if split in splits}
    return Rewards(run.id, by_line, read_from=source)


def rewards_of_file(source: Path, paths: Sequence[Path]) -> Rewards:
    """Rewards from a file: a reward run's scores.jsonl of one split, or what `dpotui score --reward --json` prints.

    Raises:
        UserError: it holds something else, or rewards of more than one file.
    """
    name = printable(source.name)
    if len(paths) != 1:
        raise UserError(f"{name} holds rewards of one file: name one file of pairs, or the run that scored them")
    try:
        document = json.loads(source.read_bytes())
    except (ValueError, RecursionError):
        document = None
    except OSError as error:
        raise UserError(f"{printable(str(source))} cannot be read: {error.strerror or error}") from error
    if isinstance(document, dict) and isinstance(document.get("pairs"), list):
        pairs = [_rewards(row, f"{name}: pair {number}") for number, row in enumerate(document["pairs"], 1)]
        return Rewards(name, in_order=pairs, read_from=source)
    rows = _reward_rows(source)
    if len({split for split, _, _ in rows}) > 1:
        raise UserError(f"{name} holds rewards of two files: name the run that wrote it, such as --reward reward-001")
    return Rewards(name, {(paths[0], line): rewards for _, line, rewards in rows}, read_from=source)


def _reward_rows(source: Path) -> list[tuple[str, int, tuple[float, float]]]:
    found = []
    for row in read_rows(source):
        where = f"{printable(source.name)}:{row.line}"
        if isinstance(row, BadRow):
            raise UserError(f"{where}: {row.reason}: {_WANTED}")
        line = row.fields.get("line")
        if not isinstance(line, int) or isinstance(line, bool):
            raise UserError(f"{where}: line is missing: {_WANTED}")
        found.append((str(row.fields.get("split", "")), line, _rewards(row.fields, where)))
    return found


_WANTED = "scores.jsonl of a reward run, or what 'dpotui score --reward MODEL --pairs FILE --json' prints, is wanted"


def _rewards(row: object, where: str) -> tuple[float, float]:
    try:
        if not isinstance(row, dict):
            raise Refused("type", "the row", "is no object")
        missing = next((name for name in ("chosen_reward", "rejected_reward") if row.get(name) is None), None)
        if missing is not None:
            raise Refused("missing", missing, "is missing")
        return number(row["chosen_reward"], "chosen_reward"), number(row["rejected_reward"], "rejected_reward")
    except Refused as refused:
        raise UserError(f"{where}: {one_line(str(refused), 100)}: {_WANTED}") from None
