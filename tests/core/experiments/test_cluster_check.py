"""Hosts looked at: two of this machine for real, others by what they say, and ssh that does not get there."""

from __future__ import annotations

import json
import shutil
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from core.experiments import cluster_agent, cluster_check, cluster_links, cluster_reach
from core.experiments.cluster_check import Check, check, gradient_bytes
from core.experiments.cluster_links import Link, Sum
from core.experiments.cluster_reach import Conversation, Unreachable, command_on
from core.experiments.hosts import Host, parse_hosts
from core.workspace import Workspace
from tests.core.training import tiny
from tests.dpotui.test_cli import dpotui


@pytest.fixture
def space(tmp_path: Path) -> Workspace:
    found, db = tiny.workspace(tmp_path / "w")
    db.close()
    return found


def _by_name(found: list[Check], name: str) -> list[Check]:
    return [one for one in found if one.name == name]


def test_two_hosts_on_this_machine(space: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_links, "FILLED", 0.05)
    other = tmp_path / "other"
    shutil.copytree(space.root, other)
    with (other / "data" / "pairs_val.jsonl").open("a") as file:
        file.write("\n")
    entries = [{"ssh": "127.0.0.1"}, {"ssh": "localhost", "cwd": str(other)}]
    heard: list[Check] = []
    report = check(parse_hosts(entries, "hosts.json"), space, tiny.dpo_config(), heard.append)
    assert heard == report.checks
    (wrong,) = [one for one in report.checks if one.verdict == "FAIL"]
    assert (wrong.host, wrong.text) == ("localhost", "data/pairs_val.jsonl is another one than here")
    assert wrong.mend == f"copy it there, from {space.root}: rsync -aR ./data/pairs_val.jsonl {other}/"
    assert report.verdict == "FAIL"
    assert [one.verdict for one in _by_name(heard, "versions")] == ["PASS", "PASS"]
    for ahead, within in report.clocks.values():
        assert abs(ahead) <= within + 0.01
    assert [(link.source, link.target) for link in report.links] == [(0, 1), (1, 0)]
    assert all(link.speed and link.speed > 1e7 and link.latency for link in report.links)
    assert report.sum is not None and report.sum.seconds is not None, report.sum
    # As many as the adapter of that configuration has, in float32.
    size, what = gradient_bytes(space, tiny.dpo_config())
    assert report.sum.bytes == size < 1 << 20
    assert what == "the gradients of this configuration"
    document = json.loads(json.dumps(report.as_json()))
    assert (document["verdict"], document["sum"]["bytes"]) == ("FAIL", size)


def _look(**other: Any) -> dict[str, Any]:
    mine = cluster_agent.look(Path("/"))
    return {**mine, **other}


@pytest.mark.parametrize(
    ("other", "name", "verdict", "word"),
    [
        ({}, "versions", "PASS", "mlx "),
        ({"code": "x"}, "versions", "FAIL", "of another code than here"),
        ({"versions": {"mlx": "0.1"}}, "versions", "FAIL", "mlx 0.1"),
        ({"versions": 3}, "versions", "FAIL", "mlx None"),
        ({"python": "3.99.1"}, "python", "WARN", "Python 3.99.1"),
        ({"memory": 10e9, "memory_available": 1e9}, "memory", "WARN", "1.0 of 10.0 GB free"),
        ({"disk_free": 1e9}, "disk", "WARN", "1 GB free"),
        ({"chip": "\x1b]0;x\x07M9"}, "machine", "PASS", "␛]0;x␇M9"),
        ({"error": "no \x1b[2J"}, "versions", "FAIL", "no ␛[2J"),
    ],
)
def test_what_a_host_says_is_compared(other: dict[str, Any], name: str, verdict: str, word: str) -> None:
    hosts = parse_hosts([{"ssh": "mac2"}], "hosts.json")
    found = list(cluster_check._compare(hosts, 0, _look(**other), _look()))
    (one,) = _by_name(found, name)
    assert one.verdict == verdict and word in one.text
    assert (verdict == "PASS") == (one.mend == "")


def test_a_clock_that_is_off_is_measured_and_told() -> None:
    class Late:
        def ask(self, seconds: float, /, **request: Any) -> dict[str, Any]:
            import time

            return {"now": time.time() - 90}

    report = cluster_check.Report(("mac2",))
    (one,) = cluster_check._clock(report, "mac2", Late())  # type: ignore[arg-type]
    assert one.verdict == "WARN" and "behind this one's, give or take" in one.text and "sntp" in one.mend
    ahead, within = report.clocks["mac2"]
    assert ahead == pytest.approx(-90, abs=0.5) and within < 0.5


def test_links_and_sums_are_judged() -> None:
    hosts = parse_hosts([{"ssh": "a"}, {"ssh": "b"}], "hosts.json")
    assert cluster_check._judge_link(hosts, Link(0, 1, "10.0.0.2", 0.001, 3e9)).verdict == "PASS"
    slow = cluster_check._judge_link(hosts, Link(0, 1, "10.0.0.2", 0.004, 9e6))
    assert slow.verdict == "WARN" and "9 MB/s, 4.00 ms" in slow.text and "cable" in slow.mend
    assert cluster_check._judge_link(hosts, Link(0, 1, "10.0.0.2", error="refused")).verdict == "FAIL"
    assert cluster_check._judge_sum(Sum(10**6, 0.5), "some").verdict == "PASS"
    assert "could not sum" in cluster_check._judge_sum(Sum(10**6, error="rank 1: no"), "some").text
    wrong = cluster_links._of_all(8, [{"ranks": 2, "right": True, "seconds": 1.0}, {"ranks": 2, "right": False}])
    assert wrong.error == "the sum is wrong"


