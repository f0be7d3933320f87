"""Options that families of encoders share, declared once; light enough to be looked at without loading a model."""

from __future__ import annotations

from dataclasses import dataclass

from tamis.families import option

DTYPES = ("float32", "bfloat16", "float16")
BACKENDS = ("torch", "onnx", "openvino")


@dataclass(frozen=True)
class NumericOptions:
    """Where and in what precision a model runs."""

    dtype: str = option("float32", "precision of matrix products", scope="model", choices=DTYPES)
    device: str = option("auto", "cpu, cuda, cuda:1, mps; auto takes an accelerator if there is one")


@dataclass(frozen=True)
class BackendOptions(NumericOptions):
    """The same, of models whose transformer can be exported."""

    backend: str = option("torch", "what runs the model: onnx and openvino are faster on a processor", choices=BACKENDS)


@dataclass(frozen=True)
class DenseOptions(BackendOptions):
    """Model options of ``dense``; what is not given is the checkpoint's own."""

    max_length: int | None = option(None, "tokens that are read of a text", scope="model", ge=2)
    pooling: str | None = option(None, "how token states become one vector", scope="model")
    similarity: str | None = option(None, "cosine or dot", scope="model", choices=("cosine", "dot"))
    prompt: str | None = option(None, "what is put before a document", scope="model")
    query_prompt: str | None = option(None, "what is put before a query", scope="model")


@dataclass(frozen=True)
class LengthOptions(NumericOptions):
    """Model options of encoders whose input is settled but for its length."""

    max_length: int | None = option(None, "tokens that are read of a document", scope="model", ge=8)


@dataclass(frozen=True)
class EncoderOptions(LengthOptions, BackendOptions):
    """The same, of those whose transformer can be exported."""


@dataclass(frozen=True)
class PairOptions(EncoderOptions):
    """Model options of encoders with a checkpoint a side."""

    query: str | None = option(
        None, "the query encoder, ID or ID@REVISION, where its name does not follow", scope="model"
    )


@dataclass(frozen=True)
class VectorsOptions:
    """Options of ``vectors``."""

    ids: str | None = option(None, "file of ids, one a line; the array's name with .ids if not given", scope="model")
    similarity: str = option("dot", "dot, or cosine", scope="model", choices=("cosine", "dot"))


@dataclass(frozen=True)
class SparOptions(PairOptions):
    """Model options of ``spar``."""

    base: str | None = option(None, "address of the retriever that the lexical model joins", scope="model")


@dataclass(frozen=True)
class ColbertOptions(EncoderOptions):
    """Model options of ``colbert``; what is not given is the checkpoint's own."""

    query_length: int | None = option(None, "tokens that a query is filled to", scope="model", ge=4)


@dataclass(frozen=True)
class ImpactsOptions:
    """Options of ``impacts``; by default weights stay as they are in the file."""

    factor: float = option(1.0, "what weights are multiplied by before they are made whole", scope="model", gt=0)
    rounding: str | None = option(
        None,
        "make weights whole: down, as Anserini's loader does, half-up or half-even",
        scope="model",
        choices=("half-up", "half-even", "down"),
    )


@dataclass(frozen=True)
class PruningOptions:
    """Which of a text's weights are kept; no part of the model, whose identity they leave alone."""

    top: int | None = option(None, "how many weights a document keeps, the largest", scope="part", ge=1)
    min_weight: float = option(0.0, "the least weight that is kept of a document", scope="part", ge=0)
    query_top: int | None = option(None, "how many of a query's weights count, the largest", ge=1)
    query_min_weight: float = option(0.0, "the least weight of a query that counts", ge=0)


@dataclass(frozen=True)
class SparseModelOptions(PruningOptions, NumericOptions):
    """Options of learned sparse encoders."""

    max_length: int | None = option(None, "tokens that are read of a document", scope="model", ge=2)
    query_length: int | None = option(None, "tokens that are read of a query", scope="model", ge=2)


POOLINGS = ("max", "sum")
SPECIAL_TOKENS = ("pooled", "masked")


@dataclass(frozen=True)
class UnicoilOptions(SparseModelOptions):
    """Options of ``unicoil``."""

    special_tokens: str = option(
        "pooled", "whether special tokens count as by the authors' code, or not", scope="model", choices=SPECIAL_TOKENS
    )


@dataclass(frozen=True)
class SpladeOptions(UnicoilOptions, BackendOptions):
    """Options of ``splade``; what is not given is the checkpoint's own."""

    pooling: str | None = option(None, "of tokens: max, or sum as in the first SPLADE", scope="model", choices=POOLINGS)
    query: str | None = option(None, "checkpoint of the query encoder, where it is another one", scope="model")
    query_weights: str | None = option(
        None, "queries without a model: a JSON file of token weights, such as idf.json, or ones", scope="model"
    )
    prompt: str | None = option(None, "what is put before a document", scope="model")
    query_prompt: str | None = option(None, "what is put before a query", scope="model")


@dataclass(frozen=True)
class UhdOptions(SparseModelOptions):
    """Options of ``uhd``; what is not given is the checkpoint's own."""

    winners: int | None = option(None, "dimensions that survive of a token and bucket", scope="model", ge=1)
    query_winners: int | None = option(None, "the same of a query, which may be sparser", ge=1)
    binary: bool = option(True, "whether a text is a set, or dimensions keep their real values", scope="model")
    special_tokens: str | None = option(
        None, "whether special tokens are pooled, or masked", scope="model", choices=SPECIAL_TOKENS
    )


@dataclass(frozen=True)
class OpenAIOptions:
    """Options of ``openai``; ``key`` changes no vector, but an address without it could not be asked again."""

    endpoint: str | None = option(None, "URL that /embeddings is below; OpenAI's if not given", scope="model")
    key: str | None = option(None, "environment variable that holds the key; OPENAI_API_KEY for OpenAI", scope="model")
    dimensions: int | None = option(
        None, "length of the vectors, for models that can shorten them", scope="model", ge=1
    )
    normalise: bool = option(True, "give vectors unit length", scope="model")
    prompt: str | None = option(None, "what is put before a document", scope="model")
    query_prompt: str | None = option(None, "what is put before a query", scope="model")
    batch: int = option(64, "texts of a request", ge=1, le=2048)
    concurrency: int = option(4, "requests at a time", ge=1, le=64)
    timeout: float = option(60.0, "seconds to wait for an answer", gt=0)
    retries: int = option(6, "repetitions of a request that failed for a reason that may pass", ge=0, le=20)


VARIANTS = ("paper", "released")


@dataclass(frozen=True)
class DyvoOptions(SparseModelOptions):
    """Options of ``dyvo``; what is not given is the checkpoint's own."""

    variant: str | None = option(
        None, "where the scale of entities stands: by the paper, or the released code", scope="model", choices=VARIANTS
    )
    special_tokens: str | None = option(
        None, "whether special tokens are pooled for entities, or masked", scope="model", choices=SPECIAL_TOKENS
    )
