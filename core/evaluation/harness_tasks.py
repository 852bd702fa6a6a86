"""From a benchmark of eval_config.yaml to tasks of lm-evaluation-harness, and the items that are asked of them."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from datasets import Dataset
from jinja2 import TemplateSyntaxError
from lm_eval.api.group import Group
from lm_eval.api.metrics import mean
from lm_eval.api.task import ConfigurableTask, Task
from lm_eval.tasks import TaskManager

from core.config.evaluate import Benchmark
from core.data.jsonl import BadRow, read_rows
from core.errors import UserError
from core.evaluation.harness_contained import Templates
from core.evaluation.harness_definitions import TaskDefinition, path
from core.text import one_line, printable
from core.workspace import Workspace

Check = Callable[[dict[str, Any], str], bool]

# Metrics that give each item a mark from 0 to 1, the usual one first.
_MARKS = ("acc", "exact_match", "acc_norm", "acc_bytes", "pass@1")


@dataclass(frozen=True, slots=True)
class Source:
    """Rows of a local file, each with its line."""

    name: str
    rows: list[dict[str, Any]]
    lines: list[int]

    def where(self, index: int) -> str:
        return f"{self.name}:{self.lines[index]}"


@dataclass(frozen=True, slots=True)
class Prepared:
    """What is asked.

    Attributes:
        tasks: by name; `group` holds them where there are several.
        chosen: the items of each, by their place in it.
        metric, filter: whose results count.
        version: of the task.
        source: where the items come from, in words.
    """

    tasks: dict[str, Task]
    group: Group | None
    chosen: dict[str, list[int]]
    metric: str
    filter: str
    version: str
    source: str

    @property
    def count(self) -> int:
        return sum(len(places) for places in self.chosen.values())


class CheckedTask(ConfigurableTask):  # type: ignore[misc]
    """A task whose items are right where a check of our own says so.

    Attributes:
        check: from an item and what the model wrote to whether that is right.
    """

    check: Check

    def process_results(self, doc: dict[str, Any], results: list[str]) -> dict[str, float]:
        return {"pass@1": float(self.check(doc, results[0]))}

    def aggregation(self) -> dict[str, Any]:
        return {"pass@1": mean}

    def higher_is_better(self) -> dict[str, bool]:
        return {"pass@1": True}


# From files of the workspace


def from_files(
    definition: TaskDefinition,
    workspace: Workspace,
    name: str,
    benchmark: Benchmark,
    templates: Templates,
    seed: int,
    check: Check | None,
) -> Prepared:
    """Tasks as the workspace defines them, with items from its own files: nothing is fetched.

    Raises:
        UserError: a file lacks rows or fields that the definition names, or examples are missing.
    """
    key = f"capability_benchmarks.{name}"
    assert benchmark.file is not None
    _refuse_shots(key, definition.task, definition.num_fewshot, benchmark)
    items = _source(workspace, benchmark.file)
    if benchmark.num_shots and benchmark.shots_file is None:
        raise UserError(
            f"{key}.shots_file: is missing: the {benchmark.num_shots} examples before each item (num_shots) come from"
            " it; name a file, or set num_shots: 0"
        )
    shots = _source(workspace, benchmark.shots_file) if benchmark.shots_file is not None else None
    file = printable(str(path(workspace, definition.task)))
    for source in (items, *([shots] if shots is not None else [])):
        _refuse_rows(source, definition, file, templates)

    parts = _parts(items, definition.metadata.one_task_per)
    wanted = _wanted(parts, definition, benchmark, key, items.name)
    examples = _parts(shots, definition.metadata.one_task_per) if shots is not None else {}
    tasks, lines = {}, {}
    for part in wanted:
        task_name = definition.task if part is None else f"{definition.task}_{_word(part)}"
        found = examples.get(part, Source("", [], []))
        if len(found.rows) < benchmark.num_shots:
            of = "" if part is None else f" of {definition.metadata.one_task_per} '{one_line(str(part), 40)}'"
            raise UserError(
                f"{key}.num_shots: is {benchmark.num_shots}, and {printable(str(benchmark.shots_file))} has"
                f" {len(found.rows)} examples{of}"
            )
        tasks[task_name] = _task(definition, task_name, parts[part].rows, found.rows, benchmark.num_shots, check)
        lines[task_name] = parts[part]
    chosen = _chosen(tasks, benchmark.limit, seed)
    _refuse_targets(tasks, chosen, lines)
    metric, reported = definition.reported
    version = str(definition.metadata.version)
    return Prepared(tasks, _group(definition.task, tasks, metric), chosen, metric, reported, version, items.name)


def _source(workspace: Workspace, name: str) -> Source:
    file = workspace.path(name)
    shown = printable(workspace.relative(file))
    rows, lines = [], []
    for row in read_rows(file):
        if isinstance(row, BadRow):
            raise UserError(f"{shown}:{row.line}: {row.reason}: mend or remove the line")
        rows.append(row.fields)
        lines.append(row.line)
    return Source(shown, rows, lines)


def _refuse_rows(source: Source, definition: TaskDefinition, file: str, templates: Templates) -> None:
    """Every row must fill every template: told with the row's line, before anything is asked."""
    wanted: dict[str, str] = {}
    for key in ("description", "doc_to_text", "doc_to_target", "doc_to_choice", "gen_prefix"):
        value = getattr(definition, key)
        if isinstance(value, str):
            wanted[key] = value
    split = definition.metadata.one_task_per
    for index, row in enumerate(source.rows):
        if split is not None and not isinstance(row.get(split), str):
            raise UserError(f"{source.where(index)}: {split}: must be text: {file} makes a task of each")
        for key, template in wanted.items():
            if template in row:
                continue
            try:
                templates.from_string(template).render(**row)
            except TemplateSyntaxError as error:
                raise UserError(f"{file}: {key}: is no template: {one_line(str(error), 200)}") from None
            except Exception as error:  # a template may do anything with a row
                reason = one_line(str(error) or type(error).__name__, 200)
                raise UserError(f"{source.where(index)}: {reason}: {key} of {file} wants it") from None


