"""`python -m core.experiments.rank`: one of the processes that train together, as mlx.launch starts it.

Rank 0 executes the run as the engine would, with runs.db; the others execute the same with a throw-away one, in step
with it, and end when the training is over. The job comes over the line to the engine (DPOTUI_RANKS).
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import psutil

from core import blas as blas  # before mlx.core
from core import environment, hardware
from core.engine.lock import engine_lock
from core.engine.reasons import reason_of
from core.errors import UserError
from core.experiments.distributed import AGAIN
from core.experiments.rank_channel import Link, Message
from core.store import open_store, runs
from core.store.log import Level
from core.store.runs import Kind
from core.store.writer import Writer
from core.workspace import Workspace, open_workspace

if TYPE_CHECKING:
    import mlx.core as mx

    from core.training.context import Context
    from core.training.ranks import Ranks

# After word of a lost rank a sum that still waits is broken off; it may just be ending by itself.
GRACE = 2.0
# Over a backend without connections to break, a rank 0 that still waits is ended after this, without a checkpoint. A
# step that is being computed has time to end.
STUCK = 600.0
_ASIDE = "dpotui-rank-"


@dataclass(frozen=True, slots=True)
class Guest(Workspace):
    """A workspace that another process writes: what is computed once for many runs is kept elsewhere."""

    aside: Path = Path()

    @property
    def cache(self) -> Path:
        return self.aside / "cache"


class Printed(Writer):
    """What a rank has to say that no runs.db keeps: warnings and errors go to the ranks' common log."""

    def log(self, run: str, level: Level, text: str) -> None:
        if level in ("warning", "error"):
            print(f"rank {_rank()}: {level}: {text}", file=sys.stderr, flush=True)  # noqa: T201
        super().log(run, level, text)


class Sockets:
    """The connections that MLX's ring made: shut down, a sum that waits at them ends with an error.

    Nothing else ends it: measured, a rank whose peer is stopped or unplugged waits for ever.
    """

    def __init__(self) -> None:
        self._before = _sockets()
        self._own: set[int] = set()

    def found(self) -> None:
        """The ring is closed."""
        self._own = _sockets() - self._before

    def shut(self) -> bool:
        """Whether there were any."""
        found = False
        for number in self._own or _sockets() - self._before:
            with suppress(OSError), socket.socket(fileno=os.dup(number)) as one:
                one.shutdown(socket.SHUT_RDWR)
                found = True
        return found


def _sockets() -> set[int]:
    found = set()
    for name in os.listdir("/dev/fd"):  # noqa: PTH208
        with suppress(OSError):
            if stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                found.add(int(name))
    return found


def _rank() -> int:
    """Which rank this is, as mlx.launch or MPI says."""
    for name in ("MLX_RANK", "OMPI_COMM_WORLD_RANK", "PMI_RANK"):
        if name in os.environ:
            return int(os.environ[name])
    raise SystemExit("this is started by mlx.launch, for 'dpotui train --hosts'")


class Loss:
    """Word of a lost rank, and what is done about it."""

    def __init__(self, rank: int) -> None:
        self._rank = rank
        self._heard = threading.Event()
        self.words: str | None = None
        self.sockets: Sockets | None = None
        self.ending = threading.Event()  # this rank noticed, and is about to end
        self.link: Link | None = None

    def hear(self, words: str) -> None:
        """In the link's thread."""
        self.words = words
        self._heard.set()
        if self._rank:
            leave(4)  # it has nothing to save
        if self.ending.wait(GRACE):
            return
        # The step that is being computed ends at its sum.
        freed = self.sockets is not None and self.sockets.shut()
        if not freed and not self.ending.wait(STUCK):
            assert self.link is not None
            error = (
                f"{words}; rank 0 could not be freed from waiting for it: what came after its last checkpoint is lost"
            )
            self.link.end(end="failed", error=error, hint=AGAIN)
            leave(5)

    def why(self) -> str | None:
        """What is known of a rank that is lost; a moment after the ring has broken, word of it comes."""
        self.ending.set()
        self._heard.wait(GRACE)
        return self.words


def leave(status: int) -> None:
    """End this process now, from any thread, whatever it waits for."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_ASIDE}{os.getpid()}-*"):
        shutil.rmtree(folder, ignore_errors=True)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def clear_left() -> None:
    """Remove the folders of ranks that were killed: what the frozen trunk gave may be large."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_ASIDE}*-*"):
        with suppress(ValueError, ProcessLookupError, PermissionError):
            pid = int(folder.name.removeprefix(_ASIDE).split("-")[0])
            if not psutil.pid_exists(pid) and folder.stat().st_uid == os.getuid():
                shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    rank = _rank()
    for number in (signal.SIGINT, *((signal.SIGTERM, signal.SIGHUP) if rank == 0 else ())):
        signal.signal(number, signal.SIG_IGN)
    addresses, port, token = os.environ["DPOTUI_RANKS"].split()
    loss, leaving = Loss(rank), threading.Event()
    about = {"host": socket.gethostname(), "pid": os.getpid(), **hardware.provenance(), "dpotui": _version()}
    hello = {"rank": rank, "token": token, "about": about}
    link = Link(addresses.split(","), int(port), hello, loss.hear, leaving.set, partial(leave, 3))
    loss.link = link
    job: Message = link.wait()["job"]
    environment.set_variables(environment.environment_in(job["config"]))
    try:
        said = _train(rank, job, link, loss, leaving)
    except BaseException as error:
        traceback.print_exc()
        said = {"end": "failed", "error": f"rank {rank}: {type(error).__name__}: {error}", "hint": AGAIN}
    link.end(**said)
    # mlx.launch ends the other ranks where one ends badly; rank 0 has told all there is.
    leave(0)


