"""`dpotui config`: what it prints, and what it leaves of a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from core.config import RUN_CONFIGS
from core.errors import UserError
from core.store import open_store, runs
from core.workspace import Workspace, create_workspace
from dpotui.cli import cli


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    made = create_workspace(tmp_path / "w")
    open_store(made.database, create=True).close()
    monkeypatch.chdir(made.root)
    return made


def run(*args: str) -> Result:
    return CliRunner().invoke(cli, ["config", *args])


def told(*args: str) -> Any:
    result = run(*args, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def refused(*args: str) -> str:
    error = run(*args).exception
    assert isinstance(error, UserError)
    assert "\n" not in str(error)
    return str(error)


def test_show_tells_what_is_set_from_defaults(workspace: Workspace) -> None:
    document = told("show", "dpo_config.yaml")
    assert document["kind"] == "dpo"
    assert document["keys"]["training.beta"] == {"value": 0.1, "set": True}
    assert document["keys"]["training.beta_end"] == {"value": None, "set": False}
    assert document["errors"] == []
    output = run("show", "configs/dpo_config.yaml").stdout
    assert "· training.batch_tokens " in output
    assert "  training.beta  " in output


def test_set_changes_one_line_and_get_reads_it(workspace: Workspace) -> None:
    path = workspace.configs / "dpo_config.yaml"
    before = path.read_text().splitlines()
    assert run("set", "dpo_config.yaml", "training.beta=0.3").stdout == "training.beta: 0.1 → 0.3\n"
    after = path.read_text().splitlines()
    assert [line for line in after if line not in before] == [
        "  beta: 0.3  # KL penalty strength (higher = closer to reference)"
    ]
    assert run("get", "dpo_config.yaml", "training.beta").stdout == "0.3\n"
    assert told("get", "dpo_config.yaml", "training.beta_end") is None


def test_an_empty_value_leaves_a_key_out(workspace: Workspace) -> None:
    changed = told("set", "dpo_config.yaml", "training.warmup_steps=", "training.loss_type=sigmoid, sft")["changed"]
    assert changed == [
        {"key": "training.warmup_steps", "value": 0, "was": 100},
        {"key": "training.loss_type", "value": ["sigmoid", "sft"], "was": "sigmoid"},
    ]
    assert "  # warmup_steps: 100\n" in (workspace.configs / "dpo_config.yaml").read_text()


def test_sections_under_names_can_be_added(workspace: Workspace) -> None:
    run("set", "judge_config.yaml", "judges.second.kind=reward", "judges.second.model=checkpoints/reward_model")
    assert told("get", "judge_config.yaml", "judges.second.model") == "checkpoints/reward_model"
    assert run("check").exit_code == 0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["training.bet=1"], "training.bet: unknown key; did you mean training.beta?"),
        (["training=1"], "training is a section: name a key in it, such as training.learning_rate"),
        (["training.beta"], "write it as KEY=VALUE"),
        (["training.beta=-1"], "must be a number > 0 and ≤ 100, not -1.0; nothing was written"),
        (["training.warmup_steps=9999"], "must be less than max_steps (1000)"),
        (["training.beta=0", "training.max_steps=x"], "(and 1 more); nothing was written"),
        (["optimization.optimizer_config={a"], "not YAML"),
        (["=3"], "is no key"),
    ],
)
def test_what_is_wrong_is_one_line_and_nothing_is_written(workspace: Workspace, changes: list[str], words: str) -> None:
    path = workspace.configs / "dpo_config.yaml"
    before = path.read_bytes()
    assert words in refused("set", "dpo_config.yaml", *changes)
    assert path.read_bytes() == before


def test_the_line_of_the_key_is_named(workspace: Workspace) -> None:
    lines = (workspace.configs / "dpo_config.yaml").read_text().splitlines()
    number = next(n for n, line in enumerate(lines, 1) if line.startswith("  beta:"))
    assert f"dpo_config.yaml:{number}: training.beta: must be" in refused("set", "dpo_config.yaml", "training.beta=-1")


@pytest.mark.parametrize("kind", RUN_CONFIGS)
def test_help_of_a_key_says_all(workspace: Workspace, kind: str) -> None:
    key = "logging.output_dir"
    (document,) = told("help", key, "--kind", kind)
    assert document["key"] == key
    assert document["practice"]
    assert document["allowed"] == "text on one line"


def test_help_finds_parts_of_a_name_and_what_stands_under_names(workspace: Workspace) -> None:
    output = run("help", "beta").stdout
    assert "training.beta (dpo)\n" in output
    assert "training.beta_schedule (dpo)" in output
    (document,) = told("help", "judges.verdict")
    assert document["key"] == "judges.NAME.verdict"
    assert "no key 'nothing.like'" in refused("help", "nothing.like")


def test_differences_count_defaults(workspace: Workspace) -> None:
    assert run("diff", "dpo_config.yaml", "--template").stdout == ""
    assert "no run of kind dpo" in refused("diff", "dpo_config.yaml")
    config = RUN_CONFIGS["dpo"].model_validate({**_values("dpo")}).model_dump(mode="json")
    config["training"]["beta"] = 0.5
    db = open_store(workspace.database)
    made = runs.create(db, "dpo", config=config)
    db.close()
    assert run("diff", "dpo_config.yaml").stdout == "training.beta: 0.5 → 0.1\n"
    document = told("diff", "dpo_config.yaml", "--run", made.id)
    assert document["differences"] == [{"key": "training.beta", "value": 0.1, "other": 0.5}]
    assert "exclude each other" in refused("diff", "dpo_config.yaml", "--run", made.id, "--template")


def _values(kind: str) -> dict[str, Any]:
    from core.config.files import template_of
    from core.config.source import read_source

    return read_source(template_of(kind)).document.value


def test_check_says_every_error_and_fails(workspace: Workspace) -> None:
    result = run("check")
    assert result.exit_code == 0
    assert result.stdout.count("no errors") == len(RUN_CONFIGS) + 1  # and the sweep file
    bad = workspace.configs / "dpo_bad.yaml"
    bad.write_text((workspace.configs / "dpo_config.yaml").read_text().replace("beta: 0.1 ", "beta: x "))
    result = run("check")
    assert result.exit_code == 1
    assert "training.beta: must be a number > 0 and ≤ 100, not 'x'" in result.stdout
    result = run("check", "configs/dpo_bad.yaml", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)[0]["errors"]
    assert "of no known kind" in run("check", "configs/gates.yaml").stdout
    assert "does not exist" in run("check", "none.yaml").stdout


def test_a_file_of_no_known_kind_is_asked_for(workspace: Workspace) -> None:
    assert "say it with --kind" in refused("show", "configs/gates.yaml")
    (workspace.configs / "mine.yaml").write_text((workspace.configs / "dpo_config.yaml").read_text())
    assert told("show", "mine.yaml")["kind"] == "dpo"


def test_hostile_values_are_shown_as_text(workspace: Workspace) -> None:
    path = workspace.configs / "dpo_config.yaml"
    path.write_text(path.read_text().replace('"dpo-exp-001"', '"\\e[31m\\u202e"'))
    for args in (("show", "dpo_config.yaml"), ("get", "dpo_config.yaml", "logging.wandb_run_name")):
        output = run(*args).stdout
        assert "\x1b" not in output
        assert "\u202e" not in output
