"""`dpotui config`: configurations shown, explained, compared, checked and changed without losing their comments."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from core.config import RUN_CONFIGS, keys, load_config
from core.config.draft import Difference, Draft, differences
from core.config.files import configurations, is_sweep, kind_of_file, template_of
from core.config.form import MISSING, Row, default_at, effective, parse_path, rows, shown, typed, value_at
from core.config.history import last_run
from core.config.keys import NAME, field_at, key_order, section
from core.config.load import unknown_key
from core.config.practice import practice
from core.config.source import read_source
from core.errors import UserError
from core.experiments.sweep_plan import plan_sweep
from core.store import open_store, runs
from core.text import one_line, printable
from core.workspace import open_workspace
from dpotui.wrap import wrap

_KIND = click.option("--kind", type=click.Choice(list(RUN_CONFIGS)), help="Of what it is (default: told by the file).")
_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
_FILE = click.argument("file", type=click.Path(path_type=Path))


@click.group("config")
def command() -> None:
    """Configurations: what is in them, what their keys do, and changes that keep comments and order."""


def _draft(file: Path, kind: str | None) -> Draft:
    source = read_source(_found(file))
    kind = kind or kind_of_file(source.path)
    if kind is None and is_sweep(source.path):
        raise UserError(f"{printable(str(file))} is a sweep file: 'dpotui sweep --config FILE --dry-run' checks it")
    if kind is None:
        raise UserError(f"{printable(str(file))} is of no known kind: say it with --kind {'|'.join(RUN_CONFIGS)}")
    return Draft(source, kind)


def _found(file: Path) -> Path:
    """The file, also where it was named as the workspace's configs/ has it."""
    if file.exists() or file.is_absolute():
        return file
    try:
        root = open_workspace(Path())
    except UserError:
        return file
    return next((path for path in (root.path(file), root.configs / file) if path.exists()), file)


def _row(draft: Draft, key: str) -> Row:
    """The row of a key.

    Raises:
        UserError: there is none; with the nearest.
    """
    path = parse_path(key)
    for row in rows(draft.model, draft.value):
        if row.dotted == key.strip() and row.role in ("field", "unknown"):
            return row
    # What may yet come: a section under a new name, or one that is not set.
    field = field_at(draft.model, path)
    if field is not None and section(field) is None:
        return Row("field", path, ".".join(path), field)
    inside = key_order(draft.model, path)
    if inside:
        name = ".".join(path)
        raise UserError(
            f"{draft.source.document.name}: {name} is a section: name a key in it, such as {name}.{inside[0]}"
        )
    raise UserError(f"{draft.source.document.name}: {_unknown(draft, path)}")


def _unknown(draft: Draft, path: tuple[str, ...]) -> str:
    return f"{one_line('.'.join(path), 120)}: {unknown_key(draft.model, path)}"


def _plain(value: Any) -> Any:
    return None if value is MISSING else value


@command.command("show")
@_FILE
@_KIND
@_JSON
def show(file: Path, kind: str | None, as_json: bool) -> None:
    """All keys of FILE: what stands in it, and the defaults of the rest."""
    draft = _draft(file, kind)
    found = [row for row in rows(draft.model, draft.value) if row.role in ("field", "unknown")]
    if as_json:
        document = {
            "file": str(draft.source.path),
            "kind": draft.kind,
            "keys": {
                row.dotted: {
                    "value": _plain(effective(draft.model, draft.value, row.path)),
                    "set": value_at(draft.value, row.path) is not MISSING,
                }
                for row in found
            },
            "errors": [{"key": ".".join(map(str, path)), "error": words} for path, words in draft.problems],
        }
        click.echo(json.dumps(document, ensure_ascii=False))
        return
    width = max(len(row.dotted) for row in found)
    for row in found:
        value = shown(effective(draft.model, draft.value, row.path)) or "not set"
        mark = " " if value_at(draft.value, row.path) is not MISSING else "·"
        click.echo(f"{mark} {one_line(row.dotted, width):{width}}  {one_line(value, 200)}")
    click.echo("· marks what the file leaves out: the default", err=True)


@command.command("get")
@_FILE
@click.argument("key")
@_KIND
@_JSON
def get(file: Path, key: str, kind: str | None, as_json: bool) -> None:
    """The value of KEY in FILE, or its default."""
    draft = _draft(file, kind)
    value = _plain(effective(draft.model, draft.value, _row(draft, key).path))
    click.echo(json.dumps(value, ensure_ascii=False) if as_json else printable(shown(value)))


@command.command("set")
@_FILE
@click.argument("changes", nargs=-1, required=True, metavar="KEY=VALUE...")
@_KIND
@_JSON
def set_(file: Path, changes: tuple[str, ...], kind: str | None, as_json: bool) -> None:
    """Change keys of FILE and nothing else of it; `KEY=` leaves one out, so that its default takes its place.

    The file is written when all of it is right then, or not at all.
    """
    draft = _draft(file, kind)
    for change in changes:
        key, equals, text = change.partition("=")
        if not equals:
            raise UserError(f"'{one_line(change, 80)}': write it as KEY=VALUE, such as training.beta=0.2")
        row = _row(draft, key)
        if not text.strip() or row.field is None:
            draft.unset(row.path)
        else:
            draft.set(row.path, typed(row.field, text))
    if draft.problems:
        path, words = draft.problems[0]
        more = f" (and {len(draft.problems) - 1} more)" if len(draft.problems) > 1 else ""
        name, line = draft.source.document.name, draft.source.document.line(path)
        raise UserError(f"{name}:{line}: {one_line('.'.join(map(str, path)), 120)}: {words}{more}; nothing was written")
    every = differences(draft.model, draft.value, draft.original)
    # A key that goes away and whose default is what it was comes to the same.
    found = [one for one in every if draft.is_changed(one.path)]
    draft.save()
    if as_json:
        click.echo(json.dumps({"file": str(draft.source.path), "changed": _document(found, "was")}, ensure_ascii=False))
        return
    for difference in found:
        click.echo(printable(difference.words()))
    if not found:
        click.echo("nothing changed")


