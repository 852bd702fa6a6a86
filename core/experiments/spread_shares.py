"""Work that is cut over hosts: who takes which items, whose answers are taken, and what happens when a host is lost.

Every item is computed by itself, so that it does not matter where. Answers come back line by line, each with its hash,
and are kept at once; what a lost host still had is dealt to the others.
"""

from __future__ import annotations

import hashlib
import json
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, cast

from core.config import RunConfig, TrainingConfig
from core.errors import UserError
from core.experiments import cluster_agent
from core.experiments.cluster_check import files_of
from core.experiments.cluster_reach import Conversation, Unreachable
from core.experiments.distributed import shares_of
from core.experiments.hosts import Hosts, read_hosts
from core.hardware import versions
from core.model_folder import find_folder
from core.store import Database, files
from core.text import one_line
from core.training.context import Context
from core.training.obeying import obey
from core.workspace import Workspace

WORKER = "core.experiments.spread_worker"
# A worker gives a sign of life every two seconds, also while it loads a model.
SILENT = 60.0
# A large model is read whole for its hash before it is loaded.
_HASHES = 1800.0
_SAME = ("dpotui", "mlx", "mlx-lm")

# What a worker says of an item: the item's name, and what it is.
Line = tuple[str, dict[str, Any]]


@dataclass
class Worker:
    """A host that takes part. `items` are those it has not answered yet."""

    name: str
    talk: Conversation
    chip: str = ""
    items: set[str] = field(default_factory=set)
    answered: int = 0
    working: bool = False  # it has not said yet that it is done


def hosts_for(workspace: Workspace, config: RunConfig) -> Hosts | None:
    """The hosts that a configuration names; None where this machine is to do it alone.

    Raises:
        UserError: the file or one of its entries is wrong.
    """
    compute = getattr(config, "compute", None)
    if compute is None or compute.distributed.hosts is None:
        return None
    hosts = read_hosts(workspace.path(compute.distributed.hosts))
    shares = compute.distributed.shares
    if isinstance(shares, list) and len(shares) != len(hosts):
        raise UserError(
            f"compute.distributed.shares has {len(shares)} numbers for the {len(hosts)} hosts of"
            f" {compute.distributed.hosts}: give one for each"
        )
    return hosts


def deal(items: Sequence[str], shares: Sequence[float]) -> list[list[str]]:
    """The items in parts that have these shares of them, as evenly mixed as can be."""
    found: list[list[str]] = [[] for _ in shares]
    for number, item in enumerate(items, 1):
        behind = [share * number - len(part) for share, part in zip(shares, found, strict=True)]
        found[behind.index(max(behind))].append(item)
    return found


def sealed(name: str, said: Mapping[str, Any]) -> dict[str, str]:
    """A line as a worker says it."""
    text = json.dumps([name, said])
    return {"line": text, "sha256": hashlib.sha256(text.encode()).hexdigest()}


def opened(message: Mapping[str, Any]) -> Line:
    """What a worker said, where it came whole.

    Raises:
        ValueError: it did not.
    """
    text = message["line"]
    if not isinstance(text, str) or hashlib.sha256(text.encode()).hexdigest() != message.get("sha256"):
        raise ValueError("a line came back otherwise than its hash says")
    name, said = json.loads(text)
    if not isinstance(name, str) or not isinstance(said, dict):
        raise ValueError("a line is no answer")
    return name, said


