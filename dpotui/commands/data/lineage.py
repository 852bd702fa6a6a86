"""`dpotui data lineage`: what a data set was made of, by which commands, and what changed since."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from pathlib import Path
from typing import Any

import click

from core.data.lineage import Node, lineage
from core.text import one_line

_STATES = {
    "same": "as recorded",
    "changed": "CHANGED since",
    "gone": "GONE",
    "unknown": "no record of it",
}


@click.command("lineage")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def command(file: Path, as_json: bool) -> None:
    """Show what FILE was made of: its parents and theirs, by which commands, and what changed since.

    Every data set that a command writes has a manifest beside it (FILE.manifest.json) with its hash, its parents'
    hashes, the command and its parameters. Here they are read back and compared with the files as they are now.

    Exit status: 0 all is as it was recorded, 1 a file changed or is gone, 2 there is no such file.
    """
    nodes = lineage(file)
    if as_json:
        # Names of files may hold what is no text.
        document = {"file": str(file), "nodes": [_document(node) for node in nodes]}
        click.echo(json.dumps(document, indent=2, ensure_ascii=True))
    else:
        width = max(40, shutil.get_terminal_size((80, 24)).columns)
        for node in nodes:
            indent = 3 * min(node.depth, 10)
            for number, line in enumerate(_lines(node)):
                first = " " * (indent if number == 0 else indent + 3)
                click.echo(textwrap.fill(line, width, initial_indent=first, subsequent_indent=" " * (indent + 6)))
    sys.exit(
        1 if any(node.state in ("changed", "gone") or node.note.startswith("its manifest") for node in nodes) else 0
    )


def _document(node: Node) -> dict[str, Any]:
    return {
        "depth": node.depth,
        "name": node.name,
        "path": str(node.path),
        "state": node.state,
        "sha256": node.recorded,
        "rows": node.rows,
        "command": node.command,
        "program": node.program,
        "parameters": node.parameters,
        "counts": node.counts,
        "notes": node.notes,
        "note": node.note,
    }


def _lines(node: Node) -> list[str]:
    rows = "" if node.rows is None else f", {node.rows} rows"
    state = _STATES[node.state] if node.command or node.depth else "no manifest: it came from outside"
    found = [f"{_folded(node.name)}  {state}{rows}"]
    if node.command:
        parameters = ", ".join(f"{_folded(name)} {_value(value)}" for name, value in node.parameters.items())
        found.append(f"by {_folded(node.command)}: {parameters}" if parameters else f"by {_folded(node.command)}")
    if node.counts:
        found.append("counts: " + ", ".join(f"{_folded(name)} {count}" for name, count in node.counts.items()))
    found += [f"{_folded(name)}: {_folded(text)}" for name, text in node.notes.items()]
    if node.note:
        found.append(_folded(node.note))
    if node.recorded:
        found.append(f"sha256 {_folded(node.recorded)[:16]}")
    return found


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "(" + ", ".join(f"{_folded(str(name))} {_value(inner)}" for name, inner in value.items()) + ")"
    return _folded(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _folded(text: str) -> str:
    return one_line(text, 200)
