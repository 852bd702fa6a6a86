"""`dpotui data gap`: the preference gap of files of pairs, and where its scores come from."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from core.data.filtering import read_scored
from core.data.gap import Gap
from core.data.gap_sources import GapFound, Rewards, Source, gap_fact, measure_gap, rewards_of_file, rewards_of_run
from core.data.manifest import file_sha256
from core.data.reward_cache import RewardCache, cache_path, model_hash
from core.errors import UserError
from core.gates import Gate, load_gates
from core.store import Database, facts, files, open_store, runs, transaction, votes
from core.store.facts import Fact
from core.text import printable
from core.workspace import Workspace, open_workspace
from dpotui.commands.data.recording import Ticker
from dpotui.commands.options import scale_option

_BAR = 40


@click.command("gap")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
@scale_option
@click.option("--votes", "by_votes", is_flag=True, help="By people's votes, whatever the file says.")
@click.option(
    "--reward",
    metavar="RUN|FILE|MODEL",
    help="By a reward model: a reward run, its scores.jsonl or what 'dpotui score --reward --json' printed, or the"
    " model's folder (which scores the pairs now).",
)
@click.option("--record", is_flag=True, help="Record the gap as a fact of the workspace, for its gates.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@click.option("-w", "--workspace", metavar="DIR", help="The workspace with votes and runs (default: here).")
def command(
    paths: tuple[Path, ...],
    scale: tuple[float, float] | None,
    by_votes: bool,
    reward: str | None,
    record: bool,
    as_json: bool,
    workspace: str | None,
) -> None:
    """Measure the preference gap of FILE, or of several files together.

    The gap is the mean of score(chosen) - score(rejected), scores on 0 to 1. Scores come from the first of these that
    has any: fields of the file (chosen_score and the like, a judge's among them), people's votes in the workspace. A
    reward model counts when it is named. Without any the gap is UNKNOWN.

    Exit status: 0 the gap is known, 1 it is not, 2 a file cannot be read.
    """
    if by_votes and reward is not None:
        raise UserError("--votes and --reward: name one of them")
    here = _workspace(workspace, needed=record or by_votes)
    only: Source | None = "votes" if by_votes else "reward" if reward is not None else None
    db = open_store(here.database) if here is not None else None
    try:
        before, started = _fingerprints(db, here, paths), time.time()
        rewards = _rewards(db, here, reward, paths) if reward is not None else None
        tallies = votes.tally(db) if db is not None and only in (None, "votes") else None
        found = measure_gap(paths, scale=scale, tallies=tallies, rewards=rewards, only=only)
        if _fingerprints(db, here, paths) != before:
            raise UserError(
                f"{' or '.join(printable(str(path)) for path in paths)} changed while it was read: try again"
            )
        fact = replace(gap_fact(found, paths), inputs=before, time=started)
        if record:
            assert db is not None
            assert here is not None
            fact = _record(db, here, paths, fact)
    finally:
        if db is not None:
            db.close()
    target = _target(here)
    if as_json:
        click.echo(json.dumps(_document(paths, found, fact, target), indent=2, allow_nan=False))
    else:
        _people(paths, found, fact, target)
    sys.exit(0 if found.gap is not None else 1)


def _workspace(folder: str | None, *, needed: bool) -> Workspace | None:
    try:
        return open_workspace(Path(folder or "."))
    except UserError:
        if needed or folder is not None:
            raise
        return None


def _fingerprints(db: Database | None, here: Workspace | None, paths: Sequence[Path]) -> dict[str, str]:
    if db is None or here is None:
        return {}
    return files.fingerprints(db, here, *(here.relative(path.expanduser().absolute()) for path in paths))


def _rewards(db: Database | None, here: Workspace | None, named: str, paths: Sequence[Path]) -> Rewards:
    """The rewards that `--reward` names: of a model's folder, a file, or a run."""
    path = Path(named).expanduser()
    if path.is_dir():
        return _scored_now(db, here, path, paths)
    if path.is_file():
        return rewards_of_file(path, paths)
    if db is None or here is None:
        raise UserError(f"--reward {printable(named)}: no such file or folder, and runs are found in a workspace only")
    return rewards_of_run(db, here, named, paths)


def _scored_now(db: Database | None, here: Workspace | None, model: Path, paths: Sequence[Path]) -> Rewards:
    """Rewards under a model; in a workspace they are kept, and what was scored once is not scored again."""

    def digest(path: Path) -> str | None:
        if db is None or here is None:
            return file_sha256(path)
        return files.sha256(db, here, here.relative(path.absolute()))

    whole = model_hash(model, digest)
    found: dict[tuple[Path, int], tuple[float, float]] = {}
    with Ticker("scored") as ticker, RewardCache(cache_path(here.cache, whole) if here else None) as cache:
        for path in paths:
            if read_scored(path, cache).missing:
                # MLX is loaded here and nowhere else in this command.
                from core.training.reward_scores import score_into

                score_into(cache, model, path, progress=ticker)
            scored = read_scored(path, cache)
            for line, chosen, rejected in zip(scored.lines, scored.chosen, scored.rejected, strict=True):
                found[path, line] = chosen, rejected
    return Rewards(model.name, found)


def _record(db: Database, workspace: Workspace, paths: Sequence[Path], fact: Fact) -> Fact:
    """Write the finished run and its fact at once: no engine ever sees it queued."""
    names = [workspace.relative(path.expanduser().absolute()) for path in paths]
    config: dict[str, Any] = {"data": {"train_file": names[0], "validation_file": names[1] if len(names) > 1 else None}}
    with transaction(db):
        run = runs.create(db, "data_check", config=config, name=f"gap {names[0]}", steps=1)
        fact = replace(fact, run=run.id)
        facts.record(db, fact)
        runs.update(db, run.id, state="finished", step=1, inputs=fact.inputs, started=fact.time, ended=time.time())
    return fact


def _target(workspace: Workspace | None) -> Gate:
    found = [gate for gate in load_gates(workspace) if gate.fact == "data.preference_gap"]
    if not found:
        raise UserError(
            "gates.yaml has no gate on data.preference_gap: its threshold says what share of pairs is enough"
        )
    return found[0]


# For programs


def _document(paths: Sequence[Path], found: GapFound, fact: Fact, target: Gate) -> dict[str, Any]:
    return {
        "files": [str(path) for path in paths],
        "pairs": found.pairs,
        "bad_rows": found.bad_rows,
        "source": found.source,
        "without": found.without,
        "gap": _gap(found.gap, target) if found.gap is not None else None,
        "reason": found.reason,
        "fact": {"name": fact.name, "value": fact.value, "low": fact.low, "high": fact.high, "n": fact.n,
                 "source": fact.source, "run": fact.run},
    }  # fmt: skip


def _gap(gap: Gap, target: Gate) -> dict[str, Any]:
    return {
        "mean": gap.mean,
        "interval": None if gap.low is None else [gap.low, gap.high],
        "median": gap.median,
        "target": target.threshold,
        "share_at_target": gap.share(target.threshold),
        "n": gap.n,
        "inverted": gap.inverted,
        "histogram": [list(bin) for bin in gap.histogram],
        "source": gap.source,
    }


# For people


def _people(paths: Sequence[Path], found: GapFound, fact: Fact, target: Gate) -> None:
    names = " and ".join(printable(path.name) for path in paths)
    bad = f"; {found.bad_rows} rows are no pairs ('dpotui data check' names them)" if found.bad_rows else ""
    click.echo(f"{names}: {found.pairs} pairs{bad}")
    gap = found.gap
    if gap is None:
        click.echo(f"preference gap UNKNOWN: {found.reason}")
    else:
        click.echo(f"source: {gap.source}")
        if found.without:
            click.echo(f"without a score, and left out of the mean: {found.without} pairs")
        interval = "" if gap.low is None or gap.high is None else f"  95 % interval [{gap.low:.4f}, {gap.high:.4f}]"
        click.echo(f"mean {gap.mean:.4f}{interval}")
        click.echo(f"median {gap.median:.4f}")
        share = gap.share(target.threshold)
        click.echo(f"with a gap of {target.threshold:g} or more: {share:.1%} of them (the gate judges the mean)")
        if gap.inverted:
            click.echo(f"with the higher score on the rejected response: {gap.inverted}")
        _histogram(gap)
    if fact.run is not None:
        click.echo(f"recorded as {fact.run}")


def _histogram(gap: Gap) -> None:
    most = max(count for _, _, count in gap.histogram)
    filled = [index for index, (_, _, count) in enumerate(gap.histogram) if count]
    for low, high, count in gap.histogram[filled[0] : filled[-1] + 1]:
        bar = "█" * round(_BAR * count / most) or ("▏" if count else "")
        click.echo(f"{low:5.1f} to {high:4.1f}  {count:7}  {bar}".rstrip())
