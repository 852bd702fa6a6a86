"""What runs that write data refuse: to replace a file of another hand, and to go on with inputs that changed."""

from __future__ import annotations

from pathlib import Path

from core.data.manifest import read_manifest
from core.errors import UserError
from core.text import printable
from core.training.context import Context


def refuse_to_replace(output: Path, command: str) -> None:
    """What another hand wrote is not overwritten; what `command` wrote is.

    Raises:
        UserError: a file is there that `dpotui COMMAND` did not write.
    """
    if not output.exists():
        return
    try:
        manifest = read_manifest(output)
    except UserError:
        manifest = None
    if manifest is None or manifest.command != command:
        raise UserError(
            f"data.output_file: {printable(str(output))} is there and was not written by 'dpotui {command}': name"
            " another file, or move that one away"
        )


def refuse_changed(context: Context, reads: tuple[str, ...], kept: str) -> None:
    """A run that goes on reads what it began with.

    Args:
        kept: what it has written so far, such as "responses".

    Raises:
        UserError: a file or model is not the one it was.
    """
    changed = [
        path for path, digest in context.inputs(*reads).items() if context.run.inputs.get(path, digest) != digest
    ]
    if changed:
        raise UserError(
            f"{printable(', '.join(changed))} changed since {context.run.id} wrote its first {kept}: put back what was"
            " there, or start a new run"
        )
