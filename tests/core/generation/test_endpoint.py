"""An endpoint that misbehaves in every way we know, on 127.0.0.1; the key leaves no trace."""

# ruff: noqa: SIM117  (a server, and within it what happens to it)
from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from pydantic import ValidationError

from core.config.judge import Judge, address_error
from core.errors import UserError
from core.generation.endpoint import HOPELESS, MOST_BYTES, Aborted, Answers, Endpoint, NoAnswer

KEY = "sk-secret-0123456789abcdef"
ENVIRONMENT = {"JUDGE_KEY": KEY}


def completion(text: object) -> bytes:
    return json.dumps({"choices": [{"message": {"role": "assistant", "content": text}}]}).encode()


class Server(ThreadingHTTPServer):
    """Answers with what `script` gives for the number of the request: (status, body) or (status, body, headers)."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, script: Any) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script = script
        self.seen: list[dict[str, Any]] = []
        self.times: list[float] = []
        self.at_once = self.most_at_once = 0
        self.lock = threading.Lock()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is part of the test."""


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            number = len(self.server.seen)
            self.server.seen.append({"path": self.path, "headers": dict(self.headers), "body": body})
            self.server.times.append(time.monotonic())
            self.server.at_once += 1
            self.server.most_at_once = max(self.server.most_at_once, self.server.at_once)
        try:
            status, answer, *rest = self.server.script(number, body)
        finally:
            with self.server.lock:
                self.server.at_once -= 1
        self.send_response(status)
        for name, value in (rest[0] if rest else {}).items():
            self.send_header(name, value)
        if callable(answer):
            self.end_headers()
            answer(self.wfile)
            return
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *args: object) -> None:
        """Quiet."""


@contextmanager
def serving(script: Any) -> Iterator[Server]:
    server = Server(script)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def judge(server: Server, **changes: Any) -> Judge:
    settings = {
        "kind": "endpoint",
        "model": "judge-1",
        "base_url": f"http://127.0.0.1:{server.server_address[1]}/v1/",
        "api_key_env": "JUDGE_KEY",
        "timeout_seconds": 3.0,
        "retries": 2,
        "requests_per_minute": 1_000_000,
        **changes,
    }
    return Judge.model_validate(settings)


def client(server: Server, **changes: Any) -> Endpoint:
    return Endpoint(judge(server, **changes), ENVIRONMENT, first_wait=0.01)


def test_what_is_sent_and_read() -> None:
    with serving(lambda number, body: (200, completion("Verdict: A"))) as server:
        assert client(server, max_tokens=33).complete("Which?\ud800") == "Verdict: A"
    (seen,) = server.seen
    assert seen["path"] == "/v1/chat/completions"
    assert seen["headers"]["Authorization"] == f"Bearer {KEY}"
    assert seen["body"] == {
        "model": "judge-1",
        "messages": [{"role": "user", "content": "Which?\ud800"}],
        "temperature": 0,
        "max_tokens": 33,
    }


@pytest.mark.parametrize("status", [429, 500, 502, 503, 408])
def test_it_is_asked_again(status: int) -> None:
    def script(number: int, body: Any) -> Any:
        return (status, b"busy") if number < 2 else (200, completion("Score: 3"))

    with serving(script) as server:
        endpoint = client(server)
        assert endpoint.complete("?") == "Score: 3"
    assert (endpoint.requests, endpoint.retries) == (3, 2)


def test_after_all_tries_it_says_who_and_why() -> None:
    with serving(lambda number, body: (503, b'{"error": {"message": "overloaded \\u001b[31m"}}')) as server:
        with pytest.raises(UserError) as told:
            client(server).complete("?")
    assert len(server.seen) == 3
    assert "127.0.0.1: HTTP 503 (overloaded ␛[31m) (tried 3 times)" in str(told.value)


def test_retry_after_is_obeyed() -> None:
    def script(number: int, body: Any) -> Any:
        return (429, b"", {"Retry-After": "0.4"}) if number == 0 else (200, completion("ok"))

    with serving(script) as server:
        client(server).complete("?")
    assert 0.4 <= server.times[1] - server.times[0] < 2


