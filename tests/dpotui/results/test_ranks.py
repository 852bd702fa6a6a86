"""Ranks of a spread training: the table, its imbalance, and the shares that would balance it."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.cells import cell_len

from core.store import open_store, ranks, runs
from core.store.ranks import Part
from core.workspace import Workspace
from dpotui.results import provided
from dpotui.results.ranks import advise, imbalances, read, sparkline

SPREAD = {"compute": {"distributed": {"hosts": "hosts.json"}}}


def parts(
    run: str, step: int, computing: tuple[float, float], shares: tuple[float, float] = (0.65, 0.35)
) -> list[Part]:
    slow = max(computing)
    hosts = ("studio.local", "\x1b[2Jmacbook\u202e")
    return [
        Part(
            run,
            step,
            rank,
            hosts[rank],
            shares[rank],
            100 * shares[rank],
            computing[rank],
            slow - computing[rank] + 0.1,
        )
        for rank in range(2)
    ]


@pytest.fixture
def run(tmp_path: Path):
    db = open_store(tmp_path / "runs.db", create=True)
    yield db, Workspace(tmp_path), runs.create(db, "dpo", config=SPREAD)
    db.close()


def shown(block, width: int) -> list[str]:
    return ["".join(text for text, _ in line) for line in block.lines(width)]


def test_a_run_of_one_machine_shows_nothing(run) -> None:
    db, space, spread = run
    alone = runs.create(db, "dpo", config={})
    assert read(db, space, alone) is None and read(db, space, None) is None
    assert not provided(5, alone) and provided(5, spread)
    assert "nothing is reported yet" in shown(read(db, space, spread), 80)[0]


def test_who_is_waited_for_and_what_would_balance(run) -> None:
    db, space, spread = run
    for step in (2, 4):
        ranks.record(db, parts(spread.id, step, (10.0, 4.0)))
    block = read(db, space, spread)
    for width in (80, 120, 40):
        lines = shown(block, width)
        assert max(map(cell_len, lines)) <= width or width == 40
        assert not any(ord(letter) < 32 or letter == "\u202e" for line in lines for letter in line)
    told = ranks.as_json(ranks.newest(db, spread.id))
    assert told is not None and told["balanced_shares"] == pytest.approx((6.5 / 15.25, 8.75 / 15.25))
    assert [part["pairs_per_second"] for part in told["parts"]] == pytest.approx([6.5, 8.75])
    lines = shown(block, 80)
    assert lines[1].split()[:2] == ["0", "studio.local"] and lines[1].endswith("the others wait for it")
    assert "65.0%" in lines[1] and " 6.5" in lines[1]
    assert "imbalance 43 % (steps 2 to 4)" in lines[4]
    # 6.5 and 8.75 pairs a second.
    assert lines[-1].startswith("try 43/57") and "--shares 43,57" in lines[-1]


def test_reports_of_other_shares_do_not_count(run) -> None:
    db, space, spread = run
    ranks.record(db, parts(spread.id, 2, (10.0, 1.0)))
    ranks.record(db, parts(spread.id, 4, (5.0, 5.1), (0.6, 0.4)))
    lines = shown(read(db, space, spread), 80)
    assert "(steps to 4)" in lines[4] and lines[-1] == "60/40 is balanced"


def test_a_rank_that_took_nothing(run) -> None:
    db, _, spread = run
    nothing = [
        part._replace(pairs=0.0, computing=0.0) if part.rank else part for part in parts(spread.id, 2, (1.0, 1.0))
    ]
    ranks.record(db, nothing)
    found = ranks.newest(db, spread.id)
    assert found is not None and found.better is None and "took no pairs" in advise(found)
    assert imbalances(nothing) == [1.0]


def test_a_sparkline_is_as_wide_as_it_may_be() -> None:
    assert sparkline([0.0, 0.5, 1.0], 10) == "▁▄█"
    assert sparkline([1.0] * 50, 8) == "█" * 8
