"""A chat server on this machine, which ranks by what a test says."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

Rank = Callable[[list[str]], str]
"""Gives the answer to passages as they were shown."""


def longest_first(passages: list[str]) -> str:
    """An honest ranker: the longest passage is the best."""
    order = sorted(range(len(passages)), key=lambda i: (-len(passages[i]), i))
    return " > ".join(f"[{i + 1}]" for i in order)


class ChatServer:
    """The server.

    Attributes:
        url: its endpoint.
        requests: bodies that came.
        script: what the next requests get before `rank` is asked: a number of seconds to hang, (status, headers, body), or the
            text of an answer.
        rank: the ranker.
    """

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.script: list[Any] = []
        self.rank: Rank = longest_first
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with outer._lock:
                    outer.requests.append({"path": self.path, **body})
                    planned = outer.script.pop(0) if outer.script else None
                status, headers, data = outer._answer(body, planned)
                try:
                    self.send_response(status)
                    for name, value in headers.items():
                        self.send_header(name, value)
                    self.send_header("Content-Length", str(len(data)))
                    self.end_headers()
                    self.wfile.write(data)
                except OSError:
                    pass  # the client has hung up

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def _answer(self, body: dict[str, Any], planned: Any) -> tuple[int, dict[str, str], bytes]:
        if isinstance(planned, tuple):
            return planned
        if isinstance(planned, float):
            time.sleep(planned)
        content = "\n".join(message["content"] for message in body["messages"])
        passages = [
            text for _, text in sorted((int(i), t) for i, t in re.findall(r"^\[(\d+)\] (.*)$", content, re.MULTILINE))
        ]
        text = planned if isinstance(planned, str) else self.rank(passages)
        value = {"choices": [{"message": {"content": text}, "finish_reason": "stop"}], "usage": {"total_tokens": 100}}
        return 200, {}, json.dumps(value).encode()

    def close(self) -> None:
        """End it."""
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server() -> Iterator[ChatServer]:
    made = ChatServer()
    yield made
    made.close()