def test_waits_grow() -> None:
    with serving(lambda number, body: (500, b"")) as server:
        endpoint = Endpoint(judge(server, retries=3), ENVIRONMENT, first_wait=0.04)
        with pytest.raises(UserError):
            endpoint.complete("?")
    waits = [later - earlier for earlier, later in zip(server.times, server.times[1:], strict=False)]
    assert waits[0] >= 0.02 and waits[1] >= 0.04 and waits[2] >= 0.08


def test_a_server_that_is_silent_or_drips_is_left() -> None:
    stop = threading.Event()

    def drip(file: Any) -> None:
        for _ in range(100):
            if stop.is_set():
                return
            file.write(b" ")
            file.flush()
            time.sleep(0.05)

    def script(number: int, body: Any) -> Any:
        if number == 0:
            stop.wait(5)
            return 200, b""
        return 200, drip

    with serving(script) as server:
        began = time.monotonic()
        with pytest.raises(UserError, match=r"no (whole )?answer in 0\.3 s"):
            client(server, timeout_seconds=0.3, retries=1).complete("?")
        assert time.monotonic() - began < 3
        stop.set()


@pytest.mark.parametrize(
    "body",
    [
        b"", b"<html>", b"[]", b"{}", b'{"choices": []}', b'{"choices": [{"message": {"content": null}}]}', b"\xff\xfe",
        b'{"choices": {"0": 1}}', b"[" * 100_000, b'{"choices": [{"message": {"content": 7}}]}',
    ],
)  # fmt: skip
def test_garbage_is_no_answer(body: bytes) -> None:
    with serving(lambda number, _: (200, body)) as server, pytest.raises(NoAnswer):
        client(server).complete("?")
    assert len(server.seen) == 1


def test_a_huge_answer_is_not_read_to_its_end() -> None:
    sent = 0

    def flood(file: Any) -> None:
        nonlocal sent
        for _ in range(1024):
            file.write(b"x" * 65536)
            sent += 65536

    with serving(lambda number, body: (200, flood)) as server:
        with pytest.raises(NoAnswer, match=f"more than {MOST_BYTES} bytes"):
            client(server).complete("?")
    assert sent < 1024 * 65536


def test_redirects_are_not_followed() -> None:
    with serving(lambda number, body: (200, completion("stolen"))) as other:
        elsewhere = f"http://localhost:{other.server_address[1]}/v1/chat/completions"
        with serving(lambda number, body: (307, b"", {"Location": elsewhere})) as server:
            with pytest.raises(UserError, match="sends us elsewhere"):
                client(server).complete("?")
        assert other.seen == []
    assert len(server.seen) == 1


@pytest.mark.parametrize(
    ("status", "words"),
    [(401, "look at the key in JUDGE_KEY"), (403, "JUDGE_KEY"), (404, "look at base_url and at model")],
)
def test_who_refuses_everybody_is_not_asked_again(status: int, words: str) -> None:
    with serving(lambda number, body: (status, b"")) as server, pytest.raises(UserError, match=words):
        client(server).complete("?")
    assert len(server.seen) == 1


def test_nobody_there() -> None:
    with serving(lambda number, body: (200, b"")) as server:
        gone = client(server, retries=1)
    with pytest.raises(UserError, match=r"127\.0\.0\.1: .*tried 2 times"):
        gone.complete("?")


@pytest.mark.parametrize("status", [200, 400, 401, 404, 429, 500])
def test_the_key_leaves_no_trace(status: int, capfd: Any) -> None:
    def script(number: int, body: Any) -> Any:
        sentence = f"your key {KEY} is x" + "y" * 200
        return status, completion(sentence) if status == 200 else json.dumps({"error": {"message": sentence}}).encode()

    with serving(script) as server:
        endpoint = client(server, retries=1)
        try:
            found = endpoint.complete("?")
        except (UserError, NoAnswer) as error:
            found = f"{error!s} {error!r} {error.__cause__!r} {error.__context__!r}"
    assert "[key]" in found
    for text in (found, repr(endpoint), str(endpoint), *capfd.readouterr()):
        assert KEY not in text
        assert KEY[:12] not in text


def test_several_at_a_time_and_each_once() -> None:
    def script(number: int, body: Any) -> Any:
        time.sleep(0.03)
        return 200, completion(body["messages"][0]["content"])

    found: dict[int, str | NoAnswer] = {}
    looks = 0

    def between() -> None:
        nonlocal looks
        looks += 1

    with serving(script) as server, Answers(client(server), 4) as answers:
        answers.ask([f"q{n}" for n in range(20)], found.__setitem__, between)
    assert found == {n: f"q{n}" for n in range(20)}
    assert 2 <= server.most_at_once <= 4
    assert looks > 0


