"""Work over hosts: the file is that of one host to the byte, lost hosts lose nothing, and lies are not taken."""

from __future__ import annotations

import json
import queue
import shutil
import threading
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from core.config import GenerateConfig
from core.engine.client import submit
from core.engine.jobs import generate
from core.errors import UserError
from core.experiments import cluster_agent, spread_generate, spread_shares
from core.experiments.cluster_reach import Unreachable
from core.experiments.hosts import parse_hosts
from core.experiments.spread_shares import Spread, deal, opened, sealed
from core.hardware import versions
from core.store import Database, commands, runs
from core.store.writer import Writer
from core.training.context import Context
from core.training.control import Stopped
from core.workspace import Workspace
from tests.core.generation.test_generate_run import LeavesAfter, config, words, write
from tests.core.training import tiny

PROMPTS = [{"prompt": f"Say {a} {b} {n}. "} for a in ("red", "green") for b in ("fast", "slow") for n in range(6)]
TWO = {"usual": {"count": 1}, "other": {"model": "models/other"}}


@pytest.fixture
def made(tmp_path: Path) -> tuple[Workspace, Database]:
    """A workspace whose hosts file names this machine twice: with itself, and with a copy of itself."""
    space, db = tiny.workspace(tmp_path / "w")
    write(space, PROMPTS)
    shutil.copytree(space.root / "models" / "tiny", space.root / "models" / "other")
    other = tmp_path / "copy"
    shutil.copytree(space.root, other, ignore=shutil.ignore_patterns("runs.db*"))
    hosts = [{"ssh": "127.0.0.1", "share": 65}, {"ssh": "localhost", "share": 35, "cwd": str(other)}]
    (space.root / "hosts.json").write_text(json.dumps({"hosts": hosts}))
    return space, db


def over_hosts(**options: Any) -> GenerateConfig:
    found = config(**options).model_dump(mode="json")
    found["compute"]["distributed"]["hosts"] = "hosts.json"
    found["data"]["output_file"] = "data/spread.jsonl"
    found["logging"]["output_dir"] = "outputs/spread"
    return GenerateConfig.model_validate(found)


def execute(space: Workspace, db: Database, run_id: str, looks: int | None = None) -> None:
    writer = Writer(space.database)
    try:
        generate(Context(space, db, runs.get(db, run_id), writer, LeavesAfter(looks)))
    finally:
        writer.close()


def test_two_hosts_write_what_one_does(made: tuple[Workspace, Database]) -> None:
    space, db = made
    # The second model must not repeat what the first one wrote: its host has to know of it.
    alone = submit(space, db, "generate", config(recipes=TWO))
    execute(space, db, alone.id)
    run = submit(space, db, "generate", over_hosts(recipes=TWO))
    with pytest.raises(Stopped):
        execute(space, db, run.id, looks=4)
    runs.update(db, run.id, state="running")
    commands.send(db, run.id, "pause", "ann")
    threading.Timer(0.7, lambda: _resume(space, run.id)).start()
    execute(space, db, run.id)
    assert (space.data / "spread.jsonl").read_bytes() == (space.data / "candidates.jsonl").read_bytes()
    said = words(db, run.id)
    assert "24 items are dealt: 127.0.0.1 16, localhost 8 (from the hosts file)" in said
    assert not [process for process in psutil.Process().children() if "spread_worker" in " ".join(process.cmdline())]


def _resume(space: Workspace, run_id: str) -> None:
    from core.store import open_store

    db = open_store(space.database)
    commands.send(db, run_id, "resume", "ann")
    db.close()


