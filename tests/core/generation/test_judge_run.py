"""Runs of kind judge: from responses to pairs, through kills and stops, and with a key that is nowhere afterwards."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from core.config import JudgeConfig
from core.config.models import Adapter
from core.data.manifest import manifest_path
from core.data.pairs import Pair, read_pairs
from core.engine.client import engine_alive, ensure_engine, reap, submit
from core.engine.jobs import JOBS
from core.errors import UserError
from core.generation.verdicts import read_verdicts
from core.models.reward_folder import RewardSettings, save_reward, start_reward
from core.store import commands, engines, facts, log, runs
from core.store.writer import Writer
from core.training.context import Context
from core.training.control import Stopped
from tests.core.engine.test_engine import ended, wait
from tests.core.generation.test_endpoint import KEY, Server, completion, serving
from tests.core.training import tiny

ROOT = Path(__file__).parents[3]

# The tiny model has 512 positions.
RUBRIC = """\
# Pairwise
{fence}
{prompt}
{first}
{second}
# Score
{fence}
{prompt}
{response}
"""

TEXT = re.compile(r"^<<<(\S+)\n(.*?)\n\1>>>$", re.S | re.M)


@pytest.fixture
def space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("JUDGE_KEY", KEY)
    space, db = tiny.workspace(tmp_path / "w")
    (space.configs / "judge_rubric.md").write_text(RUBRIC)
    rows = [
        {"prompt": f"Say {word}. ", "responses": [f"{word} please", word, f"{word} and {word}", word]}
        for word in tiny.WORDS[:8]
    ]
    (space.data / "candidates.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + "{}\n")
    yield space, db
    engine = engines.latest(db)
    if engine is not None and engine_alive(space) and engine.pid != os.getpid():
        os.kill(engine.pid, signal.SIGKILL)
    db.close()


def config(judges: dict[str, dict[str, Any]], **changes: Any) -> JudgeConfig:
    raw = {
        "data": {"input_file": "data/candidates.jsonl", "output_file": "data/judged.jsonl"},
        "judges": judges,
        "logging": {"output_dir": "outputs/judge"},
        **changes,
    }
    return JudgeConfig.model_validate(raw)


LIKELY = {"model": "models/tiny", "verdict": "likelihood", "average_orders": True, "batch_size": 4}


class Leaving(threading.Event):
    """The engine's wish to leave, at the given look."""

    def __init__(self, looks: int | None) -> None:
        super().__init__()
        self.left = looks

    def is_set(self) -> bool:
        if self.left is None:
            return False
        self.left -= 1
        return self.left < 0


def execute(space, db, run_id: str, looks: int | None = None) -> None:
    writer = Writer(space.database)
    try:
        JOBS["judge"](Context(space, db, runs.get(db, run_id), writer, Leaving(looks)))
    finally:
        writer.close()


def pairs_of(space, name: str = "data/judged.jsonl") -> list[Pair]:
    found = list(read_pairs(space.path(name)))
    assert all(isinstance(pair, Pair) for pair in found)
    return found


def verdicts_of(space, db, run_id: str) -> list[dict[str, Any]]:
    return list(read_verdicts(space.path(runs.get(db, run_id).output_dir) / "verdicts.jsonl"))


def said(db, run_id: str) -> str:
    return "\n".join(line.text for line in log.lines(db, run_id))


def endpoint(server: Server, **changes: Any) -> dict[str, Any]:
    return {
        "kind": "endpoint", "model": "m", "base_url": f"http://127.0.0.1:{server.server_address[1]}/v1",
        "api_key_env": "JUDGE_KEY", "requests_per_minute": 1_000_000, "retries": 0, **changes,
    }  # fmt: skip


def polite(number: int, body: Any) -> Any:
    """Prefers who says please; else finds no difference."""
    texts = [text for _, text in TEXT.findall(body["messages"][0]["content"])][1:]
    if len(texts) == 1:
        return 200, completion(f"Score: {9 if 'please' in texts[0] else 4}")
    nice = ["please" in text for text in texts]
    return 200, completion(f"So.\nVerdict: {'TIE' if nice[0] == nice[1] else 'A' if nice[0] else 'B'}")


