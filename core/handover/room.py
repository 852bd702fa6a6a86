"""What there is room for: float32 while scoring, the files on the disk; and whether weights are rounded."""

from __future__ import annotations

import shutil
from pathlib import Path

import mlx.core as mx

from core import hardware
from core.config import plan
from core.config.export import ExportConfig
from core.config.models import Compute
from core.errors import UserError
from core.handover.scoring import TOLERANCE
from core.model_folder import ModelShape


def rounds(shape: ModelShape, config: ExportConfig) -> bool:
    """Whether weights are written with fewer digits than their sums have."""
    if config.quantize is not None or config.dtype is not None:
        return config.dtype != "float32"
    return any(tensor.dtype != "F32" for tensor in shape.tensors)


def scoring_type(shape: ModelShape) -> tuple[mx.Dtype | None, float]:
    """The type in which a model is scored, and how far two of them may differ then: float32 where there is room."""
    limit = hardware.memory_limit(plan(Compute()).device)
    if 4 * shape.parameters < limit.bytes:
        return mx.float32, TOLERANCE["float32"]
    return None, TOLERANCE["bfloat16"]


def refuse_full_disk(part: Path, shape: ModelShape, config: ExportConfig) -> None:
    """
    Raises:
        UserError: there is no room for what is to be written.
    """
    size = {"float32": 4, "bfloat16": 2, "float16": 2}.get(str(config.dtype))
    wanted = shape.parameters * size if size else shape.weights(4)
    wanted += 2 * shape.parameters if config.gguf else 0
    free = shutil.disk_usage(part).free
    if wanted > free:
        raise UserError(
            f"{wanted / 1e9:.1f} GB are to be written and the disk has {free / 1e9:.1f}: free some, or name a folder"
            " on another disk with -o"
        )