def test_the_rate_is_kept() -> None:
    with serving(lambda number, body: (200, completion("ok"))) as server:
        with Answers(client(server, requests_per_minute=1200), 8) as answers:
            answers.ask(["?"] * 8, lambda *_: None, lambda: None)
    # 20 a second: seven intervals of 50 ms.
    assert server.times[-1] - server.times[0] >= 0.3


def test_one_bad_question_is_handed_over_and_the_rest_goes_on() -> None:
    def script(number: int, body: Any) -> Any:
        bad = body["messages"][0]["content"] == "q1"
        return (400, b'{"error": {"message": "too long"}}') if bad else (200, completion("ok"))

    found: dict[int, Any] = {}
    with serving(script) as server, Answers(client(server), 1) as answers:
        answers.ask(["q0", "q1", "q2"], found.__setitem__, lambda: None)
    assert (found[0], found[2]) == ("ok", "ok")
    assert str(found[1]) == "HTTP 400 (too long)"


def test_who_never_answers_is_given_up_and_no_question_blamed() -> None:
    found: dict[int, Any] = {}
    with serving(lambda number, body: (200, b"{}")) as server:
        with Answers(client(server), 2) as answers, pytest.raises(UserError, match=f"{HOPELESS} answers in a row"):
            answers.ask(["?"] * 50, found.__setitem__, lambda: None)
    assert found == {}
    assert len(server.seen) < 12


def test_stopping_ends_what_is_under_way() -> None:
    release = threading.Event()

    def script(number: int, body: Any) -> Any:
        release.wait(10)
        return 200, completion("late")

    class Stop(Exception):
        pass

    def between() -> None:
        raise Stop

    with serving(script) as server:
        endpoint = client(server, timeout_seconds=30)
        began = time.monotonic()
        with pytest.raises(Stop), Answers(endpoint, 2) as answers:
            answers.ask(["?"] * 6, lambda *_: None, between)
        assert time.monotonic() - began < 3
        release.set()
        with pytest.raises(Aborted):
            endpoint.complete("?")


@pytest.mark.parametrize("value", ["", "  ", "a\nb", "schlüssel", "x" * 9000])
def test_a_key_that_is_none(value: str) -> None:
    with serving(lambda number, body: (200, b"")) as server, pytest.raises(UserError) as told:
        Endpoint(judge(server), {"JUDGE_KEY": value})
    assert "JUDGE_KEY" in str(told.value)
    assert not value.strip() or value not in str(told.value)


def test_without_a_key_no_header_is_sent() -> None:
    with serving(lambda number, body: (200, completion("ok"))) as server:
        assert client(server, api_key_env=None).complete("?") == "ok"
    assert "Authorization" not in server.seen[0]["headers"]


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("https://api.example.com/v1", ""),
        ("http://localhost:8080/v1", ""),
        ("http://127.0.0.1:8080", ""),
        ("http://[::1]:8080/v1", ""),
        ("http://api.example.com/v1", "must be https"),
        ("http://127.0.0.1.example.com/v1", "must be https"),
        ("http://10.0.0.1/v1", "must be https"),
        ("ftp://x/v1", "must begin with https://"),
        ("api.example.com/v1", "must begin with https://"),
        ("https:///v1", "name a host"),
        ("https://user:sk-123@api.example.com/v1", "name or password"),
        ("https://api.example.com/v1?key=sk-123", "without ?"),
        ("https://api.example.com:99999/v1", "no address"),
        ("https://api.example.com/v 1", "characters"),
    ],
)
def test_addresses(url: str, words: str) -> None:
    found = address_error(url)
    assert words in found if words else found == ""
    assert "sk-123" not in found


def test_a_key_in_the_place_of_its_variable_is_not_repeated() -> None:
    with pytest.raises(ValidationError) as told:
        Judge.model_validate(
            {"kind": "endpoint", "model": "m", "base_url": "https://a.example/v1", "api_key_env": "sk-abc-123"}
        )
    (error,) = told.value.errors()
    assert "must be the name of an environment variable" in error["msg"]
    assert "sk-abc" not in error["msg"]
