"""judge_config.yaml: the template loads, and what is wrong is said with its line and its mend."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.config import JudgeConfig, load_config
from core.errors import UserError
from core.workspace import templates

BASE = """\
data: {input_file: "data/c.jsonl", output_file: "data/p.jsonl"}
logging: {output_dir: "outputs/j"}
judges:
"""


def load(tmp_path: Path, judges: str, *overrides: str) -> JudgeConfig:
    path = tmp_path / "judge_config.yaml"
    path.write_text(BASE + judges)
    return load_config(path, JudgeConfig, overrides)


def test_the_template() -> None:
    config = load_config(templates() / "judge_config.yaml", JudgeConfig)
    assert list(config.judges) == ["local"]
    assert config.pairing_judge == "local"
    assert config.reads() == {
        "data.input_file": "data/candidates.jsonl",
        "judges.local.rubric_file": "configs/judge_rubric.md",
        "judges.local.model": "checkpoints/sft_baseline",
    }
    assert JudgeConfig.model_validate(config.model_dump(mode="json")) == config


def test_an_endpoint_and_an_override(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        '  s: {kind: endpoint, model: "m", base_url: "https://a.example/v1", api_key_env: "K", concurrency: 2}\n'
        '  r: {kind: reward, model: "checkpoints/reward_model"}\n',
        "pairing.judge=r",
        "judges.s.max_tokens=7",
    )
    assert config.pairing_judge == "r"
    assert config.judges["s"].max_tokens == 7
    # A server's model is no folder, and a reward model reads no rubric.
    assert set(config.reads()) == {"data.input_file", "judges.s.rubric_file", "judges.r.model"}


@pytest.mark.parametrize(
    ("judges", "words"),
    [
        ("  {}\n", "judges: names no judge"),
        ("  a: {}\n", "judges.a.model: is missing"),
        ('  a: {model: "m", kind: "oracle"}\n', "judges.a.kind: must be one of model, reward, endpoint, not 'oracle'"),
        ('  a: {model: "m", asks: "scores"}\n', "judges.a.asks: unknown key; did you mean judges.a.ask?"),
        ('  a: {model: "m", ask: "scores", verdict: "likelihood"}\n', "judges.a.verdict: likelihood is for"),
        ('  a: {model: "m", average_orders: true}\n', "judges.a.average_orders: is for verdict likelihood"),
        ('  a: {model: "m", retries: 2}\n', "judges.a.retries: is for kind endpoint, and this one is model"),
        ('  a: {model: "m", kind: "endpoint"}\n', "judges.a.base_url: is missing"),
        ('  a: {model: "m", kind: "endpoint", base_url: "http://a.example"}\n', "judges.a.base_url: must be https"),
        ('  a b: {model: "m"}\n', "judges.a b"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(tmp_path: Path, judges: str, words: str) -> None:
    with pytest.raises(UserError) as told:
        load(tmp_path, judges)
    line = 3 if judges == "  {}\n" else 4
    assert f"judge_config.yaml:{line}: {words}" in str(told.value) or f":3: {words}" in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("pairing.judge=nobody", "pairing.judge: is none of the judges (a)"),
        ("pairing.min_gap=2", "must be a number from 0 to 1, not 2"),
        ("data.output_file=data/c.jsonl", "is the input file"),
        ("judges.a.batch_size=0", "must be a whole number from 1 to 4096"),
    ],
)
def test_overrides(tmp_path: Path, override: str, words: str) -> None:
    with pytest.raises(UserError) as told:
        load(tmp_path, '  a: {model: "m"}\n', override)
    assert words in str(told.value)


def test_a_key_where_its_variable_belongs_is_not_said_again(tmp_path: Path) -> None:
    with pytest.raises(UserError) as told:
        load(tmp_path, '  a: {kind: endpoint, model: "m", base_url: "https://a.example", api_key_env: "sk-abc-1"}\n')
    assert "must be the name of an environment variable" in str(told.value)
    assert "sk-abc" not in str(told.value)
