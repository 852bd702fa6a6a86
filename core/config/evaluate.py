"""The keys of eval_config.yaml: what a model can do, and whether people would rather have its answers."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from core.config.generate import Rows
from core.config.judge import Judge
from core.config.models import AUTO, Compute
from core.config.section import MANY, Number, Section, Text, Whole, unit

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,39}$")]
# Ends an answer; may be the end of a line.
Word = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Part = Literal["benchmarks", "perplexity", "samples", "preference", "win_rate", "final"]
Answer = Literal["exact", "contains", "regex", "numeric", "multiple_choice"]

# Benchmarks that lm-evaluation-harness runs by these names, and the facts `sft.NAME` and `eval.NAME` they give.
STANDARD = ("mmlu", "humaneval", "gsm8k")
# What is measured of each subject, in this order.
PARTS: dict[str, tuple[Part, ...]] = {
    "baseline": ("benchmarks", "perplexity", "samples"),
    "final": ("benchmarks", "perplexity", "samples", "preference", "win_rate", "final"),
}


class Evaluation(Section):
    """Who is measured, and what of it."""

    subject: Literal["baseline", "final"] = Field(
        default="final",
        description="baseline: the model that DPO starts from (stage 1). final: the one it handed over (stage 7).",
    )
    parts: list[Part] | None = Field(
        default=None,
        description="Only these parts; without it all that the subject has: benchmarks, perplexity, samples, and of the"
        " final model preference, win_rate, final.",
    )
    seed: Whole = Field(default=42, description="Draws items, prompts and few-shot examples.", ge=0, lt=2**32)
    batch_size: Rows = Field(
        default=AUTO,
        description="Sequences in one forward pass. auto: what suits the machine.",
        json_schema_extra={"unit": "sequences", "allowed": "a whole number from 1 to 4096, or auto"},
    )

    def conflicts(self) -> list[tuple[str, str]]:
        if self.parts is None:
            return []
        allowed = PARTS[self.subject]
        wrong = [part for part in self.parts if part not in allowed]
        if wrong:
            return [("parts", f"{', '.join(wrong)} is not measured of the {self.subject} model: {', '.join(allowed)}")]
        return [] if self.parts else [("parts", "is empty: leave it out to measure all")]


class EvaluatedModels(Section):
    final: Text = Field(
        description="What DPO handed over: an adapter folder, which is put on its model without fusing, or a model"
        " folder, or a Hugging Face id."
    )
    baseline: Text = Field(description="What it is compared with, usually the checkpoint that SFT wrote.")
    base: Text | None = Field(
        default=None, description="What the baseline was made from; its generations stand beside the others'."
    )
    reference: Text | None = Field(
        default=None,
        description="What rewards and KL of the final model are held against; without it the reference of the DPO run"
        " that wrote it.",
    )
    trust_remote_code: bool = Field(
        default=False,
        description="Run Python code that comes with a model. Leave it off unless you have read that code.",
    )


class Benchmark(Section):
    """One benchmark: a task of lm-evaluation-harness (`dataset`, `task`), or rows of a file (`file` and `answer`)."""

    dataset: Text | None = Field(
        default=None, description="Name of the data set on the Hugging Face hub; not needed where `file` is given."
    )
    subset: Text | list[Text] | None = Field(
        default=None, description="Configuration of the data set, or of MMLU the subjects; all: every one."
    )
    task: Text | None = Field(
        default=None,
        description="Task of lm-evaluation-harness, by its name there or of a YAML file in configs/benchmarks; without"
        " it the benchmark's own name.",
    )
    file: Text | None = Field(
        default=None,
        description="JSONL with the items: of a task in the form its authors published, else {'prompt', 'answer'} a"
        " line (with 'choices' for multiple_choice).",
    )
    shots_file: Text | None = Field(
        default=None, description="JSONL of the same form, from which few-shot examples are taken."
    )
    answer: Answer | None = Field(
        default=None,
        description="How an answer in `file` is held against the right one. exact: the same words. contains: it stands"
        " in it. regex: the first group of `pattern` (or its whole match) is it. numeric: the last number is it."
        " multiple_choice: the choice with the highest log-likelihood is it.",
    )
    pattern: Text | None = Field(default=None, description="Regular expression of answer: regex.")
    num_shots: Whole = Field(default=0, description="Examples before each item.", ge=0, le=100)
    metric: Literal["accuracy", "pass@1"] = Field(default="accuracy", description="What is reported.")
    baseline_threshold: Number | None = Field(
        default=None, description="Least share of items that is acceptable.", ge=0, le=1
    )
    limit: Whole | None = Field(
        default=None,
        description="Only so many items, drawn by evaluation.seed; of MMLU of each subject.",
        ge=1,
        le=MANY,
        json_schema_extra=unit("items"),
    )
    max_tokens: Whole = Field(
        default=256, description="Longest answer that is generated.", ge=1, le=65536, json_schema_extra=unit("tokens")
    )
    stop: list[Word] = Field(
        default_factory=list, description="Texts that end an answer, beside those of a task.", max_length=32
    )
    apply_chat_template: bool = Field(
        default=False, description="Ask as a user's message in the model's chat template."
    )
    run_generated_code: bool = Field(
        default=False,
        description="Run the code that the model writes, in a child process with limits; 'dpotui evaluate --sandbox'"
        " says which are enforced here. Without it HumanEval is not measured.",
    )

    def conflicts(self) -> list[tuple[str, str]]:
        found = []
        if self.answer is not None:
            if self.file is None:
                found.append(("file", f"is missing: answer: {self.answer} is for the rows of a file"))
            for name in ("dataset", "task", "subset"):
                if getattr(self, name) is not None:
                    found.append((name, f"is for tasks of lm-evaluation-harness, and answer: {self.answer} is none"))
        if (self.answer == "regex") != (self.pattern is not None):
            found.append(("pattern", "belongs to answer: regex, and answer: regex needs one"))
        if self.shots_file is not None and not self.num_shots:
            found.append(("num_shots", "is 0, so that shots_file has no use: set it, or leave shots_file out"))
        return found


class PreferenceValidation(Section):
    """The new model's answers against the baseline's, and the pairs that were held out."""

    test_set: Text = Field(description="JSONL of preference pairs that nothing was trained on; its prompts are asked.")
    metric: Literal["win_rate"] = Field(default="win_rate", description="What is reported.")
    baseline_threshold: Number = Field(default=0.5, description="The share of wins to exceed.", ge=0, le=1)
    limit: Whole | None = Field(
        default=None,
        description="Only so many prompts, drawn by evaluation.seed.",
        ge=1,
        le=MANY,
        json_schema_extra=unit("prompts"),
    )
    category_field: Text = Field(
        default="category", description="Field of the rows that says what kind of prompt it is, where there is one."
    )
    max_tokens: Whole = Field(
        default=256, description="Longest answer.", ge=1, le=65536, json_schema_extra=unit("tokens")
    )
    temperature: Number = Field(default=0.0, description="0: always the likeliest token.", ge=0, le=10)
    top_p: Number = Field(default=1.0, description="Sample among the likeliest tokens; 1 is off.", gt=0, le=1)
    max_prompt_length: Whole = Field(
        default=2048,
        description="Prompts longer than this are left out and counted, never cut.",
        ge=1,
        le=MANY,
        json_schema_extra=unit("tokens"),
    )
    apply_chat_template: bool = Field(
        default=False, description="Ask plain-text prompts as a user's message in the chat template."
    )
    judge: Judge | None = Field(
        default=None,
        description="Who compares the two answers, as a judge of judge_config.yaml; without one people do, by blind"
        " votes.",
    )


class HumanEvaluation(Section):
    sample_size: Whole = Field(
        default=100,
        description="Answers of the final model that are rated; the baseline's to the same prompts come with them.",
        ge=1,
        le=100_000,
        json_schema_extra=unit("answers"),
    )
    criteria: list[Name] = Field(
        default_factory=lambda: ["helpfulness", "harmlessness", "honesty"],
        description="What is rated.",
        min_length=1,
        max_length=9,
    )
    scale: Text = Field(default="1-10", description="Lowest and highest mark.")

    @property
    def bounds(self) -> tuple[int, int]:
        """Lowest and highest mark."""
        low, _, high = self.scale.partition("-")
        return int(low), int(high)

    def conflicts(self) -> list[tuple[str, str]]:
        found = []
        try:
            low, high = self.bounds
        except ValueError:
            low, high = 1, 0
        if not 0 <= low < high <= 10:
            found.append(("scale", "must be two whole numbers from 0 to 10, such as 1-10"))
        if len(set(self.criteria)) < len(self.criteria):
            found.append(("criteria", "names one twice"))
        return found


class AlignmentEvaluation(Section):
    preference_validation: PreferenceValidation = Field(description="Win rate, and accuracy on held-out pairs.")
    human_eval: HumanEvaluation = Field(default_factory=HumanEvaluation, description="Marks by people.")


class Most(Section):
    max: Number | None = Field(default=None, description="Most that is acceptable; without it nothing is asked.", ge=0)


class Least(Section):
    min: Number | None = Field(default=None, description="Least that is acceptable; without it nothing is asked.", ge=0)


class QualityThresholds(Section):
    kl_divergence: Most = Field(default_factory=lambda: Most(max=0.1), description="Of the final model.")
    preference_gap: Least = Field(default_factory=lambda: Least(min=0.15), description="Of the final model.")
    capability_retention: Least = Field(
        default_factory=lambda: Least(min=0.95), description="Mean over benchmarks of final / baseline, a share."
    )
    decontamination: Least = Field(default_factory=lambda: Least(min=0.9), description="Of the preference pairs.")
    perplexity: Most = Field(default_factory=Most, description="Of the baseline on the validation examples.")


class Perplexity(Section):
    validation_file: Text | None = Field(
        default=None, description="JSONL of examples (prompt and response) that nothing was trained on."
    )
    max_prompt_length: Whole = Field(default=512, description="Longer prompts lose their beginning.", ge=1, le=MANY)
    max_response_length: Whole = Field(default=1024, description="Longer responses lose their end.", ge=1, le=MANY)
    apply_chat_template: bool = Field(default=False, description="As SFT was trained.")


class Samples(Section):
    """Generations side by side."""

    prompts_file: Text | None = Field(
        default=None, description="JSONL of prompts, or of pairs or examples, whose prompts are taken."
    )
    count: Whole = Field(default=8, description="Prompts, drawn by evaluation.seed.", ge=1, le=1000)
    max_tokens: Whole = Field(
        default=128, description="Longest answer.", ge=1, le=65536, json_schema_extra=unit("tokens")
    )
    temperature: Number = Field(default=0.0, description="0: always the likeliest token.", ge=0, le=10)
    apply_chat_template: bool = Field(
        default=False, description="Ask plain-text prompts as a user's message in the chat template."
    )


class FinalGates(Section):
    """What is measured on the final checkpoint itself."""

    kl_samples: Whole = Field(
        default=64, description="Responses sampled from the policy.", ge=1, le=MANY, json_schema_extra=unit("responses")
    )
    kl_max_tokens: Whole = Field(
        default=128, description="Longest of them.", ge=1, le=65536, json_schema_extra=unit("tokens")
    )


class EvalLogging(Section):
    output_dir: Text = Field(default="outputs/evaluation", description="Folder of the results, item by item.")


class EvalConfig(Section):
    """eval_config.yaml, and EVALUATION_CONFIG of an eval_config.py."""

    evaluation: Evaluation = Field(default_factory=Evaluation, description="Who is measured, and what of it.")
    model: EvaluatedModels = Field(
        default_factory=lambda: EvaluatedModels(final="outputs/dpo-exp-001", baseline="checkpoints/sft_baseline"),
        description="The models.",
    )
    capability_benchmarks: dict[Name, Benchmark] = Field(
        default_factory=dict, description="What the model can do, by name."
    )
    alignment_evaluation: AlignmentEvaluation = Field(description="Whether its answers are preferred.")
    perplexity: Perplexity = Field(default_factory=Perplexity, description="Of examples that were held out.")
    samples: Samples = Field(default_factory=Samples, description="Generations side by side.")
    final: FinalGates = Field(default_factory=FinalGates, description="Gates of the final checkpoint.")
    quality_thresholds: QualityThresholds = Field(
        default_factory=QualityThresholds, description="What configs/gates.yaml refers to."
    )
    compute: Compute = Field(default_factory=Compute, description="Device and precision.")
    logging: EvalLogging = Field(default_factory=EvalLogging, description="The output folder.")

    @property
    def parts(self) -> tuple[Part, ...]:
        """What is measured, in order."""
        every = PARTS[self.evaluation.subject]
        wanted = self.evaluation.parts
        return every if wanted is None else tuple(part for part in every if part in wanted)

    @property
    def subject_model(self) -> str:
        """The folder or hub id of the model that is measured."""
        return self.model.final if self.evaluation.subject == "final" else self.model.baseline

    def conflicts(self) -> list[tuple[str, str]]:
        return [
            (
                f"capability_benchmarks.{name}",
                f"says neither what to run nor what to read: name a task of lm-evaluation-harness (task), or a file and"
                f" how its answers are told (answer); by name alone there are {', '.join(STANDARD)}",
            )
            for name, benchmark in self.capability_benchmarks.items()
            if name not in STANDARD and benchmark.task is None and benchmark.answer is None
        ]

    def reads(self) -> dict[str, str]:
        found = {f"model.{self.evaluation.subject}": self.subject_model}
        parts = self.parts
        if "benchmarks" in parts:
            for name, benchmark in self.capability_benchmarks.items():
                for key in ("file", "shots_file"):
                    if value := getattr(benchmark, key):
                        found[f"capability_benchmarks.{name}.{key}"] = value
        if "perplexity" in parts and self.perplexity.validation_file is not None:
            found["perplexity.validation_file"] = self.perplexity.validation_file
        if "samples" in parts and self.samples.prompts_file is not None:
            found["samples.prompts_file"] = self.samples.prompts_file
            found["model.baseline"] = self.model.baseline
            if self.model.base is not None:
                found["model.base"] = self.model.base
        preference = self.alignment_evaluation.preference_validation
        if {"preference", "win_rate", "final"} & set(parts):
            found["alignment_evaluation.preference_validation.test_set"] = preference.test_set
        if {"preference", "final"} & set(parts) and self.model.reference is not None:
            found["model.reference"] = self.model.reference
        if "win_rate" in parts:
            found["model.baseline"] = self.model.baseline
            if preference.judge is not None and preference.judge.kind != "endpoint":
                found["alignment_evaluation.preference_validation.judge.model"] = preference.judge.model
        return found
