"""Facts, the hashes behind them, artifacts, notes and engines."""

from __future__ import annotations

import hashlib
import os
import time

import pytest
from sqlite_utils import Database

from core.errors import UserError
from core.store import artifacts, engines, facts, files, notes, runs
from core.store.facts import Fact
from core.workspace import Workspace


def test_the_newest_fact_of_a_name_counts_and_the_others_remain(db: Database) -> None:
    run = runs.create(db, "dpo", config={}).id
    facts.record(db, Fact("dpo.kl_divergence", 0.2, "nats per token", run=run))
    facts.record(db, Fact("dpo.kl_divergence", 0.08, low=0.07, high=0.09, n=32), Fact("data.pairs", 1229.0))
    latest = facts.latest(db)
    assert set(latest) == {"dpo.kl_divergence", "data.pairs"}
    kl = latest["dpo.kl_divergence"]
    assert (kl.value, kl.low, kl.high, kl.n) == (0.08, 0.07, 0.09, 32)
    assert time.time() - kl.time < 60
    assert [fact.value for fact in facts.history(db, "dpo.kl_divergence")] == [0.08, 0.2]
    assert facts.of_run(db, run)["dpo.kl_divergence"].value == 0.2


def test_a_fact_that_could_not_be_had_says_why(db: Database) -> None:
    facts.record(db, Fact("data.preference_gap", None, source="no scores in data/pairs.jsonl"))
    found = facts.latest(db)["data.preference_gap"]
    assert found.value is None
    assert found.source == "no scores in data/pairs.jsonl"


def test_facts_are_written_all_or_none(db: Database) -> None:
    with pytest.raises(Exception, match="FOREIGN KEY"):
        facts.record(db, Fact("data.pairs", 1.0), Fact("data.pairs", 2.0, run="no-such-run"))
    assert facts.latest(db) == {}


@pytest.fixture(autouse=True)
def _remember_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "SETTLED_NS", -1)


def test_a_hash_is_that_of_the_content_and_is_read_once(db: Database, workspace: Workspace) -> None:
    path = workspace.data / "a.jsonl"
    path.write_bytes(b"one")
    digest = hashlib.sha256(b"one").hexdigest()
    assert files.sha256(db, workspace, "data/a.jsonl") == digest
    # Were it read again, the remembered row would be put right.
    db.execute("UPDATE files SET sha256 = 'remembered'")
    db.conn.commit()
    assert files.sha256(db, workspace, "data/a.jsonl") == "remembered"
    path.write_bytes(b"two")
    assert files.sha256(db, workspace, "data/a.jsonl") == hashlib.sha256(b"two").hexdigest()


def test_content_put_back_under_an_old_time_is_noticed(db: Database, workspace: Workspace) -> None:
    path = workspace.data / "a.jsonl"
    path.write_bytes(b"one")
    old = path.stat()
    files.sha256(db, workspace, "data/a.jsonl")
    path.write_bytes(b"two")
    os.utime(path, ns=(old.st_atime_ns, old.st_mtime_ns))
    assert files.sha256(db, workspace, "data/a.jsonl") == hashlib.sha256(b"two").hexdigest()


def test_a_file_that_changed_just_now_is_not_remembered(
    db: Database, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "SETTLED_NS", 2_000_000_000)
    (workspace.data / "a.jsonl").write_bytes(b"one")
    files.sha256(db, workspace, "data/a.jsonl")
    assert db.execute("SELECT count(*) FROM files").fetchone() == (0,)


def test_a_folder_of_data_has_one_hash_over_all_its_files(db: Database, workspace: Workspace) -> None:
    folder = workspace.data / "benchmarks"
    folder.mkdir()
    assert files.sha256(db, workspace, "data/benchmarks") is None
    (folder / "sums.jsonl").write_text("{}\n")
    (folder / "notes.md").write_text("x")
    first = files.fingerprints(db, workspace, "data/benchmarks")
    fact = facts.Fact("data.decontamination", 1.0, inputs=first)
    assert files.stale_reason(db, workspace, fact) is None
    (folder / "notes.md").write_text("y")
    assert files.stale_reason(db, workspace, fact) is None
    (folder / "more.jsonl").write_text("{}\n")
    assert files.stale_reason(db, workspace, fact) == "data/benchmarks changed since"