def test_what_a_lost_host_had_is_done_by_the_other(
    made: tuple[Workspace, Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    space, db = made
    alone = submit(space, db, "generate", config())
    execute(space, db, alone.id)
    hear = Spread._hear
    lost: list[str] = []

    def kills(self: Spread, worker: Any, message: dict[str, Any], take: Any) -> None:
        hear(self, worker, message, take)
        if "line" in message and not lost:
            slower = next(other for other in self.workers.values() if other is not worker)
            lost.append(slower.name)
            slower.talk._process.kill()

    monkeypatch.setattr(Spread, "_hear", kills)
    run = submit(space, db, "generate", over_hosts())
    execute(space, db, run.id)
    assert (space.data / "spread.jsonl").read_bytes() == (space.data / "candidates.jsonl").read_bytes()
    said = " ".join(words(db, run.id))
    assert f"{lost[0]} was lost" in said and "the others take them" in said


# What a worker may say


class Told:
    """A conversation whose answers stand beforehand; a function makes them of what it was told."""

    def __init__(self, about: dict[str, Any], work: Any) -> None:
        self._about, self._work = about, work
        self._lines: queue.SimpleQueue[dict[str, Any] | Exception] = queue.SimpleQueue()
        self.closed = False

    def ask(self, seconds: float, /, **request: Any) -> dict[str, Any]:
        return self._about

    def tell(self, message: dict[str, Any]) -> None:
        for said in self._work(message):
            self._lines.put(said)

    def hear(self, seconds: float) -> dict[str, Any]:
        said = self._lines.get()
        if isinstance(said, Exception):
            raise said
        return said

    def close(self) -> None:
        self.closed = True
        self._lines.put(Unreachable("closed", ""))


def good(message: dict[str, Any]) -> list[Any]:
    return [*(sealed(item, {"by": "good"}) for item in message["items"]), {"done": len(message["items"])}]


def _spread(
    made: tuple[Workspace, Database], monkeypatch: pytest.MonkeyPatch, *works: Any, found: dict[str, Any] | None = None
) -> tuple[Spread, list[str]]:
    space, db = made
    names = ["data/prompts.jsonl"]
    about = {"versions": versions(), "code": cluster_agent.code(), "chip": "x"}
    about |= {"found": found} if found else cluster_agent.hashes(space.root, names)
    waiting = iter(works)
    hosts = parse_hosts([{"ssh": f"mac{number}"} for number in range(len(works))], "hosts.json")
    monkeypatch.setattr(spread_shares, "files_of", lambda workspace, config: names)
    monkeypatch.setattr(spread_shares, "Conversation", lambda *_: Told(about, next(waiting)))
    said: list[str] = []
    spread = Spread(hosts, space, db, over_hosts(), lambda text, warning: said.append(text))
    spread.start()
    return spread, said


@pytest.mark.parametrize(
    ("lie", "word"),
    [
        (lambda m: [{**sealed(m["items"][0], {}), "sha256": "0"}], "otherwise than its hash says"),
        (lambda m: [sealed("99", {"by": "x"})], "which was not its own"),
        (lambda m: [{"done": 3}], "is done, and 3 items"),
        (lambda m: [sealed(m["items"][0], {"by": 1})], "no answer"),
        (lambda m: [{"error": "\x1b[31mbroken"}], "␛[31mbroken"),
        (lambda m: [Unreachable("no answer in 60 s", "")], "no answer in 60 s"),
        (lambda m: [{"line": 7, "sha256": None}], "otherwise than its hash"),
    ],
)
def test_what_is_not_its_answer_loses_the_host(
    made: tuple[Workspace, Database], monkeypatch: pytest.MonkeyPatch, lie: Any, word: str
) -> None:
    spread, said = _spread(made, monkeypatch, good, lie)
    taken: dict[str, str] = {}

    def take(host: str, item: str, fields: dict[str, Any]) -> None:
        if not isinstance(fields["by"], str):
            raise ValueError("no answer")
        taken[item] = fields["by"]

    items = [str(number) for number in range(6)]
    assert spread.work({}, items, lambda part: {}, take, lambda: False) == []
    spread.close()
    assert set(taken) == set(items)
    (line,) = [line for line in said if "was lost" in line]
    assert word in line and "\x1b" not in line


def test_what_nobody_is_left_for_comes_back(made: tuple[Workspace, Database], monkeypatch: pytest.MonkeyPatch) -> None:
    def half(message: dict[str, Any]) -> list[Any]:
        return [sealed(message["items"][0], {}), Unreachable("gone", "")]

    spread, said = _spread(made, monkeypatch, half, half)
    taken: list[str] = []
    items = [str(number) for number in range(6)]
    left = spread.work({}, items, lambda part: {}, lambda host, item, fields: taken.append(item), lambda: False)
    assert len(taken) == 2 and sorted([*taken, *left]) == items
    assert "nobody is left" in said[-1]
    spread.close()


def test_a_host_with_other_data_does_not_take_part(
    made: tuple[Workspace, Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=r"mac0: it has another data/prompts\.jsonl: copy it there"):
        _spread(made, monkeypatch, good, found={"data/prompts.jsonl": "0"})
    with pytest.raises(UserError, match=r"mac0: it does not have data/prompts\.jsonl"):
        _spread(made, monkeypatch, good, found={"data/prompts.jsonl": None})


def test_another_version_does_not_take_part(made: tuple[Workspace, Database], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_agent, "code", iter(["theirs", "ours"]).__next__)
    with pytest.raises(UserError, match=r"none of the hosts can take part \(mac0: its dpotui has another code"):
        _spread(made, monkeypatch, good)


def test_items_are_dealt_by_shares_and_mixed() -> None:
    items = [str(number) for number in range(20)]
    first, second = deal(items, [0.65, 0.35])
    assert (len(first), len(second)) == (13, 7)
    assert sorted([*first, *second], key=int) == items
    assert max(int(b) - int(a) for a, b in pairwise(second)) <= 3
    assert deal(["1"], [0.5, 0.5]) == [["1"], []]
    assert opened(sealed("7", {"text": "\ud800 half"})) == ("7", {"text": "\ud800 half"})


def test_an_answer_of_another_machine_is_looked_at() -> None:
    one: Any = SimpleNamespace(slots=[SimpleNamespace(index=0, recipe="usual")])
    right = {"index": 0, "recipe": "usual", "text": "x", "finish": "stop", "tokens": 1}
    assert spread_generate._answer(right, one).text == "x"
    for wrong in (
        {"index": 1},
        {"index": True},
        {"recipe": "x"},
        {"text": 3},
        {"finish": ""},
        {"text": "\ud800"},
        {"a": 1},
    ):
        with pytest.raises((ValueError, TypeError)):
            spread_generate._answer({**right, **wrong}, one)
