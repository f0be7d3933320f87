"""Embeddings of a real server on this machine: order, batches, checks of what comes back, and a part of an index."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tamis
from tamis.cli.app import main
from tamis.encoders import openai
from tamis.encoders.base import DenseEncoder, Passage
from tamis.encoders.openai import batches
from tamis.encoders.registry import open_encoder
from tamis.errors import ModelError, PrerequisiteError, UsageError

TEXTS = ["a drum sieve", "soup", "rank of a query", "butter", "zebra"]
OK: dict[str, str] = {}


def unit(vectors: list[list[float]]) -> np.ndarray:
    found = np.array(vectors)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def test_vectors_come_in_the_order_of_the_texts(endpoint: Any) -> None:
    encoder = open_encoder(f"openai:m?endpoint={endpoint.url}&batch=2&prompt=the &query_prompt=what ")
    ticks: list[int] = []
    passages = [Passage("drum", text) for text in TEXTS[:-1]] + [Passage("", "zebra")]
    found = encoder.encode_passages(passages, tick=ticks.append)
    written = [f"the drum {text}" for text in TEXTS[:-1]] + ["the zebra"]
    np.testing.assert_allclose(found.vectors, unit([endpoint.vector(text) for text in written]), atol=1e-6)
    assert found.vectors.dtype == np.float32
    assert sorted(len(body["input"]) for _, body in endpoint.requests) == [1, 2, 2]
    assert sum(ticks) == 5
    queries = encoder.encode_queries(["soup"]).vectors
    np.testing.assert_allclose(queries, unit([endpoint.vector("what soup")]), atol=1e-6)
    assert endpoint.requests[-1][1] == {"model": "m", "input": ["what soup"], "encoding_format": "float"}
    assert (encoder.dimensions, encoder.similarity) == (26, "cosine")
    assert encoder.tokens == sum(len(text.split()) for text in written) + 2  # the endpoint counts words
    assert len(endpoint.requests) == 4  # the dimensions were known from the vectors
    assert encoder.encode_queries([]).vectors.shape == (0, 26)
    assert isinstance(encoder, DenseEncoder)


def test_vectors_may_stay_as_they_are(endpoint: Any) -> None:
    encoder = open_encoder(f"openai:m?endpoint={endpoint.url}&normalise=false")
    assert encoder.similarity == "dot"
    assert encoder.dimensions == 26  # asked for
    assert encoder.encode_queries(["soup", ""]).vectors.tolist() == [endpoint.vector("soup"), [0.0] * 26]
    assert endpoint.requests[-1][1]["input"] == ["soup", " "]


def test_dimensions_are_asked_for_and_checked(endpoint: Any) -> None:
    encoder = open_encoder(f"openai:m?endpoint={endpoint.url}&dimensions=20")
    assert encoder.dimensions == 20
    assert not endpoint.requests
    np.testing.assert_allclose(encoder.encode_queries(["soup"]).vectors, unit([endpoint.vector("soup", 20)]), atol=1e-6)
    assert endpoint.requests[0][1]["dimensions"] == 20
    endpoint.script = [lambda body: endpoint.answer({**body, "dimensions": 26})]
    with pytest.raises(ModelError, match="26 dimensions, not of 20 as asked for"):
        encoder.encode_queries(["soup"])


def test_a_busy_server_is_asked_again(endpoint: Any) -> None:
    endpoint.script = [(429, {"Retry-After": "0"}, b"{}")] * 3
    encoder = open_encoder(f"openai:m?endpoint={endpoint.url}&batch=1&concurrency=2")
    found = encoder.encode_queries(TEXTS).vectors
    np.testing.assert_allclose(found, unit([endpoint.vector(text) for text in TEXTS]), atol=1e-6)
    assert len(endpoint.requests) == 8


def test_a_broken_server_is_a_model_error(endpoint: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tamis.encoders.remote.FIRST_WAIT", 0.001)
    endpoint.script = [(500, {}, b"oops")] * 100
    encoder = open_encoder(f"openai:m?endpoint={endpoint.url}&batch=1&retries=2&concurrency=2")
    with pytest.raises(ModelError, match=f"{endpoint.url} answered 500: oops") as failed:
        encoder.encode_queries(TEXTS)
    assert failed.value.exit_code == 6
    assert len(endpoint.requests) <= 3 * 3  # what was waiting in line is not sent


def data(*rows: Any, indices: Any = None) -> tuple[int, dict[str, str], Any]:
    places = range(len(rows)) if indices is None else indices
    return 200, OK, {"data": [{"index": i, "embedding": row} for i, row in zip(places, rows, strict=True)]}


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (data([1.0, 2.0]), "1 vectors for 2 texts"),
        (data([1.0], [2.0], [3.0]), "3 vectors for 2 texts"),
        (data([1.0, float("nan")], [1.0, 2.0]), "not finite for text 0"),
        (data([1.0, 2.0], [1.0, float("inf")]), "not finite for text 1"),
        (data([1.0, 2.0], [1.0, -1e300]), "not finite for text 1"),
        (data([1.0, 2.0], [1.0]), "all of one length"),
        (data([], []), "all of one length"),
        (data([1.0, None], [1.0, 2.0]), "not finite for text 0|lists of numbers"),
        (data([1.0, "x"], [1.0, 2.0]), "lists of numbers"),
        (data("AAAA", "BBBB"), "lists of numbers"),
        (data([1.0], [2.0], indices=[0, 0]), "0 to 1, each once"),
        (data([1.0], [2.0], indices=[1, 2]), "0 to 1, each once"),
        (data([1.0], [2.0], indices=[None, None]), "0 to 1, each once"),
        ((200, OK, {"embeddings": []}), "embeddings protocol"),
        ((200, OK, []), "embeddings protocol"),
    ],
)
def test_wrong_answers_are_refused(endpoint: Any, answer: Any, message: str) -> None:
    endpoint.script = [answer]
    with pytest.raises(ModelError, match=message):
        open_encoder(f"openai:m?endpoint={endpoint.url}").encode_queries(["a", "b"])


def test_vectors_may_not_change_their_length(endpoint: Any) -> None:
    encoder = open_encoder(f"openai:m?endpoint={endpoint.url}")
    encoder.encode_queries(["a"])
    endpoint.script = [data([1.0, 2.0])]
    with pytest.raises(ModelError, match="2 dimensions, not of 26 as given before"):
        encoder.encode_queries(["b"])


def test_the_identity_is_what_is_asked_of_whom(endpoint: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", "sk-secret")
    base = open_encoder("openai:org/m@1?endpoint=https://host/v1").identity
    assert base.settings["model"] == "org/m@1"  # "@" belongs to the name
    same = open_encoder("openai:org/m@1?endpoint=https://host:8000/v2&key=SOME_KEY&batch=3&retries=0").identity
    assert same.fingerprint == base.fingerprint
    assert "sk-secret" not in json.dumps(same.to_json())
    others = ["openai:org/m@2?endpoint=https://host/v1", "openai:org/m@1?endpoint=https://other/v1"]
    asked = ["dimensions=3", "prompt=a", "query_prompt=a", "normalise=false"]
    others += [f"openai:org/m@1?endpoint=https://host/v1&{option}" for option in asked]
    assert len({open_encoder(other).identity.fingerprint for other in others} | {base.fingerprint}) == 7
    for address in ("openai:", "openai:m?endpoint=localhost:1"):
        with pytest.raises(UsageError):
            open_encoder(address)


def test_openai_s_key_goes_to_openai_only(endpoint: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    open_encoder(f"openai:m?endpoint={endpoint.url}").encode_queries(["a"])
    assert "Authorization" not in endpoint.requests[-1][0]
    monkeypatch.setattr(openai, "ENDPOINT", endpoint.url)
    open_encoder("openai:m").encode_queries(["a"])
    assert endpoint.requests[-1][0]["Authorization"] == "Bearer sk-secret"
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(PrerequisiteError, match="OPENAI_API_KEY"):
        open_encoder("openai:m").encode_queries(["a"])


def test_requests_are_bounded_by_texts_and_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai, "BATCH_CHARACTERS", 10)
    texts = ["aaaa", "aaaa", "aaaa", "a" * 30, "a", "a", "a", "a"]
    spans = [(span.start, span.stop) for span in batches(texts, 3)]
    assert spans == [(0, 2), (2, 3), (3, 4), (4, 7), (7, 8)]
    assert list(batches([], 3)) == []


def test_a_part_is_made_and_searched(endpoint: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corpus, address = tmp_path / "corpus.jsonl", f"openai:m?endpoint={endpoint.url}"
    lines = [{"_id": str(i), "text": text} for i, text in enumerate([*TEXTS, ""])]
    corpus.write_text("".join(json.dumps(line) + "\n" for line in lines))
    index = tmp_path / "index"
    assert main(["index", str(corpus), "-o", str(index), "--part", f"mine={address}", "--quiet"]) == 0
    assert "" not in [text for _, body in endpoint.requests for text in body["input"]]
    assert main(["search", str(index), "soup", "--pipeline", address, "-k", "5", "--json"]) == 0
    first = json.loads(capsys.readouterr().out)["results"][0]
    assert (first["id"], round(first["score"], 6)) == ("1", 1.0)
    vectors = unit([endpoint.vector(text) for text in TEXTS])
    with tamis.open(index) as opened:
        hits = opened.rank("drum soup", 5, pipeline=f"{address}&part=mine&timeout=5")["1"]
        want = vectors @ unit([endpoint.vector("drum soup")])[0]
        np.testing.assert_allclose([hit.score for hit in hits], [want[int(hit.id)] for hit in hits], atol=1e-6)
        assert [hit.id for hit in hits] == [str(i) for i in np.argsort(-want, kind="stable")]
        endpoint.script = [lambda body: endpoint.answer({**body, "dimensions": 3})]
        with pytest.raises(ModelError, match="3 dimensions now, and the part has 26"):
            opened.add([{"id": "new", "text": "new"}])
        opened.add([{"id": "new", "text": "drum soup"}])
        assert opened.rank("drum soup", 1, pipeline=address)["1"][0].id == "new"


def test_what_was_paid_for_is_not_paid_for_again(
    endpoint: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tamis.indexer.encoded.job.CHUNK_ROWS", 2)
    corpus, address = tmp_path / "corpus.jsonl", f"openai:m?endpoint={endpoint.url}&dimensions=26"
    corpus.write_text("".join(json.dumps({"_id": str(i), "text": text}) + "\n" for i, text in enumerate(TEXTS)))
    command = ["index", str(corpus), "-o", str(tmp_path / "index"), "--part", f"mine={address}", "--quiet"]
    endpoint.script = [endpoint.answer, (400, {}, {"error": {"message": "no more money"}})]
    assert main(command) == 6
    assert main(command) == 0
    sent = [body["input"] for _, body in endpoint.requests]
    assert sent == [TEXTS[:2], TEXTS[2:4], TEXTS[2:4], TEXTS[4:]]
    with tamis.open(tmp_path / "index") as opened:
        vectors = opened.part("mine").vectors_of(opened.documents.rows([str(i) for i in range(len(TEXTS))]))
    np.testing.assert_allclose(vectors, unit([endpoint.vector(text) for text in TEXTS]), atol=1e-6)
