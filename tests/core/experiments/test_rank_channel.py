"""The line between engine and ranks: who may join, what is heard, and what counts as lost."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator

import pytest

from core.experiments import rank_channel
from core.experiments.rank_channel import Desk, Link


@pytest.fixture
def desk() -> Iterator[Desk]:
    with Desk("127.0.0.1", 2) as desk:
        yield desk


class Rank:
    """A rank's side without its thread of heartbeats, which an end of file would end with the process."""

    def __init__(self, desk: Desk, rank: int, token: str | None = None) -> None:
        self.connection = socket.create_connection(("127.0.0.1", desk.port))
        self.say(rank=rank, token=desk.token if token is None else token, about={"chip": "Apple M4"})

    def say(self, **message: object) -> None:
        self.connection.sendall(json.dumps(message).encode() + b"\n")


def until(what) -> None:
    deadline = time.monotonic() + 10
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_ranks_join_are_told_and_heard(desk: Desk) -> None:
    left: list[bool] = []
    link = Link(
        ["127.0.0.1"], desk.port, {"rank": 0, "token": desk.token, "about": {"pid": 1}}, lambda words: None,
        lambda: left.append(True), lambda: None,
    )  # fmt: skip
    other = Rank(desk, 1)
    until(lambda: desk.complete)
    assert desk.missing == [] and desk.members[1].about == {"chip": "Apple M4"}
    desk.tell(0, {"job": {"kind": "dpo"}})
    assert link.wait() == {"job": {"kind": "dpo"}}
    desk.tell(0, {"leave": True})
    until(lambda: left)
    other.say(ready=True)
    until(lambda: not desk.inbox.empty())
    assert desk.inbox.get() == (1, {"ready": True})
    link.end(end="finished")
    until(lambda: desk.members[0].done)
    assert desk.lost() is None


def test_strangers_do_not_join(desk: Desk) -> None:
    for rank, token in ((0, "guess"), (5, None), ("0", None)):
        stranger = Rank(desk, rank, token)
        assert stranger.connection.recv(1) == b""
    garbage = socket.create_connection(("127.0.0.1", desk.port))
    garbage.sendall(b"GET / HTTP/1.1\r\n\r\n")
    assert garbage.recv(1) == b""
    Rank(desk, 0)
    until(lambda: desk.missing == [1])
    again = Rank(desk, 0)  # a second one is not taken for the first
    assert again.connection.recv(1) == b""


def test_an_end_without_a_word_is_a_loss_and_one_with_is_none(desk: Desk) -> None:
    one, other = Rank(desk, 0), Rank(desk, 1)
    until(lambda: desk.complete)
    one.say(end="finished")
    one.connection.close()
    until(lambda: desk.members[0].gone)
    assert desk.lost() is None
    other.connection.close()
    until(lambda: desk.lost() is not None)
    assert desk.lost() == (1, "its process ended or its connection was closed")


def test_a_rank_that_is_silent_is_lost(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    quiet = Rank(desk, 0)
    until(lambda: 0 in desk.members)
    assert desk.lost() is None
    monkeypatch.setattr(rank_channel, "SILENCE", 0.1)
    until(lambda: desk.lost() is not None)
    found = desk.lost()
    assert found is not None and found[0] == 0 and "asleep, or the link is cut" in found[1]
    quiet.say()
    until(lambda: desk.lost() is None)


def test_the_first_address_that_answers_is_taken(desk: Desk) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        nobody = server.getsockname()[1]
    with pytest.raises(SystemExit, match=f"not reached at 127.0.0.1, localhost, port {nobody}"):
        rank_channel._reach(["127.0.0.1", "localhost"], nobody)
    rank_channel._reach(["no-such-host.invalid", "127.0.0.1"], desk.port).close()
