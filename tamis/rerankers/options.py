"""Options of rerankers, declared once; light enough to be looked at without loading a model."""

from __future__ import annotations

from dataclasses import dataclass

from tamis.encoders.options import BACKENDS, DTYPES, NumericOptions
from tamis.families import option

TRUNCATIONS = ("document", "pygaggle")
AGGREGATIONS = ("sym-sum", "sum", "sym-log", "log", "binary", "max", "min", "rank-llm", "pyterrier")


@dataclass(frozen=True)
class CostOptions:
    """Search options of models whose pairs of texts are scored in batches and kept."""

    batch_tokens: int | None = option(None, "tokens of a batch, with padding; what suits the device if none", ge=1)
    cache: bool = option(True, "whether scores are kept on disk and taken from there")


@dataclass(frozen=True)
class RerankOptions(CostOptions):
    """Search options of every model that scores pairs; none of them changes what the model says of a pair."""

    windows: str | None = option(
        None, "how a long body is cut: tokens:SIZE/STRIDE in the model's tokens, or sentences:SIZE/STRIDE; not if none"
    )
    pool: str = option(
        "max", "a document's score from its windows': first, max, sum, mean, or top:N, a mean of the best"
    )
    max_windows: int | None = option(None, "windows that a document has at most, first and last among them", ge=2)
    deadline: float | None = option(None, "seconds a batch of queries may take; then the best so far", gt=0)
    occlusions: int = option(
        256, "explain: texts with a word or more left out that the model reads at most of a document; 0: none", ge=0
    )


@dataclass(frozen=True)
class CrossOptions(NumericOptions):
    """Model options of ``cross``; what is not given is the checkpoint's own."""

    max_length: int | None = option(None, "tokens that are read of a pair", scope="model", ge=8)
    query_length: int | None = option(
        None,
        "word pieces that are read of a query: 62 as monoBERT was trained; as many as fit if none",
        scope="model",
        ge=1,
    )
    prompt: str | None = option(None, "what is put before a query", scope="model")
    backend: str = option("torch", "what runs the model", scope="model", choices=BACKENDS)


@dataclass(frozen=True)
class T5Options(NumericOptions):
    """Model options of the families over T5."""

    max_length: int | None = option(None, "tokens that are read of a prompt; 512 if none", scope="model", ge=32)
    truncation: str = option(
        "document",
        "what is cut of too long a prompt: documents, or as pygaggle does its end, and with it the question",
        scope="model",
        choices=TRUNCATIONS,
    )
    targets: str | None = option(
        None,
        "words that the model answers with, NEGATIVE/POSITIVE; those known of the checkpoint if none",
        scope="model",
    )


@dataclass(frozen=True)
class DuoOptions(CostOptions):
    """Search options of ``duot5``: what is made of its comparisons."""

    compared: int = option(50, "candidates that are compared, the first; the rest follows below in its old order", ge=2)
    aggregation: str = option("sym-sum", "how comparisons with the others become a score", choices=AGGREGATIONS)


SHOWN_SCORES = ("list", "global", "none")


@dataclass(frozen=True)
class FiT5Options(NumericOptions):
    """Model options of ``fit5``."""

    score: str = option(
        "list",
        "range of the scores shown: the list's own, one for all (score_min to score_max), or none is shown",
        scope="model",
        choices=SHOWN_SCORES,
    )
    score_min: float | None = option(None, "with score=global, what is shown as 0; 165 as released", scope="model")
    score_max: float | None = option(None, "with score=global, what is shown as 100; 190 as released", scope="model")
    max_length: int | None = option(None, "tokens that are read of a prompt; 200 if none", scope="model", ge=32)
    truncation: str = option(
        "document",
        "what is cut of too long a prompt: documents, or as released its end",
        scope="model",
        choices=("document", "end"),
    )
    dummies: int | None = option(None, "candidates that a list is filled up to; 100 as released", scope="model", ge=1)
    base: str = option(
        "google-t5/t5-base", "configuration and tokenizer of a checkpoint that comes without", scope="model"
    )


STYLES = ("rankzephyr", "rankgpt", "first", "chat")
STRATEGIES = ("sliding", "full", "top-down", "setwise-heap", "setwise-bubble")
DECODINGS = ("generate", "first", "attention")
CONSENSUS = ("kemeny", "borda", "rrf")
RUNNERS = ("endpoint", "local")
CHAT_TEMPLATES = ("auto", "vicuna", "plain")


