"""A run of kind generate: what it writes, and that stopping, killing and resuming it changes nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from core.config import GenerateConfig
from core.data.candidates import Candidates, read_candidates
from core.data.manifest import manifest_path
from core.engine.client import submit
from core.errors import UserError
from core.generation import candidates_pass, generate_run
from core.generation.candidates_part import NAME
from core.store import Database, artifacts, commands, facts, log, metrics, runs
from core.store.writer import Writer
from core.training.context import Context
from core.training.control import Stopped
from core.workspace import Workspace
from tests.core.training import tiny

ROOT = Path(__file__).parents[3]
PROMPTS = [{"prompt": f"Say {a} {b}. "} for a in ("red", "green", "blue", "round") for b in ("fast", "slow", "warm")]


@pytest.fixture
def made(tmp_path: Path) -> tuple[Workspace, Database]:
    space, db = tiny.workspace(tmp_path / "w")
    write(space, PROMPTS)
    return space, db


def write(space: Workspace, rows: list[Any]) -> None:
    (space.data / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def config(**options: Any) -> GenerateConfig:
    """Options of `generation`; `data` and `model` are updated with theirs."""
    data = {"prompts_file": "data/prompts.jsonl", "output_file": "data/candidates.jsonl"} | options.pop("data", {})
    model = {"base_model": "models/tiny"} | options.pop("model", {})
    generation = {
        "responses_per_prompt": 3,
        "max_tokens": 6,
        "batch_size": 6,
        "temperature": 1.0,
        "redraws": 50,
    } | options
    logging = {"output_dir": "outputs/generate"}
    return GenerateConfig.model_validate({"model": model, "data": data, "generation": generation, "logging": logging})


class LeavesAfter(threading.Event):
    """The engine's wish to leave, which comes at the given look."""

    def __init__(self, looks: int | None) -> None:
        super().__init__()
        self.looks = looks
        self.seen = 0

    def is_set(self) -> bool:
        self.seen += 1
        return self.looks is not None and self.seen > self.looks


def execute(space: Workspace, db: Database, run_id: str, looks: int | None = None) -> None:
    writer = Writer(space.database)
    try:
        generate_run.run(Context(space, db, runs.get(db, run_id), writer, LeavesAfter(looks)))
    finally:
        writer.close()


def words(db: Database, run_id: str) -> list[str]:
    return [line.text for line in log.lines(db, run_id)]


def rows(space: Workspace, name: str = "candidates.jsonl") -> list[Candidates]:
    found = list(read_candidates(space.data / name))
    assert all(isinstance(row, Candidates) for row in found), found
    return found  # type: ignore[return-value]


def test_what_is_written(made: tuple[Workspace, Database]) -> None:
    space, db = made
    write(space, [*PROMPTS, PROMPTS[0], {"prompt": ""}, {"question": "what?"}])
    run = submit(space, db, "generate", config(recipes={"careful": {"temperature": 0.9}, "wide": {"count": 2}}))
    execute(space, db, run.id)
    found = rows(space)
    assert [row.prompt for row in found] == [row["prompt"] for row in PROMPTS]
    for row in found:
        assert [response.recipe for response in row.responses] == ["careful", "wide", "wide"]
        assert {response.model for response in row.responses} == {"models/tiny"}
        for response in row.responses:
            assert response.finish in ("stop", "length")
            assert response.tokens == 6 if response.finish == "length" else 1 < (response.tokens or 0) <= 6
            assert "<|" not in response.text  # no special token
    manifest = json.loads(manifest_path(space.data / "candidates.jsonl").read_text())
    assert manifest["made_by"]["command"] == "generate"
    assert manifest["made_by"]["parameters"]["generation"]["seed"] == 42
    assert [parent["path"] for parent in manifest["parents"]] == ["prompts.jsonl"]
    assert (manifest["rows"], manifest["counts"]["responses"]) == (12, 36)
    said = words(db, run.id)
    assert any("12 different prompts; 1 rows repeat one of them" in line for line in said)
    assert "left out: data/prompts.jsonl:14: prompt is empty" in said
    assert "left out: data/prompts.jsonl:15: prompt is missing (the row has question)" in said
    recorded = facts.latest(db)
    assert recorded["data.strategy"].value == 1.0
    assert recorded["data.strategy"].text == (
        "3 responses from models/tiny: 1 careful (T 0.9, top-p 0.95), 2 wide (T 1, top-p 0.95)"
    )
    assert recorded["data.generated_prompts"].value == 12
    assert recorded["data.generated_responses"].value == min(
        len({r.text.strip() for r in row.responses}) for row in found
    )
    assert set(recorded["data.strategy"].inputs) == {"data/prompts.jsonl", "models/tiny", "data/candidates.jsonl"}
    assert {a.path for a in artifacts.of_run(db, run.id)} == {
        "data/candidates.jsonl",
        "data/candidates.jsonl.manifest.json",
    }
    assert metrics.tail(db, run.id, "responses", 1)[0].value == 36
    assert (runs.get(db, run.id).step, runs.get(db, run.id).steps) == (36, 36)
    assert (space.data / "candidates.jsonl").stat().st_mode & 0o777 == 0o600
    assert (space.path(runs.get(db, run.id).output_dir) / NAME).stat().st_mode & 0o777 == 0o600


