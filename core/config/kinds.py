"""Which configuration a kind of run reads."""

from __future__ import annotations

from core.config.dpo import DPOConfig
from core.config.evaluate import EvalConfig
from core.config.generate import GenerateConfig
from core.config.iterate import IterateConfig
from core.config.judge import JudgeConfig
from core.config.models import SFTConfig
from core.config.reward import RewardConfig
from core.config.sweep import SweepConfig

TrainingConfig = DPOConfig | SFTConfig | RewardConfig
RunConfig = TrainingConfig | GenerateConfig | JudgeConfig | EvalConfig | IterateConfig | SweepConfig

# By the name that commands and files give it: `<name>_config.yaml`.
CONFIGS: dict[str, type[DPOConfig] | type[SFTConfig] | type[RewardConfig]] = {
    "sft": SFTConfig,
    "reward": RewardConfig,
    "dpo": DPOConfig,
}
RUN_CONFIGS: dict[str, type[RunConfig]] = {
    **CONFIGS,
    "generate": GenerateConfig,
    "judge": JudgeConfig,
    "eval": EvalConfig,
    "iterate": IterateConfig,
}


def kind_of(config: RunConfig) -> str:
    """The name in RUN_CONFIGS of a configuration."""
    return next(name for name, model in RUN_CONFIGS.items() if type(config) is model)
