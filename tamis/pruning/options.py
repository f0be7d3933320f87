"""Options of quality models, declared once; light enough to be looked at without loading a model."""

from __future__ import annotations

from dataclasses import dataclass

from tamis.families import option


@dataclass(frozen=True)
class NoOptions:
    """A family without options."""


@dataclass(frozen=True)
class RandomOptions:
    """Options of ``random``."""

    seed: int = option(0, "another seed is another order", scope="model")


@dataclass(frozen=True)
class CddOptions:
    """Options of ``cdd``."""

    smoothing: float = option(
        0.8, "weight of the passage's own words beside the collection's", scope="model", gt=0, le=0.999
    )


@dataclass(frozen=True)
class VectorOptions:
    """Options of ``magnitude`` and ``centroid``: none of their own; those of the encoder may follow."""
