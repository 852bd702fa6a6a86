"""A benchmark that lm-evaluation-harness runs: MMLU, GSM8K, HumanEval, or another of its tasks that gives a share."""

from __future__ import annotations

import hashlib
import time
from contextlib import nullcontext
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from core.config.evaluate import Benchmark
from core.errors import UserError
from core.evaluation import items
from core.evaluation.answering import Answerer
from core.evaluation.harness_definitions import defined
from core.evaluation.items import Measured, Unmeasured
from core.evaluation.kept import Kept
from core.evaluation.session import Session
from core.text import one_line, printable

if TYPE_CHECKING:
    from core.evaluation.harness_tasks import Check, Prepared

_INSTALL = "pip install 'dpotui[eval]'"
_LEAST = (0, 4, 13)  # the first with TaskManager.load


def run(
    session: Session, name: str, benchmark: Benchmark, answerer: Answerer, *, share: tuple[int, int] = (0, 1)
) -> Measured:
    """Measure one benchmark of the session's model.

    Nothing is fetched where `file` is given. Otherwise the harness reads its data set from the hub, or from what the
    hub's client keeps on this machine.

    Args:
        share: (i, n) of the part's n benchmarks this is number i, from 0.

    Raises:
        Unmeasured: the harness is not installed, its data are not to be had, or a person has not allowed it.
        UserError: the configuration, a definition or a file is not what the task wants.
        Stopped: the run ends here; what was answered is on disk.
    """
    began = time.monotonic()
    release = installed()
    session.say(f"{name}: preparing")
    definition = defined(session.context.workspace, benchmark.task or name)
    checked = definition is not None and definition.metadata.check is not None
    key = f"capability_benchmarks.{name}"
    if checked and not benchmark.run_generated_code:
        raise Unmeasured(
            f"{key}.run_generated_code: is false, and '{name}' is marked by running what the model writes: read what"
            " 'dpotui evaluate --sandbox' says of this machine, then set it to true"
        )
    if benchmark.file is not None and definition is None:
        raise UserError(
            f"{key}.file: the workspace has no configs/benchmarks/{printable(benchmark.task or name)}.yaml, which says"
            " what its rows mean: write one (mmlu.yaml there shows how), or leave file out"
        )

    from core.evaluation.harness_contained import contained, hub_answers
    from core.evaluation.harness_model import AnsweredLM
    from core.evaluation.harness_tasks import by_name, from_files

    seed = session.config.evaluation.seed
    online = benchmark.file is None and hub_answers()
    kept = Kept(items.path(session.folder, name).with_name(f"{name}.checked.jsonl")) if checked else None
    with contained(seed, hub=online) as templates, kept or nullcontext():
        check = _check(session, kept, name, share) if kept is not None else None
        if definition is not None and benchmark.file is not None:
            prepared = from_files(definition, session.context.workspace, name, benchmark, templates, seed, check)
        else:
            try:
                prepared = by_name(definition, name, benchmark, seed, check, f"lm-eval {release}")
            except (UserError, MemoryError):
                raise
            except Exception as error:  # the harness' tasks and the hub's client raise what they like
                raise Unmeasured(_unobtainable(key, benchmark, name, error, online)) from error
        model = AnsweredLM(
            session.model(),
            answerer,
            begin=lambda total, done: session.stretch(name, total, done, _half(share, 0) if checked else share),
            max_tokens=benchmark.max_tokens,
            stop=benchmark.stop,
            use_chat_template=benchmark.apply_chat_template,
        )
        results = _evaluate(model, prepared, benchmark.apply_chat_template, seed)
        rows = _rows(prepared, results, kept)
    conditions = items.conditions(
        benchmark,
        harness="lm-eval",
        version=release,
        task=benchmark.task or name,
        task_version=prepared.version,
        seed=seed,
        items=items.items_hash(_asked(prepared, results)),
        counts=f"{prepared.metric},{prepared.filter}",
        until=_until(prepared, benchmark),
        template=_template(session) if benchmark.apply_chat_template else None,
    )
    return items.measured(
        rows,
        conditions=conditions,
        chance=_chance(prepared),
        seconds=time.monotonic() - began,
        metric=benchmark.metric,
        stderr=_stderr(prepared, results),
        notes=_notes(prepared, rows, answerer),
    )


