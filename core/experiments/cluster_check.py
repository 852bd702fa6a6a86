"""Whether hosts can work together: what each has, whether it is the same as here, and how they reach each other."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from core.config import DPOConfig, RunConfig, TrainingConfig
from core.errors import UserError
from core.experiments import cluster_agent
from core.experiments.cluster_links import Link, Sum, addresses, free_ring, links, summed
from core.experiments.cluster_reach import Conversation, Unreachable, workspace_on
from core.experiments.hosts import Host, Hosts
from core.model_folder import find_folder, read_shape
from core.text import one_line
from core.training.memory import adapter_parameters
from core.workspace import Workspace, path_from

Verdict = Literal["PASS", "WARN", "FAIL"]

AGENT = "core.experiments.cluster_agent"
_ANSWERS = 90.0
# A large model is read whole for its hash.
_HASHES = 1800.0
# Looks at a clock; the one with the shortest way counts.
_LOOKS = 7
# Heartbeats and times of metrics are compared between hosts.
_CLOCK = 1.0
_LITTLE_DISK = 5e9
_SLOW = 50e6
# Where no configuration says how much a step sums.
_SOME_GRADIENT = 64 << 20
_LARGEST_SUM = 512 << 20

# Other numbers come of other versions of these; of the rest a difference is worth knowing.
_SAME = ("dpotui", "mlx", "mlx-lm")
_ALIKE = ("tokenizers", "transformers")


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at on a host, or between two."""

    host: str
    name: str
    verdict: Verdict
    text: str
    mend: str = ""


@dataclass
class Report:
    hosts: tuple[str, ...]
    checks: list[Check] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)
    sum: Sum | None = None
    clocks: dict[str, tuple[float, float]] = field(default_factory=dict)  # seconds ahead of here, and give or take

    @property
    def verdict(self) -> Verdict:
        found = {check.verdict for check in self.checks}
        return "FAIL" if "FAIL" in found else "WARN" if "WARN" in found else "PASS"

    def as_json(self) -> dict[str, Any]:
        return {
            "verdict": self.verdict,
            "hosts": list(self.hosts),
            "checks": [
                {"host": one.host, "name": one.name, "verdict": one.verdict, "text": one.text, "mend": one.mend or None}
                for one in self.checks
            ],
            "clocks": {
                host: {"ahead_seconds": ahead, "give_or_take": within} for host, (ahead, within) in self.clocks.items()
            },
            "links": [
                {
                    "from": self.hosts[link.source],
                    "to": self.hosts[link.target],
                    "address": link.address,
                    "latency_seconds": link.latency,
                    "bytes_per_second": link.speed,
                    "error": link.error or None,
                }
                for link in self.links
            ],
            "sum": None
            if self.sum is None
            else {"bytes": self.sum.bytes, "seconds": self.sum.seconds, "error": self.sum.error or None},
        }


def check(
    hosts: Hosts,
    workspace: Workspace,
    config: RunConfig | None = None,
    tell: Callable[[Check], None] = lambda found: None,
) -> Report:
    """Look at all hosts. `tell` hears of each check as it is made.

    Args:
        config: whose model and data must be the same everywhere.
    """
    report = Report(hosts.names)

    def note(found: Iterable[Check]) -> None:
        for one in found:
            report.checks.append(one)
            tell(one)

    with ExitStack() as open_ones:
        reached = _reach(hosts, workspace, note, open_ones)
        looks = _ask_all(reached, _ANSWERS, ask="look")
        mine = cluster_agent.look(workspace.root)
        for rank, look in looks.items():
            note(_compare(hosts, rank, look, mine))
        for rank in reached:
            note(_clock(report, hosts.names[rank], reached[rank]))
        if config is not None:
            note(_files(hosts, reached, workspace, config))
        where, refused = free_ring(hosts, reached)
        for rank in reached:
            note(_ports(hosts.names[rank], where[rank], refused.get(rank, [])))
        note(_addresses(hosts))
        report.links = links(hosts, reached)
        for link in report.links:
            note([_judge_link(hosts, link)])
        if len(hosts) > 1 and len(reached) == len(hosts) and all(addresses(hosts)):
            size, what = gradient_bytes(workspace, config)
            report.sum = summed(hosts, reached, size, where)
            note([_judge_sum(report.sum, what)])
    return report