def test_a_port_that_is_taken_is_passed_by(space: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    hosts = parse_hosts([{"ssh": "127.0.0.1", "ips": ["127.0.0.1"]}], "hosts.json")
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        Conversation(hosts.hosts[0], space.root, cluster_check.AGENT) as one,
    ):
        monkeypatch.setattr(cluster_links, "FIRST_PORT", taken.getsockname()[1])
        where, refused = cluster_links.free_ring(hosts, {0: one})
        assert where == [[("127.0.0.1", taken.getsockname()[1] + 100)]]
        (told,) = cluster_check._ports("mac", where[0], refused[0])
        assert told.verdict == "WARN" and "in use" in told.text
        # An address that no host has.
        (told,) = cluster_check._ports("mac", [], cluster_links._refused(one, [("192.0.2.1", 0)]))
        assert told.verdict == "FAIL" and "is 192.0.2.1 an address of that host?" in told.mend


# Getting there


def test_another_host_is_reached_by_ssh_without_questions() -> None:
    host = Host("ann@mac2", cwd="/Users/ann/my work", python="~/dpo tui/bin/python")
    command = command_on(host, Path("/here"), "core.x", ("A=1 2",))
    assert command[:3] == ["ssh", "-T", "-oBatchMode=yes"]
    assert command[-2] == "ann@mac2"
    wanted = """exec env 'A=1 2' "$HOME"/'dpo tui/bin/python' -P -m core.x '/Users/ann/my work'"""
    assert command[-1] == wanted
    assert command_on(Host("127.0.0.1"), Path("/here"), "core.x") == [sys.executable, "-P", "-m", "core.x", "/here"]


def _ssh(folder: Path, script: str, patch: pytest.MonkeyPatch) -> None:
    """In the place of ssh, a program that does what it might."""
    program = folder / "ssh"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o700)
    patch.setattr(cluster_reach, "SSH", (str(program),))


@pytest.mark.parametrize(
    ("script", "text", "mend"),
    [
        ("echo 'a@b: Permission denied (publickey).' >&2; exit 255", "Permission denied", "ssh-copy-id mac2"),
        ("echo 'Host key verification failed.' >&2; exit 255", "Host key", "ssh mac2"),
        ("echo 'sh: python: not found' >&2; exit 127", "not found", "name its 'python'"),
        ("echo \"No module named 'core'\" >&2; exit 1", "No module", "install this dpotui there"),
        ("printf 'x\\033[2Jy\\n' >&2; exit 1", "x␛[2Jy", "try it by hand"),
        ("echo welcome; exit 3", "ended with status 3", "try it by hand"),
        ("yes", "talks on and on", "~/.bashrc"),
    ],
)
def test_why_a_host_is_not_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, text: str, mend: str
) -> None:
    _ssh(tmp_path, script, monkeypatch)
    with pytest.raises(Unreachable) as caught:
        Conversation(Host("mac2"), tmp_path, cluster_check.AGENT)
    assert text in caught.value.text and mend in caught.value.mend


def test_what_a_shell_says_before_is_passed_over_and_silence_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _ssh(tmp_path, """echo welcome; echo '{"dpotui": 1}'; read x; echo '{"a": 1}'; read x; sleep 60""", monkeypatch)
    with Conversation(Host("mac2"), tmp_path, cluster_check.AGENT) as one:
        assert one.ask(5, ask="look") == {"a": 1}
        with pytest.raises(Unreachable, match="no answer in 0 s"):
            one.ask(0.2, ask="look")


def test_what_is_no_answer_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _ssh(tmp_path, """echo '{"dpotui": 1}'; read x; echo '[1]'; read x; echo 'zzz'""", monkeypatch)
    with Conversation(Host("mac2"), tmp_path, cluster_check.AGENT) as one:
        for word in ("[1]", "zzz"):
            with pytest.raises(Unreachable, match="it answers") as caught:
                one.ask(5, ask="look")
            assert word in str(caught.value)
        with pytest.raises(Unreachable, match="ended with status 0"):
            one.ask(5, ask="look")


# The command


def test_the_command_exits_1_where_a_check_failed(space: Workspace, tmp_path: Path) -> None:
    hosts = tmp_path / "hosts.json"
    hosts.write_text(json.dumps([{"ssh": "127.0.0.1", "python": "/no/python"}]))
    done = dpotui("cluster", "check", "--hosts", str(hosts), cwd=space.root)
    assert done.returncode == 1
    assert "FAIL  127.0.0.1  reached    /no/python cannot be started" in done.stdout
    assert done.stdout.splitlines()[-1] == "1 failed"
    done = dpotui("cluster", "check", "--hosts", str(tmp_path / "none.json"), cwd=space.root)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