def _parts(source: Source, by: str | None) -> dict[str | None, Source]:
    """The rows of each task, in the order of the file."""
    found: dict[str | None, Source] = {}
    for row, line in zip(source.rows, source.lines, strict=True):
        part = found.setdefault(None if by is None else row[by], Source(source.name, [], []))
        part.rows.append(row)
        part.lines.append(line)
    return found


def _wanted(
    parts: dict[str | None, Source], definition: TaskDefinition, benchmark: Benchmark, key: str, file: str
) -> Sequence[str | None]:
    by, subset = definition.metadata.one_task_per, benchmark.subset
    if by is None or subset is None or subset == "all":
        return list(parts)
    names = [subset] if isinstance(subset, str) else list(dict.fromkeys(subset))
    for name in names:
        if name not in parts:
            have = one_line(", ".join(sorted(str(part) for part in parts)), 300)
            raise UserError(f"{key}.subset: {file} has no {by} '{printable(name)}': it has {have}")
    return names


def _word(text: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "_-." else "_" for letter in text)[:100]


def _task(
    definition: TaskDefinition,
    name: str,
    rows: list[dict[str, Any]],
    shots: list[dict[str, Any]],
    num_shots: int,
    check: Check | None,
) -> Task:
    config = definition.config() | {"task": name, "num_fewshot": num_shots}
    for key in ("dataset_path", "dataset_name", "training_split", "validation_split", "fewshot_split"):
        config.pop(key, None)
    splits = {definition.test_split: _dataset(rows)}
    if num_shots:
        config["fewshot_split"] = "shots" if definition.test_split != "shots" else "examples"
        splits[config["fewshot_split"]] = _dataset(shots)
    config["custom_dataset"] = lambda **_: splits
    return _made(config, check)


def _dataset(rows: list[dict[str, Any]]) -> Dataset:
    try:
        return Dataset.from_list(rows)
    except Exception as error:  # pyarrow's own, of many kinds
        raise UserError(f"the rows are not of one form: {one_line(str(error), 200)}") from None


def _made(config: dict[str, Any], check: Check | None) -> Task:
    if check is None:
        return ConfigurableTask(config=config)
    task = CheckedTask(config=config)
    task.check = check
    return task


def _refuse_targets(tasks: dict[str, Task], chosen: dict[str, list[int]], lines: dict[str, Source]) -> None:
    """An answer that is none of the choices would count as wrong for every model."""
    for name, task in tasks.items():
        if task.OUTPUT_TYPE != "multiple_choice":
            continue
        for place in chosen[name]:
            row = lines[name].rows[place]
            choices, target = task.doc_to_choice(row), task.doc_to_target(row)
            right = 0 <= target < len(choices) if isinstance(target, int) else target in choices
            if not right or isinstance(target, bool):
                raise UserError(
                    f"{lines[name].where(place)}: the answer {one_line(repr(target), 40)} is none of"
                    f" {len(choices)} choices: give its place from 0, or one of"
                    f" {one_line(', '.join(map(str, choices)), 80)}"
                )


# By name