def _reach(
    hosts: Hosts, workspace: Workspace, note: Callable[[Iterable[Check]], None], open_ones: ExitStack
) -> dict[int, Conversation]:
    def one(rank: int) -> Conversation | Unreachable:
        try:
            return Conversation(hosts.hosts[rank], workspace.root, AGENT, hosts.envs)
        except Unreachable as error:
            return error

    found: dict[int, Conversation] = {}
    with ThreadPoolExecutor(min(32, len(hosts))) as pool:
        for rank, answer in enumerate(pool.map(one, range(len(hosts)))):
            name = hosts.names[rank]
            if isinstance(answer, Unreachable):
                note([Check(name, "reached", "FAIL", answer.text, answer.mend)])
                continue
            found[rank] = open_ones.enter_context(answer)
            how = "this machine" if hosts.hosts[rank].here else "by ssh"
            note([Check(name, "reached", "PASS", f"{how}, answers after {answer.seconds:.1f} s")])
    return found


def _ask_all(reached: dict[int, Conversation], seconds: float, **request: Any) -> dict[int, dict[str, Any]]:
    def one(rank: int) -> dict[str, Any]:
        try:
            return reached[rank].ask(seconds, **request)
        except Unreachable as error:
            return {"error": str(error)}

    with ThreadPoolExecutor(max(1, min(32, len(reached)))) as pool:
        return dict(zip(reached, pool.map(one, reached), strict=True))


def _words(value: Any, width: int = 100) -> str:
    """What another machine says, on one line."""
    return one_line(str(value), width)


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else 0.0


# What a host has


def _compare(hosts: Hosts, rank: int, look: dict[str, Any], mine: dict[str, Any]) -> Iterable[Check]:
    name = hosts.names[rank]
    if "error" in look:
        yield Check(name, "versions", "FAIL", _words(look["error"]), "see what that host says of itself: dpotui doctor")
        return
    yield from _versions(name, hosts.hosts[rank], look, mine)
    accelerator = {"metal": "Metal", "cuda": "CUDA"}.get(str(look.get("accelerator")), "no GPU for MLX")
    memory, free = _number(look.get("memory")), _number(look.get("memory_available"))
    yield Check(
        name, "machine", "PASS", f"{_words(look.get('chip'), 50)}, {_words(look.get('system'), 40)}, {accelerator}"
    )
    text = f"{free / 1e9:.1f} of {memory / 1e9:.1f} GB free, {_number(look.get('run_memory')) / 1e9:.1f} for a run"
    little = free < memory / 5
    yield Check(name, "memory", "WARN" if little else "PASS", text, "end other programs there" if little else "")
    disk = _number(look.get("disk_free"))
    little = disk < _LITTLE_DISK
    mend = "checkpoints and caches need a few GB: free some" if little else ""
    yield Check(name, "disk", "WARN" if little else "PASS", f"{disk / 1e9:.0f} GB free", mend)


