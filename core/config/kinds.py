"""Which configuration a kind of training reads."""

from __future__ import annotations

from core.config.dpo import DPOConfig
from core.config.models import SFTConfig
from core.config.reward import RewardConfig

TrainingConfig = DPOConfig | SFTConfig | RewardConfig

# By the name that commands and files give it: `<name>_config.yaml`.
CONFIGS: dict[str, type[DPOConfig] | type[SFTConfig] | type[RewardConfig]] = {
    "sft": SFTConfig,
    "reward": RewardConfig,
    "dpo": DPOConfig,
}


def kind_of(config: TrainingConfig) -> str:
    """The name in CONFIGS of a configuration."""
    return next(name for name, model in CONFIGS.items() if type(config) is model)
