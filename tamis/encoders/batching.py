"""Running a transformer over many texts without paying for padding.

Texts are sorted by their length in tokens and cut into batches of about one number of tokens, so that a batch pads little and
costs about the same whatever its texts are. A batch of equal lengths runs without a mask. Results come back in input order and do
not depend, beyond rounding, on what ran together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tamis.encoders.base import Tick, no_tick
from tamis.encoders.options import DTYPES
from tamis.errors import ModelError, PrerequisiteError, UnknownNameError

if TYPE_CHECKING:
    import torch

CPU_TOKENS, DEVICE_TOKENS = 1024, 32768
"""Tokens of a batch: what fits the caches of a processor, and what fills an accelerator."""


@dataclass(frozen=True)
class Inputs:
    """Token ids of texts, not padded.

    Attributes:
        ids: of each text.
        types: token types of each text; None: all 0.
        attended: 1 where a token may be attended to, of each text; None: everywhere.
        truncated: how many texts were cut.
    """

    ids: Sequence[Sequence[int]]
    types: Sequence[Sequence[int]] | None = None
    attended: Sequence[Sequence[int]] | None = None
    truncated: int = 0

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def tokens(self) -> int:
        """How many tokens all texts are."""
        return sum(map(len, self.ids))


@dataclass(frozen=True)
class Numerics:
    """Where and in what precision a model runs.

    Attributes:
        device: ``cpu``, ``cuda`` …
        dtype: one of `DTYPES`; matrices are multiplied in it, and what needs more is done in float32.
        tokens: of a batch; None: what suits the device.
    """

    device: str = "cpu"
    dtype: str = "float32"
    tokens: int | None = None

    @classmethod
    def of(cls, device: str, dtype: str) -> Numerics:
        """Return what the options mean on this machine; device ``auto`` takes an accelerator if there is one.

        Raises:
            PrerequisiteError: there is no such device here.
            UnknownNameError: there is no such dtype.
        """
        import torch

        if dtype not in DTYPES:
            raise UnknownNameError("dtype", dtype, DTYPES)
        mps = torch.backends.mps.is_available()
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "mps" if mps else "cpu"
        if (device.startswith("cuda") and not torch.cuda.is_available()) or (device == "mps" and not mps):
            raise PrerequisiteError(
                f"device={device}: this machine has none that torch can use; take device=cpu or auto"
            )
        if dtype == "float16" and device == "cpu":
            raise PrerequisiteError("dtype=float16 needs an accelerator: take bfloat16 or float32 on a processor")
        return cls(device, dtype)

    @property
    def budget(self) -> int:
        """Tokens of a batch."""
        if self.tokens is not None:
            return self.tokens
        return CPU_TOKENS if self.device == "cpu" else DEVICE_TOKENS

    def running(self) -> Any:
        """Return the context to run the model in."""
        import torch

        return torch.autocast(
            torch.device(self.device).type, getattr(torch, self.dtype), enabled=self.dtype != "float32"
        )


def batches_of(lengths: NDArray[np.int64], budget: int) -> Iterator[NDArray[np.int64]]:
    """Yield the places of texts of similar length, the longest first, at most `budget` tokens with padding (or one text)."""
    order = np.argsort(-lengths, kind="stable")
    first = 0
    while first < len(order):
        size = max(1, budget // max(int(lengths[order[first]]), 1))
        yield order[first : first + size]
        first += size


Forward = Callable[..., Any]
"""(input_ids, attention_mask, token_type_ids) → Tensor; int64 [texts, tokens] each, the last two may be None."""

Take = Callable[[NDArray[np.int64], Any], None]
"""Hears of a finished batch: the places of its texts, and the tensor that the model made of them."""


def run_batches(
    forward: Forward, inputs: Inputs, take: Take, *, pad: int, numerics: Numerics, tick: Tick = no_tick
) -> None:
    """Run `forward` over all texts, batch by batch, without gradients.

    Args:
        forward: the model.
        inputs: the texts.
        take: is given every batch's result, on the model's device.
        pad: the padding token's id.
        numerics: where and how it runs.
        tick: hears of finished texts.
    """
    import torch

    lengths = np.array([len(ids) for ids in inputs.ids], np.int64)
    with torch.inference_mode(), numerics.running():
        for places in batches_of(lengths, numerics.budget):
            take(places, forward(*pad_batch(inputs, places, lengths, pad, numerics.device)))
            tick(len(places))


def pad_batch(
    inputs: Inputs, places: NDArray[np.int64], lengths: NDArray[np.int64], pad: int, device: str
) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
    """Return ids, attention mask (None where all may be attended to) and token types (None where all are 0) of a batch."""
    import torch

    width = int(lengths[places].max())

    def table(rows: Sequence[Sequence[int]], filler: int) -> torch.Tensor:
        filled = np.full((len(places), width), filler, np.int64)
        for place, i in enumerate(places.tolist()):
            filled[place, : len(rows[i])] = rows[i]
        return on_device(torch.from_numpy(filled), device)

    ids = table(inputs.ids, pad)
    types = None if inputs.types is None else table(inputs.types, 0)
    if inputs.attended is not None:
        return ids, table(inputs.attended, 0), types
    if int(lengths[places].min()) == width:
        return ids, None, types
    mask = np.arange(width) < lengths[places][:, None]
    return ids, on_device(torch.from_numpy(mask.astype(np.int64)), device), types


def on_device(table: torch.Tensor, device: str) -> torch.Tensor:
    """Return a tensor of the processor's on a device; a GPU fetches it from pinned memory, while the next batch is made."""
    if device.startswith("cuda"):
        return table.pin_memory().to(device, non_blocking=True)
    return table.to(device)


def require_finite(name: str, values: NDArray[np.float32]) -> None:
    """Check what a model computed.

    Raises:
        ModelError: a number is not finite.
    """
    if not np.isfinite(values).all():
        bad = int(np.flatnonzero(~np.isfinite(values).all(axis=tuple(range(1, values.ndim))))[0])
        raise ModelError(
            f"{name} computed a number that is not finite for input {bad}: its weights are damaged, or dtype is too narrow for it"
        )
