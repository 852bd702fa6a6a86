"""TRL's DPOTrainer with a PEFT adapter; the reference is the model with its adapter off, live or precomputed."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from tests.benchmarks.peers.process import SIDE, Journal, adapted, blas_libraries, digest, gflops, main, read_ids


def run(spec: dict[str, Any]) -> dict[str, Any]:
    # Nothing is fetched, nothing is written outside the measurement's own folder.
    os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HOME": spec["work"], "TOKENIZERS_PARALLELISM": "false"}
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import DPOConfig, DPOTrainer

    gpu = spec["device"] == "gpu"
    dtype = torch.bfloat16 if gpu else torch.float32
    journal = Journal()
    model = AutoModelForCausalLM.from_pretrained(spec["model"], dtype=dtype)
    if gpu:
        model.to("cuda")
    weights = sum(value.numel() * value.element_size() for value in model.parameters())
    blocks = model.config.num_hidden_layers
    pairs = read_ids(spec)

    class OnIds(DPOTrainer):
        """Takes token ids as they are, and times what it computes ahead."""

        def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
            return dataset

        def _precompute_ref_logps(self, *arguments: Any, **options: Any) -> Any:
            started = time.time()
            found = super()._precompute_ref_logps(*arguments, **options)
            journal.fill_seconds += time.time() - started
            return found

    class Clock(TrainerCallback):
        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **_: Any) -> None:
            if "loss" in logs:
                journal.step(logs["loss"])

    arguments = DPOConfig(
        output_dir=str(Path(spec["work"]) / "trl"),
        use_cpu=not gpu,
        bf16=gpu,
        gradient_checkpointing=False,
        per_device_train_batch_size=spec["batch_size"],
        per_device_eval_batch_size=spec["batch_size"],
        num_train_epochs=spec["epochs"],
        learning_rate=spec["learning_rate"],
        beta=spec["beta"],
        weight_decay=spec["weight_decay"],
        optim="adamw_torch",
        lr_scheduler_type="constant",
        warmup_steps=0,
        max_grad_norm=0.0,
        max_length=spec["prompt_tokens"] + spec["response_tokens"],
        precompute_ref_log_probs=spec["precompute"],
        logging_steps=1,
        logging_first_step=True,
        save_strategy="no",
        eval_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
        seed=spec["seed"],
    )
    data = Dataset.from_list([{f"{name}_ids": ids for name, ids in pair.items()} for pair in pairs])
    trainer = OnIds(
        model=model,
        args=arguments,
        train_dataset=data,
        processing_class=AutoTokenizer.from_pretrained(spec["model"]),
        callbacks=[Clock()],
        peft_config=LoraConfig(
            r=spec["rank"],
            lora_alpha=spec["rank"] * spec["scale"],
            lora_dropout=0.0,
            target_modules=spec["linear_layers"],
            layers_to_transform=list(range(blocks - spec["num_layers"], blocks)),
            task_type="CAUSAL_LM",
        ),
    )
    if gpu:
        torch.cuda.reset_peak_memory_stats()
    journal.begin()
    trainer.train()
    memory = journal.memory()
    if gpu:
        memory["allocator_peak"] = torch.cuda.max_memory_allocated()
    trainable = {name: value for name, value in trainer.model.named_parameters() if value.requires_grad}
    loss = trainer.evaluate(eval_dataset=data)["eval_loss"] if spec["evaluate"] else None
    seen = trainer.train_dataset
    a, b = (torch.randn(SIDE, SIDE, device="cuda" if gpu else "cpu") for _ in range(2))

    def multiply() -> None:
        torch.mm(a, b)
        if gpu:
            torch.cuda.synchronize()

    return {
        "began": journal.began,
        "fill_seconds": journal.fill_seconds,
        "steps": journal.steps,
        "away": journal.away,
        "memory": {**memory, "weights": weights},
        "loss": loss,
        "adapted": adapted(trainable),
        "trainable": sum(value.numel() for value in trainable.values()),
        "ids": digest((row["prompt_ids"], row["chosen_ids"], row["rejected_ids"]) for row in seen),
        "blas": {
            "gflops": gflops(multiply),
            "libraries": ["MKL (in torch)"] if torch.backends.mkl.is_available() else blas_libraries(),
            "threads": torch.get_num_threads(),
        },
        "notes": [],
    }


if __name__ == "__main__":
    main(run)
