"""The keys of generate_config.yaml: several responses to each prompt, from which preference pairs are made."""

from __future__ import annotations

from pydantic import Field

from core.config.models import Compute
from core.config.section import MANY, Section, Text, Whole, unit


class GenerateModel(Section):
    base_model: Text = Field(
        description="The model that answers, usually the checkpoint that SFT wrote: a folder in the workspace or a"
        " Hugging Face id."
    )
    trust_remote_code: bool = Field(
        default=False,
        description="Run Python code that comes with the model. Leave it off unless you have read that code.",
    )


class GenerateData(Section):
    prompts_file: Text = Field(description="JSONL file of prompts: {'prompt': ...} a line, text or chat messages.")
    output_file: Text = Field(description="JSONL file that is written: a prompt and its responses a line.")


class Generation(Section):
    responses_per_prompt: Whole = Field(
        default=4, description="Responses to each prompt.", ge=1, le=1024, json_schema_extra=unit("responses")
    )
    max_tokens: Whole = Field(
        default=512, description="Longest response.", ge=1, le=MANY, json_schema_extra=unit("tokens")
    )


class GenerateLogging(Section):
    output_dir: Text = Field(description="Folder of what the run keeps to go on from.")


class GenerateConfig(Section):
    """generate_config.yaml."""

    model: GenerateModel = Field(description="The model that answers.")
    data: GenerateData = Field(description="Prompts, and where their responses go.")
    generation: Generation = Field(default_factory=Generation, description="How responses are sampled.")
    compute: Compute = Field(default_factory=Compute, description="Device and precision.")
    logging: GenerateLogging = Field(description="The output folder.")

    def reads(self) -> dict[str, str]:
        return {"data.prompts_file": self.data.prompts_file, "model.base_model": self.model.base_model}
