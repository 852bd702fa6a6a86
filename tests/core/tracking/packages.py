"""A package `wandb` of the tests' own: a small real one that writes JSON lines, and how it misbehaves when told to.

It lies in a folder that PYTHONPATH names, so that feeders and workers, which are processes, load it as they load W&B's.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

# WANDB_FAKE is what it does instead of what it should; a file `once` beside it makes it do so once.
_SOURCE = """
import json, os, sys, time
from pathlib import Path

HOME = Path(__file__).parent
BEHAVIOUR = os.environ.get("WANDB_FAKE", "")

def misbehave(at):
    name, _, where = BEHAVIOUR.partition("@")
    if where != at:
        return
    once = HOME / "once"
    if once.exists():
        if once.read_text() == "done":
            return
        once.write_text("done")
    if name == "hang":
        time.sleep(3600)
    if name == "exit":
        os._exit(7)
    if name == "raise":
        raise RuntimeError("the server said no to " + os.environ.get("WANDB_API_KEY", ""))
    if name == "refuse":
        raise errors.UsageError("no API key")
    if name == "flood":
        for _ in range(400):
            sys.stderr.write("x" * 10000 + "\\n")
            print("y" * 10000)

class errors:
    class AuthenticationError(Exception): pass
    class UsageError(Exception): pass

class Settings:
    model_fields = {"console": None}
    def __init__(self, **known): self.known = known

class Kept(dict):
    def __init__(self, write, name): self._write, self._name = write, name
    def __setitem__(self, key, value): self._write({self._name: {key: value}})
    def update(self, values, allow_val_change=False): self._write({self._name: values})

class Run:
    def __init__(self, id, mode, folder, known):
        self.path = HOME / f"{id}.jsonl"
        self.url = f"https://somewhere.example/{id}"
        self.step = sum('"row"' in line for line in open(self.path)) if self.path.exists() else 0
        self.write({"init": known, "step": self.step, "pid": os.getpid()})
        self.config, self.summary = Kept(self.write, "config"), Kept(self.write, "summary")
    def write(self, one):
        with open(self.path, "a") as file:
            file.write(json.dumps(one) + "\\n")
    def define_metric(self, *names, **how): pass
    def log(self, row, step, commit):
        assert step == self.step, (step, self.step)
        misbehave(f"row{step}")
        self.write({"row": row, "step": step})
        self.step += 1
        misbehave("log")
    def finish(self, exit_code=0):
        misbehave("finish")
        self.write({"finish": exit_code})

def init(*, id, mode, dir, settings, **known):
    misbehave("init")
    return Run(id, mode, dir, known)
"""


class Package:
    """The folder of the package, and what it was told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "wandb.py").write_text(_SOURCE)

    def told(self) -> list[dict[str, Any]]:
        return [json.loads(line) for file in self.folder.glob("*.jsonl") for line in file.read_text().splitlines()]

    def rows(self) -> list[dict[str, float]]:
        return [one["row"] for one in self.told() if "row" in one]

    def summary(self) -> dict[str, Any]:
        return {key: value for one in self.told() for key, value in one.get("summary", {}).items()}


def put(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Package:
    """Have every process that is started from now on find it."""
    folder.mkdir()
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("WANDB_API_KEY", "a-key-that-nobody-may-see")
    return Package(folder)