def test_the_seed_decides_and_neither_the_batch_nor_the_order(made: tuple[Workspace, Database]) -> None:
    space, db = made
    texts = []
    for number, (options, order) in enumerate(
        [({}, 1), ({"batch_size": 1}, 1), ({"batch_size": "auto"}, -1), ({"seed": 7}, 1)]
    ):
        write(space, PROMPTS[::order])
        name = f"candidates-{number}.jsonl"
        run = submit(space, db, "generate", config(data={"output_file": f"data/{name}"}, **options))
        execute(space, db, run.id)
        texts.append({row.prompt: [response.text for response in row.responses] for row in rows(space, name)})
    assert texts[0] == texts[1] == texts[2] != texts[3]


@pytest.mark.parametrize("looks", [1, 21])
def test_stopped_and_resumed_it_writes_the_same_bytes(made: tuple[Workspace, Database], looks: int) -> None:
    space, db = made
    whole, parted = (
        submit(space, db, "generate", config(data={"output_file": f"data/{name}.jsonl"})) for name in ("a", "b")
    )
    execute(space, db, whole.id)
    with pytest.raises(Stopped):
        execute(space, db, parted.id, looks)
    assert not (space.data / "b.jsonl").exists()
    execute(space, db, parted.id)
    assert (space.data / "a.jsonl").read_bytes() == (space.data / "b.jsonl").read_bytes()
    part = space.path(runs.get(db, parted.id).output_dir) / NAME
    numbers = [json.loads(line)["prompt"] for line in part.read_text().splitlines() if "prompt" in json.loads(line)]
    assert sorted(numbers) == list(range(12))
    if looks == 21:
        assert any(line.startswith("goes on: ") and "responses are there" in line for line in words(db, parted.id))


CHILD = """
import os, signal, sys
from pathlib import Path
from core import appended
from core.store import open_store
from core.workspace import open_workspace
from tests.core.generation.test_generate_run import execute

space = open_workspace(Path(sys.argv[1]))
whole = os.fsync
left = int(sys.argv[3])

def dying(handle):
    global left
    left -= 1
    if left == 0:
        os.ftruncate(handle, os.fstat(handle).st_size - 20)  # the disk got only a part of the last line
        os.kill(os.getpid(), signal.SIGKILL)
    whole(handle)

appended.os.fsync = dying
execute(space, open_store(space.database), sys.argv[2])
"""


