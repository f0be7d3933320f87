"""Asking a model that runs elsewhere: JSON over HTTP, with a key from the environment, repeated while the other side is busy.

A request has a time that it may take in all, however slowly its answer drips in: when it is over the connection is shut.
Nothing about the key is kept: it is read from its environment variable for every request, and is taken out of whatever the other
side says before that becomes a message. Redirects are not followed, since they would carry the key to another host.
"""

from __future__ import annotations

import email.utils
import http.client
import json
import math
import os
import socket
import ssl
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from types import TracebackType
from typing import Any, Self

from tamis.errors import ModelError, PrerequisiteError, UsageError

FIRST_WAIT, LONGEST_WAIT = 0.5, 60.0
"""Seconds before the second attempt, which double from attempt to attempt, and the most that they come to."""

LONGEST_ASKED_WAIT = 300.0
"""Seconds that are waited where the other side says how long; it may ask for a day."""

_LOOK = 0.25
"""Seconds after which a request under way hears at the latest that it is not wanted any longer."""

_TRANSIENT = (408, 425, 429)
_REFUSED = (401, 403)
_SHOWN = 300


class DeadlineError(ModelError):
    """The time that was given for an answer is over."""


def check_endpoint(url: str) -> str:
    """Return the URL of an endpoint without a slash at its end.

    Raises:
        UsageError: it is none, or holds what could be a secret.
    """
    parts = urllib.parse.urlsplit(url)
    try:
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number
        valid = False
    if not valid:
        raise UsageError(
            f"endpoint={url}: not the URL of an endpoint, such as https://host/v1 or http://localhost:8000/v1"
        )
    if parts.username is not None or parts.query or parts.fragment:
        raise UsageError(
            "endpoint=: a URL of an endpoint holds no user, password, query or fragment, since it is kept with the index; give "
            "a key in an environment variable, and its name with key="
        )
    return url.rstrip("/")


