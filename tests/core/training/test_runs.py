"""Whole runs on a tiny workspace: what they learn, record, refuse and hand over."""

import json
import shutil
from pathlib import Path

import mlx.core as mx
import pytest

from core.engine import jobs
from core.engine.client import submit
from core.errors import UserError
from core.store import artifacts, commands, facts, log, metrics, runs
from core.training import dpo_run, init_check, sft_run
from core.training.control import Stopped
from tests.core.training import tiny
from tests.core.training.test_resume import digest, execute

PAIR_FILES = {"data/pairs_train.jsonl", "data/pairs_val.jsonl"}


def test_sft_learns_and_writes_a_model(tmp_path: Path) -> None:
    space, db = tiny.workspace(tmp_path / "w")
    run = submit(space, db, "sft", tiny.sft_config(training_max_steps=20, training_learning_rate=5e-3))
    execute(space, db, run.id, sft_run.run, None)
    losses = metrics.since(db, run.id, "eval_loss")
    assert losses[-1].value < losses[0].value - 0.5
    found = facts.of_run(db, run.id)
    assert found["sft.perplexity"].value == metrics.tail(db, run.id, "eval_perplexity", 1)[0].value
    assert found["sft.validation_share"].value == pytest.approx(25.0)
    assert {"checkpoints/sft", "data/sft_val.jsonl"} == set(found["sft.perplexity"].inputs)
    read = runs.get(db, run.id).inputs
    assert set(read) == {"data/sft_train.jsonl", "data/sft_val.jsonl", "models/tiny"}
    assert read["data/sft_train.jsonl"] == digest(space.data / "sft_train.jsonl")
    for path in space.checkpoints.rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path


def test_dpo_hands_over_the_best_within_the_limit(tmp_path: Path) -> None:
    space, db = tiny.workspace(tmp_path / "w")
    run = submit(space, db, "dpo", tiny.dpo_config(training_max_steps=24, constraints_kl_target=0.05))
    execute(space, db, run.id, dpo_run.run, None)
    kl = {point.step: point.value for point in metrics.since(db, run.id, "kl_divergence")}
    margin = {point.step: point.value for point in metrics.since(db, run.id, "eval_rewards/margins")}
    assert kl[0] == 0.0
    best = max((step for step in kl if step and kl[step] <= 0.05), key=lambda step: margin[step])
    folder = space.path(runs.get(db, run.id).output_dir)
    written = json.loads((folder / "training_metrics.json").read_text())
    assert written["checkpoint"] == f"checkpoint-{best}"
    assert written["within_kl_target"]
    assert digest(folder / "adapters.safetensors") == digest(folder / f"checkpoint-{best}" / "adapters.safetensors")
    found = facts.of_run(db, run.id)
    assert found["dpo.kl_divergence"].value == written["kl_divergence"]
    assert found["dpo.preference_gap"].value == margin[best] == written["eval_rewards/margins"]
    assert (found["dpo.preference_gap"].n, found["dpo.kl_divergence"].n) == (10, 4)
    assert set(found["dpo.preference_gap"].inputs) == {*PAIR_FILES, "models/tiny", "outputs/dpo"}
    assert set(runs.get(db, run.id).inputs) == {*PAIR_FILES, "models/tiny"}
    kept = {artifact.path for artifact in artifacts.of_run(db, run.id)}
    assert all(space.path(path).exists() for path in kept)


def test_without_a_checkpoint_within_the_limit_the_last_is_taken_and_said(tmp_path: Path) -> None:
    space, db = tiny.workspace(tmp_path / "w")
    config = tiny.dpo_config(training_learning_rate=0.05, constraints_kl_target=1e-9)
    run = submit(space, db, "dpo", config)
    execute(space, db, run.id, dpo_run.run, None)
    best = facts.of_run(db, run.id)["dpo.best_checkpoint"]
    assert (best.value, best.text) == (0.0, "outputs/dpo/checkpoint-12")
    assert "no checkpoint kept KL within 1e-09" in best.source


