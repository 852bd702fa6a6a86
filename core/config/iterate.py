"""The keys of iterate_config.yaml: rounds of fresh pairs, DPO and evaluation, and who decides what follows."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from core.config.section import MANY, Number, Section, Text, Whole, unit

# The files that a round reads, by the name that a setting for one of them begins with.
STEPS = ("dpo", "generate", "judge", "evaluate")


class Iteration(Section):
    max_iterations: Whole = Field(
        default=3,
        description="Rounds after which a rule stops; a person may go on.",
        ge=1,
        le=1000,
        json_schema_extra=unit("iterations"),
    )
    reference: Literal["previous", "first"] = Field(
        default="previous",
        description="What a round's policy is held to. previous: the policy of the round before it, from which it"
        " starts. first: always the reference of dpo_file.",
    )
    settings: list[Text] = Field(
        default_factory=list,
        description="Keys of the files below that are other in every round, such as dpo.training.beta=0.2 or"
        " evaluate.evaluation.seed=7.",
        max_length=100,
    )


class FreshPairs(Section):
    on_policy: bool = Field(
        default=False,
        description="Before each round the policy answers the prompts of generate_file, and judge_file makes pairs of"
        " its answers. Off, every round learns from the training pairs of dpo_file.",
    )
    train_on: Literal["fresh", "all"] = Field(
        default="fresh",
        description="With fresh pairs: a round learns from its own alone (fresh), or from those of dpo_file and of"
        " every round up to it (all).",
    )

    def conflicts(self) -> list[tuple[str, str]]:
        if self.train_on == "all" and not self.on_policy:
            return [("train_on", "all is for rounds with pairs of their own: set on_policy: true, or leave it out")]
        return []


class Steps(Section):
    dpo_file: Text = Field(default="configs/dpo_config.yaml", description="DPO of a round.")
    generate_file: Text = Field(
        default="configs/generate_config.yaml", description="How the policy answers prompts, where on_policy is true."
    )
    judge_file: Text = Field(
        default="configs/judge_config.yaml", description="Who makes pairs of the answers, where on_policy is true."
    )
    evaluate_file: Text | None = Field(
        default="configs/eval_config.yaml",
        description="What is measured of a round's model, beside what DPO measures itself; null measures no more.",
    )


class Score(Section):
    fact: Text = Field(
        default="eval.win_rate",
        description="The one figure by which rounds are compared: a fact of the DPO run or of the evaluation.",
    )
    goal: Literal["maximize", "minimize"] = Field(default="maximize", description="Which way is better.")

    def conflicts(self) -> list[tuple[str, str]]:
        if self.fact.partition(".")[0] not in ("dpo", "eval"):
            return [("fact", "must be one that DPO or the evaluation measures, such as eval.win_rate or dpo.validated")]
        return []


class Convergence(Section):
    patience: Whole = Field(
        default=2,
        description="It has converged when so many rounds in a row gained no more than chance could have given.",
        ge=1,
        le=MANY,
        json_schema_extra=unit("iterations"),
    )
    min_gain: Number = Field(
        default=0.0,
        description="A gain that is not worth a round, in the score's own unit, whatever its interval.",
        ge=0,
        le=1e9,
    )


class Decision(Section):
    by: Literal["person", "rule"] = Field(
        default="person",
        description="Who decides after a round whether to continue, stop or roll back. person: the run waits, and says"
        " what the rule would do. rule: it is done at once.",
    )


class IterateLogging(Section):
    output_dir: Text = Field(
        default="outputs/iterate", description="Folder of the rounds: pairs, checkpoints, evaluations."
    )
    model_dir: Text = Field(
        default="checkpoints/iterated",
        description="Folder of the model that stands: that of the round that was decided for. Later steps name it.",
    )

    def conflicts(self) -> list[tuple[str, str]]:
        if self.model_dir.rstrip("/") == self.output_dir.rstrip("/"):
            return [("model_dir", "is the folder of the rounds: name another one")]
        return []


class IterateConfig(Section):
    """iterate_config.yaml."""

    iteration: Iteration = Field(default_factory=Iteration, description="How many rounds, and from what.")
    data: FreshPairs = Field(default_factory=FreshPairs, description="Pairs of a round.")
    steps: Steps = Field(default_factory=Steps, description="The configurations of what a round does.")
    score: Score = Field(default_factory=Score, description="What rounds are compared by.")
    convergence: Convergence = Field(default_factory=Convergence, description="When more rounds bring nothing.")
    decision: Decision = Field(default_factory=Decision, description="Who decides what follows.")
    logging: IterateLogging = Field(default_factory=IterateLogging, description="Folders.")

    @property
    def files(self) -> dict[str, str]:
        """The configurations that a round reads, by their name in STEPS."""
        wanted = {"dpo": self.steps.dpo_file}
        if self.data.on_policy:
            wanted |= {"generate": self.steps.generate_file, "judge": self.steps.judge_file}
        if self.steps.evaluate_file is not None:
            wanted["evaluate"] = self.steps.evaluate_file
        return wanted

    def conflicts(self) -> list[tuple[str, str]]:
        found = []
        if self.score.fact.startswith("eval.") and self.steps.evaluate_file is None:
            found.append(("score.fact", f"{self.score.fact} needs steps.evaluate_file, which is null"))
        for place, setting in enumerate(self.iteration.settings):
            name, _, rest = setting.partition(".")
            if name not in self.files or "=" not in rest:
                every = ", ".join(f"{each}.KEY=VALUE" for each in self.files)
                found.append((f"iteration.settings.{place}", f"write it as one of {every}"))
        return found

    def reads(self) -> dict[str, str]:
        return {f"steps.{name}_file": path for name, path in self.files.items()}