def test_several_judges_of_candidates(space) -> None:
    space, db = space
    loaded = start_reward(space.path("models/tiny"), RewardSettings(format=1), seed=3)
    space.path("checkpoints/reward").mkdir()
    save_reward(loaded, Adapter(type="full"), space.path("checkpoints/reward"))
    with serving(polite) as server:
        judges = {
            "reward": {"kind": "reward", "model": "checkpoints/reward", "batch_size": 5},
            "likely": LIKELY,
            "nice": endpoint(server),
            "marks": endpoint(server, ask="scores"),
        }
        run = submit(space, db, "judge", config(judges, pairing={"strategy": "all", "max_pairs_per_prompt": 2}))
        execute(space, db, run.id)
    verdicts = verdicts_of(space, db, run.id)
    # 8 prompts, 3 different responses each: 3 comparisons in both orders, or 3 responses.
    counts = {name: sum(row["judge"] == name for row in verdicts) for name in judges}
    assert counts == {"reward": 24, "likely": 48, "nice": 48, "marks": 24}
    assert all(row["why"] == "" for row in verdicts)
    pairs = pairs_of(space)
    assert len(pairs) == 16
    rewards = {(row["line"], row["first"]): row["value"] for row in verdicts if row["judge"] == "reward"}
    responses = {row["prompt"]: list(dict.fromkeys(row["responses"])) for row in map(json.loads, lines(space))}
    for line, prompt in enumerate(responses, 1):
        for pair in (pair for pair in pairs if pair.prompt == prompt):
            won, lost = (rewards[line, responses[prompt].index(text)] for text in (pair.chosen, pair.rejected))
            gap = pair.chosen_score - pair.rejected_score
            assert gap == pytest.approx(2 / (1 + 2.718281828459045 ** (lost - won)) - 1)
            assert gap > 0
    manifest = json.loads(manifest_path(space.path("data/judged.jsonl")).read_text())
    assert manifest["counts"]["bad_rows"] == 1
    assert manifest["counts"]["pairs"] == 16
    assert manifest["counts"]["repeated_responses"] == 8
    assert [parent["path"] for parent in manifest["parents"]] == ["candidates.jsonl"]
    assert "api_key_env" not in json.dumps(manifest)
    fact = facts.latest(db)["data.judge_agreement"]
    assert (fact.n, fact.run) == (24, run.id)
    assert -1 <= fact.low <= fact.value <= fact.high <= 1
    assert "reward (reward, checkpoints/reward)" in fact.source and "Fleiss kappa" in fact.source
    assert "left out: data/candidates.jsonl:9" in said(db, run.id)


def lines(space) -> list[str]:
    return space.path("data/candidates.jsonl").read_text().splitlines()[:8]


def test_the_polite_judge_s_pairs(space) -> None:
    space, db = space
    with serving(polite) as server:
        run = submit(space, db, "judge", config({"nice": endpoint(server)}))
        execute(space, db, run.id)
    for pair in pairs_of(space):
        assert pair.chosen.endswith("please") and not pair.rejected.endswith("please")
        # Won both of its comparisons; the other lost one and tied one.
        assert (pair.chosen_score, pair.rejected_score) == (1.0, 0.25)
    assert "data.judge_agreement" not in facts.latest(db)
    assert "the response read first wins 50.0 %" in said(db, run.id)


