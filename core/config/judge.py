"""The keys of judge_config.yaml: responses compared or scored by a model, and preference pairs made of the verdicts."""

from __future__ import annotations

from pydantic import Field

from core.config.models import Compute
from core.config.section import Section, Text


class JudgeModel(Section):
    base_model: Text = Field(description="The model that judges: a folder in the workspace or a Hugging Face id.")
    trust_remote_code: bool = Field(
        default=False,
        description="Run Python code that comes with the model. Leave it off unless you have read that code.",
    )


class JudgeData(Section):
    input_file: Text = Field(description="JSONL file of candidates, or of preference pairs that are judged anew.")
    output_file: Text = Field(description="JSONL file of preference pairs that is written, with their scores.")


class JudgeLogging(Section):
    output_dir: Text = Field(description="Folder of the verdicts.")


class JudgeConfig(Section):
    """judge_config.yaml."""

    model: JudgeModel = Field(description="The model that judges.")
    data: JudgeData = Field(description="What is judged, and where the pairs go.")
    compute: Compute = Field(default_factory=Compute, description="Device and precision.")
    logging: JudgeLogging = Field(description="The output folder.")

    def reads(self) -> dict[str, str]:
        return {"data.input_file": self.data.input_file, "model.base_model": self.model.base_model}
