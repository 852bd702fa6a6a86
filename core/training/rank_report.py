"""What each rank's part of the work was: pairs, seconds computing and waiting, summed between reports."""

from __future__ import annotations

import re

from core.store import ranks as store
from core.store.ranks import Part
from core.training.context import Context
from core.training.ranks import Ranks

_KEY = re.compile(r"rank/(\d+)/(pairs|computing|waiting)")


def sums(ranks: Ranks) -> dict[str, float]:
    """Of the last step, for the sums since the last report; what was waited is known one step later."""
    return {
        f"rank/{rank}/{name}": part[name]
        for rank, part in enumerate(ranks.parts)
        for name in ("pairs", "computing", "waiting")
    }


def report(context: Context, step: int, window: dict[str, float]) -> dict[str, float]:
    """Take the ranks' sums out of `window` and keep them with the run; returns what of them are metrics."""
    by_rank: dict[int, dict[str, float]] = {}
    for key in [key for key in window if key.startswith("rank/")]:
        value = window.pop(key)
        if match := _KEY.fullmatch(key):
            by_rank.setdefault(int(match[1]), {})[match[2]] = value
    ranks = context.ranks
    # After a resume with other ranks, what the earlier ones did since their last report is nobody's.
    if ranks.alone or sorted(by_rank) != list(range(ranks.size)):
        return {}
    parts = [
        Part(context.run.id, step, rank, ranks.names[rank], ranks.shares[rank], **by_rank[rank])
        for rank in sorted(by_rank)
    ]
    balance = store.balance(parts)
    if not ranks.first or balance is None:
        return {}
    store.record(context.db, parts)
    rates = {f"rank/{part.rank}/examples_per_second": part.rate for part in parts if part.computing}
    return {**rates, "imbalance": balance.imbalance}
