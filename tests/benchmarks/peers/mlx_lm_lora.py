"""mlx-lm-lora's DPO, through the functions that its own command calls."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from core import blas  # before mlx.core, the very way the product does it
from tests.benchmarks.peers.process import Journal, adapted, blas_libraries, digest, main, mlx_gflops, read_ids


def run(spec: dict[str, Any]) -> dict[str, Any]:
    import mlx.core as mx
    import mlx.optimizers as optim
    import numpy as np
    from mlx.utils import tree_flatten
    from mlx_lm.tuner.callbacks import TrainingCallback
    from mlx_lm_lora.trainer.dpo_trainer import DPOTrainingArgs, evaluate_dpo, train_dpo
    from mlx_lm_lora.utils import from_pretrained

    # A device is taken as found: the GPU build of MLX computes on the GPU.
    mx.set_default_device(mx.Device(mx.gpu if spec["device"] == "gpu" else mx.cpu))
    notes = []
    if "max_recommended_working_set_size" not in mx.device_info():
        # train_dpo asks for it without looking whether it is there, and cannot start on Linux.
        known = dict(mx.device_info(), max_recommended_working_set_size=0)
        mx.device_info = lambda *_: known
        notes.append("patched: train_dpo reads a key of mx.device_info() that Linux does not have")

    journal = Journal()
    np.random.seed(spec["seed"])
    mx.random.seed(spec["seed"])
    model, _, adapter_file = from_pretrained(
        model=spec["model"],
        new_adapter_path=str(Path(spec["work"]) / "adapters"),
        lora_config={
            "rank": spec["rank"], "dropout": 0.0, "scale": spec["scale"], "num_layers": spec["num_layers"],
        },
    )  # fmt: skip
    reference, _, _ = from_pretrained(model=spec["model"])
    reference.freeze()
    mx.eval(model.parameters(), reference.parameters())
    weights = sum(value.nbytes for _, value in tree_flatten(reference.parameters()))
    pairs = [
        {
            "chosen": pair["prompt"] + pair["chosen"],
            "rejected": pair["prompt"] + pair["rejected"],
            "chosen_prompt_length": len(pair["prompt"]),
            "rejected_prompt_length": len(pair["prompt"]),
        }
        for pair in read_ids(spec)
    ]

    class Clock(TrainingCallback):
        def on_train_loss_report(self, train_info: dict[str, Any]) -> None:
            journal.step(train_info["train_loss"])

    arguments = DPOTrainingArgs(
        batch_size=spec["batch_size"],
        iters=len(pairs) * spec["epochs"] // spec["batch_size"],
        steps_per_report=1,
        steps_per_eval=10**9,
        steps_per_save=10**9,
        max_seq_length=spec["prompt_tokens"] + spec["response_tokens"],
        adapter_file=str(adapter_file),
        beta=spec["beta"],
    )
    optimizer = optim.AdamW(
        learning_rate=spec["learning_rate"], weight_decay=spec["weight_decay"], bias_correction=True
    )
    mx.reset_peak_memory()
    journal.begin()
    train_dpo(model, reference, optimizer, pairs, val_dataset=None, args=arguments, training_callback=Clock())
    memory = {**journal.memory(), "allocator_peak": mx.get_peak_memory()}
    loss = None
    if spec["evaluate"]:
        loss = evaluate_dpo(
            model, reference, pairs, spec["batch_size"], -1, spec["beta"], 50.0, arguments.max_seq_length, "sigmoid"
        )[0]
    return {
        "began": journal.began,
        "fill_seconds": journal.fill_seconds,
        "steps": journal.steps,
        "away": journal.away,
        "memory": {**memory, "weights": weights},
        "loss": loss,
        "adapted": adapted(name for name, _ in tree_flatten(model.trainable_parameters())),
        "trainable": sum(value.size for _, value in tree_flatten(model.trainable_parameters())),
        "ids": digest(
            (p["chosen"][:n], p["chosen"][n:], p["rejected"][n:]) for p in pairs for n in [p["chosen_prompt_length"]]
        ),
        "blas": {"gflops": mlx_gflops(), "libraries": blas_libraries(), "preloaded": blas.OPENBLAS},
        "notes": notes,
    }


if __name__ == "__main__":
    main(run)
