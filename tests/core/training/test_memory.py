"""The estimate of a run's memory: held to measured peaks, to MLX's own sizes, and the verdict at its bounds."""

from __future__ import annotations

import gc
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import mlx.core as mx
import pytest
from mlx.utils import tree_flatten

from core.config import TrainingConfig, plan_for
from core.config.models import Adapter, Optimization
from core.data.lengths import of_limits
from core.generation.sampling import sample as sample_answers
from core.model_folder import read_shape
from core.models.adapters import adapter_weights, add_adapters
from core.models.gradient_checkpointing import gradient_checkpointing
from core.models.load import load
from core.store import Database
from core.training import probe
from core.training.forecast import lengths_of, model_of
from core.training.memory import OPTIMIZERS, SAFE, adapter_parameters, estimate, verdict
from core.training.optimization import make_optimizer
from core.workspace import Workspace
from tests.core.models.architectures import _COMMON, _MORE, build
from tests.core.test_model_folder import WITH_HEADS, written
from tests.core.training import tiny

SIZES: dict[str, Any] = {
    "hidden_size": 128, "intermediate_size": 320, "num_hidden_layers": 6, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 32, "vocab_size": 2048, "tie_word_embeddings": True,
}  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Workspace, Database]]:
    """Models large enough that activations are most of a step, and rows of two lengths."""
    space, db = tiny.workspace(tmp_path_factory.mktemp("memory") / "w")
    for name, kind, changes in (("dense", "llama", {}), ("experts", "mixtral", {"tie_word_embeddings": False})):
        folder = space.root / "models" / name
        shutil.copytree(space.root / "models" / "tiny", folder)
        mx.save_safetensors(
            str(folder / "model.safetensors"), dict(tree_flatten(build(kind, **{**SIZES, **changes}).parameters()))
        )
        config = {**_COMMON, **_MORE[kind], **SIZES, **changes, "model_type": kind, "eos_token_id": 0}
        (folder / "config.json").write_text(json.dumps(config))
    words = " ".join(tiny.WORDS)
    rows = [
        {"prompt": f"Say {n}: {words} ", "chosen": f"{words} {words}", "rejected": f"{words} {n}"} for n in range(12)
    ]
    (space.data / "pairs_train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    sft = [{"prompt": row["prompt"], "response": row["chosen"]} for row in rows]
    (space.data / "sft_train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in sft))
    yield space, db
    db.close()


def config_of(kind: str, model: str = "dense", **changes: Any) -> TrainingConfig:
    make = {"dpo": tiny.dpo_config, "sft": tiny.sft_config, "reward": tiny.reward_config}[kind]
    names = ("base_model", "reference_model", "policy_model") if kind == "dpo" else ("base_model",)
    models = {f"model_{name}": f"models/{model}" for name in names}
    limits = {"data_max_prompt_length": 512, "data_max_response_length": 512, "adapter_dropout": 0.0}
    return make(**{**models, **limits, **changes})  # type: ignore[no-any-return,operator]


@pytest.mark.parametrize(
    ("kind", "model", "changes"),
    [
        ("dpo", "dense", {}),
        ("dpo", "dense", {"adapter_num_layers": 2}),
        ("dpo", "dense", {"training_batch_size": 1}),
        ("dpo", "dense", {"compute_gradient_checkpointing": True}),
        ("dpo", "dense", {"adapter_type": "full"}),
        ("dpo", "experts", {}),
        ("sft", "dense", {}),
        ("sft", "dense", {"adapter_num_layers": 2, "training_batch_size": 1}),
        ("sft", "dense", {"compute_gradient_checkpointing": True}),
        ("reward", "dense", {}),
        ("reward", "dense", {"compute_gradient_checkpointing": True}),
        ("reward", "dense", {"adapter_type": "full"}),
    ],
)
def test_it_is_near_what_is_measured(
    made: tuple[Workspace, Database], kind: str, model: str, changes: dict[str, Any]
) -> None:
    space, db = made
    config = config_of(kind, model, **changes)
    if plan_for(config).device == "gpu":
        pytest.skip("fitted on a CPU")
    gc.collect()  # models of earlier tests
    there = mx.get_active_memory()
    objective = probe.objective_of(probe.Quiet(space, db, kind, config), config)
    with gradient_checkpointing(objective.model, config.compute.gradient_checkpointing):
        trial = probe.Trial(objective, config)
        longest = sorted(range(trial.rows), key=lambda i: objective.lengths[i])[-config.training.batch_size :]
        before, above = mx.get_active_memory(), 0
        for _ in range(3):  # what is freed when depends on MLX's two threads: some steps need less
            begun = mx.get_active_memory()
            mx.reset_peak_memory()
            trial._step(longest, batches=2)
            above = max(above, mx.get_peak_memory() - begun)
    shape = read_shape(space.path(model_of(config)))
    found = estimate(shape, config, lengths_of(space, config))
    held = found.part("weights") + found.part("adapter") + found.part("optimizer")
    before -= there
    assert before == pytest.approx(held, rel=0.05)
    assert 0.6 < (found.bytes - held) / above < 1.75
    assert 0.75 < found.bytes / (before + above) < 1.5


@pytest.mark.parametrize("name", get_args(Optimization.model_fields["optimizer"].annotation))
def test_an_optimizer_keeps_so_many_copies(name: str) -> None:
    weights = {"a": mx.zeros((256, 64)), "b": mx.zeros((64, 256))}
    optimizer = make_optimizer(Optimization.model_validate({"optimizer": name}))
    optimizer.init(weights)
    state = sum(value.nbytes for _, value in tree_flatten(optimizer.state) if isinstance(value, mx.array))
    copies = state / sum(value.nbytes for value in weights.values())
    assert copies == pytest.approx(OPTIMIZERS[name], abs=0.05)


@pytest.mark.parametrize("kind", ["lora", "dora"])
@pytest.mark.parametrize("name", WITH_HEADS)
def test_an_adapter_has_so_many_numbers(tmp_path: Path, name: str, kind: str) -> None:
    shape = read_shape(written(tmp_path / "m", name, build(name)))
    for settings in ({"num_layers": 1}, {"num_layers": -1, "rank": 3}, {"num_layers": -1, "keys": [KEYS[name]]}):
        adapter = Adapter.model_validate({"type": kind, **settings})
        model = build(name)
        if kind == "dora" and name in ("mixtral", "qwen3_moe"):
            continue  # mlx-lm has none for experts
        add_adapters(model, adapter)
        assert adapter_parameters(shape, adapter) == sum(value.size for value in adapter_weights(model).values())


KEYS = dict.fromkeys(WITH_HEADS, "self_attn.q_proj") | {"phi3": "self_attn.qkv_proj"}


def test_the_verdict_at_its_bounds() -> None:
    limit = 1000
    safe = int(SAFE * limit)
    assert [verdict(needed, limit) for needed in (0, safe, safe + 1, limit, limit + 1)] == [
        "SAFE", "SAFE", "TIGHT", "TIGHT", "TOO LARGE",
    ]  # fmt: skip
    assert verdict(1, 0) == "TOO LARGE"


def _bytes(shape_of: Path, **changes: Any) -> int:
    config = config_of("reward", **changes)
    return estimate(read_shape(shape_of), config, of_limits(128, 128)).bytes


def test_it_grows_and_shrinks_with_what_matters(made: tuple[Workspace, Database]) -> None:
    folder = made[0].root / "models" / "dense"
    usual = _bytes(folder)
    assert _bytes(folder, training_batch_size=8) > usual > _bytes(folder, training_batch_size=1)
    assert _bytes(folder, adapter_rank=64) > usual
    assert _bytes(folder, adapter_type="full", optimization_optimizer="adamw") > _bytes(
        folder, adapter_type="full", optimization_optimizer="adafactor"
    )
    assert _bytes(folder, compute_gradient_checkpointing=True) < usual
    longer = estimate(read_shape(folder), config_of("reward"), of_limits(256, 256)).bytes
    assert longer > usual


def test_a_reference_from_disk_takes_a_second_copy(made: tuple[Workspace, Database]) -> None:
    shape = read_shape(made[0].root / "models" / "dense")
    config = config_of("dpo", training_batch_size=1, training_sample_prompts=1)
    little = of_limits(4, 4)
    found = estimate(shape, config, little, reference_from_disk=True)
    assert found.at == "sampling at evaluations"
    assert found.part("reference") == shape.weights(4)
    assert estimate(shape, config, little).part("reference") == 0
    silent = config_of("dpo", training_batch_size=1)
    found = estimate(shape, silent, little, reference_from_disk=True)
    assert found.at == "the reference's pass"
    assert found.part("reference") == shape.weights(4)


@pytest.mark.parametrize(("kind", "tokens"), [("dpo", 20), ("sft", 120)])
def test_samples_take_their_keys_and_values(made: tuple[Workspace, Database], kind: str, tokens: int) -> None:
    space, _ = made
    config = config_of(kind, training_sample_prompts=64, training_sample_max_tokens=tokens, training_batch_size=1)
    if plan_for(config).device == "gpu":
        pytest.skip("fitted on a CPU")
    found = estimate(read_shape(space.path(model_of(config))), config, of_limits(20, 4))
    assert found.at == "sampling at evaluations"
    loaded = load(space.path(model_of(config)))
    prompts = [[7 + place] * 20 for place in range(64)]
    mx.clear_cache()
    before = mx.get_active_memory()
    mx.reset_peak_memory()
    sample_answers(loaded.model, loaded.tokenizer, prompts, max_tokens=tokens, temperature=0, seed=0)
    above = mx.get_peak_memory() - before
    assert 0.6 < (found.part("keys and values") + found.part("output head")) / above < 1.7


def test_the_parts_are_the_whole(made: tuple[Workspace, Database]) -> None:
    found = estimate(read_shape(made[0].root / "models" / "dense"), config_of("dpo"), of_limits(64, 64))
    assert found.bytes == sum(part.bytes for part in found.parts) > 0
    assert all(part.bytes > 0 for part in found.parts)


def test_it_is_made_without_mlx(made: tuple[Workspace, Database]) -> None:
    """The terminal says it, and must not load MLX for it."""
    import subprocess
    import sys

    program = (
        "import sys; sys.modules.update(dict.fromkeys(('mlx', 'mlx_lm', 'transformers', 'safetensors')))\n"
        "from pathlib import Path\n"
        "from core.config import DPOConfig\nfrom core.training.forecast import forecast\n"
        "from core.workspace import Workspace\nimport json\n"
        "config = DPOConfig.model_validate(json.loads(sys.argv[2]))\n"
        "print(forecast(Workspace(Path(sys.argv[1])), config).verdict)"
    )
    config = json.dumps(config_of("dpo").model_dump(mode="json"))
    done = subprocess.run(
        [sys.executable, "-c", program, str(made[0].root), config], capture_output=True, text=True, timeout=60
    )
    assert (done.stdout.strip(), done.stderr) == ("SAFE", "")
