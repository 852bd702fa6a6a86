"""Ranks launched by an engine through mlx.launch: one of them killed, the run resumed on one machine."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from core.config import DPOConfig
from core.engine.client import submit
from core.engine.host import InProcessEngine
from core.engine.jobs import JOBS
from core.errors import UserError
from core.experiments import distributed, launching
from core.experiments.distributed import Shares, hosts_of, resume_on, shares_of
from core.experiments.hosts import Host, Hosts
from core.store import Database, facts, runs
from core.training import checkpoints
from core.workspace import Workspace
from tests.core.experiments.test_distributed import ROOT, furthest, weights
from tests.core.training import tiny
from tests.core.training.test_resume import execute

# More steps than are waited for.
MANY = 5000
HERE = {"ssh": "127.0.0.1", "ips": ["127.0.0.1"]}


@pytest.fixture
def space(tmp_path: Path) -> tuple[Workspace, Database]:
    workspace, db = tiny.workspace(tmp_path / "a workspace")
    (workspace.root / "hosts.json").write_text(json.dumps([{**HERE, "share": 65}, {**HERE, "share": 35}]))
    return workspace, db


class Engine:
    """An engine in this process, and what is looked for while it runs."""

    def __init__(self, workspace: Workspace, db: Database, run: str) -> None:
        self.workspace, self.db, self.run = workspace, db, run

    def __enter__(self) -> Engine:
        self._engine = InProcessEngine(self.workspace)
        self._engine.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._engine.stop()

    def until(self, what: Callable[[runs.Run], bool]) -> runs.Run:
        deadline = time.monotonic() + 90
        while not what(run := runs.get(self.db, self.run)):
            assert time.monotonic() < deadline and run.state != "failed", (run, self.log())
            time.sleep(0.05)
        return run

    def ended(self) -> runs.Run:
        while runs.get(self.db, self.run).state in ("queued", *runs.LIVE):
            time.sleep(0.05)
        return runs.get(self.db, self.run)

    def log(self) -> list[str]:
        return [text for (text,) in self.db.execute("SELECT text FROM log WHERE run = ? ORDER BY id", [self.run])]


def ranks_of(workspace: Workspace) -> dict[int, psutil.Process]:
    found = {}
    for process in psutil.process_iter(["cmdline"]):
        if "core.experiments.rank" in (process.info["cmdline"] or []) and process.cwd() == str(workspace.root):
            found[int(process.environ()["MLX_RANK"])] = process
    return found


def test_a_rank_is_killed_and_one_machine_goes_on(space: tuple[Workspace, Database]) -> None:
    """In the end it is the run that one machine made from the beginning."""
    workspace, db = space

    def config(**changes: object) -> DPOConfig:
        most = {f"training_{key}": MANY for key in ("max_steps", "eval_steps", "save_steps")}
        return tiny.dpo_config(**{"adapter_dropout": 0.0, "optimization_lr_scheduler": "constant", **most, **changes})

    run = submit(workspace, db, "dpo", config(compute_distributed={"hosts": "hosts.json"})).id
    with Engine(workspace, db, run) as engine:
        engine.until(lambda run: run.step >= 3)
        os.kill(ranks_of(workspace)[1].pid, signal.SIGKILL)
        lost = engine.ended()
        assert lost.state == "failed" and 3 <= lost.step < MANY
        assert "rank 1 (127.0.0.1 (1)) was lost: its process ended" in str(lost.error)
        assert f"checkpoint-{lost.step} is written and holds all {lost.step} steps" in str(lost.error)
        assert "--hosts none" in str(lost.hint)
        assert not ranks_of(workspace)

        last = lost.step + 4
        resume_on(db, workspace, lost, ["compute.distributed.hosts=null", f"training.max_steps={last}"])
        runs.requeue(db, run)
        finished = engine.ended()
        assert finished.state == "finished", finished.error
    log = engine.log()
    assert f"resumed from checkpoint-{lost.step}: goes on with step {lost.step + 1}" in log
    assert log.count("trained by 2 ranks: 65/35 over 2 hosts, from the hosts file") == 1
    folder = workspace.path(str(finished.output_dir))
    assert [step for step, _ in checkpoints.listing(folder)] == [lost.step, last]
    assert stat.S_IMODE((folder / launching.LOG).stat().st_mode) == 0o600
    assert facts.of_run(db, run)["dpo.distribution"].text == "one machine"

    plain = submit(workspace, db, "dpo", config(training_max_steps=last))
    execute(workspace, db, plain.id, JOBS["dpo"], None)
    # A step of Adam is 1e-3 long.
    assert furthest(weights(workspace, db, plain.id, last), weights(workspace, db, run, last)) < 3e-4


RING = """
import os, signal, sys, threading, time
from core.experiments.rank import Sockets
sockets = Sockets()
import mlx.core as mx
group = mx.distributed.init(strict=True, backend="ring")
sockets.found()
mx.eval(mx.distributed.all_sum(mx.ones((4,)), group=group, stream=mx.cpu))
if group.rank():
    os.kill(os.getpid(), signal.SIGSTOP)
