"""What a configuration becomes on this machine: device, precision, number of devices; and that said in sentences.

Nothing here imports MLX: the terminal asks before any run does.
"""

from __future__ import annotations

import platform as _platform
import sys
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Literal

from core.config.kinds import TrainingConfig
from core.config.models import AUTO, Compute
from core.config.optimizers import DECAYING
from core.config.trackers import install_line, installed


@dataclass(frozen=True, slots=True)
class Platform:
    """What MLX can compute on here."""

    system: Literal["macos", "linux", "other"]
    accelerator: Literal["metal", "cuda"] | None


@dataclass(frozen=True, slots=True)
class ComputePlan:
    """What the section `compute` becomes. `dtype` is that of weights and activations; log-probs are float32 always."""

    device: Literal["gpu", "cpu"]
    dtype: Literal["float32", "bfloat16", "float16"]
    gradient_checkpointing: bool


def this_platform() -> Platform:
    if sys.platform == "darwin":
        return Platform("macos", "metal" if _platform.machine() == "arm64" else None)
    if sys.platform.startswith("linux"):
        return Platform("linux", "cuda" if Path("/dev/nvidia0").exists() and _has_cuda_build() else None)
    return Platform("other", None)


def _has_cuda_build() -> bool:
    for name in ("mlx-cuda-13", "mlx-cuda-12", "mlx-cuda"):
        try:
            distribution(name)
        except PackageNotFoundError:
            continue
        return True
    return False


def plan(compute: Compute, platform: Platform | None = None) -> ComputePlan:
    """Device and number type of a run. Half precision is for the GPU: MLX's CPU is 20 times slower at it."""
    here = platform or this_platform()
    gpu = here.accelerator is not None and compute.device != "cpu"
    dtype = compute.dtype
    if dtype == "auto":
        dtype = "bfloat16" if gpu and compute.fp16 else "float32"
    return ComputePlan("gpu" if gpu else "cpu", dtype, compute.gradient_checkpointing)


def plan_for(config: TrainingConfig, platform: Platform | None = None) -> ComputePlan:
    """The same for a run: where every weight is trained and no type is named, they are float32."""
    planned = plan(config.compute, platform)
    if config.adapter.type == "full" and config.compute.dtype == "auto":
        return replace(planned, dtype="float32")
    return planned


def answers(config: TrainingConfig, platform: Platform | None = None) -> list[str]:
    """Sentences on what keys become here, each beginning with the key and its value.

    Only where what happens is not what the words of the file say.
    """
    here = platform or this_platform()
    compute, training = config.compute, config.training
    planned = plan_for(config, here)
    said = [_device(compute, here, planned)]
    said += _precision(config, planned)
    if training.batch_size == AUTO:
        said.append(
            "training.batch_size: auto: what was measured to be the fastest on this machine for this model, adapter and"
            " lengths; an optimizer step sees gradient_accumulation_steps times as many pairs"
        )
    if training.batch_tokens is not None:
        said.append(
            f"training.batch_tokens: {training.batch_tokens}: a batch takes as many pairs as fit, padding counted;"
            " batch_size has no say"
        )
    elif compute.num_devices > 1 and training.batch_size != AUTO:
        pairs = training.batch_size * training.gradient_accumulation_steps
        said.append(
            f"compute.num_devices: {compute.num_devices}: one device; an optimizer step sees"
            f" {training.batch_size} x {training.gradient_accumulation_steps} = {pairs} pairs"
            f" ({compute.num_devices} devices would see {pairs * compute.num_devices})"
        )
    if compute.gradient_checkpointing:
        said.append(
            "compute.gradient_checkpointing: true: activations of the trained blocks are computed again in the"
            " backward pass; less memory, more time"
        )
    for key in ("eval_steps", "save_steps"):
        if getattr(training, key) > training.max_steps:
            said.append(
                f"training.{key}: {getattr(training, key)}: more than max_steps ({training.max_steps}),"
                " so it happens once, at the end"
            )
    if config.adapter.type != "full" and training.learning_rate < 5e-6:
        said.append(
            f"training.learning_rate: {training.learning_rate:g}: little for LoRA, which usually wants 1e-5 to 1e-4"
        )
    optimizer = config.optimization.optimizer
    if config.optimization.weight_decay and optimizer not in DECAYING:
        said.append(
            f"optimization.weight_decay: {config.optimization.weight_decay:g}: {optimizer} has no weight decay;"
            " adamw is Adam with it"
        )
    logging = config.logging
    if logging.wandb_project is not None and "wandb" not in logging.trackers:
        said.append(
            f"logging.wandb_project: {logging.wandb_project}: kept with the run; metrics go to runs.db,"
            " nothing is sent to Weights & Biases"
        )
    for tracker in logging.trackers:
        if not installed(tracker):
            said.append(
                f"logging.trackers: {tracker}: not installed, so nothing is sent to it: {install_line(tracker)}"
            )
    return said


def _precision(config: TrainingConfig, planned: ComputePlan) -> list[str]:
    compute, full = config.compute, config.adapter.type == "full"
    exact = "; log-probabilities are summed in float32"
    if compute.dtype == "auto":
        if not compute.fp16:
            return []
        if planned.dtype == "bfloat16":
            reason = f"bfloat16, which needs no loss scaling and as little memory as float16{exact}"
        elif planned.device == "cpu":
            reason = "float32, because MLX is slow at half precision on a CPU"
        else:
            reason = (
                "float32, because every weight is trained, and small updates would be lost; with compute.dtype:"
                " bfloat16 the optimizer keeps a float32 copy for them"
            )
        return [f"compute.fp16: true: {reason}"]
    said = []
    if compute.dtype != "float32":
        meant = [f"weights and activations are {compute.dtype}{exact}"]
        if compute.dtype == "float16":
            meant.append("the loss is scaled so that gradients neither vanish nor overflow")
        if full:
            meant.append("the optimizer keeps a float32 copy of the weights, for small updates")
        if planned.device == "cpu":
            meant.append("MLX is about 20 times slower at it on a CPU")
        said.append(f"compute.dtype: {compute.dtype}: {'; '.join(meant)}")
    elif compute.fp16:
        said.append("compute.fp16: true: has no say, for compute.dtype is float32")
    return said


def _device(compute: Compute, here: Platform, planned: ComputePlan) -> str:
    names = {"metal": "the GPU of this Mac (Metal)", "cuda": "the NVIDIA GPU of this machine (CUDA)"}
    where = names[here.accelerator] if planned.device == "gpu" and here.accelerator else "the CPU"
    reason = ""
    if planned.device == "cpu" and compute.device not in ("cpu", "auto"):
        reason = ", because MLX has no GPU here"
    return f"compute.device: {compute.device}: {where}{reason}"