class Spread:
    """The workers of a run, from their first task to the run's end.

    Args:
        log: hears of hosts that do not take part or were lost, as warnings.
    """

    def __init__(
        self, hosts: Hosts, workspace: Workspace, db: Database, config: RunConfig, log: Callable[[str, bool], None]
    ) -> None:
        self._hosts, self._workspace, self._config, self._log = hosts, workspace, config, log
        self._names = files_of(workspace, config)
        self._hashes = {name: self._hash(db, name) for name in self._names}
        self._coming: queue.SimpleQueue[tuple[int, dict[str, Any] | Unreachable]] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self.workers: dict[int, Worker] = {}
        self._why: list[str] = []

    def _hash(self, db: Database, name: str) -> str | None:
        path = self._workspace.path(name)
        folder = path if path.exists() else find_folder(self._workspace, name)
        return None if folder is None else files.sha256(db, self._workspace, self._workspace.relative(folder))

    # Who takes part

    def start(self) -> None:
        """Reach the hosts, and leave out those that would compute something else.

        Raises:
            UserError: none is left.
        """
        mine = {"code": cluster_agent.code(), "versions": versions()}

        def one(rank: int) -> Worker | str:
            name = self._hosts.names[rank]
            try:
                talk = Conversation(self._hosts.hosts[rank], self._workspace.root, WORKER, self._hosts.envs)
            except Unreachable as error:
                return str(error)
            try:
                about = talk.ask(_HASHES, do="about", paths=self._names)
            except Unreachable as error:
                talk.close()
                return str(error)
            refused = self._refused(about, mine)
            if refused:
                talk.close()
                return refused
            return Worker(name, talk, one_line(str(about.get("chip")), 40))

        with ThreadPoolExecutor(min(32, len(self._hosts))) as pool:
            found = list(pool.map(one, range(len(self._hosts))))
        for rank, worker in enumerate(found):
            if isinstance(worker, Worker):
                self.workers[rank] = worker
                threading.Thread(target=self._listen, args=(rank, worker.talk), daemon=True).start()
            else:
                self._why.append(f"{self._hosts.names[rank]}: {worker}")
                self._log(f"{self._hosts.names[rank]} does not take part: {worker}", True)
        if not self.workers:
            raise UserError(f"none of the hosts can take part ({self._why[0]}): 'dpotui cluster check' says more")

    def _refused(self, about: dict[str, Any], mine: dict[str, Any]) -> str:
        if "error" in about:
            return one_line(str(about["error"]), 200)
        theirs = about.get("versions")
        theirs = theirs if isinstance(theirs, dict) else {}
        for package in _SAME:
            if theirs.get(package) != mine["versions"][package]:
                return (
                    f"it has {package} {one_line(str(theirs.get(package)), 20)}, here it is {mine['versions'][package]}"
                )
        if about.get("code") != mine["code"]:
            return "its dpotui has another code than the one here: install the same"
        found = about.get("found")
        found = found if isinstance(found, dict) else {}
        for name, digest in self._hashes.items():
            if digest is not None and found.get(name) != digest:
                there = "does not have" if found.get(name) is None else "has another"
                return f"it {there} {one_line(name, 80)}: copy it there ('dpotui cluster check --config FILE' says how)"
        return ""

    def _listen(self, rank: int, talk: Conversation) -> None:
        """In a thread of its own: what a worker says, until it says nothing more."""
        try:
            while not self._stopping.is_set():
                self._coming.put((rank, talk.hear(SILENT)))
        except Unreachable as error:
            self._coming.put((rank, error))

    # What they do

    def shares(self) -> tuple[list[int], list[float], str]:
        """The workers that are left, what each is to take, and why."""
        ranks = sorted(self.workers)
        every = range(len(self._hosts))
        chips = [self.workers[rank].chip if rank in self.workers else "" for rank in every]
        wanted = self._config.compute.distributed.shares  # type: ignore[union-attr]
        if wanted == "measure":  # what is left to a host is known only when it is done
            return ranks, [1 / len(ranks)] * len(ranks), "equal: a share is measured for training alone"
        found = shares_of(cast(TrainingConfig, self._config), self._hosts, chips)
        total = sum(found.shares[rank] for rank in ranks)
        return ranks, [found.shares[rank] / total for rank in ranks], found.why

    def work(
        self,
        task: dict[str, Any],
        items: Sequence[str],
        of_items: Callable[[Sequence[str]], dict[str, Any]],
        take: Callable[[str, str, dict[str, Any]], None],
        between: Callable[[], bool],
    ) -> list[str]:
        """Let the workers answer these items; returns those that nobody is left for.

        Args:
            task: what is to be done with an item.
            of_items: what a worker is told of its items beside their names.
            take: hears of an answer: host, item, what was said; the item is "" of what is a part of some. May raise
            ValueError where it is none.
            between: called often; True while the run is paused. May raise to end it.
        """
        left = list(dict.fromkeys(items))
        while left and self.workers:
            ranks, shares, why = self.shares()
            parts = deal(left, shares)
            told = ", ".join(f"{self.workers[rank].name} {len(part)}" for rank, part in zip(ranks, parts, strict=True))
            self._log(f"{len(left)} items are dealt: {told} ({why})", False)
            for rank, part in zip(ranks, parts, strict=True):
                worker = self.workers[rank]
                worker.items = set(part)
                worker.working = bool(part)
                if part:
                    self._tell(rank, {"do": "work", "task": task, "items": part, **of_items(part)})
            self._collect(take, between)
            done = set(left) - self._lost
            left = [item for item in left if item not in done]
        return left

    def _tell(self, rank: int, message: dict[str, Any]) -> None:
        try:
            self.workers[rank].talk.tell(message)
        except Unreachable as error:
            self._coming.put((rank, error))

    def _collect(self, take: Callable[[str, str, dict[str, Any]], None], between: Callable[[], bool]) -> None:
        """Take answers until all are done; `_lost` are the items of those who were lost."""
        self._lost: set[str] = set()
        paused = False
        while any(worker.working for worker in self.workers.values()):
            if between() != paused:
                paused = not paused
                for rank in list(self.workers):
                    self._tell(rank, {"do": "pause" if paused else "resume"})
            try:
                rank, message = self._coming.get(timeout=0.1)
            except queue.Empty:
                continue
            if rank not in self.workers:
                continue
            worker = self.workers[rank]
            try:
                if isinstance(message, Unreachable):
                    raise message
                self._hear(worker, message, take)
            except (Unreachable, ValueError, KeyError, TypeError) as error:
                self._lose(rank, one_line(str(error), 200) or type(error).__name__)

    def _hear(self, worker: Worker, message: dict[str, Any], take: Callable[[str, str, dict[str, Any]], None]) -> None:
        if "line" in message:
            name, said = opened(message)
            if name and name not in worker.items:
                raise ValueError(f"it answers {one_line(name, 40)}, which was not its own")
            take(worker.name, name, said)
            if name:
                worker.items.discard(name)
                worker.answered += 1
        elif "done" in message:
            if worker.items:
                raise ValueError(f"it is done, and {len(worker.items)} items of its share did not come")
            worker.working = False
        elif "note" in message:
            self._log(f"{worker.name}: {one_line(str(message['note']), 300)}", bool(message.get("warning")))
        elif "error" in message:
            raise ValueError(str(message["error"]))

    def _lose(self, rank: int, why: str) -> None:
        worker = self.workers.pop(rank)
        self._lost |= worker.items
        over = "the others take them" if self.workers else "nobody is left"
        self._log(f"{worker.name} was lost ({why}): {len(worker.items)} items of its share; {over}", True)
        self._why.append(f"{worker.name}: {why}")
        worker.talk.close()

    def close(self) -> None:
        """End all workers."""
        self._stopping.set()
        with ThreadPoolExecutor(max(1, len(self.workers))) as pool:
            list(pool.map(lambda worker: worker.talk.close(), self.workers.values()))
        with suppress(queue.Empty):
            while True:
                self._coming.get_nowait()


class Obeying:
    """Commands for a run over hosts; called often. True: the run is paused from now on, and the workers are to know.

    Attributes:
        paused: seconds so far.
    """

    def __init__(self, context: Context, kept: Callable[[], str]) -> None:
        self._context, self._kept = context, kept
        self._told = False
        self.paused = 0.0

    def __call__(self) -> bool:
        """Raises:
        Stopped: a person asked for it, or the engine is leaving.
        """
        wanted = any(command.verb == "pause" for command in self._context.control.pending())
        if wanted and not self._told:
            self._told = True
            return True  # the workers first: this thread waits from the next call on
        self.paused += obey(self._context, self._kept)
        self._told = False
        return False
