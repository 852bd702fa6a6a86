"""The settings of a run of kind `export`: of which model, in which forms, and where it goes."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from core.config.section import Section, Text, Whole

Bits = Literal[4, 8]
GroupSize = Literal[32, 64, 128]
Type = Literal["float32", "bfloat16", "float16"]


class ExportConfig(Section):
    """Made from the options of a command or a dialog; there is no file of it."""

    what: Text = Field(description="What was asked for: a run, or a folder.")
    model: Text = Field(description="The folder that is handed over: a model, or an adapter.")
    run: Text | None = Field(default=None, description="The run that wrote it.")
    checkpoint: Whole | None = Field(
        default=None, description="The step of the run's checkpoint that was asked for.", ge=0
    )
    adapter: Text | None = Field(default=None, description="The folder of its adapter, for the PEFT form.")
    output: Text = Field(description="The folder to write.")
    replace: bool = Field(default=False, description="Take the place of an earlier export in that folder.")
    quantize: Bits | None = Field(default=None, description="Bits of a weight; none leaves the weights as they are.")
    group_size: GroupSize = Field(default=64, description="Weights that share a scale when quantized.")
    dtype: Type | None = Field(
        default=None, description="Type of the weights; of a quantized model, it is written out without quantization."
    )
    gguf: bool = Field(default=False, description="A GGUF file for llama.cpp too, in float16.")
    peft: bool = Field(default=False, description="The adapter for transformers and PEFT too.")
    pairs: Text = Field(description="The rows that the result is scored on, before and after.")
    pairs_limit: Whole = Field(default=64, description="How many of them.", ge=1)
    examples: bool = Field(default=False, description="They are SFT examples, with one response each.")
    apply_chat_template: bool = Field(default=False, description="Plain text is put into the chat template.")
    max_prompt_length: Whole | None = Field(default=None, description="Prompts are cut to this from the left.", ge=1)
    max_response_length: Whole | None = Field(default=None, description="Responses are cut to this.", ge=1)
    trust_remote_code: bool = Field(default=False, description="Run code that lies in the model's folder.")

    def conflicts(self) -> list[tuple[str, str]]:
        if self.quantize and self.dtype == "float32":
            return [("dtype", "float32 is for weights that are not quantized: leave out one of the two")]
        return []
