"""`dpotui train --hosts`: what is wrong is said before anything starts; `runs resume --hosts` changes who goes on."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from core.store import Database, open_store, runs
from core.workspace import Workspace
from dpotui.cli import main
from tests.core.training import tiny

TWO = [{"ssh": "127.0.0.1", "ips": ["127.0.0.1"], "share": share} for share in (65, 35)]


@pytest.fixture
def space(tmp_path: Path) -> tuple[Workspace, Database]:
    workspace, db = tiny.workspace(tmp_path / "w", 8)
    (workspace.root / "hosts.json").write_text(json.dumps(TWO))
    (workspace.configs / "dpo_config.yaml").write_text(json.dumps(tiny.dpo_config().model_dump(mode="json")))
    return workspace, db


Said = Callable[..., tuple[int, str]]


@pytest.fixture
def dpotui(
    space: tuple[Workspace, Database], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Said:
    """A command in the workspace: exit status, and what it said."""
    monkeypatch.chdir(space[0].root)

    def run(*words: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["dpotui", *words])
        with pytest.raises(SystemExit) as left:
            main()
        said = capsys.readouterr()
        return int(left.value.code or 0), said.out + said.err

    return run


def test_a_dry_run_tells_who_would_train(dpotui: Said, space: tuple[Workspace, Database]) -> None:
    code, said = dpotui("train", "dpo", "--hosts", "hosts.json", "--dry-run")
    assert code == 0 and "2 ranks over ring: 127.0.0.1 (0), 127.0.0.1 (1)" in said
    code, said = dpotui(
        "train", "dpo", "--hosts", "hosts.json", "--shares", "3/1", "--backend", "mpi", "--dry-run", "--json"
    )
    found = json.loads(said)
    assert found["hosts"]["backend"] == "mpi" and len(found["hosts"]["hosts"]) == 2
    assert found["config"]["compute"]["distributed"] == {
        "hosts": "hosts.json",
        "backend": "mpi",
        "shares": [3.0, 1.0],
    }


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--hosts", "none.json"), "none.json cannot be read"),
        (("--hosts", "hosts.json", "--shares", "1,2,3"), "has 3 numbers for the 2 hosts"),
        (("--hosts", "hosts.json", "--shares", "much"), "--shares much: numbers above 0"),
        (("--hosts", "hosts.json", "--backend", "tcp"), "must be one of ring, jaccl"),
        (("--hosts", "hosts.json", "--backend", "jaccl"), "0 RDMA devices for 2 hosts"),
        (("--hosts", "hosts.json", "--set", "training.loss_type=aot"), "cannot be spread over hosts"),
    ],
)
def test_what_is_wrong_starts_nothing(
    dpotui: Said, space: tuple[Workspace, Database], options: tuple[str, ...], words: str
) -> None:
    code, said = dpotui("train", "dpo", *options, "--detach")
    assert code == 2 and words in said and len(said.strip().splitlines()) == 1
    assert not runs.listing(space[1])


def test_a_run_goes_on_with_other_hosts(
    dpotui: Said, space: tuple[Workspace, Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, _ = space
    monkeypatch.setattr("dpotui.commands.runs.asking.ensure_engine", lambda workspace: None)
    db = open_store(workspace.database)
    config = tiny.dpo_config(compute_distributed={"hosts": "hosts.json", "shares": [65, 35]})
    run = runs.create(db, "dpo", config=config.model_dump(mode="json"))

    def resume(*options: str) -> tuple[int, str]:
        return dpotui("runs", "resume", run.id, *options)

    def spread() -> dict[str, object]:
        found: dict[str, object] = runs.get(db, run.id).config["compute"]["distributed"]
        return found

    code, said = resume("--hosts", "none")
    assert code == 2 and "is queued: stop it first" in said
    for options, expected in (
        (("--shares", "3,1"), {"hosts": "hosts.json", "backend": None, "shares": [3.0, 1.0]}),
        (("--hosts", "hosts.json"), {"hosts": "hosts.json", "backend": None, "shares": None}),
        (("--hosts", "none"), {"hosts": None, "backend": None, "shares": None}),
    ):
        runs.update(db, run.id, state="stopped")
        code, said = resume(*options)
        assert code == 0, said
        assert spread() == expected and runs.get(db, run.id).state == "queued"
