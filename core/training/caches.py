"""What is computed once and serves every run of a workspace: where it lies, what it is named by, whether it fits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.metadata import version

import mlx.core as mx
import numpy as np

from core.config import DPOConfig
from core.data.tokenize import Tokens
from core.models.load import resolve
from core.training.context import Context
from core.training.dpo import DPO
from core.training.reference_cache import ReferenceCache
from core.training.trunk_cache import TrunkCache, room, tokens_kept
from core.workspace import private_folder

# Bytes in what the configuration calls a GB.
GB = 10**9


def reference_cache(context: Context, config: DPOConfig, dtype: mx.Dtype) -> ReferenceCache:
    """The log-probs known of the configuration's reference."""
    alpha = config.training.ld_alpha
    private_folder(context.workspace.cache)
    key = _key(context, config.model.reference_model, dtype)
    return ReferenceCache(context.workspace.cache / "reference", key, weighting=1.0 if alpha is None else alpha)


@contextmanager
def frozen_trunk(
    context: Context, config: DPOConfig, objective: DPO, pairs: Sequence[Tokens], dtype: mx.Dtype
) -> Iterator[None]:
    """Inside, what the frozen trunk gives for these pairs is kept on disk where it fits; the log says so or why not."""
    forward = objective.forward
    with ExitStack() as stack:
        stack.callback(objective.flush)
        if forward.why_not_shared and not config.compute.gradient_checkpointing:
            context.log(f"prompts are run once for each response: {forward.why_not_shared}")
        if forward.trunk:
            blocks = f"{forward.trunk} of {len(forward.head.body.blocks)} blocks are frozen"
            limit = int(config.compute.trunk_cache_gb * GB)
            key = _key(context, config.model.policy_model, dtype, f"block {forward.trunk}")
            needed = tokens_kept(pairs) * forward.width * forward.dtype.size
            folder = context.workspace.cache / "trunk"
            found = room(folder, key, needed, limit)
            if not limit:
                context.log(f"{blocks} and run at every step: compute.trunk_cache_gb is 0")
            elif not found.fits:
                why = (
                    f"{found.free / GB:.1f} GB are free"
                    if needed <= limit
                    else f"compute.trunk_cache_gb is {limit / GB:g}"
                )
                context.log(f"{blocks} and run at every step: to keep what they give takes {needed / GB:.1f} GB, {why}")
            else:
                kind = np.uint16 if forward.dtype == mx.bfloat16 else np.dtype(str(forward.dtype).split(".")[-1])
                private_folder(folder)
                objective.trunk = TrunkCache(folder, key, forward.width, kind)
                stack.callback(objective.trunk.close)
                context.log(
                    f"{blocks}: what they give is kept, {needed / GB:.2f} of at most {limit / GB:g} GB in cache/trunk"
                )
        yield


def _key(context: Context, model: str, dtype: mx.Dtype, *more: str) -> str:
    """All but the tokens that decides what a model computes."""
    (digest,) = context.inputs(str(resolve(context.workspace, model))).values()
    return " ".join([digest, str(dtype), str(mx.default_device()), version("mlx"), version("mlx-lm"), *more])
