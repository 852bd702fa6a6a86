"""A training by several ranks, from the engine's side: mlx.launch started, watched, and ended with the run.

Rank 0 is a process of its own, too, and not the engine's thread: MLX keeps one group a backend for the life of a
process, so that a second run, or the same one with other hosts, could not begin in an engine that had one. It is on
this machine and writes runs.db as the engine would; commands reach it through runs.db, as always.

mlx.launch ends all ranks with SIGTERM as soon as one of them ends badly, and itself ends with 0 whatever happened. So
rank 0 ignores that signal, writes its checkpoint, and says how it ended over the line between it and the engine.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from core.config import CONFIGS, TrainingConfig
from core.errors import UserError
from core.experiments.distributed import AGAIN, Shares, hosts_of, shares_of, words
from core.experiments.hosts import Host, Hosts
from core.experiments.rank_channel import Desk, Message
from core.text import one_line
from core.training.context import Context
from core.training.control import Stopped
from core.training.prepare import claim_output

LOG = "ranks.log"
LOOPBACK = "127.0.0.1"
# mlx.launch, which asks its ranks in a busy loop whether they take input: measured, it took most of a core beside the
# training. They are given none, so that only their output is waited for.
_LAUNCH = (
    "from mlx._distributed_utils import launch; select = launch.select; "
    "launch.select = lambda read, write, wrong, seconds: select(read, [], wrong, seconds); launch.main()"
)
LOOK = 0.1
# For all ranks to be there: Python and this program loaded, over ssh.
START_SECONDS = 120.0
# For rank 0 to end its step and write its checkpoint after a rank was lost, and for all to go after the run has ended.
LOST_SECONDS = 3600.0
LEAVE_SECONDS = 15.0
# Ports that ranks listen at are looked for here; below what systems give to connections that go out.
_PORTS = (20_000, 30_000)


class RanksFailed(UserError):
    """A run of several ranks ended badly."""

    def __init__(self, error: str, hint: str | None) -> None:
        super().__init__(error)
        self.hint = hint


def wanted(context: Context) -> bool:
    """Whether a run's configuration names hosts."""
    return context.ranks.alone and _config(context).compute.distributed.hosts is not None


def train(context: Context) -> bool:
    """Execute a run that trains by launching its ranks; False where the hosts file names this machine alone.

    Raises:
        Stopped: a person or the engine ended it; a checkpoint is on disk.
        UserError: hosts, start or training failed, a lost rank among them.
    """
    config = _config(context)
    hosts = hosts_of(context.workspace, config)
    if hosts is None:
        return False
    folder = claim_output(context, config.logging.output_dir)
    log = folder / LOG
    with Desk(LOOPBACK if hosts.all_here else "", len(hosts)) as desk, _launched(context, hosts, desk, log) as process:
        context.progress(context.run.step, context.run.steps, f"starting {len(hosts)} ranks")
        _await(context, hosts, desk, process, log)
        chips = [str(desk.members[rank].about.get("chip")) for rank in range(len(hosts))]
        _refuse_versions(hosts, desk)
        shares = shares_of(config, hosts, chips)
        context.log(words(hosts, shares))
        context.writer.flush()
        for rank in range(len(hosts)):
            desk.tell(rank, {"job": _job(context, hosts, shares)})
        said = _watch(context, hosts, desk, process, log)
    _conclude(said)
    return True


def _config(context: Context) -> TrainingConfig:
    config: TrainingConfig = CONFIGS[context.run.kind].model_validate(context.run.config)
    return config


def _addresses(hosts: Hosts) -> str:
    """Where the ranks may reach the engine: over a ring of cables not every host has a way to every address."""
    if hosts.all_here:
        return LOOPBACK
    return ",".join(dict.fromkeys((*hosts.hosts[0].ips, socket.gethostname(), LOOPBACK)))