@dataclass(frozen=True)
class Remote:
    """An endpoint that takes and gives JSON; may be used by several threads.

    Attributes:
        url: see `check_endpoint`.
        key: name of the environment variable that holds the key; None: none is sent.
        timeout: seconds that a request may take, its answer included, until it counts as failed.
        retries: how often a request is repeated that failed for a reason that may pass.
    """

    url: str
    key: str | None = None
    timeout: float = 60.0
    retries: int = 6

    def post(
        self,
        path: str,
        body: Mapping[str, Any],
        stop: threading.Event | None = None,
        *,
        until: float | None = None,
        before: Callable[[], None] | None = None,
    ) -> Any:
        """Send `body` to ``url/path``, and return the JSON value that comes back.

        Connections that fail and the statuses 408, 425, 429 and from 500 on are repeated: after what ``Retry-After`` says, or
        else after a time that doubles.

        Args:
            path: what stands behind the URL.
            body: JSON values.
            stop: once it is set, nothing is repeated any more, a pause ends at once, and a request under way is cut off soon.
            until: when to give up, by ``time.monotonic``; a request under way is cut off. None: never.
            before: called before every request, repeated ones too; may wait.

        Raises:
            DeadlineError: `until` is over, or would be before the next repetition.
            PrerequisiteError: the key's variable is not set, or a key is wanted and none is named.
            ModelError: it still fails after all repetitions, or was refused, or what came back is no JSON.
        """
        request, stop = self._request(path, body), stop or threading.Event()
        for attempt in range(self.retries + 1):
            if before is not None:
                before()
            try:
                return self._once(request, stop, until)
            except _TransientError as failure:
                self._give_up_or_wait(failure, attempt, stop, until)
        raise AssertionError("unreachable")

    def _request(self, path: str, body: Mapping[str, Any]) -> urllib.request.Request:
        headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "tamis"}
        if secret := self._secret():
            headers["Authorization"] = f"Bearer {secret}"
        data = json.dumps(body).encode()
        return urllib.request.Request(f"{self.url}/{path}", data, headers, method="POST")  # noqa: S310 - checked

    def _secret(self) -> str:
        if self.key is None:
            return ""
        secret = os.environ.get(self.key, "").strip()
        if not secret:
            raise PrerequisiteError(f"{self.url} needs a key: set the environment variable {self.key}")
        if not secret.isascii() or not secret.isprintable():
            raise PrerequisiteError(
                f"the environment variable {self.key} holds no key: a character in it cannot be sent"
            )
        return secret

    def _once(self, request: urllib.request.Request, stop: threading.Event, until: float | None) -> Any:
        left = math.inf if until is None else until - time.monotonic()
        if left <= 0:
            raise DeadlineError(f"{self.url} was not asked: the time is over")
        limit = _Limit(min(self.timeout, left), stop)
        request._limit = limit  # type: ignore[attr-defined]  # noqa: SLF001 - the way to the connection
        with limit:
            try:
                with _opener().open(request, timeout=limit.seconds) as answer:
                    raw = answer.read()
                if limit.over:  # an answer without a length just ends
                    raise TimeoutError
            except urllib.error.HTTPError as error:
                with error:
                    raise self._failure(error) from None
            except (OSError, http.client.HTTPException) as error:  # URLError is an OSError
                raise self._unreached(error, limit, left) from None
        try:
            return json.loads(raw)
        except ValueError:
            raise ModelError(f"{self.url} sent what is no JSON: {self._shown(raw)}") from None

    def _unreached(self, error: Exception, limit: _Limit, left: float) -> ModelError | _TransientError:
        reason = getattr(error, "reason", None) or error
        if limit.over or isinstance(reason, TimeoutError):
            if limit.stopped:
                return ModelError(f"{self.url} was not waited for any longer, since another request failed")
            if left <= self.timeout:
                return DeadlineError(f"{self.url} was too slow: the time was over after {left:.1f} seconds")
            return _TransientError(f"{self.url} cannot be reached: timed out after {self.timeout:g} seconds")
        said = f"{self.url} cannot be reached: {type(error).__name__}: {reason}"
        # a certificate will be no better in a minute
        return ModelError(said) if isinstance(reason, ssl.SSLCertVerificationError) else _TransientError(said)

    def _failure(self, error: urllib.error.HTTPError) -> ModelError | PrerequisiteError | _TransientError:
        try:
            raw = error.read()
        except (OSError, http.client.HTTPException):
            raw = b""
        said = f"{self.url} answered {error.code}: {self._shown(raw) or error.reason}"
        exhausted = error.code == 429 and b"insufficient_quota" in raw  # OpenAI's word for a bill, not for haste
        if (error.code in _TRANSIENT or error.code >= 500) and not exhausted:
            return _TransientError(said, _asked_wait(error.headers.get("Retry-After")))
        if error.code in _REFUSED:
            if self.key is None:
                return PrerequisiteError(f"{said}; no key was sent: name its environment variable, as in  key=MY_KEY")
            return ModelError(f"{said}; the key came from the environment variable {self.key}")
        if 300 <= error.code < 400:
            return ModelError(
                f"{said}; it points to {error.headers.get('Location')!r}: name the final URL as endpoint="
            )
        return ModelError(said)

    def _shown(self, raw: bytes) -> str:
        """What the other side said, short and without the key."""
        text = raw.decode("utf-8", "replace")
        try:
            known = json.loads(text)
            told = known.get("error", known) if isinstance(known, dict) else known
            text = str(told.get("message", told) if isinstance(told, dict) else told)
        except ValueError:
            pass
        if secret := self._secret():
            text = text.replace(secret, "***")
        text = " ".join(text.split())
        return text if len(text) <= _SHOWN else text[:_SHOWN] + " …"

    def _give_up_or_wait(
        self, failure: _TransientError, attempt: int, stop: threading.Event, until: float | None
    ) -> None:
        seconds = min(FIRST_WAIT * 2**attempt, LONGEST_WAIT) if failure.wait is None else failure.wait
        if seconds > LONGEST_ASKED_WAIT:
            raise ModelError(f"{failure}; it asks for a pause of {seconds:.0f} seconds: try again then")
        if attempt == self.retries:
            raise ModelError(f"{failure}; given up after {attempt + 1} attempts (more with retries=)")
        if until is not None and time.monotonic() + seconds >= until:
            raise DeadlineError(f"{failure}; given up, since the time is over before it may be asked again")
        if stop.wait(seconds):
            raise ModelError(f"{failure}; given up, since another request failed")


