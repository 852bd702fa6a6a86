"""`dpotui data check`: read a file of preference pairs line by line and measure it."""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from core.data.examples import ExampleCount, count_examples, holds_examples
from core.data.findings import FINDINGS
from core.data.gap import Gap
from core.data.jsonl import BadRow
from core.errors import UserError
from core.gates import Gate, load_gates
from core.store import Database, facts, open_store, runs, transaction
from core.store.facts import Fact
from core.text import one_line, printable
from core.workspace import Workspace
from dpotui.commands.data.check_document import document, row_document
from dpotui.commands.data.recording import Ticker, workspace_of
from dpotui.commands.options import scale_option

if TYPE_CHECKING:
    from core.data.check import Checked, Tokenizing

_BAR = 40
_WIDTH = 100


@click.command("check")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--validation",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The held-out part of the same set, measured together with FILE.",
)
@click.option(
    "--model",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Count tokens with the tokenizer of this model (default: that of configs/dpo_config.yaml).",
)
@click.option("--max-prompt-length", type=click.IntRange(min=1), metavar="N", help="Count prompts over N tokens.")
@click.option("--max-response-length", type=click.IntRange(min=1), metavar="N", help="Count responses over N tokens.")
@scale_option
@click.option(
    "--show", type=click.Choice([*FINDINGS]), metavar="FINDING", help=f"Show its pairs: {', '.join(FINDINGS)}."
)
@click.option(
    "--limit", type=click.IntRange(min=0), default=20, show_default=True, help="Pairs shown, or named by line in JSON."
)
@click.option(
    "--fix",
    "fixed",
    type=click.Path(path_type=Path),
    metavar="OUT",
    help="Write a clean copy of FILE to OUT, and beside it a file of the rows that were left out.",
)
@click.option(
    "--drop",
    multiple=True,
    type=click.Choice([*FINDINGS]),
    metavar="FINDING",
    help="With --fix: leave out pairs with this finding too. Can be given several times.",
)
@click.option("--record", is_flag=True, help="Record what was measured as facts of the workspace, for its gates.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@click.option("-w", "--workspace", metavar="DIR", help="The workspace to record in (default: here).")
def command(
    file: Path,
    validation: Path | None,
    model: Path | None,
    max_prompt_length: int | None,
    max_response_length: int | None,
    scale: tuple[float, float] | None,
    show: str | None,
    limit: int,
    fixed: Path | None,
    drop: tuple[str, ...],
    record: bool,
    as_json: bool,
    workspace: str | None,
) -> None:
    """Check FILE line by line and measure it.

    FILE is JSONL (also gzip, CSV or Parquet): {"prompt": ..., "chosen": ..., "rejected": ...} a line, text or chat
    messages, with scores if there are any; or SFT examples ({"prompt", "response"} or {"messages"}).

    Looked for are duplicates and near duplicates, conflicting preferences, leaks into the validation file, marks of
    templates, broken characters, hints of personal data, and what the limits of training cut.

    Exit status: 0 every row is good, 1 some are not, 2 the file cannot be read.
    """
    here = workspace_of(workspace, needed=record)
    if drop and fixed is None:
        raise UserError("--drop says what --fix leaves out: name a file with --fix OUT")
    if validation is None and holds_examples(file):
        if record or scale is not None or show is not None or drop:
            raise UserError(
                f"{printable(str(file))} holds SFT examples: --record, --scale, --show and --drop are for preference"
                " pairs"
            )
        written = None
        if fixed is not None:
            from core.data.examples import example_of

            written = _fix(file, fixed, reader=example_of)
        _examples(count_examples(file), written, as_json=as_json)
        return
    if validation is not None and validation.resolve() == file.resolve():
        raise UserError(f"{printable(str(validation))} is the training file: held-out pairs must be others")
    if fixed is not None:
        from core.data.outputs import refuse_overwriting

        refuse_overwriting([fixed, _left_out(fixed)], [file, *([validation] if validation else [])])
    target = _gap_target(here)
    tokenizing = _tokenizing(here, model, max_prompt_length, max_response_length)
    _refuse_show(show, here, validation, tokenizing)
    paths = [file] if validation is None else [file, validation]
    with _checked(here, paths, tokenizing, scale, record=record) as (found, run):
        bad = found.quality.rows > found.quality.valid
        written = None if fixed is None else _fix(file, fixed, found=found, drop=drop)
        if as_json:
            told = document(found, target, limit, show)
            _print_json(told if written is None else {**told, "fixed": written})
        else:
            if show is not None:
                _show(found, show, limit)
            else:
                _people(found, target, run)
            if written is not None:
                _say_fixed(written)
    sys.exit(1 if bad else 0)


@contextlib.contextmanager
def _checked(
    workspace: Workspace | None,
    paths: list[Path],
    tokenizing: Tokenizing,
    scale: tuple[float, float] | None,
    *,
    record: bool,
) -> Iterator[tuple[Checked, str | None]]:
    """The check, and the id of the run it was recorded as; its index is open as long as it is looked at."""
    from core.data.check import check

    with contextlib.ExitStack() as stack:
        db = None
        if workspace is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dpotui-")))
        else:
            folder = workspace.cache / "data"
            db = open_store(workspace.database)
            stack.callback(db.close)
        started = time.time()
        with Ticker("checking") as ticker:
            found = check(
                paths,
                folder,
                tokenizing=tokenizing,
                scale=scale,
                workspace=workspace,
                db=db,
                progress=lambda done, total, phase: ticker(100 * done // max(1, total), 100, f"{phase}, %"),
            )
        stack.enter_context(found.index)
        run = None
        if record:
            assert workspace is not None and db is not None
            run, recorded = _write(db, workspace, paths, list(found.facts), started)
            found = replace(found, facts=tuple(recorded))
        yield found, run


def _write(
    db: Database, workspace: Workspace, paths: list[Path], found: list[Fact], started: float
) -> tuple[str, list[Fact]]:
    """Write the finished run and its facts at once: no engine ever sees it queued."""
    names = [workspace.relative(path.expanduser().absolute()) for path in paths]
    config = {"data": {"train_file": names[0], "validation_file": names[1] if len(names) > 1 else None}}
    inputs = {path: digest for fact in found for path, digest in fact.inputs.items() if path in names}
    with transaction(db):
        run = runs.create(db, "data_check", config=config, name=f"check {names[0]}", steps=1)
        found = [replace(fact, run=run.id, time=started) for fact in found]
        facts.record(db, *found)
        runs.update(db, run.id, state="finished", step=1, inputs=inputs, started=started, ended=time.time())
    return run.id, found


def _tokenizing(
    workspace: Workspace | None, model: Path | None, prompt: int | None, response: int | None
) -> Tokenizing:
    """The tokenizer and the limits: those named, else those of the workspace's configs/dpo_config.yaml."""
    from core.data.check import Tokenizing
    from core.data.tokenize import Limits

    found = Tokenizing()
    path = None if workspace is None else workspace.configs / "dpo_config.yaml"
    if workspace is not None and path is not None and path.is_file():
        from core.config import DPOConfig, load_config
        from core.model_folder import find_folder

        try:
            config = load_config(path, DPOConfig)
        except UserError as error:
            found = Tokenizing(reason=f"configs/dpo_config.yaml cannot be used: {error}")
        else:
            limits = Limits(config.data.max_prompt_length, config.data.max_response_length)
            name = config.model.base_model
            folder = find_folder(workspace, name)
            if folder is not None and (folder / "tokenizer.json").is_file():
                found = Tokenizing(folder, config.data.apply_chat_template, limits, "")
            else:
                found = Tokenizing(limits=limits, reason=f"the tokenizer of {name} is not on this machine (--model)")
    if model is not None:
        found = replace(found, folder=model.expanduser())
    if prompt is not None or response is not None:
        set_before = found.limits
        prompt = prompt or (set_before.prompt if set_before is not None else None)
        response = response or (set_before.response if set_before is not None else None)
        if prompt is None or response is None:
            raise UserError("name both limits: --max-prompt-length and --max-response-length")
        found = replace(found, limits=Limits(prompt, response))
        if found.folder is None:
            raise UserError("limits count tokens, and there is no tokenizer: name a model's folder with --model")
    return found


def _gap_target(workspace: Workspace | None) -> Gate:
    found = [gate for gate in load_gates(workspace) if gate.fact == "data.preference_gap"]
    if not found:
        raise UserError(
            "gates.yaml has no gate on data.preference_gap: its threshold says what share of pairs is enough"
        )
    return found[0]


# The clean copy


def _left_out(out: Path) -> Path:
    return out.with_name(f"{out.name.removesuffix('.jsonl')}.left-out.jsonl")


def _fix(
    file: Path,
    out: Path,
    *,
    reader: Callable[..., object] | None = None,
    found: Checked | None = None,
    drop: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Write both files; returns what was written."""
    from core.data.fix import fix
    from core.data.pairs import pair_of

    dropped: dict[int, tuple[str, str]] = {}
    if found is not None:
        for kind in drop:
            for one in found.index.found(kind):
                entry = found.index.entry(one.pair)
                if entry.file == 0:
                    dropped.setdefault(entry.line, (kind, one.detail))

    def also(row: Any) -> BadRow | None:
        why = dropped.get(row.line)
        return None if why is None else BadRow(row.line, why[0], None, f"{FINDINGS[why[0]].title}: {why[1]}")

    parameters = {"drop": sorted(drop)} if drop else {}
    made = fix(
        file, out, _left_out(out), reader=reader or pair_of, also=also if dropped else None, parameters=parameters
    )
    return {
        "file": str(out),
        "kept": made.kept,
        "left_out_file": str(_left_out(out)),
        "left_out": made.left_out,
        "errors": made.errors,
    }


def _say_fixed(fixed: dict[str, Any]) -> None:
    click.echo(f"{printable(fixed['file'])}: {fixed['kept']} rows kept")
    click.echo(f"{printable(fixed['left_out_file'])}: {fixed['left_out']} rows left out")


# For programs


def _print_json(document: dict[str, Any]) -> None:
    # Names of files may hold what is no text.
    click.echo(json.dumps(document, indent=2, ensure_ascii=True, allow_nan=False))


# For people


def _people(found: Checked, target: Gate, run: str | None) -> None:
    from core.data.check_report import report

    quality = found.quality
    report(found, click.echo)
    if quality.errors:
        click.echo("errors: " + ", ".join(f"{count} {kind}" for kind, count in quality.errors.items()))
    if quality.gap is not None:
        _histogram(quality.gap, target, click.echo)
    if run is not None:
        click.echo(f"recorded as {run}")


def _refuse_show(kind: str | None, here: Workspace | None, validation: Path | None, tokenizing: Tokenizing) -> None:
    """Say before anything is read that a finding will not be looked for."""
    truncated = tokenizing.folder is not None and tokenizing.limits is not None
    looked = {
        "truncated_prompt": truncated,
        "truncated_response": truncated,
        "leak": validation is not None,
        "contaminated": here is not None,
    }
    if kind is not None and not looked.get(kind, True):
        raise UserError(f"{kind} was not looked for: {_NOT_LOOKED[kind]}")


def _show(found: Checked, kind: str, limit: int) -> None:
    """The pairs of a finding. What is somebody's own is masked wherever it stands."""
    from core.data.check_report import place
    from core.data.messages import text_key
    from core.data.personal import mask

    count = found.counts.get(kind)
    if count is None:
        raise UserError(f"{kind} was not looked for: {_NOT_LOOKED.get(kind, 'it needs more than was named')}")
    click.echo(f"{FINDINGS[kind].title}: {count} pair{'' if count == 1 else 's'}. {FINDINGS[kind].sentence}")
    for one in found.index.found(kind, 0, limit):
        entry = found.index.entry(one.pair)
        pair = found.index.read(entry)
        click.echo(f"{place(found, entry.file, entry.line)}: {one_line(one.detail, 200)}")
        for name, text in (("prompt", pair.prompt), ("chosen", pair.chosen), ("rejected", pair.rejected)):
            # Masked before it is cut, or half an address would be shown.
            click.echo(f"  {name:9}{one_line(mask(text_key(text)), _WIDTH)}")
    if count > limit:
        click.echo(f"and {count - limit} more: --limit shows them")


_NOT_LOOKED = {
    "truncated_prompt": "name a model and limits (--model, --max-prompt-length, --max-response-length)",
    "truncated_response": "name a model and limits (--model, --max-prompt-length, --max-response-length)",
    "leak": "name the held-out file with --validation",
    "contaminated": "put benchmark files into data/benchmarks of the workspace",
}


def _histogram(gap: Gap, target: Gate, echo: Callable[[str], None]) -> None:
    share = gap.share(target.threshold)
    echo(f"with a gap of {target.threshold:g} or more: {share:.1%} of them (the gate judges the mean)")
    most = max(count for _, _, count in gap.histogram)
    filled = [index for index, (_, _, count) in enumerate(gap.histogram) if count]
    for low, high, count in gap.histogram[filled[0] : filled[-1] + 1]:
        bar = "█" * round(_BAR * count / most) or ("▏" if count else "")
        echo(f"{low:5.1f} to {high:4.1f}  {count:7}  {bar}".rstrip())


def _examples(found: ExampleCount, written: dict[str, Any] | None, *, as_json: bool) -> None:
    if as_json:
        _print_json(
            {
                "rows": found.rows,
                "valid": found.valid,
                "errors": found.errors,
                "findings": {
                    "unique_prompts": found.unique_prompts,
                    "rows": [row_document(row) for row in found.examples],
                },
                "facts": {},
                **({} if written is None else {"fixed": written}),
            }
        )
    else:
        click.echo(f"{printable(found.path.name)}: rows {found.rows}, valid SFT examples {found.valid}")
        for row in found.examples:
            click.echo(f"{printable(found.path.name)}:{row.line}: {row.reason}")
        click.echo(f"unique prompts {found.unique_prompts}")
        if found.errors:
            click.echo("errors: " + ", ".join(f"{count} {kind}" for kind, count in found.errors.items()))
    if written is not None and not as_json:
        _say_fixed(written)
    sys.exit(1 if found.rows > found.valid else 0)