def installed() -> str:
    """The version of the harness.

    Raises:
        Unmeasured: there is none, or one that is too old.
    """
    try:
        release = version("lm_eval")
    except PackageNotFoundError:
        raise Unmeasured(f"lm-evaluation-harness is not installed: {_INSTALL}") from None
    numbers = tuple(int(part) if part.isdigit() else 0 for part in release.split(".")[:3])
    if numbers < _LEAST:
        wanted = ".".join(map(str, _LEAST))
        raise Unmeasured(f"lm-eval {wanted} or later is needed, and {release} is installed: {_INSTALL}")
    return release


def _evaluate(model: Any, prepared: Prepared, chat: bool, seed: int) -> dict[str, Any]:
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    found: dict[str, Any] | None = simple_evaluate(
        model,
        tasks=[prepared.group] if prepared.group is not None else list(prepared.tasks.values()),
        samples=prepared.chosen,
        # Its own tasks were loaded already: looking through all 10,000 of their files again takes seconds.
        task_manager=TaskManager(include_defaults=False),
        apply_chat_template=chat,
        bootstrap_iters=100,  # of means none is drawn; of others it is not reported
        random_seed=None,
        numpy_random_seed=None,
        torch_random_seed=None,
        fewshot_random_seed=seed,
    )
    assert found is not None  # only another rank than the first gets nothing
    return found


# HumanEval


def _check(session: Session, kept: Kept, name: str, share: tuple[int, int]) -> Check:
    """Run what the model wrote, each program once: its outcome is on disk before it counts."""
    from core.evaluation import humaneval, sandbox

    # Before anything is asked: who reads that something is not enforced has the hours of answering to stop the run.
    for line in sandbox.here().words():
        session.context.log(line, "warning" if line.startswith("NOT") else "info")
    begun = False

    def check(problem: dict[str, Any], completion: str) -> bool:
        nonlocal begun
        if not begun:
            begun = True
            session.stretch(f"{name}: running code", 0, 0, _half(share, 1))
        session.between()
        key = _program(kept, problem, completion)
        if key not in kept:
            outcome = humaneval.check(problem, completion)
            kept.append([(key, {"passed": outcome.passed, "why": outcome.why})])
            session.advance()
        return bool(kept[key]["passed"])

    return check


def _program(kept: Kept, problem: dict[str, Any], completion: str) -> str:
    return kept.key(problem["prompt"], completion, problem["test"], problem["entry_point"])


def _half(share: tuple[int, int], which: int) -> tuple[int, int]:
    index, of = share
    return 2 * index + which, 2 * of


# What came out


