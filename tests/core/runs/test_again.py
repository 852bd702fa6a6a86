"""A run once more: the keys by which it differs from its file as that is now."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.config import RUN_CONFIGS, load_config
from core.config.document import parse_value
from core.errors import UserError
from core.runs.again import again, override
from core.runs.fields import flattened
from core.store import Database, runs
from core.workspace import Workspace
from tests.core.runs.conftest import add

FILE = "configs/dpo_config.yaml"


def _run(db: Database, workspace: Workspace, *overrides: str) -> runs.Run:
    config = load_config(workspace.path(FILE), RUN_CONFIGS["dpo"], overrides).model_dump(mode="json")
    return runs.get(db, add(db, config=config, config_path=FILE))


def test_nothing_differs(db: Database, workspace: Workspace) -> None:
    found = again(workspace, _run(db, workspace))
    assert (found.config, found.kind, found.overrides, found.left, found.gone) == (FILE, "dpo", (), (), "")


def test_the_file_and_the_keys_make_the_runs_own_configuration(db: Database, workspace: Workspace) -> None:
    run = _run(
        db, workspace, "training.beta=0.25", "training.learning_rate=1e-6", "data.train_file=data/a b.jsonl",
        "logging.output_dir='2024'",
    )  # fmt: skip
    path = workspace.path(FILE)
    path.write_text(path.read_text().replace("max_steps: ", "max_steps: 1"))  # changed since
    found = again(workspace, run)
    assert "training.beta=0.25" in found.overrides
    assert any(each.startswith("training.max_steps=") for each in found.overrides)
    made = load_config(path, RUN_CONFIGS["dpo"], found.overrides).model_dump(mode="json")
    assert flattened(made) == flattened(run.config)
    assert found.left == ()


def test_a_file_that_is_gone_is_replaced_by_the_usual_one(db: Database, workspace: Workspace) -> None:
    run = _run(db, workspace, "training.beta=0.3")
    runs.update(db, run.id, config_path="configs/gone.yaml")
    found = again(workspace, runs.get(db, run.id))
    assert (found.config, found.gone, found.overrides) == (FILE, "configs/gone.yaml", ("training.beta=0.3",))
    (workspace.configs / "dpo_config.yaml").unlink()
    with pytest.raises(UserError, match=r"dpo_config\.yaml"):
        again(workspace, runs.get(db, run.id))


def test_keys_of_another_program_are_said(db: Database, workspace: Workspace) -> None:
    run = _run(db, workspace)
    config = json.loads(json.dumps(run.config))
    config["training"]["of_another_time"] = 3
    runs.update(db, run.id, config=config)
    assert again(workspace, runs.get(db, run.id)).left == ("training.of_another_time",)


def test_a_sweep_is_not_started_again(db: Database, workspace: Workspace) -> None:
    with pytest.raises(UserError, match="kind sweep"):
        again(workspace, runs.get(db, add(db, "sweep")))


@given(st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.floats(allow_nan=False, allow_infinity=False)
       | st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=20)
       | st.lists(st.integers(0, 9) | st.floats(0, 1), max_size=3))  # fmt: skip
def test_an_override_is_read_back(value: Any) -> None:
    text = override("a.b", value).removeprefix("a.b=")
    read = parse_value(text, "--set")
    assert read == value
    assert isinstance(read, bool) == isinstance(value, bool)