@dataclass(frozen=True)
class AskingOptions:
    """Model options of ``listwise``: what is asked, and what is made of it."""

    style: str | None = option(
        None, "how the model is asked; rankzephyr if none, first where decoding=first", scope="model", choices=STYLES
    )
    decoding: str = option(
        "generate",
        "whether the model writes an order, or passages are ranked by the scores of its first token, or by its attention",
        scope="model",
        choices=DECODINGS,
    )
    strategy: str = option(
        "sliding",
        "windows from the end of the list, one over all of it, partitions by a pivot, or the best of a few by a heap or bubbles",
        scope="model",
        choices=STRATEGIES,
    )
    window: int = option(20, "passages that are read at a time", scope="model", ge=2)
    stride: int = option(10, "places from one window to the next", scope="model", ge=1)
    passes: int = option(1, "how often the windows go over a list", scope="model", ge=1)
    children: int = option(3, "with setwise, passages that one is compared with at a time", scope="model", ge=1, le=25)
    top: int = option(10, "with setwise, first places that are settled", scope="model", ge=1)
    shuffles: int = option(
        0,
        "how often a question is put, its passages shuffled each time; 0 for once and unshuffled",
        scope="model",
        ge=0,
    )
    seed: int = option(0, "of the shuffles", scope="model", ge=0)
    consensus: str = option(
        "kemeny",
        "what shuffled orders become: the nearest to all, or by mean or reciprocal ranks",
        scope="model",
        choices=CONSENSUS,
    )
    words: int = option(300, "words that are shown of a passage", scope="model", ge=1)
    context: int | None = option(
        None, "tokens of prompt and answer that the model reads; a checkpoint's own if none", scope="model", ge=16
    )
    max_tokens: int | None = option(
        None,
        "tokens of an answer at most; if none not said to an endpoint, and what an order takes locally",
        scope="model",
        ge=1,
    )
    budget: int | None = option(None, "tokens after which nothing more is asked", scope="model", ge=1)
    record: str | None = option(None, "file that calls are kept in, and taken from", scope="model")
    replay: str | None = option(None, "file that all calls are taken from: nothing is asked", scope="model")


@dataclass(frozen=True)
class EndpointOptions:
    """Model options of ``listwise`` with a model behind an endpoint."""

    endpoint: str | None = option(None, "URL that speaks OpenAI's chat protocol; OpenAI's if none", scope="model")
    key: str | None = option(None, "environment variable with the key; OPENAI_API_KEY for OpenAI's", scope="model")
    concurrency: int = option(8, "calls at a time", scope="model", ge=1)
    rpm: int | None = option(None, "requests in a minute at most", scope="model", ge=1)
    tpm: int | None = option(
        None, "tokens in a minute at most, as they are reckoned before a call", scope="model", ge=1
    )
    timeout: float = option(60.0, "seconds after which a call without a whole answer has failed", scope="model", gt=0)
    retries: int = option(6, "how often a call is repeated that failed for a reason that may pass", scope="model", ge=0)


@dataclass(frozen=True)
class LocalOptions:
    """Model options of ``listwise`` with a model on this machine."""

    calibrate: bool | None = option(
        None,
        "whether a passage's score is taken off that it gets where there is nothing to rank; with decoding=attention if none",
        scope="model",
    )
    attention_sort: int = option(
        0,
        "how often passages are sorted by attention, the most attended to the end, before a call",
        scope="model",
        ge=0,
    )
    template: str = option(
        "auto",
        "how a conversation is written: as the checkpoint says, or as Vicuna's",
        scope="model",
        choices=CHAT_TEMPLATES,
    )
    dtype: str = option(
        "auto",
        "precision of the weights: bfloat16 on accelerators that can, else float32",
        scope="model",
        choices=("auto", *DTYPES),
    )
    device: str = option("auto", "cpu, cuda, cuda:1, mps; auto takes an accelerator if there is one", scope="model")
    batch_tokens: int | None = option(
        None, "tokens of a batch, with padding and answers; what suits the device if none", scope="model", ge=1
    )


@dataclass(frozen=True)
class ListwiseOptions(LocalOptions, EndpointOptions, AskingOptions):
    """Model options of ``listwise``."""

    backend: str = option(
        "endpoint", "where the model runs: behind an endpoint, or on this machine", scope="model", choices=RUNNERS
    )


@dataclass(frozen=True)
class CedrOptions(NumericOptions):
    """Model options of ``cedr``."""

    doc_length: int = option(800, "word pieces that are read of a document", scope="model", ge=2)
    padding: str = option(
        "masked",
        "whether a document's padding counts for nothing, or as released as tokens like no other",
        scope="model",
        choices=("masked", "released"),
    )
    base: str = option(
        "google-bert/bert-base-uncased",
        "configuration and tokenizer of a checkpoint that comes without",
        scope="model",
    )


@dataclass(frozen=True)
class TKOptions(NumericOptions):
    """Model options of ``tk`` and ``tkl``."""

    doc_length: int | None = option(
        None, "words that are read of a document; 200 for tk and 2000 for tkl if none", scope="model", ge=1
    )
    padding: str = option(
        "whole",
        "tkl: whether all words count, or as released the last of documents of 41 to 44 words, 81 to 84 … do not",
        scope="model",
        choices=("whole", "released"),
    )
