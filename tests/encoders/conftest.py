"""A tiny BERT with random weights from a seed, saved as a sentence-transformers checkpoint; and an embeddings endpoint."""

from __future__ import annotations

import hashlib
import http.server
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

WORDS = [
    "a",
    "the",
    "of",
    "drum",
    "sieve",
    "cook",
    "soup",
    "potato",
    "butter",
    "milk",
    "rank",
    "query",
    "document",
    "term",
    "weight",
    "fine",
    "finer",
    "pass",
    "through",
    "is",
    "what",
    "how",
]


def save_tiny(folder: Path, *, seed: int = 0, model_type: str = "bert", pooler: bool = False, **changes: Any) -> Path:
    """Write config, weights and tokenizer of a two-layer model, 32 wide."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, *"abcdefghijklmnopqrstuvwxyz", "[", "]"]
    vocabulary += [f"##{letter}" for letter in "abcdefghijklmnopqrstuvwxyz"]
    tokens = {token: number for number, token in enumerate(dict.fromkeys(vocabulary))}
    raw = Tokenizer(models.WordPiece(tokens, unk_token="[UNK]"))
    raw.normalizer = normalizers.BertNormalizer(lowercase=True)
    raw.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    marks = [("[CLS]", tokens["[CLS]"]), ("[SEP]", tokens["[SEP]"])]
    raw.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=marks
    )
    names = {
        "unk_token": "[UNK]",
        "pad_token": "[PAD]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "mask_token": "[MASK]",
    }
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, model_max_length=64, **names)
    config = BertConfig(
        vocab_size=len(tokens),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
        **changes,
    )
    torch.manual_seed(seed)
    model = BertModel(config, add_pooling_layer=pooler)
    with torch.no_grad():  # the default initialisation makes all texts alike
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def save_sentence_model(
    folder: Path, *, pooling: str = "mean", normalise: bool = True, seed: int = 0, **settings: Any
) -> Path:
    """The same, with the files by which sentence-transformers knows a checkpoint."""
    save_tiny(folder, seed=seed)
    modules = [("", "Transformer"), ("1_Pooling", "Pooling"), *([("2_Normalize", "Normalize")] if normalise else [])]
    listed = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (path, kind) in enumerate(modules)
    ]
    (folder / "modules.json").write_text(json.dumps(listed))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 20, "do_lower_case": False}))
    (folder / "config_sentence_transformers.json").write_text(json.dumps(settings))
    (folder / "1_Pooling").mkdir()
    keys = {
        "cls": "cls_token",
        "max": "max_tokens",
        "mean": "mean_tokens",
        "lasttoken": "lasttoken",
        "weightedmean": "weightedmean_tokens",
    }
    values = {f"pooling_mode_{name}": kind == pooling for kind, name in keys.items()}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 32, **values}))
    if normalise:
        (folder / "2_Normalize").mkdir()
    return folder


def _table(encoder: Any, found: Any) -> np.ndarray:
    """Vectors as a table, dense or sparse."""
    if not hasattr(found, "indices"):
        return np.asarray(found.vectors)
    table = np.zeros((len(found.offsets) - 1, encoder.dimensions), np.float32)
    table[np.repeat(np.arange(len(table)), np.diff(found.offsets)), found.indices] = found.values
    return table


@pytest.fixture(params=["onnx", "openvino"])
def runs_alike(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, require: Callable[..., None]
) -> Callable[[str], None]:
    """Checks that an exported graph gives the vectors that the model of an address gives, on every backend there is."""
    from tamis.encoders.base import Passage
    from tamis.encoders.registry import open_encoder

    require(request.param)
    monkeypatch.setenv("TAMIS_CACHE", str(tmp_path / "exports"))

    def check(address: str) -> None:
        passages = [
            Passage("drum", "a sieve of the cook"),
            Passage("", "milk " * 30),
            Passage("soup", "potato"),
            Passage("", ""),
        ]
        queries = ["what is a drum sieve", "how", "fine potato soup through a sieve"]
        joint = "&" if "?" in address else "?"
        plain, exported = (open_encoder(address + more) for more in ("", f"{joint}backend={request.param}"))
        for want, have in zip(
            (plain.encode_passages(passages), plain.encode_queries(queries)),
            (exported.encode_passages(passages), exported.encode_queries(queries)),
            strict=True,
        ):
            wanted, found = (_table(plain, one) for one in (want, have))
            np.testing.assert_allclose(found, wanted, atol=2e-5, rtol=1e-4)
            assert np.abs(wanted[1:] - wanted[0]).max() > 1e-3  # they are not all one
        assert exported.identity == plain.identity
        assert exported.tokens == plain.tokens
        assert list((tmp_path / "exports" / "onnx").iterdir())

    return check


@pytest.fixture(scope="session")
def tiny() -> Callable[..., Path]:
    return save_tiny


@pytest.fixture(scope="session")
def sentence_model() -> Callable[..., Path]:
    return save_sentence_model


class Endpoint:
    """A real HTTP server on this machine that speaks the embeddings protocol: a text's vector counts its letters.

    Attributes:
        url: to give as ``endpoint``.
        script: what the next requests get instead: (status, headers, body), or a function of the request's body that gives it.
        requests: (headers, body) of every request.
    """

    def __init__(self) -> None:
        self.script: list[Any] = []
        self.requests: list[tuple[dict[str, str], dict[str, Any]]] = []
        self._lock = threading.Lock()
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    @staticmethod
    def vector(text: str, dimensions: int = 26) -> list[float]:
        return [float(text.lower().count(chr(97 + i))) for i in range(26)][:dimensions]

    def answer(self, body: dict[str, Any]) -> tuple[int, dict[str, str], Any]:
        """The right answer, its items in another order than the texts."""
        dimensions = body.get("dimensions", 26)
        items = [{"index": i, "embedding": self.vector(text, dimensions)} for i, text in enumerate(body["input"])]
        usage = {"prompt_tokens": sum(len(text.split()) for text in body["input"])}
        return 200, {}, {"object": "list", "data": items[::-1], "model": body["model"], "usage": usage}

    def _handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        endpoint = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with endpoint._lock:
                    endpoint.requests.append(({"path": self.path, **dict(self.headers)}, body))
                    given = endpoint.script.pop(0) if endpoint.script else endpoint.answer
                status, headers, content = given(body) if callable(given) else given
                if status == 0:  # hang up
                    self.close_connection = True
                    return
                raw = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(raw))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(raw)

            def log_message(self, *_: object) -> None:
                pass

        return Handler

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    server = Endpoint()
    yield server
    server.close()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A Hugging Face cache of one's own, off line; call it to put a folder there as a revision of a model."""
    cache = tmp_path / "hub"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)

    def put(identifier: str, folder: Path, revision: str = "main") -> None:
        home = cache / f"models--{identifier.replace('/', '--')}"
        commit = hashlib.sha1(f"{identifier}@{revision}".encode()).hexdigest()
        shutil.copytree(folder, home / "snapshots" / commit)
        (home / "refs").mkdir(exist_ok=True)
        (home / "refs" / revision).write_text(commit)

    return put
