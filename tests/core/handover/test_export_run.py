"""An export is whole or not there; what it holds scores as what was trained."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx_lm
import numpy as np
import pytest
from safetensors.numpy import load_file

from core.engine.client import submit
from core.engine.jobs import JOBS
from core.errors import UserError
from core.handover import export_run, mlx_folder
from core.handover.request import Wish
from core.handover.request import submit as ask
from core.models.load import LanguageModel
from core.store import Database, artifacts, facts, files, runs
from core.store.runs import Run
from core.training import dpo_run, sft_run
from core.training.control import Stopped
from core.training.score import score
from core.workspace import Workspace
from tests.core.handover import made
from tests.core.training import tiny
from tests.core.training.test_resume import execute
from tests.core.training.test_sft_run import quantize

Trained = tuple[Workspace, Database, Run]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    """A workspace with a DPO run on the last block of a tiny model."""
    space, db = tiny.workspace(tmp_path_factory.mktemp("export") / "w")
    config = tiny.dpo_config(adapter_num_layers=1, training_max_steps=6, training_learning_rate=1e-2)
    run = submit(space, db, "dpo", config)
    execute(space, db, run.id, dpo_run.run, None)
    runs.update(db, run.id, state="finished")
    yield space, db, runs.get(db, run.id)
    db.close()


def logps(folder: Path, pairs: Path, adapter: Path | None = None) -> np.ndarray:
    found = score(folder, adapter, pairs, batch_size=3)
    return np.array([[one.chosen_logp, one.rejected_logp] for one in found])


def test_every_form_of_a_run(trained: Trained) -> None:
    space, db, dpo = trained
    run = made.export(space, db, dpo.id, gguf=True, peft=True, pairs=None)
    folder = space.path(str(run.output_dir))
    assert run.output_dir == f"outputs/{dpo.id}-export"
    pairs = space.data / "pairs_val.jsonl"
    own, base = logps(space.path(str(dpo.output_dir)), pairs), logps(space.path("models/tiny"), pairs)
    assert np.abs(logps(folder, pairs) - own).max() < 1e-4
    assert np.abs(base - own).max() > 0.1, "the adapter does nothing, so the test shows nothing"
    # PEFT's own arithmetic gives the weights that were merged.
    merged, written = (
        made.merged_by_peft(space.path("models/tiny"), folder / "peft"),
        load_file(folder / "model.safetensors"),
    )
    assert merged.keys() == written.keys()
    for name in merged:
        np.testing.assert_allclose(merged[name], written[name], atol=1e-6, err_msg=name)
    # What stands beside the weights is the base's own, to the byte.
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        assert (folder / name).read_bytes() == (space.path("models/tiny") / name).read_bytes()
    assert {path.stat().st_mode & 0o777 for path in folder.rglob("*") if path.is_file()} == {0o600}
    assert {path.stat().st_mode & 0o777 for path in (folder, *folder.rglob("*")) if path.is_dir()} == {0o700}
    assert {path.name for path in folder.parent.iterdir() if path.name.startswith(".")} == set()
    # Recorded: what it read, what it wrote, what was found.
    assert run.inputs.keys() == {"outputs/dpo", "data/pairs_val.jsonl", "models/tiny"}
    kinds = {one.kind: one for one in artifacts.of_run(db, run.id)}
    assert kinds.keys() == {"model", "adapter", "gguf", "card", "checksums"}
    assert kinds["model"].sha256 == files.sha256(db, space, run.output_dir)
    found = facts.of_run(db, run.id)
    assert found["export.verified"].value == 1.0
    assert found["export.verified"].n == 10
    assert found["export.logp_difference"].value == pytest.approx(np.abs(logps(folder, pairs) - own).mean(), abs=1e-5)
    assert found["export.verified"].inputs[run.output_dir] == kinds["model"].sha256
    assert found["export.preference_accuracy"].value == pytest.approx(
        100 * ((own - base)[:, 0] > (own - base)[:, 1]).mean()
    )
    assert (run.step, run.steps) == (8, 8)


def test_sums_and_record(trained: Trained) -> None:
    space, db, dpo = trained
    run = made.export(space, db, dpo.id, peft=True)
    folder = space.path(str(run.output_dir))
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    sums = dict(reversed(line.split("  ", 1)) for line in (folder / "SHA256SUMS").read_text().splitlines())
    assert sums.keys() == names - {"SHA256SUMS"}
    for name, digest in sums.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    # The program that people check them with.
    done = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=folder, capture_output=True, text=True)
    if sys.platform == "linux":
        assert done.returncode == 0, done.stderr
    record = json.loads((folder / "export.json").read_text())
    assert record["of"] == {
        "run": dpo.id, "folder": "outputs/dpo", "checkpoint": None, "sha256": run.inputs["outputs/dpo"],
    }  # fmt: skip
    assert record["files"].keys() == names - {"SHA256SUMS", "export.json"}
    assert {name: one["sha256"] for name, one in record["files"].items()} == {
        name: digest for name, digest in sums.items() if name != "export.json"
    }
    assert record["verified"]["model"]["worst_difference_nats_per_token"] < 1e-4
    assert record["results"]["mlx"] == {"dtype": "float32", "bits": None, "group_size": None}
    assert str(space.root) not in (folder / "export.json").read_text() + (folder / "README.md").read_text()


def test_weights_of_another_type(trained: Trained) -> None:
    space, db, dpo = trained
    folder = space.path(str(made.export(space, db, dpo.id, dtype="bfloat16", peft=True).output_dir))
    weights = mx.load(str(folder / "model.safetensors"))
    assert {value.dtype for value in weights.values()} == {mx.bfloat16}
    assert json.loads((folder / "config.json").read_text())["dtype"] == "bfloat16"
    # Rounded once, from the sum in float32; PEFT's matrices are not rounded at all.
    exact = made.merged_by_peft(space.path("models/tiny"), folder / "peft")
    name = "model.layers.1.mlp.down_proj.weight"
    np.testing.assert_allclose(np.array(weights[name].astype(mx.float32)), exact[name], rtol=2**-8, atol=1e-7)


def test_quantized(trained: Trained) -> None:
    space, db, dpo = trained
    run = made.export(space, db, dpo.id, quantize=4, group_size=32)
    folder = space.path(str(run.output_dir))
    assert json.loads((folder / "config.json").read_text())["quantization"]["bits"] == 4
    model, tokenizer = mlx_lm.load(str(folder))
    assert mlx_lm.generate(model, tokenizer, "Say red blue. ", max_tokens=3, verbose=False) is not None
    found = facts.of_run(db, run.id)
    assert found["export.verified"].value == 1.0
    # What it costs is measured: more than rounding of float32, and the KL of the two models on sampled words.
    assert found["export.logp_difference"].value > 1e-3
    assert 0 < found["export.kl_divergence"].value < 1
    card = (folder / "README.md").read_text()
    assert "4 bits a weight, 32 to a scale" in card
    assert "4-bit" in card.split("---")[1]
    assert "from transformers" not in card


def test_an_adapter_on_quantized_weights(tmp_path: Path) -> None:
    space, db = tiny.workspace(tmp_path / "w")
    quantize(space.path("models/tiny"))
    made.adapter(space, "outputs/q")
    kept = space.path(str(made.export(space, db, "outputs/q").output_dir))
    assert "quantization" in json.loads((kept / "config.json").read_text())
    plain = space.path(str(made.export(space, db, "outputs/q", dtype="float32").output_dir))
    assert "quantization" not in json.loads((plain / "config.json").read_text())
    pairs = space.data / "pairs_val.jsonl"
    # As it was trained: the adapter beside the quantized weights.
    own = logps(space.path("models/tiny"), pairs, space.path("outputs/q"))
    # Written out it is what was trained; quantized once more it is near.
    assert np.abs(logps(plain, pairs) - own).max() < 2e-3
    assert np.abs(logps(kept, pairs) - own).max() > 1e-2
    with pytest.raises(
        UserError, match="--peft: an adapter is for a model that transformers opens, and of this one its"
    ):
        ask(space, db, Wish("outputs/q", peft=True))


def test_dora_and_some_layers(trained: Trained) -> None:
    space, db, _ = trained
    made.adapter(space, "outputs/dora", type="dora", keys=["self_attn.q_proj", "mlp.down_proj"])
    folder = space.path(str(made.export(space, db, "outputs/dora", peft=True).output_dir))
    config = json.loads((folder / "peft" / "adapter_config.json").read_text())
    assert (config["use_dora"], config["r"], config["lora_alpha"], config["layers_to_transform"]) == (True, 4, 6, [1])
    assert config["target_modules"] == ["down_proj", "q_proj"]
    merged = made.merged_by_peft(space.path("models/tiny"), folder / "peft")
    for name, value in load_file(folder / "model.safetensors").items():
        np.testing.assert_allclose(merged[name], value, atol=1e-6, err_msg=name)


def test_an_sft_run_hands_over_its_model_and_its_adapter(tmp_path: Path) -> None:
    space, db = tiny.workspace(tmp_path / "w")
    run = submit(space, db, "sft", tiny.sft_config(training_max_steps=3, adapter_num_layers=1))
    execute(space, db, run.id, sft_run.run, None)
    runs.update(db, run.id, state="finished")
    folder = space.path(str(made.export(space, db, run.id, peft=True, pairs=None).output_dir))
    mine, written = load_file(space.checkpoints / "sft" / "model.safetensors"), load_file(folder / "model.safetensors")
    merged = made.merged_by_peft(space.path("models/tiny"), folder / "peft")
    assert mine.keys() == written.keys() == merged.keys()
    for name in mine:
        np.testing.assert_array_equal(mine[name], written[name])
        np.testing.assert_allclose(merged[name], written[name], atol=1e-6, err_msg=name)
    assert "examples of `data/sft_val.jsonl`" in (folder / "README.md").read_text()


def spoiled(monkeypatch: pytest.MonkeyPatch) -> None:
    real = mlx_folder.fused

    def fused(*args: Any, **options: Any) -> LanguageModel:
        loaded = real(*args, **options)
        loaded.model.model.layers[1].mlp.down_proj.weight *= 1.01
        return loaded

    monkeypatch.setattr(mlx_folder, "fused", fused)


def test_another_model_is_not_kept(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    space, db, dpo = trained
    spoiled(monkeypatch)
    run = ask(space, db, Wish(dpo.id, output="outputs/spoiled"))
    with pytest.raises(UserError, match="does not score as the one that was trained"):
        execute(space, db, run.id, export_run.run, None)
    assert not [path for path in space.outputs.iterdir() if "spoiled" in path.name]
    fact = facts.of_run(db, run.id)["export.verified"]
    assert (fact.value, fact.n) == (0.0, 10)


def test_an_earlier_export_stays_until_the_new_one_is_whole(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    space, db, dpo = trained
    first = made.export(space, db, dpo.id, output="outputs/mine")
    before = (space.outputs / "mine" / "SHA256SUMS").read_text()
    with pytest.raises(UserError, match="holds an export already: --force replaces it"):
        ask(space, db, Wish(dpo.id, output="outputs/mine"))
    with monkeypatch.context() as patch:
        spoiled(patch)
        with pytest.raises(UserError, match="does not score"):
            made.export(space, db, dpo.id, output="outputs/mine", force=True)
    assert (space.outputs / "mine" / "SHA256SUMS").read_text() == before
    second = made.export(space, db, dpo.id, output="outputs/mine", force=True, dtype="float16")
    assert first.output_dir == second.output_dir == "outputs/mine"
    assert json.loads((space.outputs / "mine" / "export.json").read_text())["run"] == second.id
    # Without a name it takes the next number.
    (space.outputs / "earlier-export").mkdir()
    (space.outputs / "earlier-export" / "mine").write_text("")
    made.adapter(space, "outputs/earlier")
    assert made.export(space, db, "outputs/earlier").output_dir == "outputs/earlier-export-2"


def test_a_stop_leaves_nothing_and_resume_does_it(trained: Trained) -> None:
    space, db, dpo = trained
    run = ask(space, db, Wish(dpo.id, output="outputs/stopped"))
    with pytest.raises(Stopped):
        execute(space, db, run.id, export_run.run, 0)
    assert not [path for path in space.outputs.iterdir() if "stopped" in path.name]
    execute(space, db, run.id, export_run.run, None)
    assert (space.outputs / "stopped" / "export.json").is_file()
    # It ended before it was recorded, and goes on: what lies there is its own.
    execute(space, db, run.id, export_run.run, None)
    assert json.loads((space.outputs / "stopped" / "export.json").read_text())["run"] == run.id


def test_the_engine_knows_the_kind() -> None:
    assert "export" in JOBS