def _document(found: list[Difference], there: str) -> list[dict[str, Any]]:
    return [{"key": one.dotted, "value": _plain(one.here), there: _plain(one.there)} for one in found]


@command.command("help")
@click.argument("key")
@_KIND
@_JSON
def help_(key: str, kind: str | None, as_json: bool) -> None:
    """What KEY means, allows and does in practice. A part of it finds all that have it."""
    found = []
    for name in [kind] if kind else list(RUN_CONFIGS):
        for one in keys(RUN_CONFIGS[name]):
            if one.path == key or one.path.replace(f".{NAME}", "") == key or (key in one.path and "." not in key):
                found.append((name, one))
    if not found:
        raise UserError(f"no key '{one_line(key, 80)}': name one such as training.beta, or a part of it such as beta")
    documents: dict[tuple[Any, ...], dict[str, Any]] = {}
    for name, one in found:
        default = default_at(RUN_CONFIGS[name], {}, tuple(one.path.split("."))) if NAME not in one.path else one.default
        default = None if one.required else _plain(default)
        words = practice(name, one.path)
        # The same in several kinds is said once.
        same = (one.path, one.meaning, one.allowed, shown(default), words)
        documents.setdefault(
            same,
            {
                "key": one.path, "kinds": [], "meaning": one.meaning, "allowed": one.allowed, "unit": one.unit,
                "required": one.required, "default": default, "practice": words,
            },
        )["kinds"].append(name)  # fmt: skip
    if as_json:
        click.echo(json.dumps(list(documents.values()), ensure_ascii=False))
        return
    for index, document in enumerate(documents.values()):
        if index:
            click.echo()
        click.echo(f"{document['key']} ({', '.join(document['kinds'])})")
        default = "must be given" if document["required"] else f"default {shown(document['default']) or 'nothing'}"
        unit = f", {document['unit']}" if document["unit"] else ""
        for words in (document["meaning"], f"{document['allowed']}{unit}; {default}", document["practice"]):
            for line in wrap(words, 96):
                click.echo(f"  {line}")


@command.command("diff")
@_FILE
@click.option("--run", "run_id", metavar="RUN", help="With what this run had (default: the last of its kind).")
@click.option("--template", is_flag=True, help="With what a new workspace has.")
@_KIND
@_JSON
def diff(file: Path, run_id: str | None, template: bool, kind: str | None, as_json: bool) -> None:
    """Where FILE comes to something else than a run had, or than the template; defaults counted."""
    if run_id is not None and template:
        raise UserError("--run and --template exclude each other: choose one")
    draft = _draft(file, kind)
    if template:
        other, name = read_source(template_of(draft.kind)).document.value, "the template"
    else:
        other, name = _of_run(draft, run_id)
    found = differences(draft.model, draft.value, other)
    if as_json:
        document = {"file": str(draft.source.path), "with": name, "differences": _document(found, "other")}
        click.echo(json.dumps(document, ensure_ascii=False))
        return
    click.echo(f"{len(found) or 'no'} {'key differs' if len(found) == 1 else 'keys differ'} from {name}", err=True)
    for difference in found:
        click.echo(printable(difference.words()))


def _of_run(draft: Draft, run_id: str | None) -> tuple[dict[str, Any], str]:
    workspace = open_workspace(draft.source.path.absolute().parent)
    db = open_store(workspace.database)
    try:
        if run_id is not None:
            run = runs.get(db, run_id)
            return run.config, run.id
        last = last_run(db, draft.kind)
    finally:
        db.close()
    if last is None:
        raise UserError(f"no run of kind {draft.kind} was started yet: --template compares with the template")
    return last.config, last.id


@command.command("check")
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@_KIND
@_JSON
def check(files: tuple[Path, ...], kind: str | None, as_json: bool) -> None:
    """Check FILES, or all configurations of the workspace; exit 1 where one is wrong."""
    wanted: list[tuple[Path, str | None]] = [(_found(file), kind or kind_of_file(_found(file))) for file in files]
    if not files:
        workspace = open_workspace(Path())
        found = configurations(workspace)
        wanted = [(file.path, file.kind) for file in found if file.kind is not None or is_sweep(file.path)]
    reports = []
    for path, known in wanted:
        errors: list[str] = []
        if known is None and is_sweep(path) and path.exists():
            known = "sweep"
            try:
                plan_sweep(open_workspace(path.absolute().parent), path, ready=False)
            except UserError as error:
                errors = str(error).splitlines()
        elif known is None:
            known, errors = None, [f"{path}: of no known kind: say it with --kind"]
            if not path.exists():
                errors = [f"{path} does not exist: name a YAML file"]
        else:
            try:
                load_config(path, RUN_CONFIGS[known])
            except UserError as error:
                errors = str(error).splitlines()
        reports.append({"file": str(path), "kind": known, "errors": errors})
    if as_json:
        click.echo(json.dumps(reports, ensure_ascii=False))
    else:
        for report in reports:
            lines: list[str] = report["errors"]  # type: ignore[assignment]
            for line in lines or [f"{report['file']}: no errors ({report['kind']})"]:
                click.echo(printable(line))
    if any(report["errors"] for report in reports):
        raise SystemExit(1)