def _versions(name: str, host: Host, look: dict[str, Any], mine: dict[str, Any]) -> Iterable[Check]:
    theirs = look.get("versions")
    theirs = theirs if isinstance(theirs, dict) else {}
    other = [one for one in _SAME if theirs.get(one) != mine["versions"][one]]
    shown = ", ".join(f"{one} {_words(theirs.get(one), 20)}" for one in _SAME)
    if other:
        wanted = ", ".join(f"{one} {mine['versions'][one]}" for one in other)
        where = host.python or "its Python"
        yield Check(name, "versions", "FAIL", shown, f"here it is {wanted}: install the same there, for {where}")
    elif look.get("code") != mine["code"]:
        yield Check(
            name, "versions", "FAIL", f"{shown}, of another code than here", "install the same commit of dpotui on both"
        )
    else:
        yield Check(name, "versions", "PASS", shown)
    python, own = _words(look.get("python"), 20), mine["python"]
    unlike = [f"{one} {_words(theirs.get(one), 20)}, here {mine['versions'][one]}"
              for one in _ALIKE if theirs.get(one) != mine["versions"][one]]  # fmt: skip
    if python.split(".")[:2] != own.split(".")[:2]:
        unlike.insert(0, f"Python {python}, here {own}")
    if unlike:
        yield Check(name, "python", "WARN", "; ".join(unlike), "tokens may come out otherwise: install the same")
    else:
        yield Check(name, "python", "PASS", f"Python {python}, tokenizers and transformers as here")


def _clock(report: Report, name: str, reached: Conversation) -> Iterable[Check]:
    best = (float("inf"), 0.0)
    try:
        for _ in range(_LOOKS):
            began, asked = time.time(), time.perf_counter()
            theirs = _number(reached.ask(_ANSWERS, ask="clock").get("now"))
            took = time.perf_counter() - asked
            best = min(best, (took / 2, theirs - (began + took / 2)))
    except Unreachable as error:
        yield Check(name, "clock", "FAIL", error.text, error.mend)
        return
    within, ahead = best
    report.clocks[name] = (ahead, within)
    way = "ahead of" if ahead > 0 else "behind"
    far = f"{abs(ahead) * 1e3:.2f} ms" if abs(ahead) < 1 else f"{abs(ahead):,.1f} s"
    text = f"{far} {way} this one's, give or take {within * 1e3:.2f} ms"
    wrong = abs(ahead) > _CLOCK + within
    mend = "set both by the network: sudo sntp -sS time.apple.com, or timedatectl set-ntp true" if wrong else ""
    yield Check(name, "clock", "WARN" if wrong else "PASS", text, mend)


# What must be the same


def files_of(workspace: Workspace, config: RunConfig) -> list[str]:
    """What a run of this configuration reads, with the models that adapters stand on."""
    found: list[str] = []
    for name in config.reads().values():
        folder = find_folder(workspace, name)
        found.append(name)
        if folder is not None and (folder / "adapter_config.json").is_file():
            found += _base(workspace, folder)
    return list(dict.fromkeys(found))


def _base(workspace: Workspace, folder: Path) -> list[str]:
    try:
        named = json.loads((folder / "adapter_config.json").read_text("utf-8")).get("model")
    except (OSError, ValueError, AttributeError):
        return []
    if not isinstance(named, str):
        return []
    path = path_from(folder, named)
    return [workspace.relative(path) if path.is_dir() else named]


def _files(hosts: Hosts, reached: dict[int, Conversation], workspace: Workspace, config: RunConfig) -> Iterable[Check]:
    names = files_of(workspace, config)
    mine = cluster_agent.hashes(workspace.root, names)["found"]
    lacking = [name for name in names if mine[name] is None]
    answers = _ask_all(reached, _HASHES, ask="hashes", paths=names)
    for rank, answer in answers.items():
        name = hosts.names[rank]
        theirs = answer.get("found")
        if not isinstance(theirs, dict):
            yield Check(name, "files", "FAIL", _words(answer.get("error", "no answer")), "may that account read them?")
            continue
        other = [one for one in names if one not in lacking and theirs.get(one) != mine[one]]
        for one in other:
            there = "is not there" if theirs.get(one) is None else "is another one than here"
            yield Check(name, "files", "FAIL", f"{_words(one, 80)} {there}", _copy(hosts.hosts[rank], one, workspace))
        same = len(names) - len(lacking) - len(other)
        if same and not other:
            yield Check(name, "files", "PASS", f"{same} of the configuration are the same as here, by their hashes")
    for one in lacking:
        yield Check(hosts.names[0], "files", "WARN", f"{_words(one, 80)} is not here: not compared", "make or fetch it")