def _job(context: Context, hosts: Hosts, shares: Shares) -> Message:
    """What a rank is told to do."""
    run = context.run
    return {
        "run": run.id,
        "kind": run.kind,
        "config": run.config,
        "seed": run.seed,
        "steps": run.steps,
        "backend": hosts.backend,
        "names": list(hosts.names),
        "shares": list(shares.shares),
        "why": shares.why,
        "measure": shares.measure,
        "prune": context.prune is not None,
    }


@contextmanager
def _launched(context: Context, hosts: Hosts, desk: Desk, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """mlx.launch and all that it started, in a session of its own; gone when this ends.

    Its standard input is a pipe that says nothing: at an end of file it would ask in a busy loop.
    """
    with tempfile.TemporaryDirectory(prefix="dpotui-ranks-") as folder:
        file = Path(folder) / "hosts.json"
        file.write_text(json.dumps(_for_launch(hosts)), "utf-8")
        handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        command = launch_command(hosts, file, context.workspace.root, desk)
        head = f"=== {time.strftime('%F %T')} {context.run.id}: {len(hosts)} ranks over {hosts.backend}"
        os.write(handle, f"{head}\n".encode())
        try:
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=handle, stderr=handle, cwd=context.workspace.root,
                start_new_session=True,
            )  # fmt: skip
        finally:
            os.close(handle)
        try:
            yield process
        finally:
            _end(process)


def _for_launch(hosts: Hosts) -> dict[str, Any]:
    """The hosts as mlx.launch takes them; it goes to this machine without ssh where it is called 127.0.0.1."""
    found = hosts.as_json()
    for entry, host in zip(found["hosts"], hosts.hosts, strict=True):
        if host.here:
            entry["ssh"] = LOOPBACK
    return found


def launch_command(hosts: Hosts, file: Path, root: Path, desk: Desk) -> list[str]:
    """mlx.launch with a rank of this program on every host."""
    command = [sys.executable, "-c", _LAUNCH]
    command += ["--hostfile", str(file), "--backend", hosts.backend]
    if hosts.backend in ("ring", "jaccl", "jaccl-ring"):
        command += ["--starting-port", str(_free_ports(sum(len(host.ips) for host in hosts.hosts)))]
    variables = [f"DPOTUI_RANKS={_addresses(hosts)} {desk.port} {desk.token}", "PYTHONUNBUFFERED=1"]
    if hosts.all_here:
        # Ranks that share a machine's cores wait for each other in BLAS, too: measured, ten times as long.
        variables.append(f"OPENBLAS_NUM_THREADS={max(1, (os.cpu_count() or 1) // len(hosts))}")
    for one in variables:
        command += ["--env", one]
    return [*command, "--", "/bin/sh", "-c", _script(hosts, root)]


def _script(hosts: Hosts, root: Path) -> str:
    """Each rank in its own workspace with its own Python, which mlx.launch knows no key for."""
    cases = [
        f"{rank}) cd {_quoted(host.cwd or str(root))} && exec {_quoted(_python(host))} -P -m core.experiments.rank ;;"
        for rank, host in enumerate(hosts.hosts)
    ]
    return f'case "${{MLX_RANK:-${{OMPI_COMM_WORLD_RANK:-$PMI_RANK}}}}" in {" ".join(cases)} esac'


def _python(host: Host) -> str:
    return host.python or sys.executable


def _quoted(path: str) -> str:
    return f'"$HOME"/{shlex.quote(path[2:])}' if path.startswith("~/") else shlex.quote(path)


def _free_ports(count: int) -> int:
    """The first of so many ports in a row that nobody here listens at."""
    first, last = _PORTS
    start = first + os.getpid() * 37 % (last - first - 1000)
    for port in range(start, last - count, count + 1):
        with suppress(OSError):
            sockets = []
            try:
                for number in range(port, port + count):
                    sockets.append(socket.create_server(("", number)))
                return port
            finally:
                for one in sockets:
                    one.close()
    raise UserError(f"no {count} free ports between {first} and {last} for the ranks: end what listens there")