def _train(rank: int, job: Message, link: Link, loss: Loss, leaving: threading.Event) -> Message:
    with ExitStack() as stack:
        ranks = _join(job, link, loss)
        workspace = open_workspace_here()
        context = (
            _first(workspace, job, link, leaving, ranks, stack)
            if rank == 0
            else stack.enter_context(_other(workspace, job, leaving, ranks))
        )
        return _execute(context, loss)


def _join(job: Message, link: Link, loss: Loss) -> Ranks:
    """Meet the other ranks."""
    import mlx.core as mx

    from core.training import dpo_run, reward_run, sft_run  # noqa: F401  # no rank waits while another loads them
    from core.training.ranks import Ranks

    # The ring tries to connect a few times, with longer and longer pauses: they are to begin at the same moment.
    link.ask(ready=True)
    loss.sockets = Sockets()
    name = "jaccl" if job["backend"].startswith("jaccl") else job["backend"]
    try:
        group: mx.distributed.Group = mx.distributed.init(strict=True, backend=cast(Any, name))
    except (RuntimeError, ValueError) as error:
        raise UserError(f"the ranks did not meet over {job['backend']}: {' '.join(str(error).split())}") from error
    loss.sockets.found()
    if group.size() != len(job["names"]):
        raise UserError(f"{group.size()} ranks met over {job['backend']}, {len(job['names'])} were launched")
    return Ranks(group, job["shares"], job["names"], job["why"], measure=job["measure"], why_lost=loss.why)


def open_workspace_here() -> Workspace:
    """The workspace of this host, which is where the process stands; it need have no runs.db."""
    here = Path.cwd()
    with suppress(UserError):
        return open_workspace(here)
    return Workspace(here.resolve())


def _first(
    workspace: Workspace, job: Message, link: Link, leaving: threading.Event, ranks: Ranks, stack: ExitStack
) -> Context:
    from core.training.context import Context

    db = open_store(workspace.database)
    writer = Writer(workspace.database)
    stack.callback(db.close)
    stack.callback(writer.close)

    def prune(step: int, evaluation: dict[str, float]) -> str:
        return str(link.ask(step=step, evaluation=evaluation)["prune"])

    asked = prune if job["prune"] else None
    return Context(workspace, db, runs.get(db, job["run"]), writer, leaving, prune=asked, ranks=ranks)


@contextmanager
def _other(workspace: Workspace, job: Message, leaving: threading.Event, ranks: Ranks) -> Iterator[Context]:
    """A run like rank 0's in a folder that is gone afterwards; checkpoints and models are rank 0's to write."""
    from core.training.context import Context

    clear_left()
    with tempfile.TemporaryDirectory(prefix=f"{_ASIDE}{os.getpid()}-") as folder, ExitStack() as stack:
        aside = Path(folder)
        try:
            stack.enter_context(engine_lock(workspace.engine_lock, patience=0))
        except (UserError, OSError):
            # The caches have a writer: this machine's engine, or another rank here.
            workspace = Guest(workspace.root, aside)
        path = aside / "runs.db"
        db = open_store(path, create=True)
        writer = Printed(path)
        stack.callback(db.close)
        stack.callback(writer.close)
        kind: Kind = job["kind"]
        run = runs.create(db, kind, config=job["config"], seed=job["seed"], steps=job["steps"])
        output = aside / "output"
        output.mkdir()
        runs.update(db, run.id, output_dir=str(output))
        yield Context(workspace, db, runs.get(db, run.id), writer, leaving, ranks=ranks)


def _execute(context: Context, loss: Loss) -> Message:
    """The run to its end; how it ended, and the others told where it was not by itself."""
    from core.config import CONFIGS, plan
    from core.models.limits import limits
    from core.training import dpo_run, reward_run, sft_run
    from core.training.control import Stopped
    from core.training.ranks import Ended, LostRank

    jobs: dict[str, Callable[[Context], None]] = {"dpo": dpo_run.run, "sft": sft_run.run, "reward": reward_run.run}
    config = CONFIGS[context.run.kind].model_validate(context.run.config)
    ranks, run = context.ranks, context.run
    try:
        with limits(environment.environment_in(run.config), plan(config.compute).device):
            jobs[run.kind](context)
        said: Message = {"end": "finished"}
    except Ended:
        said = {"end": "ended"}
    except Stopped as stopped:
        ranks.say_end(ended="stopped")
        said = {"end": "interrupted" if stopped.leaving else "stopped"}
    except LostRank as lost:
        loss.ending.set()
        context.log(str(lost), "error") if not ranks.first else None
        said = {"end": "failed", "error": str(lost), "hint": AGAIN}
    except Exception as error:
        reason = reason_of(error, run)
        if not isinstance(error, UserError):
            context.log(traceback.format_exc(), "debug")
            traceback.print_exc()
        ranks.say_end(failed=reason.error)
        said = {"end": "failed", "error": reason.error, "hint": reason.hint}
    with suppress(Exception):
        context.writer.flush()
    return said


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("dpotui")
    except PackageNotFoundError:
        return "?"


if __name__ == "__main__":
    main()
