"""A chat server on this machine, which ranks by what a test says."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from string import ascii_uppercase
from typing import Any

import pytest

from tamis.rerankers.listwise.prompts import STYLES

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
        letters: whether passages are called A, B, C …
    """

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.script: list[Any] = []
        self.rank: Rank = longest_first
        self.letters = False
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
        best = re.findall(r'^Passage [A-Z]: "(.*)"$', content, re.MULTILINE)
        name = "[A-Z]" if self.letters else r"\d+"
        listed = re.findall(rf"^\[({name})\] (.*)$", content, re.MULTILINE)
        ranked = self.rank(best or [text for _, text in listed])
        if best and (first := re.match(r"\[(\d+)\]", ranked)):
            ranked = f"Passage {chr(64 + int(first[1]))}"
        elif self.letters:
            ranked = re.sub(r"\d+", lambda number: chr(64 + int(number[0])), ranked)
        text = planned if isinstance(planned, str) else ranked
        if body.get("logprobs"):  # what it would write first, a token at a time
            names = re.findall(r"\w+", text.replace("Passage", ""))
            likely = [{"token": f" {name}", "logprob": -1.5 * i} for i, name in enumerate(names)][
                : body["top_logprobs"]
            ]
            tokens = ["Passage" if best else "[", f" {names[0]}" if best else names[0]]
            content = [{"token": token, "logprob": 0.0, "top_logprobs": likely} for token in tokens]
            choice = {
                "message": {"content": "".join(tokens)},
                "finish_reason": "length",
                "logprobs": {"content": content},
            }
            return 200, {}, json.dumps({"choices": [choice], "usage": {"total_tokens": 100}}).encode()
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


CHAT_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
NO_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}" + CHAT_TEMPLATE


def save_causal(
    folder: Path,
    *,
    template: str | None = CHAT_TEMPLATE,
    kind: str = "llama",
    seed: int = 0,
    positions: int = 4096,
    answer: tuple[str, str] | None = None,
    pieces: str = "bytes",
    **changes: Any,
) -> Path:
    """Write a two-layer language model, 32 wide, whose logits differ by more than rounding, with a tokenizer of its own.

    Args:
        folder: where to.
        template: of conversations.
        kind: ``llama``, ``qwen2`` or ``gpt2``.
        seed: of the weights.
        positions: that it has.
        answer: what it learns: a prompt, and the answer to it.
        pieces: what tokens are made of: bytes, or as in Llama characters and white space that is marked.
        changes: of the configuration.
    """
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import (
        GPT2Config,
        GPT2LMHeadModel,
        LlamaConfig,
        LlamaForCausalLM,
        PreTrainedTokenizerFast,
        Qwen2Config,
        Qwen2ForCausalLM,
    )

    raw = Tokenizer(models.BPE())
    if pieces == "bytes":
        raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        raw.decoder = decoders.ByteLevel()
    else:
        raw.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
        raw.decoder = decoders.Metaspace(prepend_scheme="first")
    special = ["<s>", "</s>", "<pad>", "<|system|>", "<|user|>", "<|assistant|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = [
        message["content"] for write in STYLES.values() for message in write.write("a drum sieve", ["of soup"] * 20)
    ]
    raw.train_from_iterator([*texts * 3, *[" ".join(f" {x} {x}" for x in ascii_uppercase)] * 20], trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, bos_token="<s>", eos_token="</s>", pad_token="<pad>", model_max_length=positions
    )
    tokenizer.chat_template = template
    torch.manual_seed(seed)
    common = {"vocab_size": raw.get_vocab_size(), "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2, **changes}
    if kind in ("llama", "qwen2"):
        config, network = (LlamaConfig, LlamaForCausalLM) if kind == "llama" else (Qwen2Config, Qwen2ForCausalLM)
        model: Any = network(
            config(
                hidden_size=32,
                intermediate_size=64,
                num_hidden_layers=2,
                num_attention_heads=4,
                num_key_value_heads=2,
                max_position_embeddings=positions,
                **common,
            )
        )
    else:
        model = GPT2LMHeadModel(GPT2Config(n_embd=32, n_layer=2, n_head=4, n_positions=positions, **common))
    with torch.no_grad():  # the default initialisation makes all texts alike
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    if answer is not None:
        teach(model, *(raw.encode(text).ids for text in answer))
    folder.mkdir(parents=True, exist_ok=True)
    model.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def teach(model: Any, prompt: list[int], answer: list[int]) -> None:
    """Make a model know one answer by heart."""
    import torch

    ids = torch.tensor([[*prompt, *answer, 1]])
    labels = ids.clone()
    labels[:, : len(prompt)] = -100
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(80):
        loss = model(input_ids=ids, labels=labels).loss
        if loss.item() < 0.01:
            return
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    raise AssertionError(f"it did not learn its answer: loss {loss.item()}")


@pytest.fixture(scope="session")
def make_causal(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    return lambda **changes: save_causal(tmp_path_factory.mktemp("causal") / "model", **changes)


@pytest.fixture(scope="session")
def causal_folder(make_causal: Callable[..., Path]) -> Path:
    return make_causal()
