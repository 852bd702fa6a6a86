"""The entry point: `dpotui [DIR]` opens the workbench, `dpotui COMMAND` does everything else.

Command modules are imported when they are called: opening the terminal must not pay for them.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import threading

import click

from core.errors import UserError
from dpotui import __version__
from dpotui.lazy import LazyGroup

# name -> (module, one line of help)
COMMANDS = {
    "open": ("dpotui.commands.open", "Open the workbench (the default)."),
    "init": ("dpotui.commands.init", "Make a workspace with configurations and checklists."),
    "demo": ("dpotui.commands.demo", "Run the stages on a small model and data made on the spot."),
    "config": ("dpotui.commands.config", "Show, explain, compare, check and change configurations."),
    "train": ("dpotui.commands.train", "Train: sft, reward, dpo; and check a policy before DPO: init."),
    "generate": ("dpotui.commands.generate", "Several responses to each prompt, from the SFT model and others."),
    "judge": ("dpotui.commands.judge", "Compare or score responses, and make preference pairs of them."),
    "annotate": ("dpotui.commands.annotate", "People's votes on pairs: vote, export, import, agreement."),
    "data": ("dpotui.commands.data", "Preference data: check, gap, decontaminate, resolve, split, convert, lineage."),
    "evaluate": ("dpotui.commands.evaluate", "What a model can do, and whether its answers are preferred."),
    "iterate": ("dpotui.commands.iterate", "Rounds of DPO: start, show, decide what follows."),
    "sweep": ("dpotui.commands.sweep", "Try hyperparameters by W&B's sweep file; show a sweep, promote its best."),
    "gates": ("dpotui.commands.gates", "Enforce the quality gates of a stage."),
    "checklist": ("dpotui.commands.checklist", "Show, tick, export and import the checklists."),
    "report": ("dpotui.commands.report", "The evaluation report, the decision, and whether a report still holds."),
    "export": ("dpotui.commands.export", "Hand a model over: MLX folder, GGUF, PEFT, model card, checksums."),
    "score": ("dpotui.commands.score", "Log-probs or rewards of both responses of each pair under one model."),
    "runs": ("dpotui.commands.runs", "List, show, stop, pause and resume runs."),
    "track": ("dpotui.commands.track", "Send runs to W&B, MLflow, TensorBoard; how each stands."),
    "queue": ("dpotui.commands.queue", "What waits, in which order and for what; moved, put off, started."),
    "engine": ("dpotui.commands.engine", "Execute queued runs of a workspace (started by itself when needed)."),
    "hardware": ("dpotui.commands.hardware", "The memory a run may take here, and the fastest batch size, measured."),
    "cluster": ("dpotui.commands.cluster", "Whether the hosts of a file can work together: check."),
    "doctor": ("dpotui.commands.doctor", "What this machine has, and what it lacks."),
}


# Options of `open` that may stand without it.
_OPENING = ("--theme", "--ascii", "--in-process")


class CommandOrFolder(LazyGroup):
    """Takes a word that is no command as the folder to open."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0].partition("=")[0] in _OPENING:
            args = ["open", *args]
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in self.table and not args[0].startswith("-"):
            args = ["open", *args]
        return super().resolve_command(ctx, args)


@click.group(
    cls=CommandOrFolder,
    table=COMMANDS,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, "-V", "--version", prog_name="dpotui")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """A workbench for Direct Preference Optimization with MLX.

    `dpotui [DIR]` opens the workspace in DIR, or the one around the current folder; `dpotui open --help` says how it
    may look.
    """
    if ctx.invoked_subcommand is None:
        command = cli.get_command(ctx, "open")
        assert command is not None
        ctx.invoke(command)


def main() -> None:
    """Run the command line; what the person can mend is one line on stderr and exit 2."""
    try:
        sys.exit(cli.main(standalone_mode=False) or 0)
    except UserError as error:
        from core.text import printable  # the sentence may quote a file's own words

        click.echo(f"dpotui: {printable(str(error))}", err=True)
        sys.exit(2)
    except click.ClickException as error:
        where = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "dpotui"
        click.echo(f"{where}: {error.format_message()}", err=True)
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except BrokenPipeError:
        # Whoever read has enough; Python must not complain about it while it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def entry() -> None:
    """The process of the command line. MLX's threads can turn the end of a process into an abort ("terminate called
    without an active exception"), after all work is done: where MLX was loaded the process ends without them.
    """
    try:
        main()
        code: object = 0
    except SystemExit as end:
        code = end.code
    if "mlx.core" not in sys.modules:
        sys.exit(code if isinstance(code, int | str) else 0)
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


if __name__ == "__main__":
    entry()
