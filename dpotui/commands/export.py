"""`dpotui export RUN`: hand a model over to other programs, and know that it is the one that was trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import click

from core.engine.client import reap
from core.handover.request import Wish, submit
from core.store import open_store
from core.workspace import open_workspace
from dpotui.commands.launch import launch, launch_options, refuse_both


@click.command("export")
@click.argument("what", metavar="RUN")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Default: outputs/RUN-export, under a free number."
)
@click.option("--quantize", type=click.Choice(["4", "8"]), help="Bits of a weight; what it costs is measured and said.")
@click.option("--group-size", type=click.Choice(["32", "64", "128"]), help="Weights to a scale when quantized: 64.")
@click.option("--dtype", type=click.Choice(["float32", "bfloat16", "float16"]), help="Type of the weights.")
@click.option("--gguf", is_flag=True, help="A GGUF file for llama.cpp too, in float16.")
@click.option("--peft", is_flag=True, help="The adapter for transformers and PEFT too.")
@click.option("--checkpoint", type=int, metavar="STEP", help="One of the run's checkpoints, not what it handed over.")
@click.option("--pairs", type=click.Path(path_type=Path), help="Score on these pairs, not the run's validation rows.")
@click.option("--force", is_flag=True, help="Take the place of an earlier export in the folder of -o.")
@launch_options
def command(
    what: str,
    output: Path | None,
    quantize: str | None,
    group_size: str | None,
    dtype: str | None,
    gguf: bool,
    peft: bool,
    checkpoint: int | None,
    pairs: Path | None,
    force: bool,
    detach: bool,
    in_process: bool,
    as_json: bool,
    folder: Path,
) -> None:
    """Write the model of RUN (an sft or dpo run, or a model folder) for other programs.

    An MLX folder with the adapters merged in, with a model card, export.json and SHA256SUMS beside it. It is loaded
    again and scored against the model that was trained; where the two differ nothing is kept and the run fails.
    """
    refuse_both(detach, in_process)
    workspace = open_workspace(folder)
    db = open_store(workspace.database)
    reap(workspace, db)
    # A folder is meant from where we stand; a run has no such name.
    named = str(Path(what).absolute()) if Path(what).is_dir() and not workspace.path(what).is_dir() else what
    wish = Wish(
        named,
        output=None if output is None else str(output.expanduser().absolute()),
        checkpoint=checkpoint,
        quantize=cast(Any, int(quantize)) if quantize else None,
        group_size=cast(Any, int(group_size)) if group_size else None,
        dtype=cast(Any, dtype),
        gguf=gguf,
        peft=peft,
        pairs=None if pairs is None else str(pairs.expanduser().absolute()),
        force=force,
    )
    run = submit(workspace, db, wish)
    launch(workspace, db, run.id, from_start=True, detach=detach, in_process=in_process, as_json=as_json)
