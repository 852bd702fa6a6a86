"""The keys of reward_config.yaml: a reward model learns from preference pairs which of two responses is better."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from core.config.models import (
    Adapter,
    Compute,
    Data,
    Logging,
    Number,
    Optimization,
    Section,
    Text,
    Training,
    Whole,
    _output_conflicts,
)
from core.config.section import MANY


class RewardModelSection(Section):
    base_model: Text = Field(
        description="What the reward model starts from, usually the checkpoint that SFT wrote: a folder in the"
        " workspace or a Hugging Face id. A reward model goes on from its own scores."
    )
    checkpoint: Text = Field(description="Folder where the finished reward model is written.")
    trust_remote_code: bool = Field(
        default=False,
        description="Run Python code that comes with the model. Leave it off unless you have read that code.",
    )

    def conflicts(self) -> list[tuple[str, str]]:
        if self.checkpoint.rstrip("/") == self.base_model.rstrip("/"):
            return [("checkpoint", "is the base model's own folder, which it would overwrite: name another folder")]
        return []


class RewardData(Data):
    max_response_length: Whole = Field(
        description="Longest response; a pair with a longer one is left out, as in TRL: cut, it would be judged without"
        " its end.",
        ge=1,
        le=MANY,
        json_schema_extra={"unit": "tokens"},
    )


class RewardTraining(Training):
    center_rewards_coefficient: Number = Field(
        default=0.0,
        description="Weight of the mean of (r_chosen + r_rejected)² in the loss, which keeps rewards around 0; 0.01 is"
        " usual (Eisenstein et al. 2023, eq. 2), 0 leaves it out.",
        ge=0,
        le=100,
    )
    margin: Literal["field", "scores", "none"] = Field(
        default="field",
        description="By how much the chosen reward should be ahead: field takes each row's `margin` (0 where it has"
        " none), scores takes chosen_score - rejected_score, none takes 0.",
    )
    margin_scale: Number = Field(
        default=1.0, description="What margins are multiplied by; scores from 1 to 10 want less than 1.", ge=0, le=1e6
    )
    scored_pairs: Whole = Field(
        default=1000,
        description="Pairs of each file that are scored at the end, for accuracy, overfitting gap and scores.jsonl; 0"
        " scores all.",
        ge=0,
        le=MANY,
        json_schema_extra={"unit": "pairs"},
    )


class RewardConfig(Section):
    """reward_config.yaml."""

    model: RewardModelSection = Field(description="The model it starts from and where the reward model goes.")
    data: RewardData = Field(description="Preference pairs and their lengths.")
    training: RewardTraining = Field(description="Steps, batches and the loss.")
    adapter: Adapter = Field(default_factory=Adapter, description="What is trained beside the score.")
    optimization: Optimization = Field(
        default_factory=Optimization, description="Optimizer and learning-rate schedule."
    )
    compute: Compute = Field(default_factory=Compute, description="Device and precision.")
    logging: Logging = Field(description="Names and the output folder.")

    def conflicts(self) -> list[tuple[str, str]]:
        return _output_conflicts(self.logging.output_dir, self.model, ("base_model", "checkpoint"))

    def reads(self) -> dict[str, str]:
        return {**self.data.files(), "model.base_model": self.model.base_model}
