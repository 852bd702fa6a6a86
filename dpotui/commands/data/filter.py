"""`dpotui data filter`: pairs of low quality by a reward model, first as a preview, then as a copy without them."""

from __future__ import annotations

import json
import shutil
import textwrap
import time
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from core.data.filtering import (
    Effect,
    Example,
    Filtered,
    Ranking,
    Rule,
    examples,
    read_scored,
    refuse_output,
    suggestions,
    write_filtered,
)
from core.data.held_out import Known, known
from core.data.manifest import file_sha256
from core.data.marking import mark
from core.data.messages import Text, text_key
from core.data.reward_cache import RewardCache, cache_path, model_hash
from core.errors import UserError
from core.store import files, open_store
from core.store.facts import Fact
from core.text import one_line, printable
from core.workspace import Workspace
from dpotui.commands.data.recording import Ticker, hashes, record, workspace_of

if TYPE_CHECKING:
    from core.store import Database

_BINS = 20
_BAR = 40


@click.command("filter")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--reward", required=True, type=click.Path(path_type=Path), metavar="DIR", help="The reward model.")
@click.option("-o", "--out", type=click.Path(path_type=Path), metavar="OUT", help="Write the pairs that stay.")
@click.option("--min-margin", type=float, metavar="M", help="Pairs with a margin r_w - r_l below M go.")
@click.option("--drop-share", type=float, metavar="S", help="The share S with the lowest margins goes.")
@click.option("--keep-agreeing", is_flag=True, help="Pairs go whose rejected response gets the higher reward.")
@click.option("--show", type=click.IntRange(0), default=3, show_default=True, help="Pairs that would go to print.")
@click.option("--held-out", is_flag=True, help="FILE is a validation file, and is to be filtered all the same.")
@click.option("--batch-size", type=click.IntRange(min=1), default=4, show_default=True, help="Pairs scored at a time.")
@click.option("--score-only", is_flag=True, help="Score the pairs and keep their rewards; show nothing.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@click.option("-w", "--workspace", metavar="DIR", help="The workspace (default: around here).")
def command(
    file: Path,
    reward: Path,
    out: Path | None,
    min_margin: float | None,
    drop_share: float | None,
    keep_agreeing: bool,
    show: int,
    held_out: bool,
    batch_size: int,
    score_only: bool,
    as_json: bool,
    workspace: str | None,
) -> None:
    """Find the pairs of FILE that a reward model finds bad, by one rule on the margin r_w - r_l.

    Without -o it is a preview: how many pairs would go, what that changes, and the worst of them. With -o the others
    are copied byte for byte; a file that stands there is never written over. Rewards are kept in the workspace: what
    was scored once is not scored again, also after a stop.

    Exit status: 0 done, 2 wrong use or bad input (nothing is written then).
    """
    rule = _rule(min_margin, drop_share, keep_agreeing)
    if out is not None and rule is None:
        raise UserError("-o writes what one rule leaves: name --min-margin M, --drop-share S or --keep-agreeing")
    if out is not None and score_only:
        raise UserError("--score-only writes no file: leave out -o, or --score-only")
    here = workspace_of(workspace, needed=score_only)
    if out is not None:
        refuse_output(out, file)
    started = time.time()
    with ExitStack() as stack:
        db = open_store(here.database) if here is not None else None
        if db is not None:
            stack.callback(db.close)
        model = model_hash(reward, lambda path: _sha256(db, here, path))
        told = known(db, here, reward, file) if db is not None and here is not None else Known(None, "", None)
        if out is not None and told.role == "validation" and not held_out:
            raise UserError(
                f"{printable(str(file))} is held out: {told.why}. Without its hard pairs every accuracy on it would be"
                " too good. Filter the training file, or say --held-out"
            )
        cache = stack.enter_context(RewardCache(cache_path(here.cache, model) if here is not None else None))
        ranking = _scored(file, reward, cache, batch_size)
        if score_only:
            return
        gone = ranking.goes(rule) if rule is not None else 0
        done: Filtered | None = None
        run = None
        if out is not None and rule is not None:
            with Ticker("written") as ticker:
                done = write_filtered(ranking, gone, out, parameters(rule, reward, model), ticker)
            if here is not None:
                run = record_filtered(here, done, file, reward, rule, model, started)
                mark(file, here.cache / "data", "low_reward", ranking.findings(gone), needed=False)
        worst = examples(ranking, 0, min(show, gone))
    if as_json:
        document = _document(ranking, rule, gone, reward, model, told, worst, done, run)
        click.echo(json.dumps(document, indent=2, ensure_ascii=True, allow_nan=False))
    else:
        _people(ranking, rule, gone, reward, told, worst, done, run)


def _rule(min_margin: float | None, drop_share: float | None, keep_agreeing: bool) -> Rule | None:
    named = [name for name, given in (
        ("--min-margin", min_margin is not None), ("--drop-share", drop_share is not None),
        ("--keep-agreeing", keep_agreeing),
    ) if given]  # fmt: skip
    if len(named) > 1:
        raise UserError(f"{' and '.join(named)}: one rule at a time")
    if min_margin is not None:
        if not -1e300 < min_margin < 1e300:
            raise UserError(f"--min-margin {min_margin:g}: a number is wanted, such as 0.5")
        return Rule("min_margin", min_margin)
    if drop_share is not None:
        if not 0 < drop_share < 1:
            raise UserError(f"--drop-share {drop_share:g}: a share between 0 and 1 is wanted, such as 0.1")
        return Rule("drop_share", drop_share)
    return Rule("keep_agreeing") if keep_agreeing else None


def _sha256(db: Database | None, workspace: Workspace | None, path: Path) -> str | None:
    if db is None or workspace is None:
        return file_sha256(path)
    return files.sha256(db, workspace, workspace.relative(path.absolute()))


def _scored(file: Path, reward: Path, cache: RewardCache, batch_size: int) -> Ranking:
    """The file with all its rewards: those that are kept, and those that are computed now."""
    with Ticker("read") as ticker:
        found = read_scored(file, cache, ticker)
        if found.missing:
            # MLX is loaded here and nowhere else in this command.
            from core.training.reward_scores import score_into

            lacking = found.missing
            score_into(
                cache, reward, file, batch_size=batch_size, progress=lambda done: ticker(done, lacking, "scored")
            )
            found = read_scored(file, cache, ticker)
    if found.missing:
        raise UserError(f"{printable(str(file))} changed while it was scored: run it again")
    if not found.pairs:
        first = f": {found.named[0]}" if found.named else ""
        raise UserError(f"{printable(str(file))} has no pair{first}")
    if not found.lines:
        raise UserError(f"{printable(str(reward))} can read no pair: {found.named[0]}")
    return Ranking(found)


# What is kept of it


def parameters(rule: Rule, reward: Path, model: str) -> dict[str, Any]:
    """Of a filtering, for the manifest of what it wrote."""
    return {**rule.parameters, "reward_model": printable(str(reward)), "reward_model_sha256": model}


def record_filtered(
    workspace: Workspace, done: Filtered, file: Path, reward: Path, rule: Rule, model: str, started: float
) -> str:
    """`reward.filtered`: how many pairs went, of how many. Returns the id of the run that says so."""
    fact = Fact(
        "reward.filtered", float(done.gone), "pairs", n=done.read - done.bad,
        source=f"{printable(file.name)} by {printable(reward.name)} ({model[:12]}), {rule.words};"
        f" {done.written} pairs in {printable(done.path.name)}",
        inputs=hashes(workspace, [file, done.path, reward]),
    )  # fmt: skip
    return record(workspace, "filter", file, [fact], started)


# For programs


def _document(
    ranking: Ranking,
    rule: Rule | None,
    gone: int,
    reward: Path,
    model: str,
    told: Known,
    worst: list[Example],
    done: Filtered | None,
    run: str | None,
) -> dict[str, Any]:
    scored = ranking.scored
    return {
        "file": str(scored.path),
        "reward_model": str(reward),
        "reward_model_sha256": model,
        "role": told.role,
        "held_out_accuracy": None if told.accuracy is None else list(told.accuracy),
        "pairs": scored.pairs,
        "bad_rows": scored.bad,
        "not_scored": scored.unread,
        "named": scored.named,
        "rule": None if rule is None else rule.parameters,
        "goes": None if rule is None else gone,
        "rules": [{**other.parameters, "goes": ranking.goes(other)} for other in suggestions(ranking)],
        "before": asdict(ranking.effect(0)),
        "after": None if rule is None else asdict(ranking.effect(gone)),
        "histogram": [list(bin) for bin in ranking.histogram(_BINS)],
        "lines": [scored.lines[ranking.order[rank]] for rank in range(gone)],
        "worst": [{"line": one.line, "margin": one.margin} for one in worst],
        "written": None if done is None else {"file": str(done.path), "pairs": done.written, "sha256": done.sha256},
        "run": run,
    }


# For people


def _people(
    ranking: Ranking,
    rule: Rule | None,
    gone: int,
    reward: Path,
    told: Known,
    worst: list[Example],
    done: Filtered | None,
    run: str | None,
) -> None:
    scored = ranking.scored
    click.echo(
        f"{printable(scored.path.name)}: {len(ranking)} pairs scored by {printable(str(reward))}, margins"
        f" {ranking.margins[0]:.2f} to {ranking.margins[-1]:.2f}, median {ranking.median():.2f}"
    )
    for note in notes(told):
        click.echo(textwrap.fill(f"note: {note}", 80))
    if scored.bad:
        click.echo(f"rows that are no pairs, left out: {scored.bad}")
    if scored.unread:
        click.echo(f"pairs that the model cannot read, kept: {scored.unread}")
    for line in scored.named[:5]:
        click.echo(f"  {line}")
    if rule is None:
        _rules(ranking)
    else:
        before, after = ranking.effect(0), ranking.effect(gone)
        verb = "went" if done is not None else "would go"
        click.echo(f"\n{rule.words}: {gone} of {before.pairs} pairs {verb} ({gone / before.pairs:.1%})")
        for name, one, other in table(before, after):
            click.echo(f"  {name:<28}{one:>10}{other:>10}")
    click.echo("")
    for line in bars(ranking, gone if rule is not None else 0):
        click.echo(line)
    width = min(shutil.get_terminal_size((80, 24)).columns, 160)
    for example in worst:
        click.echo(f"\n{printable(scored.path.name)}:{example.line}  margin {example.margin:.3f}")
        parts: tuple[tuple[str, Text], ...] = (
            ("prompt", example.pair.prompt), ("chosen", example.pair.chosen), ("rejected", example.pair.rejected),
        )  # fmt: skip
        for name, text in parts:
            click.echo(f"  {name:<9}{one_line(text_key(text), width - 11)}")
    if done is not None:
        click.echo(f"\n{printable(str(done.path))}: {done.written} pairs written")
        if run is not None:
            click.echo(f"recorded as {run}")
    elif rule is None:
        click.echo("\na rule shows what it changes and what would go; with -o OUT it is done")
    else:
        click.echo("\nnothing is written: -o OUT does it")


def notes(told: Known) -> list[str]:
    """What to bear in mind of such a filtering."""
    said = []
    if told.accuracy is not None:
        share, low, high, n = told.accuracy
        said.append(
            f"it is right on {share:.1%} [{low:.1%}, {high:.1%}] of {n} held-out pairs: much of what it would drop may"
            " be its own errors"
        )
    if told.role == "train":
        said.append(f"{told.why}: it has seen these answers, and margins are larger here than on new pairs")
    elif told.role == "validation":
        said.append(f"the file is held out ({told.why}): filtered, every accuracy on it would be too good")
    return said


def _rules(ranking: Ranking) -> None:
    click.echo(f"\n  {'rule':<24}{'pairs that would go':>20}{'gap':>9}{'prompts':>9}")
    start = ranking.effect(0)
    click.echo(f"  {'none':<24}{0:>12} {'':>7}{_number(start.gap):>9}{start.prompts:>9}")
    for rule in suggestions(ranking):
        gone = ranking.goes(rule)
        after = ranking.effect(gone)
        share = f"{gone / start.pairs:.1%}"
        click.echo(f"  {rule.option:<24}{gone:>12} {share:>7}{_number(after.gap):>9}{after.prompts:>9}")


def table(before: Effect, after: Effect) -> list[tuple[str, str, str]]:
    """What a cut changes: name, before, after."""
    return [
        ("", "before", "after"),
        ("pairs", str(before.pairs), str(after.pairs)),
        ("prompts", str(before.prompts), str(after.prompts)),
        ("preference gap of its scores", _number(before.gap), _number(after.gap)),
        ("this model agrees", _share(before.agreeing), _share(after.agreeing)),
        ("the longer is chosen", _share(before.longer), _share(after.longer)),
    ]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def bars(ranking: Ranking, gone: int) -> list[str]:
    """The histogram of margins; what goes is shaded."""
    found = ranking.histogram(_BINS)
    most = max(count for _, _, count in found)
    lines = [f"  {'margin r_w - r_l':<18}{'pairs':>6}  {'░ goes  █ stays' if gone else ''}".rstrip()]
    for number, (low, high, count) in enumerate(found):
        going = ranking.gone_in(low, high, gone) if number < len(found) - 1 else max(0, gone - (len(ranking) - count))
        cells = max(1, round(_BAR * count / most)) if count else 0
        shaded = min(cells, round(cells * going / count)) if count else 0
        shaded = max(shaded, 1) if going else shaded
        lines.append(f"  {low:7.2f} to {high:6.2f}{count:>7}  {'░' * shaded}{'█' * (cells - shaded)}".rstrip())
    return lines
