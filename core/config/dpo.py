"""The keys of dpo_config.yaml: losses, schedule of β, limits, and what guards them."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import BeforeValidator, Field, PlainValidator
from pydantic_core import PydanticCustomError

from core.config.models import Adapter, Compute, Data, Logging, Optimization, SampledTraining, _output_conflicts
from core.config.section import MANY, Number, Section, Text, Whole
from core.config.section import unit as _unit
from core.text import one_line

# The largest β, also of a schedule and of a guard that raises it.
LARGEST_BETA = 100.0


class DPOModel(Section):
    base_model: Text = Field(
        description="The model that fine-tuning started from: a folder in the workspace or a Hugging Face id."
    )
    reference_model: Text = Field(
        description="The frozen reference π_ref, usually the checkpoint that SFT wrote: a folder or a Hugging Face id."
    )
    policy_model: Text = Field(
        description="What the policy π_θ starts from; the same as the reference, so that their KL begins at zero."
    )
    trust_remote_code: bool = Field(
        default=False,
        description="Run Python code that comes with the model. Leave it off unless you have read that code.",
    )


LossType = Literal[
    "sigmoid", "cdpo", "robust", "hinge", "ipo", "sigmoid_norm", "exo_pair", "nca_pair", "bco_pair", "sppo_hard", "aot",
    "aot_unpaired", "apo_zero", "apo_down", "discopop", "sft",
]  # fmt: skip
_LOSSES: tuple[str, ...] = get_args(LossType)
_SMOOTHED = ("cdpo", "robust", "exo_pair", "aot", "aot_unpaired")
# The β·log Z of an f-divergence cancels only in the difference of both scores.
_ON_DIFFERENCES = ("sigmoid", "cdpo", "robust", "hinge", "ipo", "sigmoid_norm", "exo_pair", "discopop", "sft")


def _loss_type(value: object) -> object:
    """One loss, or several to be weighted together; a wrong one is named by its place."""
    if isinstance(value, str) and value in _LOSSES:
        return value
    if isinstance(value, list):
        wrong = [i for i, item in enumerate(value) if not isinstance(item, str) or item not in _LOSSES]
        twice = [i for i, item in enumerate(value) if item in value[:i] and i not in wrong]
        found = [(str(i), f"must be one of {', '.join(_LOSSES)}, not '{one_line(str(value[i]), 60)}'") for i in wrong]
        found += [(str(i), "stands twice: add up its loss_weights") for i in twice]
        if not value:
            found = [("0", "an empty list trains on nothing: name a loss, such as sigmoid")]
        if found:
            text = "; ".join(sentence for _, sentence in found)
            raise PydanticCustomError("conflict", "{text}", {"text": text, "conflicts": found})
        return value
    raise ValueError("no loss")


class DPOTraining(SampledTraining):
    beta: Number = Field(
        description="Strength of the KL penalty; higher stays closer to the reference. With ipo it is τ.",
        gt=0,
        le=LARGEST_BETA,
    )
    beta_schedule: Literal["constant", "linear", "cosine"] = Field(
        default="constant",
        description="How beta goes, by line or half a cosine, from its value at the first step to beta_end at the last;"
        " evaluations are held against beta itself, so that they can be compared.",
    )
    beta_end: Number | None = Field(
        default=None, description="Beta of the last step, where a schedule moves it.", gt=0, le=LARGEST_BETA
    )
    loss_type: Annotated[LossType | list[LossType], PlainValidator(_loss_type)] = Field(
        default="sigmoid",
        description="Loss on the pairs, named as in TRL (cdpo: conservative DPO); a list adds several up.",
    )
    loss_weights: list[Annotated[Number, Field(ge=0, le=1e6)]] | None = Field(
        default=None, description="Weight of each loss of a list; without it every loss weighs 1."
    )
    label_smoothing: Number = Field(
        default=0.0,
        description="Share of preferences taken to be wrong; acts in cdpo, robust, exo_pair, aot and aot_unpaired.",
        ge=0,
        lt=0.5,
    )
    f_divergence_type: Literal["reverse_kl", "forward_kl", "js_divergence", "alpha_divergence"] = Field(
        default="reverse_kl", description="Divergence that holds the policy near the reference; reverse_kl is DPO's."
    )
    f_alpha_divergence_coef: Number = Field(default=0.5, description="α of alpha_divergence.", ge=-100, le=100)
    discopop_tau: Number = Field(
        default=0.05, description="τ of discopop: how soon it turns from a logistic to an exponential.", gt=0, le=100
    )
    reference_free: bool = Field(
        default=False, description="Take the reference's log-probs as 0 in the loss; KL is still measured against it."
    )
    ld_alpha: Number | None = Field(
        default=None,
        description="Weight of the tokens past the length of the pair's shorter response (LD-DPO); 1 changes nothing.",
        ge=0,
        le=1,
    )
    use_weighting: bool = Field(
        default=False, description="Weigh each pair by how likely the policy would write its responses (WPO)."
    )
    kl_samples: Whole = Field(
        default=32,
        description="Responses sampled from the policy for the KL that the gate judges.",
        ge=1,
        le=MANY,
        json_schema_extra=_unit("responses"),
    )
    kl_max_tokens: Whole = Field(
        default=128,
        description="Longest response sampled for the KL.",
        ge=1,
        le=MANY,
        json_schema_extra=_unit("tokens"),
    )

    @property
    def loss_types(self) -> tuple[str, ...]:
        """The losses, also where one is named without a list."""
        return (self.loss_type,) if isinstance(self.loss_type, str) else tuple(self.loss_type)

    def conflicts(self) -> list[tuple[str, str]]:
        found = super().conflicts()
        if self.beta_schedule != "constant" and self.beta_end is None:
            found.append(("beta_end", f"{self.beta_schedule} has no end to go to: set beta_end"))
        if self.beta_schedule == "constant" and self.beta_end is not None:
            found.append(("beta_schedule", "constant never comes to beta_end: set linear or cosine"))
        return found + self._loss_conflicts()

    def _loss_conflicts(self) -> list[tuple[str, str]]:
        found = []
        types, named = self.loss_types, " and ".join(self.loss_types)
        if self.loss_weights is not None and len(self.loss_weights) != len(types):
            found.append(("loss_weights", f"there are {len(self.loss_weights)}: give one for each of {named}"))
        elif self.loss_weights is not None and not any(self.loss_weights):
            found.append(("loss_weights", "all 0 would train nothing: give one of them a weight"))
        if self.label_smoothing and not set(types) & set(_SMOOTHED):
            mend = "for conservative DPO set loss_type: cdpo" if "sigmoid" in types else f"set it to 0 with {named}"
            found.append(("label_smoothing", f"acts only in {', '.join(_SMOOTHED)}: {mend}"))
        if not self.label_smoothing and "exo_pair" in types:
            found.append(("label_smoothing", "exo_pair needs it above 0: set it, such as 1e-3"))
        if self.f_divergence_type != "reverse_kl" and not set(types) <= set(_ON_DIFFERENCES):
            other = ", ".join(name for name in types if name not in _ON_DIFFERENCES)
            found.append(("f_divergence_type", f"{self.f_divergence_type} has no meaning in {other}: set reverse_kl"))
        if self.f_alpha_divergence_coef != 0.5 and self.f_divergence_type != "alpha_divergence":
            found.append(("f_alpha_divergence_coef", "acts only with f_divergence_type: alpha_divergence"))
        if self.discopop_tau != 0.05 and "discopop" not in types:
            found.append(("discopop_tau", "acts only with loss_type: discopop"))
        if self.use_weighting and set(types) & {"aot", "aot_unpaired"}:
            found.append(("use_weighting", "weighs pairs, and aot sorts them apart: set it to false"))
        return found


class Constraints(Section):
    kl_target: Number = Field(
        description="Largest KL(π_θ ‖ π_ref) that the gates let pass.",
        gt=0,
        le=1e6,
        json_schema_extra=_unit("nats per token"),
    )
    preference_gap_target: Number = Field(
        description="Smallest preference gap that the gates let pass; scores on [0, 1].", ge=0, le=1
    )


def _off(value: object) -> object:
    """`off`, which YAML 1.1 takes for false, is what one writes for none."""
    return "none" if value is False or value == "off" else value


class KLGuard(Section):
    """What happens when the KL of an evaluation passes the limit."""

    action: Annotated[
        Literal["none", "halve_learning_rate", "raise_beta", "rollback", "stop"], BeforeValidator(_off)
    ] = Field(
        default="none",
        description="What is done: halve_learning_rate; raise_beta by beta_factor; rollback to the last checkpoint"
        " whose KL was within the limit and halve the learning rate; stop.",
    )
    kl_limit: Number | None = Field(
        default=None,
        description="Largest KL on the validation pairs; without it constraints.kl_target.",
        gt=0,
        le=1e6,
        json_schema_extra=_unit("nats per token"),
    )
    beta_factor: Number = Field(default=2.0, description="What raise_beta multiplies beta by.", gt=1, le=100)
    patience: Whole = Field(
        default=1,
        description="Evaluations in a row above the limit before something is done.",
        ge=1,
        le=MANY,
        json_schema_extra=_unit("evaluations"),
    )
    max_actions: Whole = Field(
        default=3, description="Actions taken; where one more is due the run stops instead.", ge=1, le=100
    )


class DPOCompute(Compute):
    trunk_cache_gb: Number = Field(
        default=8.0,
        description="Room on disk for what the blocks below the adapters give for each pair, so that they run once and"
        " not in every epoch; 0 keeps nothing. What would not fit is not kept.",
        ge=0,
        le=100_000,
        json_schema_extra=_unit("GB"),
    )


class DPOConfig(Section):
    """dpo_config.yaml."""

    model: DPOModel = Field(description="The models: base, reference, policy.")
    data: Data = Field(description="Preference pairs and their lengths.")
    training: DPOTraining = Field(description="Steps, batches and the loss.")
    adapter: Adapter = Field(default_factory=Adapter, description="What is trained: LoRA or every weight.")
    optimization: Optimization = Field(
        default_factory=Optimization, description="Optimizer and learning-rate schedule."
    )
    constraints: Constraints = Field(description="Targets of the quality gates.")
    kl_guard: KLGuard = Field(default_factory=KLGuard, description="What is done when KL passes the limit.")
    compute: DPOCompute = Field(default_factory=DPOCompute, description="Device and precision.")
    logging: Logging = Field(description="Names and the output folder.")

    def conflicts(self) -> list[tuple[str, str]]:
        return _output_conflicts(self.logging.output_dir, self.model, ("base_model", "reference_model", "policy_model"))

    def reads(self) -> dict[str, str]:
        models = {"reference_model": self.model.reference_model, "policy_model": self.model.policy_model}
        return {**self.data.files(), **{f"model.{key}": name for key, name in models.items()}}
