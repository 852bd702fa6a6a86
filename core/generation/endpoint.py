"""A judge behind OpenAI's chat completions: bounded in time, size, rate and number; its key leaves no trace.

Plain http.client: no proxy, no cookie, no redirect is followed, and what is sent is what stands here. The key is taken
from the environment when the client is made, sent in one header, and cut out of every text that comes back.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from email.utils import parsedate_to_datetime
from itertools import islice
from typing import Any
from urllib.parse import urlsplit

from core.config.judge import Judge, address_error
from core.errors import UserError
from core.text import one_line

MOST_BYTES = 4 * 1024 * 1024  # of one answer
LONGEST_WAIT = 120.0  # between two tries, also where Retry-After asks for more
FIRST_WAIT = 1.0
# So many questions in a row without one answer: it is not the questions.
HOPELESS = 5
LOOK = 0.2

_HIDDEN = "[key]"


class NoAnswer(Exception):
    """The server took the question and gave nothing that can be read; the text is why, safe to show."""


class Aborted(Exception):
    """Somebody asked to stop."""


class _Again(Exception):
    """Worth another try, after so many seconds if the server said so."""

    def __init__(self, why: str, after: float | None = None) -> None:
        super().__init__(why)
        self.after = after


class Endpoint:
    """A client for one server, for several threads.

    Args:
        judge: of kind endpoint.
        environment: where the key is looked up.
        first_wait: seconds before the first new try; each further one waits twice as long, with jitter.

    Raises:
        UserError: the address is none, or the key is not in the environment or cannot be sent.
    """

    def __init__(
        self, judge: Judge, environment: os._Environ[str] | dict[str, str] | None = None, first_wait: float = FIRST_WAIT
    ) -> None:
        reason = address_error(judge.base_url or "")
        if reason:
            raise UserError(f"base_url {reason}")
        parts = urlsplit(judge.base_url or "")
        self.host = str(parts.hostname)
        self._port = parts.port
        self._secure = parts.scheme == "https"
        self._path = parts.path.rstrip("/") + "/chat/completions"
        self._judge = judge
        self._first_wait = first_wait
        self._key = _key(judge.api_key_env, os.environ if environment is None else environment)
        self._context = ssl.create_default_context() if self._secure else None
        self._pace = _Pace(judge.requests_per_minute)
        self._stop = threading.Event()
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self.requests = 0
        self.retries = 0

    def __repr__(self) -> str:
        return f"Endpoint({self.host})"

    def redact(self, text: str) -> str:
        """The text without the key, should a server have sent it back."""
        return text.replace(self._key, _HIDDEN) if self._key else text

    def abort(self) -> None:
        """Let go of everything that waits or is under way; `complete` raises Aborted from now on."""
        self._stop.set()
        with self._lock:
            for sock in self._open:
                _hang_up(sock)

    def complete(self, question: str) -> str:
        """The model's answer to a user's message, at temperature 0.

        Raises:
            NoAnswer: it refused this question, or what it sent cannot be read, also after all tries.
            UserError: it refuses everybody (key, address, model), or cannot be reached after all tries.
            Aborted: see `abort`.
        """
        body = json.dumps(
            {
                "model": self._judge.model,
                "messages": [{"role": "user", "content": question}],
                "temperature": 0,
                "max_tokens": self._judge.max_tokens,
            }
        ).encode("utf-8", "replace")
        tries = 0
        while True:
            self._pace.wait(self._stop)
            if self._stop.is_set():
                raise Aborted
            try:
                return self._once(body)
            except _Again as again:
                tries += 1
                if tries > self._judge.retries:
                    raise UserError(
                        f"{self.host}: {again} (tried {tries} times): 'dpotui runs resume' goes on once it answers"
                    ) from None
                with self._lock:
                    self.retries += 1
                backoff = self._first_wait * 2 ** (tries - 1) * random.uniform(0.5, 1.5)
                delay = min(LONGEST_WAIT, backoff if again.after is None else max(again.after, backoff / 2))
            if self._stop.wait(delay):
                raise Aborted

    def _once(self, body: bytes) -> str:
        deadline = time.monotonic() + self._judge.timeout_seconds
        connection = self._connection()
        with self._lock:
            self.requests += 1
        headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "dpotui"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        # http.client's own timeout is for each wait; a server that drips must not hold a request for ever.
        guard: threading.Timer | None = None
        sock: Any = None
        try:
            connection.connect()
            # The connection lets go of its socket when the last answer of a connection begins.
            sock = connection.sock
            with self._lock:
                self._open.add(sock)
            if self._stop.is_set():
                raise Aborted
            guard = threading.Timer(max(0.01, deadline - time.monotonic()), _hang_up, (sock,))
            guard.daemon = True
            guard.start()
            connection.request("POST", self._path, body, headers)
            response = connection.getresponse()
            text = response.read(MOST_BYTES + 1)
            status, after = response.status, response.headers.get("Retry-After")
        except (OSError, http.client.HTTPException) as error:
            if self._stop.is_set():
                raise Aborted from None
            late = isinstance(error, TimeoutError) or time.monotonic() >= deadline
            why = f"no answer in {self._judge.timeout_seconds:g} s" if late else self._reason(error)
            if isinstance(error, ssl.SSLCertVerificationError):
                raise UserError(f"{self.host}: its certificate is not to be trusted: {why}") from None
            raise _Again(why) from None
        finally:
            if guard is not None:
                guard.cancel()
            with self._lock:
                self._open.discard(sock)
            connection.close()
        if time.monotonic() >= deadline:
            raise _Again(f"no whole answer in {self._judge.timeout_seconds:g} s")
        return self._content(status, text, after)

    def _connection(self) -> http.client.HTTPConnection:
        timeout = self._judge.timeout_seconds
        if self._secure:
            return http.client.HTTPSConnection(self.host, self._port, timeout=timeout, context=self._context)
        return http.client.HTTPConnection(self.host, self._port, timeout=timeout)

    def _content(self, status: int, body: bytes, after: str | None) -> str:
        """The answer in a response, or what its status means."""
        said = self._said(body)
        if status in (408, 409, 425, 429) or status >= 500:
            raise _Again(f"HTTP {status}{said}", _seconds(after))
        if status in (401, 403):
            name = self._judge.api_key_env
            mend = f"look at the key in {name}" if name else "name its environment variable in api_key_env"
            raise UserError(f"{self.host}: HTTP {status}{said}: {mend}")
        if 300 <= status < 400:
            raise UserError(
                f"{self.host}: HTTP {status}: it sends us elsewhere, where the key must not go: mend base_url"
            )
        if status in (404, 405):
            raise UserError(f"{self.host}: HTTP {status}{said}: look at base_url and at model")
        if status >= 400:
            raise NoAnswer(f"HTTP {status}{said}")
        if len(body) > MOST_BYTES:
            raise NoAnswer(f"an answer of more than {MOST_BYTES} bytes")
        try:
            content = json.loads(body)["choices"][0]["message"]["content"]
        except (ValueError, LookupError, TypeError, RecursionError):
            raise NoAnswer("an answer that is no chat completion") from None
        if not isinstance(content, str):
            raise NoAnswer("a chat completion without text")
        return self.redact(content)

    def _said(self, body: bytes) -> str:
        """What a server says of an error, in short."""
        try:
            text = str(json.loads(body[:65536])["error"]["message"])
        except (ValueError, LookupError, TypeError, RecursionError):
            return ""
        # Redacted before it is cut: half of a key is one too.
        return f" ({one_line(self.redact(text), 160)})"

    def _reason(self, error: Exception) -> str:
        return one_line(self.redact(str(error) or type(error).__name__), 160)


class Answers:
    """Many questions to one endpoint at a time, answered in any order.

    Use as a context; leaving it ends what is under way.
    """

    def __init__(self, endpoint: Endpoint, concurrency: int) -> None:
        self._endpoint = endpoint
        self._concurrency = concurrency
        self._pool = ThreadPoolExecutor(concurrency, thread_name_prefix="judge")
        self._held: list[tuple[int, NoAnswer]] = []

    def __enter__(self) -> Answers:
        return self

    def __exit__(self, *error: object) -> None:
        self._endpoint.abort()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def ask(
        self, texts: Sequence[str], answered: Callable[[int, str | NoAnswer], None], between: Callable[[], None]
    ) -> None:
        """Ask all; `answered` gets each answer once, as it comes, and `between` is called often in this thread.

        That there is no answer is handed over once another question has one, or all have been asked: until then it may
        not be the question's fault.

        Raises:
            UserError: the endpoint fails altogether. What was answered before has been handed over.
        """
        left = iter(enumerate(texts))
        waiting: dict[Future[str], int] = {}
        failure: UserError | None = None
        while True:
            # No more than are answered at a time: the next is asked when an answer was handed over, and so kept.
            for number, text in islice(left, self._concurrency - len(waiting)):
                waiting[self._pool.submit(self._endpoint.complete, text)] = number
            if not waiting:
                break
            done, _ = wait(waiting, timeout=LOOK, return_when=FIRST_COMPLETED)
            for future in done:
                number = waiting.pop(future)
                try:
                    answered(number, future.result())
                    self._hand_over(answered)
                except NoAnswer as none:
                    self._held.append((number, none))
                    if len(self._held) >= HOPELESS:
                        failure = failure or UserError(
                            f"{self._endpoint.host}: {HOPELESS} answers in a row could not be used, the last: {none}:"
                            " look at base_url, model and max_tokens"
                        )
                except UserError as error:
                    failure = failure or error
            if failure is not None:
                raise failure
            between()
        self._hand_over(answered)

    def _hand_over(self, answered: Callable[[int, str | NoAnswer], None]) -> None:
        for number, none in self._held:
            answered(number, none)
        self._held.clear()


class _Pace:
    """At most so many requests in a minute, evenly spread."""

    def __init__(self, per_minute: int) -> None:
        self._every = 60.0 / per_minute
        self._next = 0.0
        self._lock = threading.Lock()

    def wait(self, stop: threading.Event) -> None:
        with self._lock:
            now = time.monotonic()
            at = max(self._next, now)
            self._next = at + self._every
        if at > now:
            stop.wait(at - now)


def _hang_up(sock: Any) -> None:
    # One that is closed already cannot be shut down, which is as well.
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


def _key(name: str | None, environment: os._Environ[str] | dict[str, str]) -> str:
    if name is None:
        return ""
    key = environment.get(name, "").strip()
    if not key:
        raise UserError(
            f"the environment variable {name} is not set where the run is executed: set it, and start with"
            " --in-process or when no engine is on (an engine keeps the environment it was started with)"
        )
    if not key.isascii() or not key.isprintable() or len(key) > 8192:
        raise UserError(f"the environment variable {name} holds characters that no key has: set it anew")
    return key


def _seconds(after: str | None) -> float | None:
    """Retry-After: seconds, or a date."""
    if after is None:
        return None
    try:
        return max(0.0, min(LONGEST_WAIT, float(after)))
    except ValueError:
        pass
    try:
        return max(0.0, min(LONGEST_WAIT, parsedate_to_datetime(after).timestamp() - time.time()))
    except (ValueError, TypeError, OverflowError):
        return None