def test_killed_in_the_middle_of_a_line_nothing_is_lost_or_doubled(made: tuple[Workspace, Database]) -> None:
    space, db = made
    whole, parted = (
        submit(space, db, "generate", config(data={"output_file": f"data/{name}.jsonl"})) for name in ("a", "b")
    )
    execute(space, db, whole.id)
    command = [sys.executable, "-c", CHILD, str(space.root), parted.id, "4"]
    child = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert child.returncode == -signal.SIGKILL, child.stderr
    part = space.path(runs.get(db, parted.id).output_dir) / NAME
    kept = part.read_bytes()
    before = [line for line in kept.splitlines(keepends=True) if line.endswith(b"\n")]
    assert len(before) >= 3
    assert not kept.endswith(b"\n")
    execute(space, db, parted.id)
    after = part.read_bytes()
    assert after.startswith(b"".join(before))
    numbers = [json.loads(line)["prompt"] for line in after.splitlines() if b'"prompt"' in line]
    assert sorted(numbers) == list(range(12))
    assert (space.data / "a.jsonl").read_bytes() == (space.data / "b.jsonl").read_bytes()


def test_commands_are_obeyed_between_tokens(made: tuple[Workspace, Database]) -> None:
    space, db = made
    run = submit(space, db, "generate", config())
    runs.update(db, run.id, state="running")
    sent = {verb: commands.send(db, run.id, verb, "ann") for verb in ("checkpoint", "resume", "stop")}
    with pytest.raises(Stopped) as stopped:
        execute(space, db, run.id)
    assert not stopped.value.leaving
    answers = {command.id: command.answer for command in commands.of_run(db, run.id)}
    assert answers[sent["checkpoint"]] == "0 responses are kept"
    assert answers[sent["resume"]] == "it is not paused"
    assert answers[sent["stop"]] == "stopped, 0 responses are kept"


def test_pausing(made: tuple[Workspace, Database]) -> None:
    space, db = made
    run = submit(space, db, "generate", config())
    runs.update(db, run.id, state="running")
    pause, later = commands.send(db, run.id, "pause", "ann"), commands.send(db, run.id, "resume", "ann")
    execute(space, db, run.id)
    answers = {command.id: command.answer for command in commands.of_run(db, run.id)}
    assert answers[pause] == "paused"
    assert answers[later] in ("resumed", "it is not paused")
    assert len(rows(space)) == 12


def scripted(monkeypatch: pytest.MonkeyPatch, texts: dict[str, int]) -> None:
    """Responses that decode to `texts`, each so many times, then to their token ids."""
    left = dict(texts)

    def text(tokenizer: Any, prompt: list[int], tokens: list[int], finish: str) -> str:
        for wanted, count in left.items():
            if count:
                left[wanted] = count - 1
                return wanted
        return str(tokens)

    monkeypatch.setattr(candidates_pass, "response_text", text)


def test_empty_responses_are_drawn_again(made: tuple[Workspace, Database], monkeypatch: pytest.MonkeyPatch) -> None:
    space, db = made
    scripted(monkeypatch, {" \n": 5})
    run = submit(space, db, "generate", config(redraws=2))
    execute(space, db, run.id)
    assert sum(len(row.responses) for row in rows(space)) == 36
    assert any("5 responses were drawn again, none left out" in line for line in words(db, run.id))


