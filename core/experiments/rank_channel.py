"""The line between an engine and the ranks it launched: the job, signs of life, and last words, beside their sums.

JSON, one message a line, over TCP. A sum that waits for a rank that is gone waits for ever; this line tells.
"""

from __future__ import annotations

import hmac
import json
import queue
import secrets
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

# A rank that was not heard of for so long is lost: asleep, or its link is cut. It beats once a second.
SILENCE = 30.0
BEAT = 1.0
# A message is no longer than this.
_LONGEST = 1 << 22
# Who connects says who it is in so many seconds.
_HELLO_SECONDS = 20.0
# For one address of the engine's machine.
_REACH_SECONDS = 5.0

Message = dict[str, Any]


@dataclass
class Member:
    """A rank as the engine knows it.

    Attributes:
        about: what it said of itself: host, pid, chip, versions.
        heard: when it last sent anything, by the monotonic clock.
        done: it said that it ends.
        gone: its connection is closed.
    """

    rank: int
    about: Message
    connection: socket.socket
    heard: float = field(default_factory=time.monotonic)
    done: bool = False
    gone: bool = False


class Desk:
    """The engine's side: ranks connect to it. To be closed.

    Args:
        address: where it listens; "" is everywhere.

    Attributes:
        inbox: what ranks say, but for signs of life.
    """

    def __init__(self, address: str, size: int) -> None:
        self._size = size
        self._socket = socket.create_server((address, 0))
        self.port = int(self._socket.getsockname()[1])
        self.token = secrets.token_hex(16)
        self.members: dict[int, Member] = {}
        self.inbox: queue.SimpleQueue[tuple[int, Message]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, name="ranks", daemon=True).start()

    def __enter__(self) -> Desk:
        return self

    def __exit__(self, *error: object) -> None:
        self._socket.close()
        with self._lock:
            for member in self.members.values():
                _hang_up(member.connection)

    @property
    def complete(self) -> bool:
        """Whether all ranks are there."""
        return len(self.members) == self._size

    @property
    def missing(self) -> list[int]:
        return [rank for rank in range(self._size) if rank not in self.members]

    def tell(self, rank: int, message: Message) -> None:
        """Send to a rank, if it is there."""
        member = self.members.get(rank)
        if member is not None:
            _send(member.connection, message)

    def lost(self) -> tuple[int, str] | None:
        """A rank that went without saying so, and what is known of it."""
        now = time.monotonic()
        for member in list(self.members.values()):
            if member.done:
                continue
            if member.gone:
                return member.rank, "its process ended or its connection was closed"
            if now - member.heard > SILENCE:
                return member.rank, f"nothing was heard of it for {SILENCE:.0f} s: asleep, or the link is cut"
        return None

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), name="rank", daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        member = None
        try:
            connection.settimeout(_HELLO_SECONDS)
            reader = connection.makefile("rb")
            hello = json.loads(reader.readline(1 << 16))
            rank = hello["rank"]
            known = isinstance(rank, int) and 0 <= rank < self._size and rank not in self.members
            if not known or not hmac.compare_digest(str(hello["token"]).encode(), self.token.encode()):
                _hang_up(connection)
                return
            connection.settimeout(None)
            member = Member(rank, hello["about"], connection)
            with self._lock:
                self.members[rank] = member
            while line := reader.readline(_LONGEST):
                member.heard = time.monotonic()
                message = json.loads(line)
                member.done = member.done or "end" in message
                if message:
                    self.inbox.put((rank, message))
        except (OSError, ValueError, KeyError, TypeError):
            pass
        finally:
            if member is None:
                _hang_up(connection)
            else:
                member.gone = True


class Link:
    """A rank's side.

    Args:
        addresses: of the engine's machine, any of which may be reached from here.
        on_lost: called in the link's thread with what is known of a rank that is lost.
        on_leave: the engine leaves: checkpoint and end.
        on_gone: the engine is gone, and nobody would record what is computed from here on.
    """

    def __init__(
        self,
        addresses: Sequence[str],
        port: int,
        hello: Message,
        on_lost: Callable[[str], None],
        on_leave: Callable[[], None],
        on_gone: Callable[[], None],
    ) -> None:
        self._connection = _reach(addresses, port)
        self._on_lost, self._on_leave, self._on_gone = on_lost, on_leave, on_gone
        self._answers: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._ended = False
        self.tell(**hello)
        threading.Thread(target=self._read, name="link", daemon=True).start()
        threading.Thread(target=self._beat, name="beat", daemon=True).start()

    def tell(self, **message: Any) -> None:
        with self._lock:
            _send(self._connection, message)

    def ask(self, **message: Any) -> Message:
        """Wait for the engine's answer."""
        self.tell(**message)
        return self._answers.get()

    def wait(self) -> Message:
        """The next answer, such as the job."""
        return self._answers.get()

    def end(self, **message: Any) -> None:
        """Last words: that the engine goes from now on means nothing."""
        self._ended = True
        self.tell(**message)

    def _read(self) -> None:
        try:
            for line in self._connection.makefile("rb"):
                message = json.loads(line)
                if "lost" in message:
                    threading.Thread(target=self._on_lost, args=(message["lost"],), daemon=True).start()
                elif "leave" in message:
                    self._on_leave()
                else:
                    self._answers.put(message)
        except (OSError, ValueError):
            pass
        if not self._ended:
            self._on_gone()

    def _beat(self) -> None:
        while not self._ended:
            self.tell()
            time.sleep(BEAT)


def _reach(addresses: Sequence[str], port: int) -> socket.socket:
    why: OSError | None = None
    for address in addresses:
        try:
            found = socket.create_connection((address, port), timeout=_REACH_SECONDS)
        except OSError as error:
            why = error
            continue
        found.settimeout(None)
        return found
    raise SystemExit(f"error: the engine is not reached at {', '.join(addresses)}, port {port} ({why})")


def _send(connection: socket.socket, message: Message) -> None:
    try:
        connection.sendall(json.dumps(message).encode() + b"\n")
    except OSError:
        return  # its reader notices


def _hang_up(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
