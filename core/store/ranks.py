"""What each rank of a run that several machines train did, from report to report: pairs, seconds computing, waiting."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlite_utils import Database

from core.store.database import storable, transaction


class Part(NamedTuple):
    """A rank's part of the updates that a report is of.

    Attributes:
        step: after which it was reported.
        share: what it was to take of each batch, a part of 1.
        pairs: what it took (SFT: examples).
        computing: seconds, of its own part.
        waiting: seconds, for the others and for the sum.
    """

    run: str
    step: int
    rank: int
    host: str
    share: float
    pairs: float
    computing: float
    waiting: float
    time: float = 0.0

    @property
    def rate(self) -> float:
        """Pairs a second while it computed."""
        return self.pairs / self.computing if self.computing > 0 else 0.0


class Balance(NamedTuple):
    """How evenly the work lay, over several reports.

    Attributes:
        ranks: of each rank its parts as one.
        imbalance: by how much the slowest computed longer than the mean; 0: all were ready at the same time.
        better: the shares at which all would be ready at once; None where a rank has computed nothing.
    """

    ranks: list[Part]
    imbalance: float
    better: tuple[float, ...] | None


# What a run's shares are called by where they are near enough to leave them.
CLOSE = 0.02


def record(db: Database, parts: Sequence[Part]) -> None:
    now = time.time()
    with transaction(db):
        db.conn.executemany(
            "INSERT OR REPLACE INTO ranks (run, step, rank, host, share, pairs, computing, waiting, time)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [(*part[:3], storable(part.host), *part[4:8], part.time or now) for part in parts],
        )


def of_run(db: Database, run: str, *, after: int = -1) -> list[Part]:
    """By step and rank."""
    sql = "SELECT run, step, rank, host, share, pairs, computing, waiting, time FROM ranks WHERE run = ? AND step > ?"
    return [Part(*row) for row in db.execute(f"{sql} ORDER BY step, rank", [run, after])]


def latest(parts: Sequence[Part], steps: int) -> list[Part]:
    """The parts of the newest reports, of as many as were made with the hosts and shares of the last one."""
    by_step: dict[int, list[Part]] = {}
    for part in parts:
        by_step.setdefault(part.step, []).append(part)
    found: list[Part] = []
    how = None
    for number, step in enumerate(sorted(by_step, reverse=True)):
        now = [(part.rank, part.host, part.share) for part in by_step[step]]
        if number == steps or (how is not None and now != how):
            break
        how = now
        found = by_step[step] + found
    return found


def balance(parts: Sequence[Part]) -> Balance | None:
    """What parts of the same ranks come to; None where there are none."""
    if not parts:
        return None
    whole: dict[int, Part] = {}
    for part in parts:
        one = whole.get(part.rank)
        whole[part.rank] = part if one is None else part._replace(
            pairs=one.pairs + part.pairs,
            computing=one.computing + part.computing,
            waiting=one.waiting + part.waiting,
        )  # fmt: skip
    found = [whole[rank] for rank in sorted(whole)]
    seconds = [part.computing for part in found]
    mean = sum(seconds) / len(seconds)
    imbalance = max(seconds) / mean - 1 if mean > 0 else 0.0
    rates = [part.rate for part in found]
    better = tuple(rate / sum(rates) for rate in rates) if all(rate > 0 for rate in rates) else None
    return Balance(found, imbalance, better)


def newest(db: Database, run: str, steps: int = 20) -> Balance | None:
    """What the newest reports of a run come to."""
    return balance(latest(of_run(db, run), steps))


def as_json(found: Balance | None) -> dict[str, Any] | None:
    """For programs: each rank's part, the imbalance, and the shares that would balance it."""
    if found is None:
        return None
    parts = [{**part._asdict(), "pairs_per_second": part.rate} for part in found.ranks]
    for part in parts:
        del part["run"], part["time"]
    return {"parts": parts, "imbalance": found.imbalance, "balanced_shares": found.better}


def shares_words(shares: Sequence[float]) -> str:
    """`65/35`; rounded so that together they are 100."""
    whole = [int(100 * share) for share in shares]
    order = sorted(range(len(shares)), key=lambda i: whole[i] - 100 * shares[i])
    for index in order[: round(100 * sum(shares)) - sum(whole)]:
        whole[index] += 1
    return "/".join(map(str, whole))


def words_of(shares: Sequence[float], why: str) -> str:
    """`65/35 over 2 hosts, measured`."""
    if len(shares) == 1:
        return "one machine"
    return f"{shares_words(shares)} over {len(shares)} hosts" + (f", {why}" if why else "")
