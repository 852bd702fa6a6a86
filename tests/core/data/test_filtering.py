"""Filtering by margins: every figure of a cut is what counting what is left gives; rows stay as they were."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

import pytest

from core.data.filtering import TIE, Ranking, Rule, ScoredFile, examples, read_scored, suggestions, write_filtered
from core.data.manifest import read_manifest
from core.data.pairs import Pair, read_pairs
from core.data.reward_cache import RewardCache, Rewarded, pair_key
from core.errors import UserError

MARGINS = [0.5, -1.0, 2.0, 0.0, -1.0, 0.3, 1.0, -0.2]


def made(folder: Path, margins: list[float | None] = MARGINS, text: str | None = None) -> tuple[Path, RewardCache]:
    """Pairs with these margins; odd ones share a prompt with the one before. None: the model cannot read it."""
    path, cache = folder / "pairs.jsonl", RewardCache(None)
    rows = [
        {"prompt": f"p{i // 2}", "chosen": "good " * (i + 1), "rejected": f"bad {i}", "chosen_score": 5,
         "rejected_score": 1 + i % 4}
        for i in range(len(margins))
    ]  # fmt: skip
    path.write_text(text or "".join(json.dumps(row) + "\n" for row in rows))
    pairs = [row for row in read_pairs(path) if isinstance(row, Pair)]
    cache.add(
        (pair_key(pair), Rewarded(None, None, "too odd") if margin is None else Rewarded(margin + 1.0, 1.0))
        for pair, margin in zip(pairs, margins, strict=True)
    )
    return path, cache


def ranking(folder: Path, margins: list[float | None] = MARGINS) -> Ranking:
    path, cache = made(folder, margins)
    return Ranking(read_scored(path, cache))


@pytest.mark.parametrize(
    ("rule", "lines"),
    [
        (Rule("keep_agreeing"), [2, 5, 8]),  # the tie of line 4 stays
        (Rule("min_margin", 0.3), [2, 5, 8, 4]),  # 0.3 itself is not below it
        (Rule("min_margin", -5), []),
        (Rule("drop_share", 0.25), [2, 5]),
        (Rule("drop_share", 0.124), []),
        (Rule("drop_share", 0.125), [2]),  # of equal margins the earlier line
    ],
)
def test_which_go(tmp_path: Path, rule: Rule, lines: list[int]) -> None:
    found = ranking(tmp_path)
    gone = found.goes(rule)
    assert [found.scored.lines[found.order[rank]] for rank in range(gone)] == lines


def test_what_a_cut_changes_is_what_counting_gives(tmp_path: Path) -> None:
    rng = random.Random(3)
    margins = [round(rng.gauss(0.3, 1), 1) if rng.random() > 0.05 else None for _ in range(120)]
    found = ranking(tmp_path, margins)
    rows = [row for row in read_pairs(tmp_path / "pairs.jsonl") if isinstance(row, Pair)]
    for gone in (0, 1, 7, 50, len(found)):
        out = {found.scored.lines[found.order[rank]] for rank in range(gone)}
        left = [(row, m) for row, m in zip(rows, margins, strict=True) if row.line not in out]
        scored = [(row, m) for row, m in left if m is not None]
        effect = found.effect(gone)
        assert (effect.pairs, effect.prompts) == (len(left), len({row.prompt for row, _ in left}))
        if not scored:
            assert effect.agreeing is effect.gap is effect.longer is None
            continue
        agreeing = sum(1.0 if m > TIE else 0.5 if abs(m) <= TIE else 0.0 for _, m in scored) / len(scored)
        # Scores from 1 to 5: a scale of 4.
        gap = sum(row.chosen_score - row.rejected_score for row, _ in scored) / len(scored) / 4
        longer = sum(len(str(r.chosen).strip()) > len(str(r.rejected)) for r, _ in scored) / len(scored)
        assert effect.agreeing == pytest.approx(agreeing)
        assert effect.gap == pytest.approx(gap)
        assert effect.longer == pytest.approx(longer, abs=0.02)


def test_the_histogram_holds_every_pair_and_shows_where_the_cut_falls(tmp_path: Path) -> None:
    found = ranking(tmp_path)
    bins = found.histogram(3)
    assert [count for _, _, count in bins] == [3, 3, 2]
    assert (bins[0][0], bins[-1][1]) == pytest.approx((-1.0, 2.0))
    assert [found.gone_in(low, high, 4) for low, high, _ in bins] == [3, 1, 0]
    assert sum(c for _, _, c in ranking(tmp_path, [1.0, 1.0]).histogram(5)) == 2


def test_a_file_as_far_as_it_is_scored(tmp_path: Path) -> None:
    path, cache = made(tmp_path, [1.0, None, 0.5])
    with path.open("a") as file:
        file.write('{"prompt": "new", "chosen": "a", "rejected": "b"}\nnot json\x1b[2J\n')
    found = read_scored(path, cache)
    assert (found.pairs, found.missing, found.unread, found.bad) == (4, 1, 1, 1)
    assert found.named[0] == "pairs.jsonl:2: too odd"
    assert found.named[1].startswith("pairs.jsonl:5: not JSON")
    assert list(found.lines) == [1, 3]
    assert list(found.places) == [0, 2]


def test_scores_of_two_kinds_have_no_scale(tmp_path: Path) -> None:
    scored = ScoredFile(tmp_path, None)
    scored.score_fields, scored.ends = {"a/b", "c/d"}, (0.0, 1.0)
    assert scored.scale is None
    scored.score_fields = {"a/b"}
    assert scored.scale == 1.0


def test_what_is_written_is_byte_for_byte_and_says_how(tmp_path: Path) -> None:
    rows = [
        b'{"prompt":"p", "chosen":"good one",   "rejected":"bad"}',
        b'{"rejected": "\\u00e9", "chosen": "x", "prompt": "p", "more": [1, 2]}',
        b"no pair",
        b'{"prompt": "q", "chosen": "yes", "rejected": "no"}',
    ]
    path, cache = made(tmp_path, [1.0, -1.0, 0.1], text=b"\n".join([*rows, b""]).decode())
    found = Ranking(read_scored(path, cache))
    out = tmp_path / "new" / "out.jsonl"
    done = write_filtered(found, 1, out, {"rule": "keep_agreeing"})
    assert out.read_bytes() == rows[0] + b"\n" + rows[3] + b"\n"
    assert (done.read, done.written, done.gone, done.bad) == (4, 2, 1, 1)
    manifest = read_manifest(out)
    assert manifest is not None
    assert (manifest.command, manifest.parameters, manifest.sha256) == (
        "data filter", {"rule": "keep_agreeing"}, done.sha256,
    )  # fmt: skip
    assert manifest.counts == {"pairs": 2, "low quality": 1, "no pairs": 1}
    assert [parent for parent, _ in manifest.parents] == ["../pairs.jsonl"]
    assert out.stat().st_mode & 0o077 == 0


def test_what_is_refused(tmp_path: Path) -> None:
    found = ranking(tmp_path)
    path = tmp_path / "pairs.jsonl"
    before = path.read_bytes()
    (tmp_path / "there.jsonl").write_text("mine\n")
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "nowhere")
    for out, why in (
        (path, "is the file that is read"),
        (tmp_path / "there.jsonl", "stands there already"),
        (tmp_path / "link.jsonl", "stands there already"),
        (tmp_path / "out.parquet", "JSONL is written"),
    ):
        with pytest.raises(UserError, match=why):
            write_filtered(found, 1, out, {})
    with pytest.raises(UserError, match=r"all 8 pairs of .* would go"):
        write_filtered(found, 8, tmp_path / "out.jsonl", {})
    assert (path.read_bytes(), (tmp_path / "there.jsonl").read_text()) == (before, "mine\n")
    path.write_bytes(before + before)
    with pytest.raises(UserError, match="changed since it was scored"):
        write_filtered(found, 1, tmp_path / "out.jsonl", {})
    assert not (tmp_path / "out.jsonl").exists()


def test_the_worst_come_first(tmp_path: Path) -> None:
    found = ranking(tmp_path)
    assert [(one.line, one.margin) for one in examples(found, 0, 3)] == [(2, -1.0), (5, -1.0), (8, pytest.approx(-0.2))]
    assert [one.line for one in examples(found, 7, 5)] == [3]
    assert [row[:2] for row in found.findings(2)] == [(1, "margin -1.000"), (4, "margin -1.000")]


def test_every_suggestion_can_be_looked_at(tmp_path: Path) -> None:
    found = ranking(tmp_path)
    for rule in suggestions(found):
        assert math.isfinite(found.goes(rule))
        assert rule.option.startswith("--")
        assert rule.words