threading.Timer(0.5, sockets.shut).start()
try:
    mx.eval(mx.distributed.all_sum(mx.ones((4,)), group=group, stream=mx.cpu))
except RuntimeError as error:
    print("freed", float(mx.ones((3,)).sum()), flush=True)
os._exit(0)
"""


def test_a_rank_is_freed_from_a_peer_that_says_nothing(tmp_path: Path) -> None:
    """The ring alone would wait for ever; what is computed afterwards is right, so that a checkpoint can be written."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        hosts = [[f"127.0.0.1:{found.getsockname()[1]}"] for found in (one, other)]
    (tmp_path / "hosts").write_text(json.dumps(hosts))
    more = {"MLX_HOSTFILE": str(tmp_path / "hosts"), "PYTHONPATH": str(ROOT)}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", RING], env={**os.environ, **more, "MLX_RANK": str(rank)}, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True,
        )
        for rank in range(2)
    ]  # fmt: skip
    try:
        assert started[0].communicate(timeout=60)[0] == "freed 3.0\n"
    finally:
        for process in started:
            process.kill()
            process.communicate()


MIXED = ("Apple M3 Ultra", "Apple M4 Max")
TWO = Hosts((Host("127.0.0.1", ("127.0.0.1",)), Host("mac2", ("10.0.0.2",))), "ring")


@pytest.mark.parametrize("loss", ["aot", "aot_unpaired", ["sigmoid", "sft"]])
def test_losses_of_whole_batches_are_refused(space: tuple[Workspace, Database], loss: object) -> None:
    config = tiny.dpo_config(training_loss_type=loss, compute_distributed={"hosts": "hosts.json"})
    with pytest.raises(UserError, match="looks at all pairs of a batch at once and cannot be spread over hosts"):
        hosts_of(space[0], config)


def test_hosts_are_looked_at_before_anything_is_started(space: tuple[Workspace, Database]) -> None:
    def hosts(**keys: object) -> Hosts | None:
        return hosts_of(space[0], tiny.dpo_config(compute_distributed={"hosts": "hosts.json", **keys}))

    found = hosts()
    assert found is not None and found.backend == "ring" and found.all_here and found.shares == (0.65, 0.35)
    with pytest.raises(UserError, match=r"hosts.json: entry 1 \(127.0.0.1\) has 0 RDMA devices for 2 hosts"):
        hosts(backend="jaccl")
    with pytest.raises(UserError, match="has 3 numbers for the 2 hosts"):
        hosts(shares=[1, 1, 1])
    (space[0].root / "hosts.json").write_text(json.dumps([HERE]))
    assert hosts() is None


def test_where_shares_are_from() -> None:
    def shares(
        hosts: Hosts = TWO, chips: tuple[str, str] = ("Apple M3 Ultra", "Apple M4 Max"), **keys: object
    ) -> Shares:
        return shares_of(tiny.dpo_config(compute_distributed={"hosts": "h", **keys}), hosts, chips)

    given = Hosts(tuple(Host(host.ssh, host.ips, share=share) for host, share in zip(TWO.hosts, (3, 1), strict=True)))
    assert shares(shares=[65, 35]) == Shares((0.65, 0.35), "given")
    assert shares(given) == Shares((0.75, 0.25), "from the hosts file")
    assert shares(given, shares="equal").shares == (0.5, 0.5)
    by_chip = shares()
    assert by_chip.why == "by chip" and by_chip.shares[0] == pytest.approx(0.636, abs=0.001)
    assert shares(chips=("Apple M2", "Apple M2")) == Shares((0.5, 0.5), "all have Apple M2")
    assert "nothing is known of 'Apple M9'" in shares(chips=("Apple M2", "Apple M9")).why
    assert shares(given, shares="measure").measure
    with pytest.raises(UserError, match="'Apple M9' is not in the table"):
        shares(chips=("Apple M2", "Apple M9"), shares="chips")


def test_each_rank_starts_in_its_own_workspace_with_its_own_python(tmp_path: Path) -> None:
    """The script is run by a shell as mlx.launch's is, with a Python that only says where it stands."""
    said = tmp_path / "it's a python"
    said.write_text('#!/bin/sh\necho "$PWD" "$@"\n')
    said.chmod(0o700)
    place = tmp_path / "a $HOME; place"
    place.mkdir()
    hosts = Hosts((Host("a", cwd=str(place), python=str(said)), Host("b", cwd="~/work space", python=str(said))))
    (tmp_path / "work space").mkdir()
    script = launching._script(hosts, tmp_path)
    for rank, where in enumerate((place, tmp_path / "work space")):
        for name in ("MLX_RANK", "OMPI_COMM_WORLD_RANK", "PMI_RANK"):
            found = subprocess.run(
                ["/bin/sh", "-c", script], env={name: str(rank), "HOME": str(tmp_path)}, capture_output=True, text=True
            )
            assert found.stdout == f"{where} -P -m core.experiments.rank\n", found.stderr


def test_the_table_of_chips_is_of_apple() -> None:
    assert all(name.startswith("Apple M") and speed > 0 for name, speed in distributed.CHIPS.items())
