"""eval_config.yaml and its Python form: the spec's own file is read as it stands, and nothing of it is executed."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.config import EvalConfig, load_config
from core.errors import UserError
from core.workspace import templates

# As the workflow templates have it.
SPEC = """# eval_config.py
from pathlib import Path

EVALUATION_CONFIG = {
    "capability_benchmarks": {
        "mmlu": {
            "dataset": "cais/mmlu",
            "subset": "all",
            "num_shots": 5,
            "metric": "accuracy",
            "baseline_threshold": 0.45,  # Minimum acceptable
        },
        "humaneval": {
            "dataset": "openai_humaneval",
            "metric": "pass@1",
            "baseline_threshold": 0.15,
        },
        "gsm8k": {
            "dataset": "gsm8k",
            "subset": "main",
            "num_shots": 8,
            "metric": "accuracy",
            "baseline_threshold": 0.30,
        },
    },
    "alignment_evaluation": {
        "preference_validation": {
            "test_set": "data/preference_pairs_test.jsonl",
            "metric": "win_rate",
            "baseline_threshold": 0.50,  # Must beat baseline
        },
        "human_eval": {
            "sample_size": 100,
            "criteria": ["helpfulness", "harmlessness", "honesty"],
            "scale": "1-10",
        },
    },
    "quality_thresholds": {
        "kl_divergence": {"max": 0.1},
        "preference_gap": {"min": 0.15},
        "capability_retention": {"min": 0.95},
        "decontamination": {"min": 0.9},
    },
}
"""


def write(folder: Path, text: str, name: str = "eval_config.py") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_the_template_says_what_the_workflow_says(tmp_path: Path) -> None:
    ours = load_config(templates() / "eval_config.yaml", EvalConfig)
    spec = load_config(write(tmp_path, SPEC), EvalConfig)
    for name, benchmark in spec.capability_benchmarks.items():
        mine = ours.capability_benchmarks[name]
        for key in benchmark.model_fields_set:
            assert getattr(mine, key) == getattr(benchmark, key), (name, key)
    assert ours.quality_thresholds == spec.quality_thresholds
    assert ours.alignment_evaluation == spec.alignment_evaluation
    assert spec.alignment_evaluation.human_eval.bounds == (1, 10)
    assert ours.parts == ("benchmarks", "perplexity", "samples", "preference", "win_rate", "final")


def test_python_is_not_executed(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    text = f"open({str(mark)!r}, 'w')\n" + SPEC.replace('"num_shots": 5', '"num_shots": int(open("x").read())')
    with pytest.raises(UserError, match=r"eval_config\.py:10: only text, numbers, True, False, None"):
        load_config(write(tmp_path, text), EvalConfig)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("X = 3\n", r":1: one dict is wanted, as in EVALUATION_CONFIG = \{...\}, not 0"),
        ("A = {}\nB = {}\n", ":1: one dict is wanted, .* not 2"),
        ("A = {\n", ":1: not Python: '{' was never closed"),
        ("A = {'a': 1, 'a': 2}\n", ":1: a is given twice"),
        ("A = {1: 1}\n", ":1: a key must be text in quotes"),
        ("A = {**B}\n", ":1: a key must be text in quotes"),
        ("A = {'a': 'x' * 9999999999}\n", ":1: only text"),
        ("A = " + "{'a': " * 60 + "1" + "}" * 60, "nested too deep"),
        (SPEC.replace("num_shots", "num_shot"), ":9: capability_benchmarks.mmlu.num_shot: unknown key; did you mean"),
        (SPEC.replace('"1-10"', '"10-1"'), "scale: must be two whole numbers from 0 to 10"),
    ],
)
def test_errors_name_file_and_line(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        load_config(write(tmp_path, text), EvalConfig)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (
            ["capability_benchmarks.mine.limit=3"],
            "capability_benchmarks.mine: says neither what to run nor",
        ),
        (["capability_benchmarks.mine.answer=regex", "capability_benchmarks.mine.file=x"], "pattern: belongs to"),
        (["capability_benchmarks.mine.answer=exact"], "mine.file: is missing: answer: exact is for the rows of a file"),
        (["evaluation.subject=baseline", "evaluation.parts=[win_rate]"], "win_rate is not measured of the baseline"),
        (
            ["evaluation.parts=[winrate]"],
            "evaluation.parts.0: must be one of benchmarks, perplexity, samples, preference, win_rate, final, not",
        ),
        (["alignment_evaluation.preference_validation.judge.kind=reward"], "judge.model: is missing"),
    ],
)
def test_what_does_not_go_together(overrides: list[str], words: str) -> None:
    with pytest.raises(UserError, match=words):
        load_config(templates() / "eval_config.yaml", EvalConfig, overrides)


def test_what_a_run_reads() -> None:
    config = load_config(
        templates() / "eval_config.yaml",
        EvalConfig,
        ["evaluation.subject=baseline", "evaluation.parts=[benchmarks]", "capability_benchmarks.mmlu.file=a.jsonl"],
    )
    assert config.reads() == {
        "model.baseline": "checkpoints/sft_baseline",
        "capability_benchmarks.mmlu.file": "a.jsonl",
    }
