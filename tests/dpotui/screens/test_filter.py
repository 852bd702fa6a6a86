"""Filtering in the terminal: what goes is seen as the cut moves, and what is written is what was seen."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from textual.widgets import Input

from core.data.filtering import Ranking
from core.data.manifest import file_sha256, read_manifest
from core.data.pairs import read_pairs
from core.data.reward_cache import RewardCache, Rewarded, cache_path, model_hash, pair_key
from core.evaluation.reward_summary import RewardSummary, write_summary
from core.store import facts, open_store, runs
from core.workspace import Workspace
from dpotui.app import Workbench
from dpotui.screens import filter as filtering
from dpotui.screens.filter_lines import _bars, _changes
from tests.core.data.test_filtering import ranking
from tests.core.evaluation.test_reward_summary import split
from tests.dpotui import scene
from tests.dpotui.screens.conftest import Scene

PAIRS = 40


@pytest.fixture
def place(empty: Scene) -> Iterator[Workspace]:
    """40 pairs with margins -1, -0.9, ... 2.9, a model's folder, and the run that made it."""
    workspace, db = empty
    file, model = workspace.data / "train.jsonl", workspace.checkpoints / "reward"
    rows = [{"prompt": f"question {i}", "chosen": f"good {i}", "rejected": f"bad {i} \x1b[2J"} for i in range(PAIRS)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    model.mkdir()
    (model / "adapters.safetensors").write_bytes(b"weights")
    config = {
        "data": {"train_file": "data/train.jsonl", "validation_file": "data/val.jsonl"},
        "model": {"checkpoint": "checkpoints/reward"},
    }
    run = runs.create(db, "reward", config=config, steps=1)
    (workspace.outputs / "r").mkdir()
    runs.update(db, run.id, state="finished", step=1, output_dir="outputs/r", created=scene.NOW, ended=scene.NOW)
    noted = {"run": run.id, "validation_accuracy": 0.75, "validation_pairs": 100}
    (model / "training_metrics.json").write_text(json.dumps(noted))
    yield workspace


def scored(workspace: Workspace) -> None:
    model = model_hash(workspace.checkpoints / "reward", file_sha256)
    pairs = list(read_pairs(workspace.data / "train.jsonl"))
    with RewardCache(cache_path(workspace.cache, model)) as cache:
        cache.add((pair_key(pair), Rewarded((i - 10) / 10, 0.0)) for i, pair in enumerate(pairs))


def shown(app: object) -> str:
    return scene.prose(app)


def said(app: Workbench) -> str:
    """Its notices."""
    return " ".join(notice.message for notice in app._notifications)


async def test_a_cut_is_moved_and_written(place: Workspace) -> None:
    scored(place)
    async with scene.bench(place).run_test(size=(80, 24)) as pilot:
        app = await scene.settled(pilot)
        await app.open_stage(4)
        await scene.until(pilot, lambda: "F filter pairs" in shown(app))
        await pilot.press("F")
        await scene.until(pilot, lambda: "goes 2 of 40 pairs (5.0%)" in shown(app))
        assert "the 5 % with the lowest margin" in shown(app)
        assert "right on 75.0% [65.7%, 82.5%] of 100 held-out pairs" in shown(app)
        assert "model agrees 73.8% → 77.6%" in shown(app)
        assert "▲ -0.80" in shown(app)
        await pilot.press("right_square_bracket")  # 5 % more
        await scene.until(pilot, lambda: "goes 4 of 40 pairs (10.0%)" in shown(app))
        await pilot.press("left", "left", "left", "left", "left")  # a share of 0.075: 3 pairs
        await scene.until(pilot, lambda: "goes 3 of 40 pairs" in shown(app))
        await pilot.press("r")
        await scene.until(pilot, lambda: "margin below 0" in shown(app) and "goes 10 of 40" in shown(app))
        await pilot.press("right")  # past the pair at 0
        await scene.until(pilot, lambda: "goes 11 of 40" in shown(app))
        await pilot.press("left", "left")
        await scene.until(pilot, lambda: "goes 9 of 40" in shown(app))
        await pilot.press("r")
        await scene.until(pilot, lambda: "the model prefers the rejected response" in shown(app))
        assert "goes 10 of 40" in shown(app)
        await pilot.press("end")
        await scene.until(pilot, lambda: "the worst first: 10 of 10" in shown(app))
        assert "prompt question 9 chosen good 9 rejected bad 9" in shown(app)
        assert "\x1b" not in shown(app)
        await pilot.press("enter")
        await scene.until(pilot, lambda: "10 pairs go." in shown(app))
        field = app.screen.query_one(Input)
        assert field.value == "data/train_filtered.jsonl"
        field.value = "data/train.jsonl"
        await pilot.press("enter")
        await scene.until(pilot, lambda: "is the file that is read" in shown(app))
        field.value = "data/kept.jsonl"
        await pilot.press("enter")
        await scene.until(pilot, lambda: (place.data / "kept.jsonl").exists())
        await scene.until(pilot, lambda: "30 pairs written, 10 went" in said(app))
        await pilot.press("escape")
        await scene.until(pilot, lambda: not app.screen.is_modal)
    lines = (place.data / "train.jsonl").read_bytes().splitlines(keepends=True)
    assert (place.data / "kept.jsonl").read_bytes() == b"".join(lines[10:])
    manifest = read_manifest(place.data / "kept.jsonl")
    assert manifest is not None
    assert manifest.parameters["rule"] == "keep_agreeing"
    with closing(open_store(place.database)) as db:
        fact = facts.latest(db)["reward.filtered"]
    assert (fact.value, fact.n) == (10, 40)


async def test_data_shows_what_goes(place: Workspace) -> None:
    scored(place)
    async with scene.bench(place).run_test(size=(120, 40)) as pilot:
        app = await scene.settled(pilot)
        await app.open_stage(4)
        await pilot.press("F")
        await scene.until(pilot, lambda: "goes 2 of 40 pairs" in shown(app))
        await pilot.press("d")
        await scene.until(pilot, lambda: "only low margins" in shown(app) and "2 pairs" in shown(app))
        assert "question 0" in shown(app)
        assert "question 1" in shown(app)
        assert "question 2" not in shown(app)


async def test_what_is_not_scored_is_scored_by_a_child(place: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """The child here is a program that fails, and then one that scores."""
    script = place.root / "child.py"
    script.write_text("import sys\nsys.exit('dpotui: no memory\\x1b[2J left')\n")
    real = filtering.asyncio.create_subprocess_exec
    asked: list[tuple[object, ...]] = []

    async def instead(*arguments: object, **more: object) -> object:
        asked.append(arguments)
        if len(asked) == 2:
            scored(place)
            script.write_text("")
        return await real(sys.executable, str(script), **more)

    monkeypatch.setattr(filtering.asyncio, "create_subprocess_exec", instead)
    async with scene.bench(place).run_test(size=(80, 24)) as pilot:
        app = await scene.settled(pilot)
        await app.open_stage(4)
        await pilot.press("F")
        await scene.until(pilot, lambda: "40 pairs are not scored yet" in shown(app))
        await pilot.press("enter")
        await scene.until(pilot, lambda: "could not be scored: dpotui: no memory" in shown(app))
        assert "--score-only" in asked[0]
        await pilot.press("enter")
        await scene.until(pilot, lambda: "goes 2 of 40 pairs" in shown(app))


async def test_a_stage_without_a_model_says_so(empty: Scene) -> None:
    async with scene.bench(empty.workspace).run_test(size=(80, 24)) as pilot:
        app = await scene.settled(pilot)
        await app.open_stage(4)
        await pilot.press("F")
        await scene.until(pilot, lambda: "checkpoints/reward_model is not there: g trains" in said(app))
        assert not app.screen.is_modal
        await pilot.press("W")
        await scene.until(pilot, lambda: "no reward model is measured here yet" in said(app))


async def test_the_most_wrong_pairs_are_one_key_away(place: Workspace) -> None:
    (place.data / "val.jsonl").write_bytes((place.data / "train.jsonl").read_bytes())
    worst = [{"line": line, "chosen": -1.0, "rejected": 0.5} for line in (7, 30)]
    told = split(file="data/val.jsonl", worst=worst, wrong=2)
    write_summary(place.outputs / "r", RewardSummary.model_validate({"train": split(), "validation": told}))
    async with scene.bench(place).run_test(size=(120, 40)) as pilot:
        app = await scene.settled(pilot)
        await app.open_stage(4)
        await scene.until(pilot, lambda: "Reward model of reward-001" in shown(app))
        await pilot.press("W")
        await scene.until(pilot, lambda: "only wrong by reward" in shown(app))
        await scene.until(pilot, lambda: "question 29" in shown(app))
        assert "question 6" in shown(app)
        assert "question 7" not in shown(app)


def test_lines_fit_and_hold_every_pair(tmp_path: Path) -> None:
    made: Ranking = ranking(tmp_path)
    for gone in range(len(made) + 1):
        for row in (*_bars(made, gone, 60, 4), *_changes(made.effect(0), made.effect(gone), 80)):
            assert sum(len(text) for text, _ in row) <= 80
