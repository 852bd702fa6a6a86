"""Tasks of lm-evaluation-harness that a workspace defines in configs/benchmarks: data, never code."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from core.config.load import load_config
from core.config.section import Number, Section, Text, Whole
from core.errors import UserError
from core.text import printable
from core.workspace import Workspace

FOLDER = "benchmarks"  # of the configurations of a workspace

_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")

Template = Annotated[str, StringConstraints(max_length=20_000)]
# A field of the rows whose value says which task a row belongs to.
FieldName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,99}$")]


class Metric(Section):
    """Each gives an item 0 or 1; others of the harness cannot be told item by item, or load code from the hub."""

    metric: Literal["acc", "acc_norm", "acc_bytes", "exact_match"] = Field(description="What an item gets.")
    aggregation: Literal["mean"] = Field(default="mean", description="Of the items.")
    higher_is_better: Literal[True] = Field(default=True, description="A share of right items is.")
    ignore_case: bool = Field(default=False, description="Of exact_match.")
    ignore_punctuation: bool = Field(default=False, description="Of exact_match.")
    ignore_numbers: bool = Field(default=False, description="Of exact_match.")
    regexes_to_ignore: list[Template] | None = Field(
        default=None, description="Of exact_match: taken out of both before they are compared."
    )


class FilterStep(Section):
    function: Literal["regex", "take_first", "remove_whitespace", "lowercase", "uppercase"] = Field(
        description="What is done to what the model wrote."
    )
    regex_pattern: Template | None = Field(default=None, description="Of regex: its first group is the answer.")
    group_select: Whole | None = Field(default=None, description="Of regex: which match counts, -1 the last.")
    fallback: Template | None = Field(default=None, description="Of regex: the answer where nothing matches.")

    def conflicts(self) -> list[tuple[str, str]]:
        if self.function == "regex":
            if self.regex_pattern is None:
                return [("regex_pattern", "is missing: function: regex needs one")]
            try:
                re.compile(self.regex_pattern)
            except re.error as error:
                return [("regex_pattern", f"is no regular expression: {error}")]
            return []
        given = [name for name in ("regex_pattern", "group_select", "fallback") if getattr(self, name) is not None]
        return [(name, "belongs to function: regex") for name in given]


class Filter(Section):
    name: Text = Field(description="How results of this filter are called.")
    filter: list[FilterStep] = Field(description="Steps, one after the other.", min_length=1)


class Fewshot(Section):
    sampler: Literal["default", "first_n"] = Field(
        default="default", description="default: drawn anew for each item; first_n: the first, for all the same."
    )


class Generation(Section):
    until: list[Template] = Field(description="Words that end an answer.")
    do_sample: Literal[False] = Field(default=False, description="Always the likeliest token.")
    temperature: Annotated[Number, Field(ge=0, le=0)] | None = Field(default=None, description="0: nothing is drawn.")
    max_gen_toks: Whole | None = Field(
        default=None, description="Not used: max_tokens of the benchmark in eval_config.yaml is."
    )


class Metadata(Section):
    """What the harness itself has no word for."""

    version: Number | Text = Field(description="Results of different versions are not compared.")
    one_task_per: FieldName | None = Field(
        default=None, description="A field of the rows: each of its values makes a task of its own."
    )
    report: Text | None = Field(default=None, description="The filter whose result counts; without it the first.")
    check: Literal["humaneval"] | None = Field(
        default=None, description="Right is what passes the tests of HumanEval in a child process."
    )
    description: Text | None = Field(default=None, description="For people.")


class TaskDefinition(Section):
    """A file of configs/benchmarks: keys of lm-evaluation-harness that are data."""

    task: Text = Field(description="Its name; the file is called the same.")
    task_alias: Text | None = Field(default=None, description="For people.")
    dataset_path: Text | None = Field(
        default=None, description="Data set of the hub, where eval_config.yaml names no file."
    )
    dataset_name: Text | None = Field(default=None, description="Configuration of the data set.")
    output_type: Literal["multiple_choice", "generate_until"] = Field(
        description="multiple_choice: the likeliest choice is the answer. generate_until: what the model writes is."
    )
    training_split: Text | None = Field(default=None, description="Name of a split.")
    validation_split: Text | None = Field(default=None, description="Name of a split.")
    test_split: Text = Field(default="test", description="Name of the split that is asked; the rows of `file`.")
    fewshot_split: Text | None = Field(
        default=None, description="Name of the split that examples come from; the rows of `shots_file`."
    )
    fewshot_config: Fewshot = Field(default_factory=Fewshot, description="How examples are chosen.")
    num_fewshot: Whole | None = Field(
        default=None,
        description="Not used, but for 0, which allows no examples: num_shots of eval_config.yaml is.",
        ge=0,
    )
    description: Template | None = Field(default=None, description="What stands before all.")
    doc_to_text: Template = Field(description="The question, a field or a Jinja template.")
    doc_to_target: Template | Whole = Field(description="The right answer, or of multiple_choice its place.")
    doc_to_choice: Template | list[Template] | None = Field(default=None, description="The choices.")
    target_delimiter: Template | None = Field(default=None, description="Between question and answer; a space.")
    fewshot_delimiter: Template | None = Field(default=None, description="Between examples; an empty line.")
    gen_prefix: Template | None = Field(default=None, description="How every answer begins.")
    generation_kwargs: Generation | None = Field(default=None, description="Of generate_until.")
    metric_list: list[Metric] | None = Field(default=None, description="What counts; the first is reported.")
    filter_list: list[Filter] | None = Field(default=None, description="How an answer is read out of a text.")
    metadata: Metadata = Field(description="Version, and what the harness itself has no word for.")

    def conflicts(self) -> list[tuple[str, str]]:
        found = []
        choice = self.output_type == "multiple_choice"
        if choice and self.doc_to_choice is None:
            found.append(("doc_to_choice", "is missing: output_type: multiple_choice needs it"))
        if choice and self.filter_list is not None:
            found.append(("filter_list", "is for output_type: generate_until"))
        if not choice and self.generation_kwargs is None:
            found.append(("generation_kwargs", "is missing: name what ends an answer (until)"))
        if self.metadata.check is None and not self.metric_list:
            found.append(("metric_list", "is missing: name what counts, such as acc or exact_match"))
        if self.metadata.check is not None and (self.metric_list or choice):
            found.append(("metadata.check", "decides itself what is right: leave metric_list out, and generate"))
        for metric in self.metric_list or ():
            if choice == (metric.metric == "exact_match"):
                found.append(("metric_list", f"{metric.metric} is not for output_type: {self.output_type}"))
        names = [one.name for one in self.filter_list or ()]
        if self.metadata.report is not None and self.metadata.report not in names:
            found.append(("metadata.report", f"names no filter of filter_list ({', '.join(names) or 'none'})"))
        return found

    @property
    def reported(self) -> tuple[str, str]:
        """Metric and filter whose result counts."""
        metric = "pass@1" if self.metadata.check is not None else (self.metric_list or [])[0].metric
        first = self.filter_list[0].name if self.filter_list else "none"
        return metric, self.metadata.report or first

    def config(self) -> dict[str, Any]:
        """As `lm_eval.api.task.ConfigurableTask` takes it."""
        found = self.model_dump(exclude_none=True, exclude={"fewshot_config"})
        found["metadata"] = {"version": self.metadata.version}
        if self.fewshot_config.sampler != "default":
            found["fewshot_config"] = {"sampler": self.fewshot_config.sampler}
        if self.metadata.check is not None:
            found["metric_list"] = [{"metric": "bypass", "aggregation": "bypass", "higher_is_better": True}]
        return found


def path(workspace: Workspace, task: str) -> Path | None:
    """The file that defines a task, if the workspace has one."""
    if not _FILE_NAME.fullmatch(task):
        return None
    file = workspace.configs / FOLDER / f"{task}.yaml"
    return file if file.is_file() else None


def defined(workspace: Workspace, task: str) -> TaskDefinition | None:
    """A task as the workspace defines it; None where it does not.

    Raises:
        UserError: the file holds anything but data of a task: a line for each error, with file, line and key.
    """
    file = path(workspace, task)
    if file is None:
        return None
    definition = load_config(file, TaskDefinition)
    if definition.task != task:
        name = printable(str(file))
        raise UserError(f"{name}: task: is '{printable(definition.task)}': call it '{task}' as the file is called")
    return definition
