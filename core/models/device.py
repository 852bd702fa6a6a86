"""The device of a run's thread."""

from __future__ import annotations

import mlx.core as mx

from core.config import ComputePlan

DTYPES = {"float32": mx.float32, "bfloat16": mx.bfloat16, "float16": mx.float16}


def use_device(planned: ComputePlan) -> mx.Dtype:
    """Set MLX's device for this thread; returns the type of the weights."""
    mx.set_default_device(mx.Device(mx.gpu if planned.device == "gpu" else mx.cpu))
    mx.reset_peak_memory()
    return DTYPES[planned.dtype]
