"""`dpotui data filter` with a real, tiny reward model, as a person uses it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import core.training.reward_scores as scoring
from core.data.manifest import read_manifest
from core.data.pairs import read_pairs
from core.errors import UserError
from core.store import facts, files, open_store, runs
from core.training.reward_scores import reward_scores
from core.workspace import Workspace
from tests.core.training.test_reward_scores import with_reward_model
from tests.dpotui.test_gates_cli import Shell, outside

__all__ = ["outside"]  # fixture


@pytest.fixture
def space(tmp_path: Path) -> Workspace:
    """15 training pairs, 5 of validation, checkpoints/reward, and the run that made it."""
    made = with_reward_model(tmp_path / "w")
    db = open_store(made.database)
    config = {"data": {"train_file": "data/pairs_train.jsonl", "validation_file": "data/pairs_val.jsonl"}}
    run = runs.create(db, "reward", config=config, name="r", steps=1)
    inputs = files.fingerprints(db, made, "data/pairs_train.jsonl", "data/pairs_val.jsonl")
    runs.update(db, run.id, state="finished", inputs=inputs)
    noted = {"run": run.id, "validation_accuracy": 0.6, "validation_pairs": 5}
    (made.checkpoints / "reward" / "training_metrics.json").write_text(json.dumps(noted))
    db.close()
    return made


def margins(space: Workspace, name: str) -> dict[int, float]:
    pairs = list(read_pairs(space.data / name))
    scores = reward_scores(space.checkpoints / "reward", pairs)
    return {pair.line: s.chosen_reward - s.rejected_reward for pair, s in zip(pairs, scores, strict=True)}


def test_preview_then_write(outside: Shell, space: Workspace) -> None:
    file, model = space.data / "pairs_train.jsonl", space.checkpoints / "reward"
    common = ("data", "filter", str(file), "--reward", str(model), "-w", str(space.root))
    known = margins(space, file.name)
    wrong = sorted((line for line, margin in known.items() if margin < -1e-4), key=known.__getitem__)
    assert 0 < len(wrong) < 15

    said = outside.run(*common)
    assert "--keep-agreeing " in said
    assert "reward-001 trained its model on it" in " ".join(said.split())
    found = outside.json(*common, "--keep-agreeing")
    assert found["lines"] == wrong
    assert (found["goes"], found["written"], found["run"], found["role"]) == (len(wrong), None, None, "train")
    assert found["after"]["pairs"] == 15 - len(wrong)
    assert found["after"]["agreeing"] == 1.0
    assert found["held_out_accuracy"][0] == 0.6

    out = space.data / "kept.jsonl"
    said = outside.run(*common, "--keep-agreeing", "-o", str(out))
    assert f"the model prefers the rejected response: {len(wrong)} of 15 pairs went" in said
    lines = file.read_bytes().splitlines(keepends=True)
    assert out.read_bytes() == b"".join(line for number, line in enumerate(lines, 1) if number not in wrong)
    manifest = read_manifest(out)
    assert manifest is not None
    assert manifest.parameters["rule"] == "keep_agreeing"
    assert manifest.parameters["reward_model_sha256"] == found["reward_model_sha256"]
    assert manifest.counts["low quality"] == len(wrong)
    db = open_store(space.database)
    fact = facts.latest(db)["reward.filtered"]
    assert (fact.value, fact.unit, fact.n) == (len(wrong), "pairs", 15)
    assert fact.inputs.keys() == {"data/pairs_train.jsonl", "data/kept.jsonl", "checkpoints/reward"}
    assert files.stale_reason(db, space, fact) is None
    assert runs.get(db, fact.run).name == "filter data/pairs_train.jsonl"
    db.close()
    # Once more: it stands there.
    assert "stands there already" in outside.run(*common, "--keep-agreeing", "-o", str(out), code=2)


def test_what_was_scored_once_is_not_scored_again(
    outside: Shell, space: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, model = space.data / "pairs_train.jsonl", space.checkpoints / "reward"
    common = ("data", "filter", str(file), "--reward", str(model), "-w", str(space.root))
    real, asked = scoring.rewards_of, list[int]()

    def stopped(loaded: object, pairs: list[object], batch: int) -> object:
        asked.append(len(pairs))
        if len(asked) == 2:
            raise UserError("the power failed")
        return real(loaded, pairs, batch)

    monkeypatch.setattr(scoring, "rewards_of", stopped)
    outside.run(*common, "--score-only", "--batch-size", "2", code=2)
    assert asked == [8, 7]
    outside.run(*common, "--score-only", "--batch-size", "2")
    assert asked == [8, 7, 7]
    found = outside.json(*common, "--drop-share", "0.2")
    assert asked == [8, 7, 7]
    known = margins(space, file.name)
    assert found["lines"] == sorted(known, key=known.__getitem__)[:3]


def test_a_validation_file_is_not_filtered_in_silence(outside: Shell, space: Workspace) -> None:
    file, model = space.data / "pairs_val.jsonl", space.checkpoints / "reward"
    copy = space.data / "copy.jsonl"
    copy.write_bytes(file.read_bytes())
    for source in (file, copy):
        common = ("data", "filter", str(source), "--reward", str(model), "-w", str(space.root), "--drop-share", "0.2")
        assert "the file is held out" in outside.run(*common)
        out = space.data / f"out-{source.name}"
        said = outside.run(*common, "-o", str(out), code=2)
        assert "is held out: reward-001 measured its model on it" in said
        assert not out.exists()
    outside.run(*common, "-o", str(out), "--held-out")
    assert len(out.read_text().splitlines()) == 4


def test_bad_rows_are_named(outside: Shell, space: Workspace) -> None:
    file = space.data / "pairs_train.jsonl"
    file.write_text(file.read_text() + "nothing\x1b[2J\n")
    said = outside.run(
        "data", "filter", str(file), "--reward", str(space.checkpoints / "reward"), "-w", str(space.root)
    )
    assert "rows that are no pairs, left out: 1\n  pairs_train.jsonl:16: not JSON" in said
    assert "\x1b" not in said


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--drop-share", "0.1", "--keep-agreeing"), "one rule at a time"),
        (("--drop-share", "1"), "between 0 and 1"),
        (("--min-margin", "nan"), "a number is wanted"),
        (("-o", "x.jsonl"), "-o writes what one rule leaves"),
        (("--keep-agreeing", "-o", "pairs.jsonl"), "is the file that is read"),
        (("--score-only",), "not a workspace"),
        (("--keep-agreeing",), "is no folder"),
    ],
)
def test_wrong_use_is_one_line(outside: Shell, arguments: tuple[str, ...], why: str) -> None:
    (outside.folder / "pairs.jsonl").write_text('{"prompt": "p", "chosen": "a", "rejected": "b"}\n')
    said = outside.run("data", "filter", "pairs.jsonl", "--reward", "nowhere", *arguments, code=2)
    assert why in said
    assert "\n" not in said.strip()
