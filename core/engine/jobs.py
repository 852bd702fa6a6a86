"""What each kind of run does. Importing this module loads MLX."""

from __future__ import annotations

from collections.abc import Callable

from core.training import dpo_run, init_check, reward_run, sft_run
from core.training.context import Context


def data_check(context: Context) -> None:
    """Measure the preference data that a DPO configuration names."""
    from core.config import DPOConfig
    from core.data.quality import check

    config = DPOConfig.model_validate(context.run.config)
    context.progress(0, 1, f"reading {config.data.train_file}")
    context.reads(config.data.train_file, config.data.validation_file)
    check(
        context.db,
        context.workspace,
        context.run.id,
        context.workspace.path(config.data.train_file),
        context.workspace.path(config.data.validation_file),
        context.log,
    )
    context.progress(1, 1, "")


JOBS: dict[str, Callable[[Context], None]] = {
    "sft": sft_run.run,
    "data_check": data_check,
    "init_check": init_check.run,
    "reward": reward_run.run,
    "dpo": dpo_run.run,
}
