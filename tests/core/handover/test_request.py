"""What can be handed over, and the one line where it cannot: before anything starts."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.config.export import ExportConfig
from core.errors import UserError
from core.handover.request import Wish, plan
from core.store import Database, artifacts, files, iterations, runs
from core.store.iterations import Decided, Iteration
from core.workspace import Workspace
from tests.core.handover import made
from tests.core.training import tiny

Scene = tuple[Workspace, Database]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """A finished DPO run and an unfinished one with a checkpoint, as they leave their files."""
    space, db = tiny.workspace(tmp_path_factory.mktemp("asked") / "w")
    config = tiny.dpo_config().model_dump(mode="json")
    for state in ("finished", "failed"):
        run = runs.create(db, "dpo", config=config)
        name = f"outputs/{run.id}"
        folder = made.adapter(space, name)
        shutil.copytree(folder, folder / "checkpoint-3")
        (folder / "checkpoint-3" / "trainer_state.json").write_text("{}")
        digest = files.sha256(db, space, name)
        assert digest is not None
        artifacts.record(db, run.id, "model", name, digest, 1)
        runs.update(db, run.id, state=state, output_dir=name)
    full = runs.create(db, "sft", config=tiny.sft_config(adapter_type="full").model_dump(mode="json"))
    shutil.copytree(space.path("models/tiny"), space.checkpoints / "sft")
    runs.update(db, full.id, state="finished", output_dir="outputs/sft")
    runs.create(db, "reward", config=tiny.reward_config().model_dump(mode="json"))
    yield space, db
    db.close()


def asked(scene: Scene, what: str, **wishes: object) -> ExportConfig:
    return plan(*scene, Wish(what, **wishes))


def refused(scene: Scene, what: str, **wishes: object) -> str:
    with pytest.raises(UserError) as error:
        asked(scene, what, **wishes)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_run_and_its_rows(scene: Scene) -> None:
    found = asked(scene, "dpo-001", peft=True, quantize=4)
    assert (found.model, found.run, found.adapter) == ("outputs/dpo-001", "dpo-001", "outputs/dpo-001")
    assert (found.pairs, found.max_prompt_length, found.examples) == ("data/pairs_val.jsonl", 64, False)
    assert (found.output, found.replace, found.group_size) == ("outputs/dpo-001-export", False, 64)
    assert asked(scene, "dpo-001", checkpoint=3).output == "outputs/dpo-001-step-3-export"
    assert asked(scene, "dpo-002", checkpoint=3).model == "outputs/dpo-002/checkpoint-3"
    sft = asked(scene, "sft-001")
    assert (sft.model, sft.pairs, sft.examples) == ("checkpoints/sft", "data/sft_val.jsonl", True)
    # Pairs that are named are pairs, of whatever run.
    assert asked(scene, "sft-001", pairs="data/pairs_val.jsonl").examples is False


def test_a_folder(scene: Scene) -> None:
    space, _ = scene
    found = asked(scene, "outputs/dpo-001")
    assert (found.model, found.run) == ("outputs/dpo-001", "dpo-001")
    assert asked(scene, str(space.path("models/tiny")), pairs="data/pairs_val.jsonl").run is None
    assert asked(scene, "outputs/dpo-001/checkpoint-3", pairs="data/pairs_val.jsonl").model.endswith("checkpoint-3")


@pytest.mark.parametrize(
    ("what", "wishes", "words"),
    [
        ("dpo-009", {}, "no run 'dpo-009': did you mean"),
        ("dpo-002", {}, "dpo-002 is failed: --checkpoint STEP takes a checkpoint, and it has checkpoints at 3"),
        ("dpo-001", {"checkpoint": 4}, "--checkpoint 4: dpo-001 has checkpoints at 3: name one of them"),
        ("reward-001", {}, "reward-001 is a run of kind reward: a reward model judges answers"),
        ("outputs/dpo-001", {"checkpoint": 3}, "--checkpoint is of a run"),
        ("data", {}, "data has neither config.json nor adapter_config.json"),
        ("dpo-001", {"group_size": 32}, "--group-size is of quantized weights"),
        ("dpo-001", {"quantize": 4, "dtype": "float32"}, "dtype: float32 is for weights that are not quantized"),
        (
            "sft-001",
            {"peft": True},
            "--peft: sft-001 trained every weight (adapter.type: full), so there is no adapter",
        ),
        ("models/tiny", {"peft": True}, "--peft: which adapter made it is not known"),
        ("dpo-001", {"pairs": "data/none.jsonl"}, "data/none.jsonl is not there"),
        ("dpo-001", {"output": "data"}, "data is not empty and holds no export"),
        ("dpo-001", {"output": "data/pairs_val.jsonl"}, "data/pairs_val.jsonl is no folder"),
        ("models/tiny", {"output": "models/new"}, "which rows to score the result on is not known"),
    ],
)
def test_refusals(scene: Scene, what: str, wishes: dict[str, object], words: str) -> None:
    assert words in refused(scene, what, **wishes)


def test_what_changed_since_is_not_the_runs(scene: Scene) -> None:
    space, _ = scene
    file = space.path("outputs/dpo-001/adapter_config.json")
    before = file.read_text()
    try:
        file.write_text(before.replace("0.0", "0.1"))
        said = refused(scene, "dpo-001")
        assert "outputs/dpo-001 is not what dpo-001 wrote, it changed since" in said
        # As a folder it is what it is, and of no run.
        assert asked(scene, "outputs/dpo-001", pairs="data/pairs_val.jsonl").run is None
    finally:
        file.write_text(before)


def test_an_architecture_that_is_not_known_elsewhere(scene: Scene, tmp_path: Path) -> None:
    space, _ = scene
    shutil.copytree(space.path("models/tiny"), space.path("models/other"))
    config = json.loads((space.path("models/other") / "config.json").read_text())
    (space.path("models/other") / "config.json").write_text(json.dumps(config | {"model_type": "mamba2"}))
    folder = space.path("outputs/other")
    shutil.copytree(space.path("outputs/dpo-001"), folder)
    (folder / "adapter_config.json").write_text(json.dumps({"model": "models/other"}))
    wishes = {"pairs": "data/pairs_val.jsonl"}
    assert "not of 'mamba2'" in refused(scene, "outputs/other", gguf=True, **wishes)
    assert "whether transformers reads 'mamba2' under mlx-lm's names was not tried" in refused(
        scene, "outputs/other", peft=True, **wishes
    )
    assert asked(scene, "outputs/other", **wishes).peft is False


def test_rounds_hand_over_the_model_that_stands(scene: Scene) -> None:
    _, db = scene
    whole = runs.create(db, "iterate", config={})
    said = refused(scene, whole.id)
    assert said.startswith(f"{whole.id} has no model that stands yet: name an sft or dpo run")
    names = {"policy": "models/tiny", "reference": "models/tiny", "train_file": "data/pairs_train.jsonl"}
    for number, dpo in enumerate((None, "dpo-001", "dpo-002")):
        model = f"outputs/{dpo}" if dpo else "models/tiny"
        iterations.save(db, Iteration(whole.id, number, model=model, dpo=dpo, **names))
    # Back from the second round to the first.
    decided = iterations.decide(db, Decided(whole.id, 2, "rollback", 1, False, "worse", "ana"))
    assert "no model that stands yet" in refused(scene, whole.id)
    iterations.carried_out(db, decided)
    found = asked(scene, whole.id)
    assert (found.run, found.model, found.output) == ("dpo-001", "outputs/dpo-001", "outputs/dpo-001-export")