def _await(context: Context, hosts: Hosts, desk: Desk, process: subprocess.Popen[bytes], log: Path) -> None:
    """Until all ranks are there."""
    deadline = time.monotonic() + START_SECONDS
    while not desk.complete:
        context.control.raise_if_stopping()
        if context.leaving.is_set():
            raise Stopped(leaving=True)
        ended = process.poll() is not None
        if ended or time.monotonic() > deadline:
            names = ", ".join(f"rank {rank} ({hosts.names[rank]})" for rank in desk.missing)
            why = "mlx.launch ended" if ended else f"not within {START_SECONDS:.0f} s"
            raise RanksFailed(
                f"{names} did not start ({why}): {_last_words(log)}",
                "'dpotui cluster check' looks at ssh, Python and versions on every host; ranks.log of the run has more",
            )
        time.sleep(LOOK)


def _refuse_versions(hosts: Hosts, desk: Desk) -> None:
    """Raises:
    UserError: a rank has another MLX or another dpotui, whose sums are other sums.
    """
    first = desk.members[0].about
    for rank in range(1, len(hosts)):
        about = desk.members[rank].about
        for name in ("dpotui", "mlx", "mlx-lm"):
            if about.get(name) != first.get(name):
                raise UserError(
                    f"rank {rank} ({hosts.names[rank]}) has {name} {about.get(name)}, rank 0 {first.get(name)}: install"
                    " the same on both"
                )


def _watch(context: Context, hosts: Hosts, desk: Desk, process: subprocess.Popen[bytes], log: Path) -> Message:
    """Until rank 0 has said how it ended."""
    told_leave = False
    ready: set[int] = set()
    lost: str | None = None
    deadline: float | None = None
    while True:
        while not desk.inbox.empty():
            rank, message = desk.inbox.get()
            if rank == 0 and "end" in message:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(LEAVE_SECONDS if lost is None else 0)
                return message
            if "ready" in message:
                ready.add(rank)
                if len(ready) == len(hosts):
                    for other in ready:
                        desk.tell(other, {"go": True})
            if rank == 0 and "evaluation" in message:
                assert context.prune is not None
                desk.tell(0, {"prune": context.prune(message["step"], message["evaluation"])})
        if context.leaving.is_set() and not told_leave:
            desk.tell(0, {"leave": True})
            told_leave = True
        found = desk.lost() if lost is None else None
        if found is not None:
            rank, why = found
            lost = f"rank {rank} ({hosts.names[rank]}) was lost: {why}"
            context.log(lost, "error")
            for other in range(len(hosts)):
                desk.tell(other, {"lost": lost})
            if rank == 0:
                break
            deadline = time.monotonic() + LOST_SECONDS
        if process.poll() is not None and desk.inbox.empty():
            time.sleep(LOOK)  # its last words may be on their way
            if desk.inbox.empty():
                break
        if deadline is not None and time.monotonic() > deadline:
            break
        time.sleep(LOOK)
    return {"end": "failed", "error": f"{lost or 'the ranks ended without a word'}: {_last_words(log)}", "hint": AGAIN}


def _conclude(said: Message) -> None:
    match said["end"]:
        case "finished":
            return
        case "stopped" | "interrupted" as state:
            raise Stopped(leaving=state == "interrupted")
    raise RanksFailed(said["error"], said.get("hint"))


def _last_words(log: Path) -> str:
    """The last line of the ranks' output that says something."""
    lines = [line.strip() for line in log.read_text("utf-8", "replace").splitlines()[-40:]]
    said = [line for line in lines if line and not line.startswith(("[ring]", "=== "))]
    errors = [line for line in said if "error" in line.lower() or "denied" in line.lower() or "no such" in line.lower()]
    return one_line((errors or said or ["no word"])[-1], 300)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Nothing of it is left: ranks here are in its session, those elsewhere lose their terminal."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(2)
    assert process.stdin is not None
    with suppress(OSError):
        process.stdin.close()