class _TransientError(Exception):
    """A failure that may pass.

    Args:
        message: what failed.
        wait: seconds that the other side asks to wait; None where it does not say.
    """

    def __init__(self, message: str, wait: float | None = None) -> None:
        super().__init__(message)
        self.wait = wait


def _asked_wait(header: str | None) -> float | None:
    """Seconds that a ``Retry-After`` header asks for, which is a number of them or a date."""
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        pass
    else:
        return None if math.isnan(seconds) else max(seconds, 0.0)
    try:
        return max(email.utils.parsedate_to_datetime(header).timestamp() - time.time(), 0.0)
    except (ValueError, TypeError, OverflowError):
        return None


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Leave the redirect to be raised as an error."""


class _Limit:
    """A time that a request may take in all: when it is over, its connection is shut, and whoever waits on it hears of it.

    Args:
        seconds: from when the context is entered.
        stop: ends the time when it is set, or soon after.

    Attributes:
        over: whether the time was over before the request.
        stopped: whether it was ended.
    """

    def __init__(self, seconds: float, stop: threading.Event) -> None:
        self.seconds, self.over, self.stopped = seconds, False, False
        self._stop, self._done = stop, threading.Event()
        self._sockets: list[socket.socket] = []
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        threading.Thread(target=self._wait, name="tamis-limit", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()

    def _wait(self) -> None:
        end = time.monotonic() + self.seconds
        while not self._done.wait(min(_LOOK, max(end - time.monotonic(), 0.0))):
            if self._stop.is_set() or time.monotonic() >= end:
                self.stopped = self._stop.is_set()
                self._end()
                return

    def watch(self, connected: socket.socket) -> None:
        """Shut this connection too when the time is over."""
        with self._lock:
            self._sockets.append(connected)
            late = self.over
        if late:
            _shut(connected)

    def _end(self) -> None:
        with self._lock:
            self.over = True
            sockets = list(self._sockets)
        for one in sockets:
            _shut(one)


def _shut(connected: socket.socket) -> None:
    with suppress(OSError):  # it may be closed by now
        socket.socket.shutdown(connected, socket.SHUT_RDWR)  # not that of TLS, which would say goodbye first


class _Watched(http.client.HTTPConnection):
    """A connection under a `_Limit`."""

    limit: _Limit

    def connect(self) -> None:
        super().connect()
        self.limit.watch(self.sock)


class _WatchedTLS(http.client.HTTPSConnection):
    """The same with TLS."""

    limit: _Limit

    def connect(self) -> None:
        super().connect()
        self.limit.watch(self.sock)


def _connection(cls: type[_Watched | _WatchedTLS], limit: _Limit, host: str, **options: Any) -> _Watched | _WatchedTLS:
    made = cls(host, **options)
    made.limit = limit
    return made


class _HTTP(urllib.request.HTTPHandler):
    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        """Open a connection that the request's limit watches."""
        return self.do_open(partial(_connection, _Watched, req._limit), req)  # type: ignore[attr-defined]  # noqa: SLF001


class _HTTPS(urllib.request.HTTPSHandler):
    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__(context=context)
        self._own = context

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        """Open a connection that the request's limit watches."""
        made = partial(_connection, _WatchedTLS, req._limit)  # type: ignore[attr-defined]  # noqa: SLF001
        return self.do_open(made, req, context=self._own)


@cache
def _opener() -> urllib.request.OpenerDirector:
    """What opens requests; certificates are read once."""
    return urllib.request.build_opener(_NoRedirect, _HTTP(), _HTTPS(ssl.create_default_context()))