def test_a_model_folder_has_one_hash_over_what_makes_it_that_model(db: Database, workspace: Workspace) -> None:
    folder = workspace.path("models/m")
    folder.mkdir()
    assert files.sha256(db, workspace, "models/m") is None
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    first = files.sha256(db, workspace, "models/m")
    (folder / "notes.txt").write_text("does not count")
    assert files.sha256(db, workspace, "models/m") == first
    (folder / "reward_config.json").write_text('{"apply_chat_template": true}')
    assert files.sha256(db, workspace, "models/m") != first  # the same weights give other rewards
    (folder / "reward_config.json").unlink()
    (folder / "model.safetensors").write_bytes(b"Weights")
    assert files.sha256(db, workspace, "models/m") != first


def test_files_that_are_missing_have_no_fingerprint(db: Database, workspace: Workspace) -> None:
    (workspace.data / "a.jsonl").write_bytes(b"one")
    assert set(files.fingerprints(db, workspace, "data/a.jsonl", "data/none.jsonl")) == {"data/a.jsonl"}


def test_a_fact_goes_stale_when_its_input_changes_or_goes(db: Database, workspace: Workspace) -> None:
    path = workspace.data / "a.jsonl"
    path.write_bytes(b"one")
    fact = Fact("data.pairs", 1.0, inputs=files.fingerprints(db, workspace, "data/a.jsonl"))
    assert files.stale_reason(db, workspace, fact) is None
    path.write_bytes(b"two")
    assert files.stale_reason(db, workspace, fact) == "data/a.jsonl changed since"
    path.unlink()
    assert files.stale_reason(db, workspace, fact) == "data/a.jsonl is gone"
    path.write_bytes(b"one")
    assert files.stale_reason(db, workspace, fact) is None


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_a_file_that_may_not_be_read_is_one_sentence(db: Database, workspace: Workspace) -> None:
    path = workspace.data / "a.jsonl"
    path.write_bytes(b"one")
    path.chmod(0)
    with pytest.raises(UserError, match=r"a\.jsonl cannot be read"):
        files.sha256(db, workspace, "data/a.jsonl")


def test_an_artifact_is_recorded_replaced_and_forgotten(db: Database) -> None:
    run = runs.create(db, "dpo", config={}).id
    artifacts.record(db, run, "checkpoint", "outputs/x/checkpoint-50", "aa", 10, 50)
    artifacts.record(db, run, "checkpoint", "outputs/x/checkpoint-50", "bb", 11, 50)
    artifacts.record(db, run, "metrics", "outputs/x/training_metrics.json", "cc", 12)
    assert [(a.kind, a.sha256, a.step) for a in artifacts.of_run(db, run)] == [
        ("checkpoint", "bb", 50),
        ("metrics", "cc", None),
    ]
    artifacts.forget(db, run, "outputs/x/checkpoint-50")
    assert [a.kind for a in artifacts.of_run(db, run)] == ["metrics"]


def test_notes_stay_with_their_subject(db: Database) -> None:
    notes.add(db, "run:dpo-001", "diverged after lunch \ud800", "ada")
    notes.add(db, "item:x", "see the wiki", "ada")
    assert [note.text for note in notes.of(db, "run:dpo-001")] == ["diverged after lunch \\ud800"]


def test_an_engine_beats_and_ends(db: Database) -> None:
    assert engines.latest(db) is None
    first = engines.register(db, "detached", "0.1.0")
    second = engines.register(db, "in-process", "0.1.0")
    before = engines.get(db, second)
    assert (before.pid, before.ended) == (os.getpid(), None)
    engines.beat(db, second)
    assert engines.get(db, second).heartbeat >= before.heartbeat
    engines.end(db, second)
    latest = engines.latest(db)
    assert latest is not None
    assert latest.id == second
    assert latest.ended is not None
    assert engines.get(db, first).ended is None