def _samples(prepared: Prepared, results: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The harness' record of each item, by the filter that counts, with its task."""
    return [
        (task, sample)
        for task in prepared.tasks
        for sample in results["samples"][task]
        if sample["filter"] == prepared.filter
    ]


def _rows(prepared: Prepared, results: dict[str, Any], kept: Kept | None) -> list[dict[str, Any]]:
    others: dict[tuple[str, int], dict[str, float]] = {}
    for task in prepared.tasks:
        for sample in results["samples"][task]:
            if sample["filter"] != prepared.filter:
                found = others.setdefault((task, sample["doc_id"]), {})
                found[sample["filter"]] = float(sample[prepared.metric])
    rows = []
    for name, sample in _samples(prepared, results):
        task, item = prepared.tasks[name], sample["doc"]
        row: dict[str, Any] = {
            "id": _id(name, sample),
            "correct": float(sample[prepared.metric]),
            "question": task.doc_to_text(item),
        }
        if len(prepared.tasks) > 1:
            row["task"] = name
        if task.OUTPUT_TYPE == "multiple_choice":
            row |= _choice(task, sample)
        else:
            said = sample["filtered_resps"][0]
            row |= {"answer": said if isinstance(said, str) else str(said), "target": str(sample["target"])}
            if isinstance(response := sample["resps"][0][0], str):
                row["response"] = response
            row |= {f"correct, {other}": mark for other, mark in others.get((name, sample["doc_id"]), {}).items()}
        if kept is not None:
            row["why"] = kept[_program(kept, item, sample["filtered_resps"][0])]["why"]
        rows.append(row)
    return rows


def _id(task: str, sample: dict[str, Any]) -> str:
    """The item's own name where it has one, else its place in the task: what stays from run to run."""
    own = sample["doc"].get("task_id")
    return own if isinstance(own, str) and own else f"{task}/{sample['doc_id']}"


def _choice(task: Any, sample: dict[str, Any]) -> dict[str, Any]:
    choices = [str(choice) for choice in task.doc_to_choice(sample["doc"])]
    logprobs = [float(answer[0]) for answer in sample["filtered_resps"]][: len(choices)]
    target = sample["target"]
    best = max(range(len(logprobs)), key=logprobs.__getitem__)
    return {
        "answer": choices[best] if best < len(choices) else str(best),
        "target": choices[target] if isinstance(target, int) and 0 <= target < len(choices) else str(target),
        "choices": choices,
        "logprobs": logprobs,
    }


def _asked(prepared: Prepared, results: dict[str, Any]) -> list[object]:
    """All that was said to the model, examples and template included, and what would have been right."""
    return [
        [name, sample["doc_id"], sample["arguments"][0][0], str(sample["target"])]
        for name, sample in _samples(prepared, results)
    ]


def _chance(prepared: Prepared) -> float | None:
    """The mean over items of one over the number of choices."""
    shares = []
    for name, task in prepared.tasks.items():
        if task.OUTPUT_TYPE != "multiple_choice":
            return None
        documents = task.eval_docs
        shares += [1 / len(task.doc_to_choice(documents[place])) for place in prepared.chosen[name]]
    return sum(shares) / len(shares)


def _stderr(prepared: Prepared, results: dict[str, Any]) -> float | None:
    """As the harness gives it: of one task the sample's, of several the pooled one."""
    name = prepared.group.name if prepared.group is not None else next(iter(prepared.tasks))
    found = results["results"][name].get(f"{prepared.metric}_stderr,{prepared.filter}")
    return float(found) if isinstance(found, float | int) else None


def _until(prepared: Prepared, benchmark: Benchmark) -> list[str] | None:
    task = next(iter(prepared.tasks.values()))
    if task.OUTPUT_TYPE != "generate_until":
        return None
    until = task.config.generation_kwargs["until"]
    return [*([until] if isinstance(until, str) else until), *benchmark.stop]


def _template(session: Session) -> str:
    text = getattr(session.model().tokenizer, "chat_template", None)
    return hashlib.sha256(str(text).encode()).hexdigest()


def _notes(prepared: Prepared, rows: list[dict[str, Any]], answerer: Answerer) -> tuple[str, ...]:
    notes = []
    for other in [key for key in rows[0] if key.startswith("correct, ")]:
        value = sum(row.get(other, 0.0) for row in rows) / len(rows)
        notes.append(f"counted by {prepared.filter}; by {other.removeprefix('correct, ')} it would be {value:.4f}")
    if answerer.cut:
        notes.append(f"{answerer.cut} prompts lost their beginning: the model has {answerer.room} positions")
    return tuple(notes)


def _unobtainable(key: str, benchmark: Benchmark, name: str, error: Exception, online: bool) -> str:
    """One line with the way out, whatever was raised."""
    reason = one_line(str(error) or type(error).__name__, 160)
    task = printable(benchmark.task or name)
    if not online:
        return (
            f"{key}: the data of task '{task}' are not on this machine, and the Hugging Face hub does not answer: set"
            f" {key}.file (and shots_file where it has examples) to local JSONL files"
        )
    return f"{key}: task '{task}' cannot be had ({reason}): check dataset and subset, or set {key}.file to a local file"