def test_pairs_are_judged_anew_and_compared_with_the_file(space) -> None:
    space, db = space

    def first_then(number: int, body: Any) -> Any:
        """Finds the second pair worse than the file does, and favours the first position on the third."""
        question = body["messages"][0]["content"]
        texts = [text for _, text in TEXT.findall(question)]
        if "p2" in texts[0]:
            return 200, completion(f"Verdict: {'A' if 'bad' in texts[1] else 'B'}")
        if "p3" in texts[0]:
            return 200, completion("Verdict: A")
        if "p4" in texts[0]:
            return 200, completion("I like both.")
        return 200, completion(f"Verdict: {'A' if 'good' in texts[1] else 'B'}")

    rows = [{"prompt": f"p{n}", "chosen": f"good {n}", "rejected": f"bad {n}"} for n in range(1, 6)]
    (space.data / "given.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = {"input_file": "data/given.jsonl", "output_file": "data/judged.jsonl"}
    with serving(first_then) as server:
        run = submit(space, db, "judge", config({"s": endpoint(server)}, data=data))
        execute(space, db, run.id)
    assert [(pair.prompt, pair.chosen) for pair in pairs_of(space)] == [
        ("p1", "good 1"), ("p2", "bad 2"), ("p5", "good 5")
    ]  # fmt: skip
    report = json.loads((space.path(runs.get(db, run.id).output_dir) / "judge_report.json").read_text())
    judged = report["judges"]["s"]
    # p1 and p5 agree, p2 does not, p3 is a tie, p4 said nothing.
    assert judged["agrees_with_the_file"]["share"] == pytest.approx(2.5 / 4)
    assert judged["agrees_with_the_file"]["n"] == 4
    assert judged["agrees_with_the_file"]["low"] < 2.5 / 4 < judged["agrees_with_the_file"]["high"]
    assert judged["counts"]["unparseable"] == 2
    assert judged["counts"]["inconsistent"] == 1
    assert judged["first_position_wins"]["share"] == pytest.approx((0.5 * 3 + 1) / 4)
    assert report["rows"]["prompts_without_a_pair"] == 2


def test_a_model_that_never_gives_a_verdict_makes_no_pair(space) -> None:
    space, db = space
    run = submit(space, db, "judge", config({"mute": {"model": "models/tiny", "max_tokens": 3}}))
    with pytest.raises(UserError, match="no pair came about"):
        execute(space, db, run.id)
    verdicts = verdicts_of(space, db, run.id)
    assert len(verdicts) == 48
    assert {row["why"] for row in verdicts} == {"unparseable"}
    assert all(row["verdict"] is None and row["value"] is None for row in verdicts)
    assert not space.path("data/judged.jsonl").exists()
    assert "mute: 0 of 48 questions have a verdict (48 unparseable); 0 of 24 comparisons decided" in said(db, run.id)


def test_questions_that_are_too_long_are_left_out_and_never_cut(space) -> None:
    space, db = space
    rows = [
        {"prompt": "Say red. ", "responses": ["red please", "red"]},
        {"prompt": "Say blue. ", "responses": ["blue " * 400, "blue"]},
    ]
    (space.data / "candidates.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = submit(space, db, "judge", config({"likely": LIKELY}))
    execute(space, db, run.id)
    assert [row["why"] for row in verdicts_of(space, db, run.id) if row["line"] == 2] == ["too_long", "too_long"]
    assert [pair.prompt for pair in pairs_of(space)] == ["Say red. "]


def outcome(space, db, run_id: str) -> tuple[bytes, list[str]]:
    """Pairs, and the verdicts in an order of their own."""
    texts = [json.dumps(row, sort_keys=True) for row in verdicts_of(space, db, run_id)]
    return space.path("data/judged.jsonl").read_bytes(), sorted(texts)


def test_stopped_and_resumed_is_never_stopped(space) -> None:
    space, db = space
    whole = submit(space, db, "judge", config({"likely": LIKELY}))
    execute(space, db, whole.id)
    expected = outcome(space, db, whole.id)
    parted = submit(space, db, "judge", config({"likely": LIKELY}))
    for looks in (3, 5, 9):
        with pytest.raises(Stopped):
            execute(space, db, parted.id, looks)
    done = len(verdicts_of(space, db, parted.id))
    assert 0 < done < 48
    execute(space, db, parted.id)
    assert outcome(space, db, parted.id) == expected
    assert f"goes on: {done} verdicts are there" in said(db, parted.id)


CHILD = """
import os, signal, sys
from pathlib import Path
from core import appended
from core.store import open_store
from core.workspace import open_workspace
from tests.core.generation.test_judge_run import execute

space = open_workspace(Path(sys.argv[1]))
db = open_store(space.database)
whole = os.fsync
left = int(sys.argv[3])

def dying(handle):
    global left
    left -= 1
    if left == 0:
        os.ftruncate(handle, os.fstat(handle).st_size - int(sys.argv[4]))
        os.kill(os.getpid(), signal.SIGKILL)
    whole(handle)

appended.os.fsync = dying
execute(space, db, sys.argv[2])
"""


def test_killed_in_the_middle_of_a_line(space) -> None:
    """SIGKILL before a batch is safe on disk, with its last line torn: nothing is lost or doubled afterwards."""
    space, db = space
    whole = submit(space, db, "judge", config({"likely": LIKELY}))
    execute(space, db, whole.id)
    expected = outcome(space, db, whole.id)
    parted = submit(space, db, "judge", config({"likely": LIKELY}))
    # The fourth batch, and 200 bytes of it are not there: a line and a half.
    command = [sys.executable, "-c", CHILD, str(space.root), parted.id, "4", "200"]
    child = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert child.returncode == -signal.SIGKILL, child.stderr
    assert not (space.path(runs.get(db, parted.id).output_dir) / "verdicts.jsonl").read_bytes().endswith(b"\n")
    execute(space, db, parted.id)
    assert outcome(space, db, parted.id) == expected


def test_an_engine_killed_while_a_server_judges(space) -> None:
    space, db = space
    asked: list[str] = []

    def slow(number: int, body: Any) -> Any:
        asked.append(body["messages"][0]["content"])
        time.sleep(0.02)
        return polite(number, body)

    with serving(slow) as server:
        run = submit(space, db, "judge", config({"nice": endpoint(server, concurrency=2)}))
        ensure_engine(space)
        wait(lambda: len(asked) >= 14 or ended(db, run.id))
        os.kill(engines.latest(db).pid, signal.SIGKILL)
        wait(lambda: not engine_alive(space))
        assert reap(space, db) == [run.id]
        before = len(asked)
        kept = verdicts_of_torn(space, db, run.id)
        assert 0 < len(kept) <= before < 48
        runs.requeue(db, run.id)
        ensure_engine(space)
        wait(lambda: ended(db, run.id))
        finished = runs.get(db, run.id)
        assert finished.state == "finished", finished.error
        assert (finished.step, finished.steps) == (48, 48)
    verdicts = verdicts_of(space, db, run.id)
    assert len({(row["line"], row["first"], row["second"]) for row in verdicts}) == len(verdicts) == 48
    # What was answered was not asked again; what was under way at the kill was.
    assert len(asked) <= 48 + 2
    assert verdicts[: len(kept)] == kept
    assert len(pairs_of(space)) == 8


def verdicts_of_torn(space, db, run_id: str) -> list[dict[str, Any]]:
    path = space.path(runs.get(db, run_id).output_dir) / "verdicts.jsonl"
    return [json.loads(line) for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]


def test_pause_resume_and_stop_while_a_server_judges(space) -> None:
    space, db = space

    def slow(number: int, body: Any) -> Any:
        time.sleep(0.05)
        return polite(number, body)

    def obeyed(verb: str) -> str:
        command = commands.send(db, run.id, verb, "ann")
        wait(lambda: all(c.id != command for c in commands.pending(db, run.id)))
        return next(c.answer for c in commands.of_run(db, run.id) if c.id == command)

    with serving(slow) as server:
        run = submit(space, db, "judge", config({"nice": endpoint(server, concurrency=1)}))
        ensure_engine(space)
        wait(lambda: runs.get(db, run.id).phase.startswith("judging by nice") or ended(db, run.id))
        assert obeyed("pause") == "paused"
        assert obeyed("resume") == "resumed"
        assert re.fullmatch(r"stopped, \d+ verdicts are on disk", obeyed("stop"))
        wait(lambda: ended(db, run.id))
    assert runs.get(db, run.id).state == "stopped"
    assert not space.path("data/judged.jsonl").exists()


def test_an_input_that_changed_meanwhile_is_refused(space) -> None:
    space, db = space
    run = submit(space, db, "judge", config({"likely": LIKELY}))
    with pytest.raises(Stopped):
        execute(space, db, run.id, 4)
    path = space.configs / "judge_rubric.md"
    path.write_text(RUBRIC + "\nMind the spelling.\n")
    with pytest.raises(UserError, match=r"judge_rubric\.md changed since judge-001 wrote its first verdicts"):
        execute(space, db, run.id)
    path.write_text(RUBRIC)
    execute(space, db, run.id)


def test_the_key_is_nowhere_in_the_workspace(space) -> None:
    space, db = space

    def telling(number: int, body: Any) -> Any:
        if number == 30:
            return 400, json.dumps({"error": {"message": f"no {KEY}"}}).encode()
        if number == 40:
            return 401, json.dumps({"error": {"message": f"bad key {KEY}"}}).encode()
        return 200, completion(f"The key is {KEY}.\nVerdict: A")

    with serving(telling) as server:
        run = submit(space, db, "judge", config({"s": endpoint(server, concurrency=1)}))
        ensure_engine(space)
        wait(lambda: ended(db, run.id))
    failed = runs.get(db, run.id)
    assert failed.state == "failed"
    assert "judges.s" in failed.error or "HTTP 401 (bad key [key]): look at the key in JUDGE_KEY" in failed.error
    os.kill(engines.latest(db).pid, signal.SIGTERM)
    wait(lambda: not engine_alive(space))
    verdicts = verdicts_of(space, db, run.id)
    assert sum("The key is [key]." in row["text"] for row in verdicts) == len(verdicts) - 1 >= 38
    for path in space.root.rglob("*"):
        if path.is_file():
            assert KEY.encode() not in path.read_bytes(), path


def test_without_the_key_nothing_is_sent(space, monkeypatch: pytest.MonkeyPatch) -> None:
    space, db = space
    monkeypatch.delenv("JUDGE_KEY")
    with serving(polite) as server:
        run = submit(space, db, "judge", config({"s": endpoint(server)}))
        with pytest.raises(UserError, match=r"judges\.s: the environment variable JUDGE_KEY is not set"):
            execute(space, db, run.id)
    assert server.seen == []


def test_what_another_hand_wrote_is_not_overwritten(space) -> None:
    space, db = space
    (space.data / "judged.jsonl").write_text("mine\n")
    run = submit(space, db, "judge", config({"likely": LIKELY}))
    with pytest.raises(UserError, match="was not written by 'dpotui judge'"):
        execute(space, db, run.id)
    assert (space.data / "judged.jsonl").read_text() == "mine\n"


def test_nothing_to_compare(space) -> None:
    space, db = space
    (space.data / "candidates.jsonl").write_text('{"prompt": "p", "responses": ["a", " a "]}\n')
    run = submit(space, db, "judge", config({"likely": LIKELY}))
    with pytest.raises(UserError, match="no prompt with two different responses"):
        execute(space, db, run.id)
