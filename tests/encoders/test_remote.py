"""Requests to a real server: what is repeated and how long it waits, what is not, and where the key goes."""

from __future__ import annotations

import email.utils
import socket
import threading
import time
from typing import Any

import pytest

from tamis.encoders.remote import DeadlineError, Remote, check_endpoint
from tamis.errors import ModelError, PrerequisiteError, UsageError

BODY = {"model": "m", "input": ["a"]}
BUSY = (429, {}, {"error": {"message": "slow down"}})
BROKEN = (500, {}, b"<html>oops</html>")


class Waits(threading.Event):
    """Remembers how long it was asked to wait, and does not."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.asked.append(timeout or 0.0)
        return self.is_set()


def test_what_may_pass_is_repeated_after_times_that_double(endpoint: Any) -> None:
    endpoint.script = [BUSY, BROKEN, (0, {}, b""), (503, {}, b"")]
    waits = Waits()
    answer = Remote(endpoint.url).post("embeddings", BODY, waits)
    assert answer["data"][0]["embedding"][0] == 1.0
    assert waits.asked == [0.5, 1.0, 2.0, 4.0]
    assert [body for _, body in endpoint.requests] == [BODY] * 5
    assert endpoint.requests[0][0]["path"] == "/v1/embeddings"


def test_waits_are_bounded(endpoint: Any) -> None:
    endpoint.script = [BUSY] * 10
    waits = Waits()
    Remote(endpoint.url, retries=10).post("embeddings", BODY, waits)
    assert waits.asked[-4:] == [32.0, 60.0, 60.0, 60.0]


def test_what_the_other_side_asks_for_is_waited(endpoint: Any) -> None:
    soon = email.utils.formatdate(time.time() + 100, usegmt=True)
    past = email.utils.formatdate(time.time() - 100, usegmt=True)
    asked = ["7", "0.25", soon, past, "later", "nan"]
    endpoint.script = [(429, {"Retry-After": value}, b"{}") for value in asked]
    waits = Waits()
    Remote(endpoint.url).post("embeddings", BODY, waits)
    seven, quarter, hundred, none, *unreadable = waits.asked
    assert (seven, quarter, none, unreadable) == (7.0, 0.25, 0.0, [8.0, 16.0])
    assert 60 < hundred <= 100
    endpoint.script = [(429, {"Retry-After": "86400"}, b"{}")]
    with pytest.raises(ModelError, match="86400 seconds"):
        Remote(endpoint.url).post("embeddings", BODY, waits)


def test_what_does_not_pass_is_an_error_in_the_end(endpoint: Any) -> None:
    endpoint.script = [BROKEN] * 9
    with pytest.raises(ModelError, match=r"answered 500: <html>oops</html>; given up after 3 attempts"):
        Remote(endpoint.url, retries=2).post("embeddings", BODY, Waits())
    assert len(endpoint.requests) == 3


def test_another_failure_ends_the_waiting(endpoint: Any) -> None:
    endpoint.script = [BUSY] * 9
    stop = threading.Event()
    stop.set()
    with pytest.raises(ModelError, match="another request failed"):
        Remote(endpoint.url).post("embeddings", BODY, stop)
    assert len(endpoint.requests) == 1


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((400, {}, {"error": {"message": "maximum context length is 8192"}}), "400: maximum context length is 8192"),
        ((404, {}, {"detail": "Not Found"}), "404: .*Not Found"),
        ((429, {}, {"error": {"code": "insufficient_quota", "message": "pay"}}), "429: pay"),
        ((302, {"Location": "http://elsewhere/v2"}, b""), "302: .*'http://elsewhere/v2'.*endpoint="),
        ((200, {}, b"<html>welcome</html>"), "no JSON: <html>welcome"),
    ],
)
def test_what_would_fail_again_is_not_repeated(endpoint: Any, answer: Any, message: str) -> None:
    endpoint.script = [answer] * 3
    with pytest.raises(ModelError, match=message):
        Remote(endpoint.url).post("embeddings", BODY, Waits())
    assert len(endpoint.requests) == 1


def test_a_server_that_is_not_there_or_does_not_answer_is_named() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        with pytest.raises(ModelError, match=f"{url} cannot be reached: .*refused.*1 attempts"):
            Remote(url, retries=0).post("embeddings", BODY)
        silent.listen()
        with pytest.raises(ModelError, match=f"{url} cannot be reached: .*timed out.*2 attempts"):
            Remote(url, timeout=0.1, retries=1).post("embeddings", BODY, Waits())


class Dripping:
    """A server that sends an answer, or its head only, a byte at a time, and never comes to its end."""

    def __init__(self, begin: bytes, drop: bytes) -> None:
        self.begin, self.drop, self.asked = begin, drop, 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/v1"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connected, _ = self._listener.accept()
            except OSError:
                return
            self.asked += 1
            threading.Thread(target=self._drip, args=(connected,), daemon=True).start()

    def _drip(self, connected: socket.socket) -> None:
        try:
            connected.sendall(self.begin)
            while True:
                connected.sendall(self.drop)
                time.sleep(0.02)
        except OSError:
            connected.close()

    def close(self) -> None:
        self._listener.close()


DRIPS = [
    (b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b" "),
    (b"HTTP/1.1 200 OK\r\n\r\n", b" "),
    (b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n"),
    (b"", b" "),
]


@pytest.mark.parametrize(("begin", "drop"), DRIPS)
def test_an_answer_that_drips_is_given_up_on(begin: bytes, drop: bytes) -> None:
    server = Dripping(begin, drop)
    with pytest.raises(ModelError, match=r"timed out after 0.3 seconds|got more than 100 headers"):
        Remote(server.url, timeout=0.3, retries=1).post("embeddings", BODY, Waits())
    assert server.asked == 2
    server.close()


@pytest.mark.parametrize(("begin", "drop"), DRIPS[:2])
def test_a_deadline_cuts_a_request_off(begin: bytes, drop: bytes) -> None:
    server = Dripping(begin, drop)
    with pytest.raises(DeadlineError, match="too slow"):
        Remote(server.url, timeout=60, retries=3).post("embeddings", BODY, until=time.monotonic() + 0.3)
    assert server.asked == 1
    server.close()


def test_another_failure_cuts_a_request_off() -> None:
    server = Dripping(*DRIPS[0])
    stop = threading.Event()
    threading.Timer(0.2, stop.set).start()
    with pytest.raises(ModelError, match="another request failed"):
        Remote(server.url, timeout=600, retries=3).post("embeddings", BODY, stop)
    assert server.asked == 1
    server.close()


def test_a_deadline_ends_the_waiting(endpoint: Any) -> None:
    endpoint.script = [(429, {"Retry-After": "100"}, b"{}")] * 2
    waits = Waits()
    with pytest.raises(DeadlineError, match="before it may be asked again"):
        Remote(endpoint.url).post("embeddings", BODY, waits, until=time.monotonic() + 50)
    assert (waits.asked, len(endpoint.requests)) == ([], 1)
    with pytest.raises(DeadlineError, match="was not asked"):
        Remote(endpoint.url).post("embeddings", BODY, waits, until=time.monotonic() - 1)
    assert len(endpoint.requests) == 1


def test_something_may_be_done_before_every_request(endpoint: Any) -> None:
    endpoint.script = [BUSY, BUSY]
    done: list[int] = []
    Remote(endpoint.url).post("embeddings", BODY, Waits(), before=lambda: done.append(len(endpoint.requests)))
    assert done == [0, 1, 2]


def test_the_key_is_sent_and_never_told(endpoint: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    remote = Remote(endpoint.url, "MY_KEY")
    monkeypatch.delenv("MY_KEY", raising=False)
    with pytest.raises(PrerequisiteError, match="MY_KEY"):
        remote.post("embeddings", BODY)
    assert not endpoint.requests
    monkeypatch.setenv("MY_KEY", " sk-secret\n")
    remote.post("embeddings", BODY)
    assert endpoint.requests[0][0]["Authorization"] == "Bearer sk-secret"
    endpoint.script = [(401, {}, {"error": {"message": "bad key sk-secret"}})]
    with pytest.raises(ModelError, match=r"bad key \*\*\*; the key came from the environment variable MY_KEY"):
        remote.post("embeddings", BODY)
    monkeypatch.setenv("MY_KEY", "sk-\nsecret")
    with pytest.raises(PrerequisiteError, match="cannot be sent") as refused:
        remote.post("embeddings", BODY)
    assert "secret" not in str(refused.value)
    endpoint.script = [(401, {}, b"who are you?")]
    with pytest.raises(PrerequisiteError, match=r"who are you.*key=MY_KEY"):
        Remote(endpoint.url).post("embeddings", BODY)
    assert "Authorization" not in endpoint.requests[-1][0]


def test_urls_of_endpoints() -> None:
    assert check_endpoint("https://host:8000/v1/") == "https://host:8000/v1"
    for url in ("localhost:8000", "ftp://host/v1", "https://", "http://host:port/v1", "file:///etc/passwd"):
        with pytest.raises(UsageError, match="URL of an endpoint"):
            check_endpoint(url)
    for url in ("https://me:secret@host/v1", "https://host/v1?api-key=secret"):
        with pytest.raises(UsageError, match="key=") as refused:
            check_endpoint(url)
        assert "secret" not in str(refused.value)
