"""Asking a model that runs elsewhere: JSON over HTTP, with a key from the environment, repeated while the other side is busy.

Nothing about the key is kept: it is read from its environment variable for every request, and is taken out of whatever the other
side says before that becomes a message. Redirects are not followed, since they would carry the key to another host.
"""

from __future__ import annotations

import email.utils
import http.client
import json
import math
import os
import ssl
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from tamis.errors import ModelError, PrerequisiteError, UsageError

FIRST_WAIT, LONGEST_WAIT = 0.5, 60.0
"""Seconds before the second attempt, which double from attempt to attempt, and the most that they come to."""

LONGEST_ASKED_WAIT = 300.0
"""Seconds that are waited where the other side says how long; it may ask for a day."""

_TRANSIENT = (408, 425, 429)
_REFUSED = (401, 403)
_SHOWN = 300


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
        timeout: seconds without an answer after which a request counts as failed.
        retries: how often a request is repeated that failed for a reason that may pass.
    """

    url: str
    key: str | None = None
    timeout: float = 60.0
    retries: int = 6

    def post(self, path: str, body: Mapping[str, Any], stop: threading.Event | None = None) -> Any:
        """Send `body` to ``url/path``, and return the JSON value that comes back.

        Connections that fail and the statuses 408, 425, 429 and from 500 on are repeated: after what ``Retry-After`` says, or
        else after a time that doubles.

        Args:
            path: what stands behind the URL.
            body: JSON values.
            stop: once it is set, nothing is repeated any more, and a pause ends at once.

        Raises:
            PrerequisiteError: the key's variable is not set, or a key is wanted and none is named.
            ModelError: it still fails after all repetitions, or was refused, or what came back is no JSON.
        """
        request = self._request(path, body)
        for attempt in range(self.retries + 1):
            try:
                return self._once(request)
            except _TransientError as failure:
                self._give_up_or_wait(failure, attempt, stop or threading.Event())
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

    def _once(self, request: urllib.request.Request) -> Any:
        try:
            with _opener().open(request, timeout=self.timeout) as answer:
                raw = answer.read()
        except urllib.error.HTTPError as error:
            with error:
                raise self._failure(error) from None
        except (OSError, http.client.HTTPException) as error:  # URLError is an OSError
            reason = getattr(error, "reason", None) or error
            said = f"{self.url} cannot be reached: {type(error).__name__}: {reason}"
            if isinstance(reason, ssl.SSLCertVerificationError):  # it will be no better in a minute
                raise ModelError(said) from None
            raise _TransientError(said) from None
        try:
            return json.loads(raw)
        except ValueError:
            raise ModelError(f"{self.url} sent what is no JSON: {self._shown(raw)}") from None

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

    def _give_up_or_wait(self, failure: _TransientError, attempt: int, stop: threading.Event) -> None:
        seconds = min(FIRST_WAIT * 2**attempt, LONGEST_WAIT) if failure.wait is None else failure.wait
        if seconds > LONGEST_ASKED_WAIT:
            raise ModelError(f"{failure}; it asks for a pause of {seconds:.0f} seconds: try again then")
        if attempt == self.retries:
            raise ModelError(f"{failure}; given up after {attempt + 1} attempts (more with retries=)")
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


@cache
def _opener() -> urllib.request.OpenerDirector:
    """What opens requests; certificates are read once."""
    return urllib.request.build_opener(_NoRedirect, urllib.request.HTTPSHandler(context=ssl.create_default_context()))
