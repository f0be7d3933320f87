"""``openai``: a model behind an endpoint that speaks OpenAI's embeddings protocol, which many servers do (vLLM, TEI, Ollama …).

    openai:text-embedding-3-small?dimensions=256
    openai:BAAI/bge-m3?endpoint=http://localhost:8000/v1&query_prompt=query:%20

There are no files to hash: the identity is the model's name, the endpoint's host and what is asked of it. An endpoint that puts
other weights behind the same name goes unnoticed, unless its vectors get another length. It does not say what it cut, either, so
that no text counts as truncated.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from tamis.encoders.base import DenseVectors, ModelIdentity, Passage, Similarity, Tick, no_tick
from tamis.encoders.options import OpenAIOptions
from tamis.encoders.remote import Remote, check_endpoint
from tamis.errors import ModelError, UsageError
from tamis.families import Address

VERSION = 1
ENDPOINT, KEY = "https://api.openai.com/v1", "OPENAI_API_KEY"

BATCH_CHARACTERS = 250_000
"""Most characters of a request of several texts: OpenAI takes 300,000 tokens, and few tokens are shorter than a character."""


class OpenAIEncoder:
    """A `tamis.encoders.base.DenseEncoder`.

    Args:
        identity: of model and endpoint.
        remote: the endpoint.
        model: its name there.
        options: what is asked of it.

    Attributes:
        tokens: how many the endpoint says that it has read so far.
    """

    def __init__(self, identity: ModelIdentity, remote: Remote, model: str, options: OpenAIOptions) -> None:
        self.identity, self.remote, self.model, self.options = identity, remote, model, options
        self.similarity: Similarity = "cosine" if options.normalise else "dot"
        self.tokens = 0
        self._known: int | None = options.dimensions
        self._lock = threading.Lock()

    @cached_property
    def dimensions(self) -> int:
        """Length of the vectors; the endpoint is asked where neither an option nor an earlier answer tells."""
        if self._known is None:
            self._request(["dimensions"])
        assert self._known is not None  # noqa: S101 - set by the request
        return self._known

    def encode_passages(self, passages: Sequence[Passage], *, tick: Tick = no_tick) -> DenseVectors:
        """Encode documents, title and text joined by a space behind the prompt; see `DenseEncoder`.

        Raises:
            PrerequisiteError: the endpoint wants a key.
            ModelError: it cannot be reached, refuses, or answers something else than was asked.
        """
        prompt = self.options.prompt or ""
        return self._encode([prompt + passage.joined for passage in passages], tick)

    def encode_queries(self, texts: Sequence[str], *, tick: Tick = no_tick) -> DenseVectors:
        """Encode queries behind their prompt; errors as in `encode_passages`."""
        prompt = self.options.query_prompt or ""
        return self._encode([prompt + text for text in texts], tick)

    def _encode(self, texts: Sequence[str], tick: Tick) -> DenseVectors:
        spans = list(batches(texts, self.options.batch))
        if not spans:
            return DenseVectors(np.zeros((0, self.dimensions), np.float32), 0)
        if len(spans) == 1:
            found = [self._request(texts)]
            tick(len(texts))
        else:
            found = self._together(texts, spans, tick)
        return DenseVectors(np.ascontiguousarray(np.concatenate(found)), 0)

    def _together(self, texts: Sequence[str], spans: Sequence[slice], tick: Tick) -> list[NDArray[np.float32]]:
        """Send several requests at a time, and return their answers in the order of the texts."""
        stop = threading.Event()
        with ThreadPoolExecutor(self.options.concurrency, "tamis-openai") as workers:
            running = {workers.submit(self._request, texts[span], stop): span for span in spans}
            try:
                for future in as_completed(running):
                    future.result()
                    tick(running[future].stop - running[future].start)
            except BaseException:  # an interrupt too: neither waiting nor queued requests go on
                stop.set()
                workers.shutdown(wait=False, cancel_futures=True)
                raise
        return [future.result() for future in running]

    def _request(self, texts: Sequence[str], stop: threading.Event | None = None) -> NDArray[np.float32]:
        # the protocol refuses empty texts, which an index does not encode but a query may be
        body: dict[str, Any] = {"model": self.model, "input": [t or " " for t in texts], "encoding_format": "float"}
        if self.options.dimensions is not None:
            body["dimensions"] = self.options.dimensions
        answer = self.remote.post("embeddings", body, stop)
        try:
            vectors = read_answer(answer, len(texts))
            self._check_length(vectors.shape[1])
        except ModelError as error:
            raise ModelError(f"{self.identity.address}: {error}") from None
        with self._lock:
            self.tokens += read_usage(answer)
        if self.options.normalise:
            vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        return vectors.astype(np.float32)

    def _check_length(self, length: int) -> None:
        with self._lock:
            if self._known is None:
                self._known = length
            elif length != self._known:
                asked = "asked for" if self.options.dimensions is not None else "given before"
                raise ModelError(f"the endpoint gave vectors of {length} dimensions, not of {self._known} as {asked}")


def batches(texts: Sequence[str], most: int) -> Iterator[slice]:
    """Yield spans of texts for a request each: at most `most` texts, and `BATCH_CHARACTERS` unless it is one text alone."""
    start, characters = 0, 0
    for place, text in enumerate(texts):
        if place > start and (place - start == most or characters + len(text) > BATCH_CHARACTERS):
            yield slice(start, place)
            start, characters = place, 0
        characters += len(text)
    if start < len(texts):
        yield slice(start, len(texts))


def read_usage(answer: Any) -> int:
    """Return the tokens that an answer says it cost; 0 where it does not say."""
    usage = answer.get("usage") if isinstance(answer, dict) else None
    count = usage.get("prompt_tokens") if isinstance(usage, dict) else None
    return count if type(count) is int and count > 0 else 0


def read_answer(answer: Any, count: int) -> NDArray[np.float64]:
    """Return the vectors of an answer in the order of the texts, float64 [count, dimensions].

    Raises:
        ModelError: it is not of the protocol, or holds another number of vectors, or a number that is not finite.
    """
    items = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise ModelError('the endpoint\'s answer has no list "data": it does not speak the embeddings protocol')
    if len(items) != count:
        raise ModelError(f"the endpoint gave {len(items)} vectors for {count} texts")
    places = [item.get("index") for item in items]
    if any(type(place) is not int for place in places) or sorted(places) != list(range(count)):
        raise ModelError(f'the endpoint\'s "index" values are not 0 to {count - 1}, each once')
    rows = [item.get("embedding") for item in sorted(items, key=lambda item: item["index"])]
    try:
        vectors = np.array(rows, np.float64)
    except (ValueError, TypeError):
        vectors = np.zeros(0)
    if vectors.ndim != 2 or not vectors.shape[1]:
        raise ModelError('the endpoint\'s "embedding" values are not lists of numbers, all of one length')
    with np.errstate(over="ignore"):
        finite = np.isfinite(vectors.astype(np.float32)).all(1)
    if not finite.all():
        raise ModelError(f"the endpoint gave a number that is not finite for text {int((~finite).argmax())}")
    return vectors


def load(address: Address, options: OpenAIOptions) -> OpenAIEncoder:
    """Return the encoder of a model behind an endpoint; nothing is sent yet.

    Raises:
        UsageError: no model is named, or the endpoint is no URL.
    """
    model = f"{address.id}@{address.revision}" if address.revision else address.id  # "@" may belong to a name there
    if not model:
        raise UsageError(f"{address}: name the model, as in  openai:text-embedding-3-small")
    url = check_endpoint(options.endpoint or ENDPOINT)
    # OpenAI's key is for OpenAI: another endpoint gets one only by its name
    key = options.key or (KEY if url == ENDPOINT else None)
    remote = Remote(url, key, options.timeout, options.retries)
    settings = {
        "family": "openai",
        "version": VERSION,
        "model": model,
        "host": urlsplit(url).hostname,
        "dimensions": options.dimensions,
        "normalise": options.normalise,
        "prompts": {"query": options.query_prompt or "", "document": options.prompt or ""},
    }
    return OpenAIEncoder(ModelIdentity(str(address), {}, settings), remote, model, options)
