"""Configurations: models of the YAML files, a reader that answers for every line, and what a machine makes of them."""

from core.config.document import Document, parse, read, standing
from core.config.dpo import DPOConfig
from core.config.evaluate import EvalConfig
from core.config.generate import GenerateConfig
from core.config.iterate import IterateConfig
from core.config.judge import JudgeConfig
from core.config.keys import Key, keys
from core.config.kinds import CONFIGS, RUN_CONFIGS, RunConfig, TrainingConfig
from core.config.load import load_config, missing_files, validate
from core.config.machine import ComputePlan, Platform, answers, plan, plan_for, this_platform
from core.config.models import SFTConfig
from core.config.reward import RewardConfig

__all__ = [
    "CONFIGS",
    "RUN_CONFIGS",
    "ComputePlan",
    "DPOConfig",
    "Document",
    "EvalConfig",
    "GenerateConfig",
    "IterateConfig",
    "JudgeConfig",
    "Key",
    "Platform",
    "RewardConfig",
    "RunConfig",
    "SFTConfig",
    "TrainingConfig",
    "answers",
    "keys",
    "load_config",
    "missing_files",
    "parse",
    "plan",
    "plan_for",
    "read",
    "standing",
    "this_platform",
    "validate",
]