def test_what_stays_empty_is_left_out_with_a_word(
    made: tuple[Workspace, Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    space, db = made
    write(space, PROMPTS[:2])
    scripted(monkeypatch, {"": 9})  # all of the first prompt, again and again
    run = submit(space, db, "generate", config(redraws=2, batch_size=3))
    execute(space, db, run.id)
    assert [row.prompt for row in rows(space)] == [PROMPTS[1]["prompt"]]
    said = words(db, run.id)
    assert "6 responses were drawn again, 3 empty left out in the end" in said
    assert "1 of 2 prompts have no response and are not in the file" in said


@pytest.mark.parametrize("distinct", [False, True])
def test_repeated_responses(made: tuple[Workspace, Database], monkeypatch: pytest.MonkeyPatch, distinct: bool) -> None:
    space, db = made
    write(space, PROMPTS[:1])
    scripted(monkeypatch, {"the same": 4})
    run = submit(space, db, "generate", config(redraws=1, distinct=distinct, responses_per_prompt=4))
    execute(space, db, run.id)
    texts = [response.text for row in rows(space) for response in row.responses]
    if distinct:
        assert len(texts) == len(set(texts)) == 4
        assert any("3 responses were drawn again" in line for line in words(db, run.id))
    else:
        assert texts == ["the same"] * 4
        assert any("3 repeat another of their prompt" in line for line in words(db, run.id))
        assert facts.latest(db)["data.generated_responses"].value == 1


def test_several_models(made: tuple[Workspace, Database]) -> None:
    space, db = made
    from core.demo.model import write_model

    (space.root / "models" / "other").mkdir()
    write_model(space.root / "models" / "other", [row["prompt"] for row in PROMPTS] + [" ".join(tiny.WORDS)], 2)
    recipes = {"a": {"model": "models/other", "count": 1}, "b": {}, "c": {"model": "models/other", "count": 1}}
    run = submit(space, db, "generate", config(recipes=recipes))
    execute(space, db, run.id, None)
    for row in rows(space):
        assert [(r.recipe, r.model) for r in row.responses] == [
            ("a", "models/other"), ("b", "models/tiny"), ("c", "models/other"),
        ]  # fmt: skip
    parameters = json.loads(manifest_path(space.data / "candidates.jsonl").read_text())["made_by"]["parameters"]
    assert set(parameters["sha256_of_models"]) == {"models/tiny", "models/other"}
    whole = (space.data / "candidates.jsonl").read_bytes()
    for looks in (5, 40):  # in the middle of the first model's work, and of the second's
        again = submit(space, db, "generate", config(recipes=recipes))
        with pytest.raises(Stopped):
            execute(space, db, again.id, looks)
        execute(space, db, again.id)
        assert (space.data / "candidates.jsonl").read_bytes() == whole


def test_files_that_changed_between(made: tuple[Workspace, Database]) -> None:
    space, db = made
    run = submit(space, db, "generate", config())
    with pytest.raises(Stopped):
        execute(space, db, run.id, 20)
    write(space, PROMPTS[1:])
    with pytest.raises(UserError, match=r"data/prompts.jsonl changed since generate-001 wrote its first responses"):
        execute(space, db, run.id)


def test_a_file_of_another_hand_is_not_replaced(made: tuple[Workspace, Database]) -> None:
    space, db = made
    mine = space.data / "candidates.jsonl"
    mine.write_text("{}\n")
    run = submit(space, db, "generate", config())
    with pytest.raises(UserError, match="is there and was not written by 'dpotui generate'"):
        execute(space, db, run.id)
    assert mine.read_text() == "{}\n"


def test_a_damaged_file_of_what_is_kept(made: tuple[Workspace, Database]) -> None:
    space, db = made
    run = submit(space, db, "generate", config())
    with pytest.raises(Stopped):
        execute(space, db, run.id, 20)
    part = space.path(runs.get(db, run.id).output_dir) / NAME
    lines = part.read_text().splitlines(keepends=True)
    part.write_text("".join([*lines[:1], "{}\n", *lines[1:]]))
    with pytest.raises(UserError, match=r"responses.jsonl:2: not as this program writes it"):
        execute(space, db, run.id)


def test_prompts_that_cannot_be_taken(made: tuple[Workspace, Database]) -> None:
    space, db = made
    chat = {"prompt": [{"role": "user", "content": "Say red."}]}
    write(space, [PROMPTS[0], {"prompt": "red " * 80}, PROMPTS[1]])
    run = submit(space, db, "generate", config(data={"max_prompt_length": 40}))
    execute(space, db, run.id)
    assert len(rows(space)) == 2
    assert any(line.startswith("left out: data/prompts.jsonl:2: ") and "tokens, more than" in line
               for line in words(db, run.id))  # fmt: skip
    write(space, [chat])
    run = submit(space, db, "generate", config())
    execute_or = pytest.raises(UserError, match="chat messages need a chat template")
    from core.models.load import load

    if getattr(load(space.root / "models" / "tiny").tokenizer, "chat_template", None):
        execute(space, db, run.id)
        assert rows(space)[0].prompt == chat["prompt"]
    else:
        with execute_or:
            execute(space, db, run.id)