def _copy(host: Host, name: str, workspace: Workspace) -> str:
    target = workspace_on(host, workspace.root)
    named = shlex.quote(_words(name, 200))
    if not workspace.path(name).exists():  # of a hub
        return f"fetch it there: hf download {named}"
    if name.startswith(("/", "~")):
        return f"copy it there to the same place: rsync -a {named} {host.ssh}:{named}"
    to = target if host.here else f"{host.ssh}:{target}"
    return f"copy it there, from {workspace.root}: rsync -aR ./{named} {to}/"


# Between hosts


def _ports(name: str, where: list[tuple[str, int]], refused: list[Any]) -> Iterable[Check]:
    """`where` it can listen, as far as is known, and what is `refused` of the first place that was tried."""
    if where and not refused:
        shown = ", ".join(f"{address}:{port}" for address, port in where)
        yield Check(name, "ports", "PASS", f"{shown} {'is' if len(where) == 1 else 'are'} free for the ring")
    for entry in refused:
        address, port, why = entry if isinstance(entry, list) and len(entry) == 3 else ("?", "?", "?")
        text = f"{_words(address, 40)}:{_words(port, 6)}: {_words(why, 60)}"
        if "in use" in str(why):
            mend = f"a training takes others; what listens there tells lsof -i :{_words(port, 6)}"
            yield Check(name, "ports", "WARN", text, mend)
        else:
            yield Check(name, "ports", "FAIL", text, f"is {_words(address, 40)} an address of that host?")


def _addresses(hosts: Hosts) -> Iterable[Check]:
    for rank, own in enumerate(addresses(hosts)):
        if not own and len(hosts) > 1:
            yield Check(
                hosts.names[rank], "addresses", "FAIL", "it has no 'ips' in the hosts file",
                'the others need one to reach it: "ips": ["192.168.1.2"]',
            )  # fmt: skip


def _judge_link(hosts: Hosts, link: Link) -> Check:
    name, where = hosts.names[link.source], f"to {hosts.names[link.target]} at {link.address}"
    if link.speed is None or link.latency is None:
        mend = "are both in one network, and does a firewall let Python in?"
        return Check(name, "link", "FAIL", f"{where}: {_words(link.error)}", mend)
    text = f"{where}: {link.speed / 1e6:,.0f} MB/s, {link.latency * 1e3:.2f} ms one way"
    slow = link.speed < _SLOW
    mend = "a cable (Thunderbolt, Ethernet) instead of the air" if slow else ""
    return Check(name, "link", "WARN" if slow else "PASS", text, mend)


def _judge_sum(found: Sum, what: str) -> Check:
    if found.seconds is None:
        mend = "look at the links above; mlx.launch --verbose says more"
        return Check("all", "sum", "FAIL", f"MLX could not sum over the ring: {_words(found.error, 160)}", mend)
    rate = found.bytes / found.seconds / 1e6
    text = f"{found.bytes / 1e6:.1f} MB ({what}) in {found.seconds * 1e3:.0f} ms over the ring, {rate:,.0f} MB/s"
    return Check("all", "sum", "PASS", text)


def gradient_bytes(workspace: Workspace, config: RunConfig | None) -> tuple[int, str]:
    """How much a training step sums over hosts, and what that is."""
    if isinstance(config, TrainingConfig):
        try:
            name = config.model.policy_model if isinstance(config, DPOConfig) else config.model.base_model
            folder = find_folder(workspace, name)
            if folder is not None:
                shape = read_shape(folder)
                full = config.adapter.type == "full"
                count = shape.parameters if full else adapter_parameters(shape, config.adapter)
                size = 4 * count
                if size > _LARGEST_SUM:
                    return _LARGEST_SUM, f"part of this configuration's {size / 1e9:.1f} GB of gradients"
                return size, "the gradients of this configuration"
        except UserError:
            pass
    return _SOME_GRADIENT, "as a LoRA's gradients may be"