def by_name(
    definition: TaskDefinition | None, name: str, benchmark: Benchmark, seed: int, check: Check | None, harness: str
) -> Prepared:
    """Tasks of the harness itself, or a definition of the workspace, with items from the hub or from its cache.

    Raises:
        UserError: there is no such task, or it gives no share of right items.
    """
    key = f"capability_benchmarks.{name}"
    wanted = benchmark.task or name
    if definition is not None and definition.dataset_path is not None:
        tasks: dict[str, Task] = {wanted: _made(definition.config(), check)}
        version = str(definition.metadata.version)
    else:
        manager = TaskManager()
        names = _stock_names(manager, wanted, benchmark, key, harness)
        tasks = manager.load(names)["tasks"]
        unsafe = [task.task_name for task in tasks.values() if getattr(task, "UNSAFE_CODE", False)]
        if unsafe:
            raise UserError(
                f"{key}.task: '{unsafe[0]}' runs what the model writes in this process: it is not run. HumanEval is,"
                " in a child process with limits (task: humaneval)"
            )
        version = ", ".join(sorted({str(task.VERSION) for task in tasks.values()}))
    for task in tasks.values():
        _refuse_shots(key, task.task_name, task.get_config("num_fewshot"), benchmark)
        _refuse_data(key, task, benchmark)
        task.set_config("num_fewshot", benchmark.num_shots)
    if definition is not None and check is not None:
        reported = {definition.reported}
    else:
        reported = {_reported(task) for task in tasks.values()}
    if len(reported) > 1:
        raise UserError(f"{key}.task: the tasks of '{printable(wanted)}' are marked in different ways: name one")
    metric, filtered = reported.pop()
    first = next(iter(tasks.values()))
    chosen = _chosen(tasks, benchmark.limit, seed)
    return Prepared(tasks, _group(wanted, tasks, metric), chosen, metric, filtered, version, f"{first.DATASET_PATH}")


def _stock_names(manager: TaskManager, wanted: str, benchmark: Benchmark, key: str, harness: str) -> list[str]:
    subset = benchmark.subset
    if wanted not in manager.task_index:
        raise UserError(
            f"{key}.task: {harness} has no task '{printable(wanted)}', and the workspace no"
            f" configs/benchmarks/{printable(wanted)}.yaml: 'lm-eval ls tasks' lists its tasks"
        )
    if subset is None or subset == "all" or wanted in manager.all_subtasks:
        return [wanted]
    names = [f"{wanted}_{one}" for one in ([subset] if isinstance(subset, str) else dict.fromkeys(subset))]
    for one in names:
        if one not in manager.task_index:
            raise UserError(f"{key}.subset: {harness} has no task '{printable(one)}'")
    return names


def _reported(task: Task) -> tuple[str, str]:
    """The first metric that is a share of items, and the first filter."""
    if task.OUTPUT_TYPE not in ("multiple_choice", "generate_until", "loglikelihood"):
        raise UserError(f"task '{task.task_name}' gives no share of right items ({task.OUTPUT_TYPE})")
    shares = [name for name, gather in task.aggregation().items() if gather is mean and name in _MARKS]
    if not shares:
        have = one_line(", ".join(map(str, task.aggregation())), 120)
        raise UserError(f"task '{task.task_name}' gives no share of right items ({have}): it cannot be a gate here")
    return shares[0], task._filters[0].name


def _refuse_data(key: str, task: Task, benchmark: Benchmark) -> None:
    """What the configuration says of the data must be what the task reads: it is not read from elsewhere."""
    path = str(task.DATASET_PATH)
    if benchmark.dataset is not None and benchmark.dataset.split("/")[-1] != path.split("/")[-1]:
        raise UserError(
            f"{key}.dataset: is '{printable(benchmark.dataset)}', and task '{task.task_name}' reads '{path}': leave it"
            " out, or define a task of your own in configs/benchmarks"
        )
    subset, own = benchmark.subset, task.DATASET_NAME
    if isinstance(subset, str) and subset not in ("all", own) and not task.task_name.endswith(f"_{subset}"):
        raise UserError(f"{key}.subset: is '{printable(subset)}', and task '{task.task_name}' reads '{own}'")


# Both


def _refuse_shots(key: str, task: str, default: int | None, benchmark: Benchmark) -> None:
    if default == 0 and benchmark.num_shots:
        raise UserError(f"{key}.num_shots: is {benchmark.num_shots}, and task '{task}' takes no examples: set 0")


def _group(name: str, tasks: dict[str, Task], metric: str) -> Group | None:
    """Several tasks as one, in which every item counts the same."""
    if len(tasks) == 1:
        return None
    group = Group.from_config(
        {"group": f"{name}_items", "aggregate_metric_list": [{"metric": metric, "weight_by_size": True}]}
    )
    for task in tasks.values():
        group.add(task)
    return group


def _chosen(tasks: dict[str, Task], limit: int | None, seed: int) -> dict[str, list[int]]:
    """Which items of each task are asked: all, or as many as the limit says, drawn from all of them."""
    found = {}
    for name, task in tasks.items():
        count = len(task.eval_docs)
        if limit is None or limit >= count:
            found[name] = list(range(count))
        else:
            found[name] = sorted(random.Random(f"{seed}/{name}").sample(range(count), limit))
    return found
