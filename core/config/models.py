"""The keys of sft_config.yaml, most of which every training has: meaning, unit and bounds of each.

Keys that the workflow's own file does not have carry a default, so that file loads as it stands. `conflicts` of a
section are errors between its keys; they come as pairs of a key and a sentence.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainSerializer
from pydantic_core import PydanticCustomError

from core.config.distributed import Distributed
from core.config.environment import Environment
from core.config.optimizers import OPTIONS_IN_WORDS, OptimizerConfig, OptimizerName
from core.config.section import MANY, whole
from core.config.section import Number as Number
from core.config.section import Section as Section
from core.config.section import Text as Text
from core.config.section import Whole as Whole
from core.config.section import unit as _unit
from core.config.trackers import TrackerName, secret_in

# batch_size: auto. The engine writes the number that was used into the run's configuration before the run begins.
AUTO = 0
_MOST_PAIRS = 65536


def _batch_size(value: object) -> object:
    """A number of pairs, or `auto`."""
    if value == "auto":
        return AUTO
    number = whole(value)
    if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= _MOST_PAIRS:
        raise PydanticCustomError("batch_size", "neither a number of pairs nor auto")
    return number


BatchSize = Annotated[
    int, BeforeValidator(_batch_size), PlainSerializer(lambda size: "auto" if size == AUTO else size, return_type=Any)
]


class SFTModel(Section):
    base_model: Text = Field(
        description="The model that fine-tuning starts from: a folder in the workspace or a Hugging Face id."
    )
    checkpoint: Text = Field(
        description="Folder where the finished, fused model is written; DPO names it as reference and policy."
    )
    trust_remote_code: bool = Field(
        default=False,
        description="Run Python code that comes with the model. Leave it off unless you have read that code.",
    )

    dequantize: bool = Field(
        default=False,
        description="Write the finished model without quantization where the base model is quantized: larger, and as"
        " good as it was trained. Off, the weights are quantized again, as they were.",
    )

    def conflicts(self) -> list[tuple[str, str]]:
        if self.checkpoint.rstrip("/") == self.base_model.rstrip("/"):
            return [("checkpoint", "is the base model's own folder, which it would overwrite: name another folder")]
        return []


class Data(Section):
    train_file: Text = Field(description="JSONL file that is trained on, one object a line.")
    validation_file: Text = Field(description="JSONL file of held-out rows; never trained on.")
    max_prompt_length: Whole = Field(
        description="Longest prompt; what is over is cut from its left.",
        ge=1,
        le=MANY,
        json_schema_extra=_unit("tokens"),
    )
    max_response_length: Whole = Field(
        description="Longest response; what is over is cut from its right.",
        ge=1,
        le=MANY,
        json_schema_extra=_unit("tokens"),
    )

    apply_chat_template: bool = Field(
        default=False,
        description="Put plain-text prompts and responses into the model's chat template as a user's and an"
        " assistant's message. Off, plain text stays plain, as in TRL; chat messages always take the template.",
    )

    def files(self) -> dict[str, str]:
        return {"data.train_file": self.train_file, "data.validation_file": self.validation_file}

    def conflicts(self) -> list[tuple[str, str]]:
        if self.train_file == self.validation_file:
            return [("validation_file", "is the training file: held-out rows must be others, name another file")]
        return []


class Training(Section):
    """What SFT and DPO have in common."""

    learning_rate: Number = Field(
        description="Peak learning rate. 1e-6 is conservative; LoRA usually wants 1e-5 to 1e-4.", gt=0, le=1
    )
    batch_size: BatchSize = Field(
        description="Pairs (SFT: examples) in one forward pass. auto takes the size that was measured to be the fastest"
        " on this machine for this model, adapter and lengths, and measures first where none was.",
        json_schema_extra={"unit": "pairs", "allowed": f"a whole number from 1 to {_MOST_PAIRS}, or auto"},
    )
    batch_tokens: Whole | None = Field(
        default=None,
        description="Tokens in one forward pass, padding and both responses of a pair counted: as many pairs as fit."
        " Takes the place of batch_size.",
        ge=1,
        le=MANY,
        json_schema_extra=_unit("tokens"),
    )
    gradient_accumulation_steps: Whole = Field(
        default=1,
        description="Batches summed into one optimizer step; the effective batch is batch_size times this.",
        ge=1,
        le=65536,
        json_schema_extra=_unit("batches"),
    )
    max_steps: Whole = Field(
        description="Optimizer steps of the whole run.", ge=1, le=MANY, json_schema_extra=_unit("steps")
    )
    warmup_steps: Whole = Field(
        default=0,
        description="Steps over which the learning rate rises from 0 to its peak.",
        ge=0,
        le=MANY,
        json_schema_extra=_unit("steps"),
    )
    logging_steps: Whole = Field(
        default=10,
        description="Report training metrics every this many steps.",
        ge=1,
        le=MANY,
        json_schema_extra=_unit("steps"),
    )
    eval_steps: Whole = Field(
        default=100,
        description="Evaluate on the validation file every this many steps, and at the end.",
        ge=1,
        le=MANY,
        json_schema_extra=_unit("steps"),
    )
    save_steps: Whole = Field(
        default=100,
        description="Save a checkpoint every this many steps, and at the end.",
        ge=1,
        le=MANY,
        json_schema_extra=_unit("steps"),
    )
    seed: Whole = Field(
        default=42, description="Seed of shuffling, initialization, dropout and sampling.", ge=0, lt=2**32
    )
    eval_pairs: Whole = Field(
        default=256,
        description="Validation pairs (SFT: examples) looked at in each evaluation; 0 looks at all.",
        ge=0,
        le=MANY,
        json_schema_extra=_unit("pairs"),
    )
    early_stopping_patience: Whole = Field(
        default=0,
        description="Stop after this many evaluations without a better one; 0 never stops early.",
        ge=0,
        le=MANY,
        json_schema_extra=_unit("evaluations"),
    )
    save_total_limit: Whole = Field(
        default=3,
        description="Checkpoints kept; older ones are removed, the best one never.",
        ge=1,
        le=MANY,
        json_schema_extra=_unit("checkpoints"),
    )

    def conflicts(self) -> list[tuple[str, str]]:
        found = []
        if self.warmup_steps >= self.max_steps:
            found.append(
                (
                    "warmup_steps",
                    f"{self.warmup_steps} must be less than max_steps ({self.max_steps}),"
                    " or the learning rate never reaches its peak",
                )
            )
        if self.batch_tokens is not None and self.batch_size == AUTO:
            found.append(("batch_tokens", "takes the place of batch_size, which is auto: leave one of them out"))
        return found


class SampledTraining(Training):
    """A training that writes to a few prompts as it goes, so that one can read what it learns."""

    sample_prompts: Whole = Field(
        default=4,
        description="Validation prompts, the first different ones, that the model answers at every evaluation, and the"
        " reference once, to be read side by side. The likeliest token is taken each time; 0 asks none.",
        ge=0,
        le=64,
        json_schema_extra=_unit("prompts"),
    )
    sample_max_tokens: Whole = Field(
        default=64,
        description="Longest of these answers. An evaluation takes longer by about as many forward passes of one token"
        " for each prompt; the log says the seconds.",
        ge=1,
        le=4096,
        json_schema_extra=_unit("tokens"),
    )


class SFTTraining(SampledTraining):
    packing: bool = Field(
        default=False,
        description="Pack several examples into one row, each blind to the others, so that there is next to no padding;"
        " batch_size counts rows then. Models whose layers keep more than keys and values go without.",
    )


class Adapter(Section):
    type: Literal["lora", "dora", "full"] = Field(
        default="lora",
        description="lora trains small matrices beside frozen weights, dora also the length of each row of those"
        " weights, full every weight. lora and dora take quantized models.",
    )
    rank: Whole = Field(default=8, description="Rank of an adapter's matrices.", ge=1, le=4096)
    alpha: Number = Field(
        default=16.0, description="LoRA's α: the adapter's output is multiplied by alpha / rank.", gt=0, le=1e6
    )
    scale: Number | None = Field(
        default=None,
        description="mlx-lm's name for alpha / rank; when given it takes the place of alpha.",
        gt=0,
        le=1e6,
    )
    dropout: Number = Field(default=0.0, description="Dropout before the adapter, in training only.", ge=0, lt=1)
    num_layers: Whole = Field(
        default=16, description="Adapters stand on the last n blocks; -1 means all.", ge=-1, le=100_000
    )
    keys: list[Text] | None = Field(
        default=None,
        description="Names of the linear layers that get adapters, such as self_attn.q_proj; empty means all.",
    )

    @property
    def multiplier(self) -> float:
        """What the adapter's output is multiplied by, mlx-lm's `scale`."""
        return self.alpha / self.rank if self.scale is None else self.scale

    def conflicts(self) -> list[tuple[str, str]]:
        if self.num_layers == 0:
            return [("num_layers", "0 would train nothing: -1 (all) or a whole number ≥ 1")]
        if self.keys is not None and not self.keys:
            return [("keys", "an empty list would train nothing: leave the key out for all linear layers")]
        return []


class Optimization(Section):
    optimizer: OptimizerName = Field(default="adamw", description="Optimizer of MLX, named as in mlx-lm.")
    optimizer_config: OptimizerConfig = Field(
        default_factory=dict,
        description="Options by optimizer, as in mlx-lm, such as {adamw: {betas: [0.9, 0.95]}}; those of the optimizer"
        f" chosen are taken. {OPTIONS_IN_WORDS}.",
    )
    weight_decay: Number = Field(
        default=0.01,
        description="Decay of the weights: decoupled in adamw, adafactor and lion, part of the gradient in sgd and"
        " muon; the others have none.",
        ge=0,
        le=1,
    )
    max_grad_norm: Number = Field(
        default=1.0, description="Gradients are scaled down to this global L2 norm; 0 never scales.", ge=0, le=1e9
    )
    lr_scheduler: Literal["cosine", "linear", "constant"] = Field(
        default="cosine",
        description="How the learning rate goes on after the warmup: down to 0 by cosine or line, or level.",
    )


class Compute(Section):
    fp16: bool = Field(
        default=True,
        description="Half precision (bfloat16) for weights and activations where the machine is fast at it, which is on"
        " a GPU. dtype names a type outright.",
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto",
        description="Type of weights and activations. auto: as fp16 says, and float32 if every weight is trained; any"
        " other takes the place of fp16. Log-probs, gradients' norm and optimizer are float32 always.",
    )
    device: Literal["auto", "gpu", "mps", "cuda", "cpu"] = Field(
        default="auto", description="Where to compute; gpu, mps and cuda all mean the accelerator of this machine."
    )
    num_devices: Whole = Field(
        default=1,
        description="Devices to train on. This program uses one in each process; distributed.hosts names more.",
        ge=1,
        le=65536,
        json_schema_extra=_unit("devices"),
    )
    gradient_checkpointing: bool = Field(
        default=False, description="Compute activations again in the backward pass: less memory, more time."
    )
    environment: Environment = Field(
        default_factory=Environment, description="Variables and limits of MLX while the run is on."
    )
    distributed: Distributed = Field(
        default_factory=Distributed, description="Several machines that train together, or answer as shares."
    )


def _tracker_names(value: object) -> object:
    """One name may stand without brackets."""
    return [value] if isinstance(value, str) else value


class Logging(Section):
    wandb_project: Text | None = Field(
        default=None,
        description="Project of Weights & Biases, experiment of MLflow. A label, until trackers names one of them.",
    )
    wandb_run_name: Text | None = Field(default=None, description="Name of the run.")
    output_dir: Text = Field(description="Folder of the run's checkpoints, adapter and metrics.")
    trackers: Annotated[list[TrackerName], BeforeValidator(_tracker_names)] = Field(
        default_factory=list,
        description="Whom the run is told to while it goes on, beside runs.db: wandb, mlflow, tensorboard. Their keys"
        " come from the environment alone, such as WANDB_API_KEY.",
    )
    wandb_mode: Literal["online", "offline"] = Field(
        default="online",
        description="online sends to Weights & Biases as the run goes on; offline writes a folder under outputs/wandb,"
        " which 'wandb sync' sends when you say so.",
    )
    mlflow_tracking_uri: Text | None = Field(
        default=None,
        description="Server or database of MLflow, such as http://host:5000; without it MLFLOW_TRACKING_URI, else"
        " outputs/mlflow/mlflow.db.",
    )
    tensorboard_dir: Text | None = Field(
        default=None,
        description="Folder of TensorBoard's event files, with one for each run in it; without it outputs/tensorboard.",
    )

    def conflicts(self) -> list[tuple[str, str]]:
        keys = ("wandb_project", "wandb_run_name", "mlflow_tracking_uri", "tensorboard_dir")
        found = [(key, secret_in(getattr(self, key) or "")) for key in keys]
        if len(set(self.trackers)) < len(self.trackers):
            found.append(("trackers", "names one twice: once is enough"))
        return [(key, sentence) for key, sentence in found if sentence]


class SFTConfig(Section):
    """sft_config.yaml."""

    model: SFTModel = Field(description="The base model and where the finished one goes.")
    data: Data = Field(description="Examples and their lengths.")
    training: SFTTraining = Field(description="Steps and batches.")
    adapter: Adapter = Field(default_factory=Adapter, description="What is trained: LoRA or every weight.")
    optimization: Optimization = Field(
        default_factory=Optimization, description="Optimizer and learning-rate schedule."
    )
    compute: Compute = Field(default_factory=Compute, description="Device and precision.")
    logging: Logging = Field(description="Names and the output folder.")

    def conflicts(self) -> list[tuple[str, str]]:
        return _output_conflicts(self.logging.output_dir, self.model, ("base_model", "checkpoint"))

    def reads(self) -> dict[str, str]:
        return {**self.data.files(), "model.base_model": self.model.base_model}


def _output_conflicts(output_dir: str, model: Section, names: tuple[str, ...]) -> list[tuple[str, str]]:
    for name in names:
        if getattr(model, name).rstrip("/") == output_dir.rstrip("/"):
            return [("logging.output_dir", f"is the folder of model.{name}: name another folder")]
    return []