def test_bad_rows_are_left_out_and_said(tmp_path: Path) -> None:
    space, db = tiny.workspace(tmp_path / "w")
    file = space.data / "pairs_train.jsonl"
    file.write_text('{"prompt": "x", "chosen": ""}\n' + file.read_text())
    run = submit(space, db, "dpo", tiny.dpo_config(training_max_steps=3))
    execute(space, db, run.id, dpo_run.run, None)
    said = [line.text for line in log.lines(db, run.id, level="warning")]
    assert any("data/pairs_train.jsonl:1: " in text for text in said)


def test_a_file_without_a_usable_row(tmp_path: Path) -> None:
    space, db = tiny.workspace(tmp_path / "w")
    (space.data / "pairs_train.jsonl").write_text('{"prompt": "x", "chosen": ""}\n')
    run = submit(space, db, "dpo", tiny.dpo_config())
    with pytest.raises(UserError, match=r"pairs_train\.jsonl has no row to learn from"):
        execute(space, db, run.id, dpo_run.run, None)


def test_early_stop(tmp_path: Path) -> None:
    space, db = tiny.workspace(tmp_path / "w")
    config = tiny.sft_config(
        training_learning_rate=1.0, training_max_steps=200, training_eval_steps=2, training_early_stopping_patience=2
    )
    run = submit(space, db, "sft", config)
    execute(space, db, run.id, sft_run.run, None)
    assert any("early stop" in line.text for line in log.lines(db, run.id))
    assert metrics.tail(db, run.id, "eval_loss", 1)[0].step < 200


def test_init_check_passes_where_the_policy_is_the_reference(tmp_path: Path) -> None:
    space, db = tiny.workspace(tmp_path / "w")
    run = submit(space, db, "init_check", tiny.dpo_config())
    execute(space, db, run.id, init_check.run, None)
    found = facts.of_run(db, run.id)
    assert len(found) == 8
    assert found.pop("init.kl_divergence").value == 0.0
    assert {fact.value for fact in found.values()} == {1.0}


def test_init_check_names_what_differs(tmp_path: Path) -> None:
    space, db = tiny.workspace(tmp_path / "w")
    other = space.root / "models" / "other"
    shutil.copytree(space.root / "models" / "tiny", other)
    weights = mx.load(str(other / "model.safetensors"))
    weights = {name: value + 0.01 for name, value in weights.items()}
    mx.save_safetensors(str(other / "model.safetensors"), weights)
    run = submit(space, db, "init_check", tiny.dpo_config(model_policy_model="models/other"))
    with pytest.raises(UserError, match="largest difference of logits between policy and reference"):
        execute(space, db, run.id, init_check.run, None)
    found = facts.of_run(db, run.id)
    assert found["init.policy_copied"].value == 0.0
    assert found["init.kl_divergence"].value > 0.0
    assert found["init.architectures_match"].value == 1.0

    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "num_attention_heads": 1}))
    run = submit(space, db, "init_check", tiny.dpo_config(model_policy_model="models/other"))
    with pytest.raises(UserError, match="num_attention_heads"):
        execute(space, db, run.id, init_check.run, None)


def test_data_check_measures_the_files_of_the_configuration(tmp_path: Path) -> None:
    space, db = tiny.workspace(tmp_path / "w")
    run = submit(space, db, "data_check", tiny.dpo_config())
    execute(space, db, run.id, jobs.data_check.run, None)
    found = facts.of_run(db, run.id)
    assert found["data.pairs"].value == 40
    assert found["data.preference_gap"].value is None
    assert set(runs.get(db, run.id).inputs) == PAIR_FILES


def test_data_check_ends_when_it_is_asked_to(tmp_path: Path) -> None:
    space, db = tiny.workspace(tmp_path / "w")
    run = submit(space, db, "data_check", tiny.dpo_config())
    runs.update(db, run.id, state="running")
    commands.send(db, run.id, "stop", "me")
    with pytest.raises(Stopped):
        execute(space, db, run.id, jobs.data_check.run, None)
    assert facts.of_run(db, run.id) == {}
    assert [path.name for path in (space.cache / "data").glob("*")] == []
