"""The initialization check measures each item, and names what is wrong."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import mlx.core as mx
import pytest

from core.engine.client import submit
from core.errors import UserError
from core.store import Database, facts, log, runs
from core.training import init_check
from core.workspace import Workspace
from tests.core.training import tiny
from tests.core.training.test_resume import execute


@pytest.fixture
def checked(tmp_path: Path) -> tuple[Workspace, Database, Path]:
    """A workspace with a copy of its model in models/other."""
    space, db = tiny.workspace(tmp_path / "w")
    other = space.root / "models" / "other"
    shutil.copytree(space.root / "models" / "tiny", other)
    return space, db, other


def check(space: Workspace, db: Database, **changes: object) -> tuple[dict[str, facts.Fact], str | None]:
    """The facts that a check leaves, and the sentence with which it failed."""
    run = submit(space, db, "init_check", tiny.dpo_config(**changes))
    problem = None
    try:
        execute(space, db, run.id, init_check.run, None)
    except UserError as error:
        problem = str(error)
    return facts.of_run(db, run.id), problem


YES = {
    "init.config_valid", "init.architectures_match", "init.reference_loaded", "init.tokenizers_match",
    "init.policy_copied", "init.trainer_ready", "init.reference_frozen",
}  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"adapter_type": "full"},
        {"training_loss_type": "ipo"},
        {"training_loss_type": ["sppo_hard", "hinge"], "training_loss_weights": [0.5, 2.0]},
        {"training_loss_type": "sft"},
        {"training_reference_free": True},
        {"training_use_weighting": True, "training_ld_alpha": 0.5},
    ],
)
def test_a_good_workspace(checked: tuple[Workspace, Database, Path], changes: dict) -> None:
    space, db, _ = checked
    found, problem = check(space, db, **changes)
    assert problem is None
    assert set(found) == {*YES, "init.kl_divergence"}
    assert {name: found[name].value for name in YES} == dict.fromkeys(YES, 1.0)
    kl = found["init.kl_divergence"]
    assert (kl.value, kl.low, kl.high, kl.unit, kl.n) == (0.0, 0.0, 0.0, "nats/token", 4)
    assert set(kl.inputs) == {"models/tiny", "data/pairs_val.jsonl"}
    lines = [line.text for line in log.lines(db, "init-check-001")]
    assert sum(text.startswith("ok: ") for text in lines) == 8


def test_it_leaves_no_files(checked: tuple[Workspace, Database, Path]) -> None:
    space, db, _ = checked
    check(space, db)
    assert list(space.outputs.iterdir()) == []
    assert runs.get(db, "init-check-001").output_dir is None


def test_a_copy_elsewhere_is_as_good(checked: tuple[Workspace, Database, Path]) -> None:
    space, db, _ = checked
    found, problem = check(space, db, model_policy_model="models/other")
    assert problem is None
    assert found["init.kl_divergence"].value == 0.0


def edit(folder: Path, file: str, **changes: object) -> None:
    path = folder / file
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def swap_two_words(folder: Path) -> None:
    path = folder / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    vocabulary = tokenizer["model"]["vocab"]
    one, other = list(vocabulary)[-2:]
    vocabulary[one], vocabulary[other] = vocabulary[other], vocabulary[one]
    path.write_text(json.dumps(tokenizer))


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (swap_two_words, "vocabulary"),
        (lambda folder: edit(folder, "tokenizer_config.json", eos_token="<|user|>"), "end token"),
        (lambda folder: edit(folder, "tokenizer_config.json", chat_template="{{ messages }}"), "chat template"),
        (
            lambda folder: edit(folder, "tokenizer.json", normalizer={"type": "Lowercase"}),
            "how text is split",
        ),
    ],
)
def test_tokenizers_that_differ(checked: tuple[Workspace, Database, Path], change, word: str) -> None:
    space, db, other = checked
    change(other)
    found, problem = check(space, db, model_policy_model="models/other")
    assert problem == f"tokenizer of reference and policy differ in {word}"
    assert found["init.tokenizers_match"].value == 0.0
    # The rest was measured all the same.
    assert set(found) == {*YES, "init.kl_divergence"}
    assert found["init.policy_copied"].value == 1.0


@pytest.mark.parametrize("adapter", ["lora", "full"])
def test_a_policy_of_other_weights(checked: tuple[Workspace, Database, Path], adapter: str) -> None:
    space, db, other = checked
    weights = mx.load(str(other / "model.safetensors"))
    weights["model.embed_tokens.weight"] = weights["model.embed_tokens.weight"] * 1.2
    mx.eval(weights)
    mx.save_safetensors(str(other / "model.safetensors"), weights)
    found, problem = check(space, db, model_policy_model="models/other", adapter_type=adapter)
    assert problem.startswith("largest difference of logits between policy and reference: ")
    assert found["init.policy_copied"].value == 0.0
    kl = found["init.kl_divergence"]
    assert 0.0 <= kl.low < kl.value < kl.high
    assert kl.value > 1e-3
    # That it differs is no reason that the trainer or the reference should fail.
    assert found["init.trainer_ready"].value == found["init.reference_frozen"].value == 1.0


def test_another_architecture_ends_the_check(checked: tuple[Workspace, Database, Path]) -> None:
    space, db, other = checked
    edit(other, "config.json", num_hidden_layers=1, tie_word_embeddings=False)
    found, problem = check(space, db, model_policy_model="models/other")
    assert problem == "architecture of reference and policy differ in num_hidden_layers, tie_word_embeddings"
    assert {name: fact.value for name, fact in found.items()} == {
        "init.config_valid": 1.0,
        "init.architectures_match": 0.0,
    }


def test_a_reference_that_is_gone_when_its_turn_comes(checked: tuple[Workspace, Database, Path]) -> None:
    space, db, other = checked
    run = submit(space, db, "init_check", tiny.dpo_config(model_reference_model="models/other"))
    shutil.rmtree(other)
    with pytest.raises(UserError, match="models/other"):
        execute(space, db, run.id, init_check.run, None)
    assert facts.of_run(db, run.id) == {}


def test_an_optimizer_that_moves_nothing_is_no_trainer(
    checked: tuple[Workspace, Database, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    space, db, _ = checked

    class Still:
        learning_rate = 0.0

        def init(self, parameters: object) -> None: ...
        def update(self, model: object, grads: object) -> None: ...

    monkeypatch.setattr(init_check, "make_optimizer", lambda section: Still())
    found, problem = check(space, db)
    assert found["init.trainer_ready"].value == 0.0
    assert "one update done" in problem


def test_a_reference_that_moves_with_the_policy_is_not_frozen(
    checked: tuple[Workspace, Database, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from contextlib import nullcontext

    space, db, _ = checked
    monkeypatch.setattr("core.models.reference.AdapterOff.on", lambda self: nullcontext())
    found, problem = check(space, db)
    assert found["init.reference_frozen"].value == 0.0
    assert "answers the same to the bit" in problem
