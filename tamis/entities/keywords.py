"""Keywords of a context: which of its words a search for the entity should use.

"Revisiting Sparse Retrieval for Few-shot Entity Linking" (Chen et al., EMNLP 2023) asks BM25 with the mention and those words of
the context that a token classifier keeps, at most 32. The classifier learns from distant labels: of a context, the words that add
most to the BM25 score of the right entity's description (`tamis.entities.bm25.Bm25Linker.distant_keywords`). Where no classifier
is named the rarest words of the context, by the vocabulary's own document frequencies, take its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

KEYWORDS = 32


class Keywords(Protocol):
    """Weighs the words of texts.

    Attributes:
        identity: JSON values that say what it is.
    """

    identity: Any

    def weigh(self, texts: Sequence[str]) -> list[list[tuple[int, int, float]]]:
        """Return (first, end, weight) of spans of each text; a word counts as its heaviest span weighs."""


class ClassifierKeywords:
    """A token classifier of transformers: of two labels the second says "keyword", of one its logit.

    Args:
        identifier: folder or hub id of the checkpoint.
        revision: of it.
        device: where it runs.
    """

    def __init__(self, identifier: str, revision: str | None = None, device: str = "auto") -> None:
        from tamis.encoders.batching import Numerics
        from tamis.encoders.checkpoints import checkpoint_files, find_checkpoint, load_transformer
        from tamis.encoders.text import Tokenizer

        folder = find_checkpoint(identifier, revision)
        numerics = Numerics.of(device, "float32")
        self._device = numerics.device
        self._model: Any = load_transformer(folder, unused=(), auto="AutoModelForTokenClassification")
        self._model = self._model.to(self._device).eval()
        self._tokenizer = Tokenizer(folder)
        self._limit = int(getattr(self._model.config, "max_position_embeddings", 512))
        self.identity = dict(checkpoint_files(folder))

    def weigh(self, texts: Sequence[str]) -> list[list[tuple[int, int, float]]]:
        """See `Keywords`; of a longer text the beginning is read."""
        import torch

        found = []
        for text in texts:
            encoding = self._tokenizer.raw.encode(text)
            ids = torch.tensor([encoding.ids[: self._limit]], device=self._device)
            with torch.inference_mode():
                logits = self._model(input_ids=ids).logits[0].float()
            scores = logits[:, 0] if logits.shape[1] == 1 else logits[:, 1] - logits[:, 0]
            spans = zip(encoding.offsets, torch.sigmoid(scores).cpu().numpy().astype(np.float64).tolist(), strict=False)
            found.append([(first, end, score) for (first, end), score in spans if end > first])
        return found
