"""How fast hosts reach each other on the addresses of the hosts file, and how long a sum of gradients takes."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from core.experiments.cluster_reach import Conversation, Unreachable
from core.experiments.hosts import Hosts

# What a link is filled for (seconds); its speed is that of the last of it as of the first.
FILLED = 1.0
_ANSWERS = 45.0
# MLX tries for a while to connect its ring.
_SUM_SECONDS = 60.0
# Ranks listen from here on, one port further for each; where one of these is taken, some further on are tried.
FIRST_PORT = 20_000
_FURTHER = 100
_TRIES = 5


@dataclass(frozen=True, slots=True)
class Link:
    """From one host to another, by an address of the other. `latency` in seconds, `speed` in bytes a second."""

    source: int
    target: int
    address: str
    latency: float | None = None
    speed: float | None = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class Sum:
    """One sum over all hosts, of so many bytes."""

    bytes: int
    seconds: float | None = None
    error: str = ""


def addresses(hosts: Hosts) -> list[list[str]]:
    """At which each host is reached; where all of them are this machine, it needs none of its own."""
    return [list(host.ips) or (["127.0.0.1"] if hosts.all_here else []) for host in hosts.hosts]


def ring(hosts: Hosts, first_port: int = FIRST_PORT) -> list[list[tuple[str, int]]]:
    """Where each rank listens, as mlx.launch numbers them."""
    port, found = first_port, []
    for own in addresses(hosts):
        found.append([(address, port + place) for place, address in enumerate(own)])
        port += len(own)
    return found


def links(hosts: Hosts, reached: dict[int, Conversation]) -> list[Link]:
    """Each host to the next one of the ring, one after the other: two at a time would share a cable."""
    found = []
    every = addresses(hosts)
    for source in range(len(hosts)):
        target = (source + 1) % len(hosts)
        if source == target or source not in reached or target not in reached:
            continue
        found += [_link(reached, source, target, address) for address in every[target]]
    return found


def _link(reached: dict[int, Conversation], source: int, target: int, address: str) -> Link:
    token = secrets.token_hex(16)
    try:
        told = reached[target].ask(_ANSWERS, ask="listen", address=address, token=token)
        if "error" in told:
            return Link(source, target, address, error=f"cannot listen there: {told['error']}")
        sent = reached[source].ask(
            _ANSWERS, ask="send", address=address, port=told["port"], token=token, seconds=FILLED
        )
        if "error" in sent:
            return Link(source, target, address, error=str(sent["error"]))
        return Link(source, target, address, float(sent["latency"]), float(sent["bytes_per_second"]))
    except (Unreachable, KeyError, TypeError, ValueError) as error:
        return Link(source, target, address, error=str(error))


def free_ring(
    hosts: Hosts, reached: dict[int, Conversation]
) -> tuple[list[list[tuple[str, int]]], dict[int, list[Any]]]:
    """Where the ranks can listen, by asking each; and what the hosts say of the first such place that cannot be."""
    said: dict[int, list[Any]] = {}
    for further in range(_TRIES):
        where = ring(hosts, FIRST_PORT + further * _FURTHER)
        taken = {rank: refused for rank, one in reached.items() if (refused := _refused(one, where[rank]))}
        said = said or taken
        if not taken:
            return where, said
    return ring(hosts), said


def _refused(one: Conversation, where: list[tuple[str, int]]) -> list[Any]:
    try:
        answer = one.ask(_ANSWERS, ask="ports", addresses=where)
    except Unreachable as error:
        answer = {"error": error.text}
    refused = answer.get("refused")
    return refused if isinstance(refused, list) else [["?", 0, str(answer.get("error", "no answer"))]]


def summed(hosts: Hosts, reached: dict[int, Conversation], size: int, places: list[list[tuple[str, int]]]) -> Sum:
    """A sum by MLX over the ring of all hosts, each in a process of its own. All of them must have been reached."""
    where = [[f"{address}:{port}" for address, port in own] for own in places]

    def take_part(rank: int) -> dict[str, object]:
        return reached[rank].ask(_SUM_SECONDS + 15, ask="sum", rank=rank, hosts=where, bytes=size, seconds=_SUM_SECONDS)

    try:
        with ThreadPoolExecutor(len(hosts)) as pool:
            answers = list(pool.map(take_part, range(len(hosts))))
    except Unreachable as error:
        return Sum(size, error=str(error))
    return _of_all(size, answers)


def _of_all(size: int, answers: Sequence[dict[str, object]]) -> Sum:
    failed = [(rank, answer["error"]) for rank, answer in enumerate(answers) if "error" in answer]
    if failed:
        return Sum(size, error=f"rank {failed[0][0]}: {failed[0][1]}")
    if not all(answer.get("right") is True and answer.get("ranks") == len(answers) for answer in answers):
        return Sum(size, error="the sum is wrong")
    return Sum(size, max(float(str(answer["seconds"])) for answer in answers))
