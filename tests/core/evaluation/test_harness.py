"""Tasks of lm-evaluation-harness: the words of its own, answers that stay, and nothing that runs code."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lm_eval
import lm_eval.utils
import pytest
from datasets import Dataset
from huggingface_hub import constants
from lm_eval.api.task import ConfigurableTask
from lm_eval.tasks._yaml_loader import load_yaml

import core.evaluation  # noqa: F401  # OpenBLAS before MLX
from core.config.evaluate import Benchmark
from core.demo.model import write_model
from core.errors import UserError
from core.evaluation import harness, humaneval, items
from core.evaluation.answering import Answerer
from core.evaluation.harness_contained import contained
from core.evaluation.harness_definitions import defined
from core.evaluation.harness_model import AnsweredLM
from core.evaluation.harness_tasks import by_name, from_files
from core.evaluation.items import Measured, Unmeasured
from core.evaluation.kept import Kept
from core.evaluation.sandbox import Outcome
from core.models.load import LanguageModel, load
from core.training.control import Stopped
from core.workspace import Workspace, templates

STOCK = Path(lm_eval.__file__).parent / "tasks"

MMLU = [
    {
        "subject": subject,
        "question": f" What is {number} of {subject}?",
        "choices": [f"{number}", "two {{ it }}", "a, b", "'x'"],
        "answer": number % 4,
    }
    for subject in ("abstract_algebra", "world_religions")
    for number in range(8)
]
GSM8K = [
    {
        "question": f"Tom has {n} eggs and buys {n}. How many?",
        "answer": f"{n}+{n}=<<{n}+{n}={2 * n}>>{2 * n}\n#### {2 * n}",
    }
    for n in range(12)
]
HUMANEVAL = [
    {
        "task_id": f"HumanEval/{n}",
        "prompt": f'def f{n}(x):\n    """ Add {n}. """\n',
        "entry_point": f"f{n}",
        "canonical_solution": f"    return x + {n}\n",
        "test": f"def check(candidate):\n    assert candidate(1) == {n + 1}\n",
    }
    for n in range(3)
]
FILES = {
    "mmlu.jsonl": MMLU,
    "dev.jsonl": [{**row, "question": f"Before: {row['question']}"} for row in MMLU],
    "gsm8k.jsonl": GSM8K[:6],
    "train.jsonl": GSM8K[6:],
    "humaneval.jsonl": HUMANEVAL,
}
MMLU_CONFIG = {"file": "data/mmlu.jsonl", "shots_file": "data/dev.jsonl", "num_shots": 5}
GSM8K_CONFIG = {"file": "data/gsm8k.jsonl", "shots_file": "data/train.jsonl", "num_shots": 3, "max_tokens": 6}
HUMANEVAL_CONFIG = {"file": "data/humaneval.jsonl", "metric": "pass@1", "max_tokens": 6}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    shutil.copytree(templates() / "benchmarks", tmp_path / "configs" / "benchmarks")
    (tmp_path / "data").mkdir()
    for name, rows in FILES.items():
        (tmp_path / "data" / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Workspace(tmp_path)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    folder = tmp_path_factory.mktemp("tiny")
    write_model(folder, [row["question"] for row in (*MMLU, *GSM8K)], 1)
    return load(folder)


@pytest.fixture(autouse=True)
def no_hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    yield


class Session:
    """What the harness needs of one."""

    def __init__(self, workspace: Workspace, model: LanguageModel) -> None:
        self.context = SimpleNamespace(workspace=workspace, log=lambda text, level="info": self.lines.append(text))
        self.folder = workspace.root / "out"
        self.config = SimpleNamespace(evaluation=SimpleNamespace(seed=42))
        self.stretches: list[tuple[Any, ...]] = []
        self.lines: list[str] = []
        self.model = lambda: model
        self.between = lambda: None
        self.advance = lambda by=1: None
        self.say = self.lines.append

    def stretch(self, *args: Any) -> None:
        self.stretches.append(args)


def measure(session: Session, name: str, **config: Any) -> tuple[Measured, int]:
    """A benchmark, and how many tokens its model was given."""
    with Kept(session.folder / "benchmarks" / f"{name}.answers.jsonl") as kept:
        answerer = Answerer(session.model(), kept)
        found = harness.run(session, name, Benchmark(**config), answerer)  # type: ignore[arg-type]
        return found, answerer.run


def asked(tasks: dict[str, Any]) -> dict[str, list[tuple[Any, ...]]]:
    """Every request of every task, and what would be right."""
    found = {}
    for name, task in tasks.items():
        task.set_fewshot_seed(42)
        task.build_all_requests()
        found[name] = [(one.args[0], one.args[1:], task.doc_to_target(one.doc)) for one in task.instances]
    return found


def stock(path: str, name: str, splits: dict[str, list[dict[str, Any]]], shots: int, *without: str) -> dict[str, Any]:
    """A task as the harness defines it, with our rows."""
    config = load_yaml(STOCK / path, resolve_func=False)
    for key in ("tag", "dataset_path", "dataset_name", "task_alias", *without):
        config.pop(key, None)
    sets = {split: Dataset.from_list(rows) for split, rows in splits.items()}
    return {name: ConfigurableTask(config={**config, "custom_dataset": lambda **_: sets, "num_fewshot": shots})}


def ours(workspace: Workspace, name: str, **config: Any) -> dict[str, Any]:
    definition = defined(workspace, name)
    assert definition is not None
    with contained(42, hub=False) as rendering:
        return from_files(definition, workspace, name, Benchmark(**config), rendering, 42, None).tasks


def test_prompts_and_targets_are_those_of_the_harness(workspace: Workspace) -> None:
    mine = asked(ours(workspace, "mmlu", **MMLU_CONFIG))
    assert set(mine) == {"mmlu_abstract_algebra", "mmlu_world_religions"}
    for subject in ("abstract_algebra", "world_religions"):
        splits = {
            split: [row for row in FILES[file] if row["subject"] == subject]
            for split, file in (("test", "mmlu.jsonl"), ("dev", "dev.jsonl"))
        }
        theirs = stock(f"mmlu/default/mmlu_{subject}.yaml", f"mmlu_{subject}", splits, 5)
        assert asked(theirs)[f"mmlu_{subject}"] == mine[f"mmlu_{subject}"]
    assert mine["mmlu_abstract_algebra"][0][0].count("Answer: ") == 5

    # The stock task draws other examples for every problem; so does ours, the same ones.
    theirs = stock("gsm8k/gsm8k.yaml", "gsm8k", {"test": GSM8K[:6], "train": GSM8K[6:]}, 3)
    words = asked(ours(workspace, "gsm8k", **GSM8K_CONFIG))
    assert asked(theirs) == words
    assert len({prompt.split("\n\n")[0] for prompt, *_ in words["gsm8k"]}) > 1

    theirs = stock("humaneval/humaneval.yaml", "humaneval", {"test": HUMANEVAL}, 0, "metric_list", "filter_list")
    theirs["humaneval"].config.generation_kwargs.pop("max_gen_toks")
    assert asked(theirs) == asked(ours(workspace, "humaneval", **HUMANEVAL_CONFIG))


def test_every_subject_is_introduced_as_the_harness_does(workspace: Workspace) -> None:
    definition = defined(workspace, "mmlu")
    assert definition is not None and definition.description is not None
    files = sorted((STOCK / "mmlu" / "default").glob("mmlu_*.yaml"))
    assert len(files) == 57
    with contained(0, hub=False) as rendering:
        for file in files:
            theirs = load_yaml(file, resolve_func=False)
            mine = rendering.from_string(definition.description).render(subject=theirs["dataset_name"])
            assert mine == theirs["description"]


def test_marks_are_those_of_the_harness(workspace: Workspace) -> None:
    definition = defined(workspace, "gsm8k")
    assert definition is not None
    theirs = load_yaml(STOCK / "gsm8k" / "gsm8k.yaml", resolve_func=False)
    mine = definition.config()
    assert mine["filter_list"] == theirs["filter_list"]
    assert {**mine["metric_list"][0], "ignore_punctuation": False} == {
        **theirs["metric_list"][0],
        "ignore_numbers": False,
    }
    assert definition.metadata.version == theirs["metadata"]["version"]


def test_a_benchmark_of_several_subjects(workspace: Workspace, model: LanguageModel) -> None:
    session = Session(workspace, model)
    before = random.getstate()
    config = {**MMLU_CONFIG, "num_shots": 1}
    found, tokens = measure(session, "mmlu", limit=3, **config)
    assert found.n == 6 and found.chance == 0.25 and tokens > 0
    assert found.value == pytest.approx(sum(row["correct"] for row in found.rows) / 6)
    assert session.stretches == [("mmlu", 24, 0, (0, 1))]
    for row in found.rows:
        best = max(range(4), key=row["logprobs"].__getitem__)
        assert row["answer"] == "ABCD"[best]
        assert row["correct"] == (row["answer"] == row["target"])
    assert found.conditions["version"] == harness.installed()
    assert (found.conditions["shots"], found.conditions["limit"], found.conditions["counts"]) == (1, 3, "acc,none")

    # Of two tasks of three items the harness pools what three vary by.
    assert found.stderr is not None and found.low <= found.value <= found.high
    assert random.getstate() == before

    again, tokens = measure(session, "mmlu", limit=3, **config)
    assert again.rows == found.rows and again.conditions == found.conditions and tokens == 0
    assert session.stretches[1] == ("mmlu", 24, 24, (0, 1))

    fewer, _ = measure(session, "mmlu", limit=3, subset=["world_religions"], **config)
    assert [row["id"] for row in fewer.rows] == [row["id"] for row in found.rows if "world" in row["id"]]
    assert fewer.conditions["items"] != found.conditions["items"]


def test_texts_are_marked_by_both_filters(workspace: Workspace, model: LanguageModel) -> None:
    found, _ = measure(Session(workspace, model), "gsm8k", **GSM8K_CONFIG)
    assert found.n == 6 and found.chance is None
    assert found.conditions["counts"] == "exact_match,strict-match"
    assert found.conditions["until"] == ["Question:", "</s>", "<|im_end|>"]
    assert all("correct, flexible-extract" in row and "response" in row for row in found.rows)
    assert "flexible-extract" in found.notes[0]


def test_texts_end_where_the_configuration_says(model: LanguageModel, tmp_path: Path) -> None:
    heard: list[Any] = []

    class Heard(Answerer):
        def completions(self, requests: Any) -> list[str]:
            heard.extend(requests)
            return ["18" for _ in requests]

    with Kept(tmp_path / "kept.jsonl") as kept:
        lm = AnsweredLM(model, Heard(model, kept), begin=lambda *_: None, max_tokens=9, stop=["!"])
        ask = SimpleNamespace(args=("x", {"until": ["\n", "!"], "max_gen_toks": 2048, "do_sample": False}))
        assert lm.generate_until([ask]) == ["18"]
        drawn = SimpleNamespace(args=("x", {"until": [], "do_sample": True, "temperature": 0.7}))
        with pytest.raises(UserError, match="do_sample"):
            lm.generate_until([drawn])
    assert (heard[0].stop, heard[0].max_tokens) == (("\n", "!"), 9)


def test_code_runs_only_when_it_may_and_once(
    workspace: Workspace, model: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []

    def check(problem: dict[str, Any], completion: str) -> Outcome:
        if len(ran) == 2 and stop:
            raise Stopped(leaving=False)
        ran.append(problem["task_id"])
        return Outcome(problem["entry_point"] == "f1", "" if problem["entry_point"] == "f1" else "it failed")

    monkeypatch.setattr(humaneval, "check", check)
    session = Session(workspace, model)
    with pytest.raises(Unmeasured, match="run_generated_code: is false"):
        measure(session, "humaneval", **HUMANEVAL_CONFIG)
    assert not ran

    stop = True
    with pytest.raises(Stopped):
        measure(session, "humaneval", run_generated_code=True, **HUMANEVAL_CONFIG)
    stop = False
    found, tokens = measure(session, "humaneval", run_generated_code=True, **HUMANEVAL_CONFIG)
    assert ran == ["HumanEval/0", "HumanEval/1", "HumanEval/2"] and tokens == 0
    assert [(row["id"], row["correct"], row["why"]) for row in found.rows] == [
        ("HumanEval/0", 0.0, "it failed"),
        ("HumanEval/1", 1.0, ""),
        ("HumanEval/2", 0.0, "it failed"),
    ]
    assert found.metric == "pass@1" and found.value == pytest.approx(1 / 3)
    assert any("sandbox" in line or "enforced" in line for line in session.lines)


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("doc_to_target: answer", "doc_to_target: !function os.getcwd", 14, "a tag"),
        ("task: mmlu", "task: mmlu\nprocess_docs: utils.load", 5, "process_docs: unknown key"),
        ("metric: acc", "metric: mine", 16, "acc"),
        ("sampler: first_n", "sampler: my.Sampler", 9, "first_n"),
        ("task: mmlu", "task: mmlu\ninclude: ../../x.yaml", 5, "include: unknown key"),
    ],
)
def test_a_definition_is_data(workspace: Workspace, old: str, new: str, line: int, said: str) -> None:
    file = workspace.configs / "benchmarks" / "mmlu.yaml"
    file.write_text(file.read_text().replace(old, new, 1))
    with pytest.raises(UserError, match=said) as refusal:
        defined(workspace, "mmlu")
    assert f"mmlu.yaml:{line}:" in str(refusal.value)


@pytest.mark.parametrize(
    "template",
    [
        "{{ question.__class__.__mro__[1].__subclasses__() }}",
        "{{ ''['__class__'] }}",
        "{{ (question | attr('format')).__globals__ }}",
        "{% set x = self.__init__.__globals__ %}{{ x }}",
        "{{ no_such_field }}",
    ],
)
def test_a_template_reaches_no_python(workspace: Workspace, template: str) -> None:
    file = workspace.configs / "benchmarks" / "gsm8k.yaml"
    text = file.read_text()
    file.write_text(
        text.replace('doc_to_text: "Question: {{question}}\\nAnswer:"', f"doc_to_text: {json.dumps(template)}")
    )
    assert file.read_text() != text
    own = lm_eval.utils.env
    with pytest.raises(UserError, match=r"gsm8k\.jsonl:1: .*doc_to_text"):
        ours(workspace, "gsm8k", **GSM8K_CONFIG)
    assert lm_eval.utils.env is own


@pytest.mark.parametrize(
    ("change", "config", "said"),
    [
        ({"question": None}, {}, r"data/mmlu\.jsonl:2: .*question.*doc_to_text"),
        ({"choices": ["a", "b"]}, {}, r"data/mmlu\.jsonl:2: .*no element 2"),
        ({"answer": 4}, {}, r"data/mmlu\.jsonl:2: the answer 4 is none of 4 choices"),
        ({"subject": 3}, {}, r"data/mmlu\.jsonl:2: subject: must be text"),
        ({}, {"subset": ["botany"]}, r"mmlu\.subset: .*no subject 'botany'.*abstract_algebra"),
        ({}, {"num_shots": 9}, r"mmlu\.num_shots: is 9, and data/dev\.jsonl has 8 examples of subject"),
        ({}, {"shots_file": None}, r"mmlu\.shots_file: is missing"),
        ({}, {"file": "data/none.jsonl"}, r"none\.jsonl"),
    ],
)
def test_rows_are_looked_at_first(
    workspace: Workspace, change: dict[str, Any], config: dict[str, Any], said: str
) -> None:
    row = {key: value for key, value in {**MMLU[1], **change}.items() if value is not None}
    (workspace.data / "mmlu.jsonl").write_text("".join(json.dumps(one) + "\n" for one in [MMLU[0], row, *MMLU[2:]]))
    with pytest.raises(UserError, match=said):
        ours(workspace, "mmlu", **{**MMLU_CONFIG, **config})


def test_a_letter_is_an_answer_too(workspace: Workspace) -> None:
    rows = [{**row, "answer": "ABCD"[row["answer"]]} for row in MMLU]
    for name in ("mmlu", "dev"):
        (workspace.data / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = ours(workspace, "mmlu", **{**MMLU_CONFIG, "num_shots": 2})["mmlu_abstract_algebra"]
    assert task.fewshot_context(rows[3], 2).count("\nAnswer: A") == 1
    assert task.process_results(rows[3], [(-4.0, False), (-3.0, False), (-2.0, False), (-1.0, True)]) == {"acc": 1.0}


def test_without_a_network_it_says_so_at_once(workspace: Workspace, model: LanguageModel) -> None:
    session = Session(workspace, model)
    with pytest.raises(Unmeasured) as refusal:
        measure(session, "humaneval", run_generated_code=True)
    said = str(refusal.value)
    assert "\n" not in said and "capability_benchmarks.humaneval.file" in said


def test_what_a_task_cannot_do_is_said(workspace: Workspace, model: LanguageModel) -> None:
    session = Session(workspace, model)
    with pytest.raises(UserError, match=r"num_shots: is 2, and task 'humaneval' takes no examples"):
        measure(session, "humaneval", run_generated_code=True, **{**HUMANEVAL_CONFIG, "num_shots": 2})
    with pytest.raises(UserError, match=r"has no configs/benchmarks/mine\.yaml"):
        measure(session, "mine", task="mine", file="data/mmlu.jsonl")


def test_a_task_that_nobody_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    from core.evaluation import harness_tasks

    # Looking through the harness' own takes seconds.
    monkeypatch.setattr(harness_tasks, "TaskManager", lambda: lm_eval.tasks.TaskManager(include_defaults=False))
    with pytest.raises(UserError, match=r"has no task 'mmlu_of_mine'.*lm-eval ls tasks"):
        by_name(None, "x", Benchmark(task="mmlu_of_mine"), 1, None, "lm-eval")


def test_without_the_harness(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise harness.PackageNotFoundError(name)

    monkeypatch.setattr(harness, "version", missing)
    with pytest.raises(Unmeasured, match=r"pip install 'dpotui\[eval\]'"):
        harness.installed()
    monkeypatch.setattr(harness, "version", lambda name: "0.4.9.1")
    with pytest.raises(Unmeasured, match=r"lm-eval 0\.4\.13 or later is needed, and 0\.4\.9\.1"):
        harness.installed()


def test_the_file_of_items_can_be_written(workspace: Workspace, model: LanguageModel) -> None:
    found, _ = measure(Session(workspace, model), "gsm8k", limit=2, **GSM8K_CONFIG)
    file = items.write(workspace.root / "out", "gsm8k", found.rows)
    assert items.read(file) == [dict(row) for row in found.rows]
