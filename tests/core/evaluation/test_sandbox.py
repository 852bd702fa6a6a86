"""The sandbox holds what it says, in every kind that works here; nothing but the right answer is a pass."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner

from core.errors import UserError
from core.evaluation import sandbox as module
from core.evaluation.humaneval import check
from core.evaluation.sandbox import Limits, Sandbox, probe
from core.evaluation.sandbox_calls import refusing
from core.evaluation.sandbox_commands import Kind
from core.evaluation.sandbox_places import places, tidy
from dpotui.commands.evaluate import command
from tests.core.evaluation import hostile

KINDS: tuple[Kind, ...] = ("bubblewrap", "namespaces", "sandbox-exec", "limits")
# What holds of a function of hostile.TRIES where the sandbox says that this does.
GUARDED = {
    "network": "network", "read_home": "home", "read_environment_of_parent": "environment", "write_outside": "writing",
    "write_in_temporary_folder": "writing", "kill_parent": "others", "start_process": "processes",
    "start_thread": "processes", "start_shell": "processes", "take_memory": "memory", "long_file": "file",
    "fill_disk": "disk", "raise_limits": "user", "read_token": "referee", "read_referee": "referee",
    "trace_referee": "referee", "become_root": "user", "fill_shared_memory": "disk",
}  # fmt: skip
LIMITS = Limits(seconds=20)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[hostile.Place]:
    folder = tmp_path_factory.mktemp("place")
    for name in ("home", "outside"):
        (folder / name).mkdir()
        (folder / name).chmod(0o777)
    (folder / "home" / "secret").write_text("a secret")
    with pytest.MonkeyPatch.context() as patch, socket.create_server(("127.0.0.1", 0)) as door:
        patch.setenv("HOME", str(folder / "home"))
        patch.setenv("DPOTUI_TEST_SECRET", "a secret")
        yield hostile.Place(folder / "home", folder / "outside", door.getsockname()[1], os.getpid())


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest, place: hostile.Place) -> Sandbox:
    try:
        return probe(request.param)
    except UserError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def best(place: hostile.Place) -> Sandbox:
    return probe()


def test_what_it_says_holds_does_hold(kind: Sandbox, place: hostile.Place) -> None:
    assert len(kind.enforced) + len(kind.missing) == len(module._WORDS)
    got = hostile.tries(kind, place)
    for name, what in GUARDED.items():
        if what in kind.holds and name in got:
            assert not got[name].startswith("GOT"), (name, got[name])
    assert got["read_environment"].startswith("KeyError")
    assert got["open_many"].startswith("OSError")
    assert got["read_check"].startswith("LookupError")
    if refusing() is not None:
        for name in hostile.CALLS:
            assert not got[name].startswith("GOT"), (name, got[name])
    if kind.kind != "limits":
        assert kind.isolates
        assert not (place.outside / "written").exists()


@pytest.mark.parametrize("name", [name for name in hostile.ENDS if name not in hostile.LONG])
def test_nothing_but_the_answer_is_a_pass(best: Sandbox, name: str) -> None:
    if hostile.BOUNDED_BY.get(name) not in (None, *best.holds):
        pytest.skip("nothing bounds it here")
    outcome = hostile.ends(best, name)
    assert not outcome.passed
    assert outcome.why
    assert not list(Path(os.environ.get("TMPDIR", "/tmp")).glob(f"dpotui-sandbox-*/{os.getpid()}"))


@pytest.mark.parametrize("name", ["endless loop", "catches what ends it"])
def test_time_ends_what_does_not_end(kind: Sandbox, name: str) -> None:
    outcome = hostile.ends(kind, name)
    assert not outcome.passed
    assert re.fullmatch(r"ran longer than 1.5 s|the program used more than 1 s of processor time", outcome.why)
    assert outcome.seconds < 6


def test_an_answer_is_a_pass(kind: Sandbox) -> None:
    values = "(1, [2.5, float('inf')], {'a': {3}, 4: None}, 'é\\ud800', b'\\x00', 1 + 2j, True, range(2))"
    program = f"def answer(*given, **named): return given[0]\ndef made(): return {values}"
    held = (
        f"made = program('made')()\nassert made[:-1] == {values}[:-1]\nassert list(made[-1]) == [0, 1]\n"
        "assert program('answer')([1, (2, 3)], key='x') == [1, (2, 3)]\n"
        "try: program('absent')()\nexcept KeyError: pass\nelse: assert False"
    )
    outcome = kind.run(program, LIMITS, held)
    assert (outcome.passed, outcome.why) == (True, "")


def test_without_a_check_nothing_passes(best: Sandbox) -> None:
    outcome = best.run("print('here')", LIMITS)
    assert (outcome.passed, outcome.output) == (False, "here\n")


def test_a_program_does_not_outlive_the_one_that_started_it(kind: Sandbox, tmp_path: Path) -> None:
    """kill -9 of the engine: nobody looks at the clock any more, and nobody removes the folder."""
    code = (
        "import sys\nfrom core.evaluation.sandbox import Limits, probe\nsandbox = probe(sys.argv[1])\n"
        "print('ready', flush=True)\n"
        "sandbox.run('import time\\ntime.sleep(60)', Limits(seconds=1.0), '')"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    tmp_path.chmod(0o711)
    with subprocess.Popen(
        [sys.executable, "-c", code, kind.kind], stdout=subprocess.PIPE, env=environment, cwd=Path(__file__).parents[3]
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        deadline = time.monotonic() + 10
        while not (family := psutil.Process(process.pid).children(recursive=True)) and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.3)
        family = psutil.Process(process.pid).children(recursive=True)
        process.kill()
    assert family
    (left,) = tmp_path.glob("dpotui-sandbox-*")
    _, alive = psutil.wait_procs(family, timeout=5)
    assert not [one for one in alive if one.status() != psutil.STATUS_ZOMBIE]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(tmp_path))
        tidy()
    assert not left.exists()


def test_tidying_leaves_what_is_in_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with places(False) as (folder, _):
        (tmp_path / "dpotui-sandbox-link").symlink_to(folder.parent)
        (folder / "file").write_text("in use")
        tidy()
        assert (folder / "file").read_text() == "in use"
    assert [one.name for one in tmp_path.iterdir()] == ["dpotui-sandbox-link"]


def test_a_daemon_does_not_stay_behind() -> None:
    """Also where processes can be started: the limits alone, of the superuser."""
    alone = probe("limits")
    program = (
        "import os, sys, time\n"
        "if os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        print(os.getpid())\n"
        "        sys.stdout.flush()\n        time.sleep(60)\n    os._exit(0)\n"
        "time.sleep(0.3)\ndef answer(): return 42"
    )
    outcome = alone.run(program, LIMITS, "assert program('answer')() == 42")
    if "processes" in alone.holds:
        assert outcome.why.startswith("BlockingIOError")
        return
    assert outcome.passed
    daemon = int(outcome.output)
    assert not psutil.pid_exists(daemon) or psutil.Process(daemon).status() == psutil.STATUS_ZOMBIE


def test_its_folder_goes_and_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "keep").mkdir()
    (tmp_path / "keep" / "file").write_text("kept")
    program = (
        f"import os\nos.symlink({str(tmp_path / 'keep')!r}, 'link')\nos.mkdir('shut')\nos.mkdir('shut/in')\n"
        "os.chmod('shut', 0)\nprint(os.getcwd())"
    )
    outcome = probe("limits").run(program, LIMITS)
    folder = Path(outcome.output.strip())
    assert folder.name == "work"
    assert not folder.parent.exists()
    assert (tmp_path / "keep" / "file").read_text() == "kept"


def test_isolation_that_is_not_there_is_an_error_and_no_run(place: hostile.Place) -> None:
    alone = probe("limits")
    if alone.holds >= {"network", "home", "writing"}:
        pytest.skip("even the limits alone isolate here")
    claimed = replace(alone, holds=alone.holds | {"network", "home", "writing"})
    marker = place.home / "ran"
    with pytest.raises(UserError, match=r"does not isolate as it did when it was tried .*: nothing was run"):
        claimed.run(f"open({str(marker)!r}, 'w')", LIMITS)
    assert not marker.exists()


def test_a_kind_that_does_not_start_is_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake = tmp_path / "bwrap"
    fake.write_text("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    if module._absent("bubblewrap") is not None:
        pytest.skip("no bubblewrap on this system")
    found = probe()
    assert found.kind != "bubblewrap"
    assert found.refused[0] == "bubblewrap: bwrap: No permissions to create new namespace"


# HumanEval

PROBLEM = {
    "task_id": "HumanEval/0",
    "prompt": 'from typing import List\n\n\ndef helper(x):\n    return x + 1\n\n\n'
    'def twice(xs: List[int]) -> List[int]:\n    """ Each number doubled. """\n',
    "test": "\n\ndef check(candidate):\n    assert candidate([1, helper(1)]) == [2, 4]\n"
    "    assert candidate([]) == []\n",
    "entry_point": "twice",
}  # fmt: skip


@pytest.mark.parametrize(
    ("completion", "passes"),
    [
        ("    return [2 * x for x in xs]\n", True),
        ("    return [2 * helper(x - 1) for x in xs]\n\n\nassert True\n", True),
        ("    return None\n", False),
        ("    return [2 * x for x in xs", False),
        ("    raise SystemExit(0)\n", False),
    ],
)
def test_humaneval(best: Sandbox, completion: str, passes: bool) -> None:
    outcome = check(PROBLEM, completion, sandbox=best)
    assert outcome.passed is passes, outcome.why
    assert bool(outcome.why) is not passes


# The command line


def test_the_command_says_what_is_enforced_and_what_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Sandbox("limits", ("time",), ("the network can be reached",), frozenset({"time"}), ("bubblewrap: no",))
    monkeypatch.setattr(module, "probe", lambda: found)
    done = CliRunner().invoke(command, ["--sandbox"])
    assert done.exit_code == 1
    assert "NOT enforced on this machine:\n  the network can be reached" in done.output
    monkeypatch.setattr(module, "probe", lambda: replace(found, holds=frozenset(module._ISOLATION)))
    done = CliRunner().invoke(command, ["--sandbox", "--json"])
    assert done.exit_code == 0
    assert '"isolates": true' in done.output
    assert found.words()[-1] == "NOT enforced on this machine: the network can be reached"
