"""Batches: every text once, of similar length, padded and masked; results in place whatever ran together."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tamis.encoders import batching
from tamis.encoders.batching import Inputs, Numerics, batches_of, pad_batch, require_finite, run_batches
from tamis.errors import ModelError, PrerequisiteError, UnknownNameError


@given(st.lists(st.integers(0, 40), max_size=60), st.integers(1, 100))
def test_batches_hold_every_text_once_within_the_budget(lengths: list[int], budget: int) -> None:
    found = list(batches_of(np.array(lengths, np.int64), budget))
    assert sorted(place for batch in found for place in batch.tolist()) == list(range(len(lengths)))
    widths = [[lengths[place] for place in batch] for batch in found]
    assert all(len(batch) == 1 or len(batch) * max(batch) <= budget for batch in widths)
    flat = [length for batch in widths for length in batch]
    assert flat == sorted(lengths, reverse=True)


def test_a_batch_is_padded_and_masked() -> None:
    inputs = Inputs([[5, 6, 7], [8], [9, 9]], types=[[0, 1, 1], [1], [0, 0]])
    lengths = np.array([3, 1, 2])
    ids, mask, types = pad_batch(inputs, np.array([0, 1]), lengths, 4, "cpu")
    assert ids.tolist() == [[5, 6, 7], [8, 4, 4]]
    assert mask is not None
    assert mask.tolist() == [[1, 1, 1], [1, 0, 0]]
    assert types is not None
    assert types.tolist() == [[0, 1, 1], [1, 0, 0]]


def test_equal_lengths_need_no_mask_unless_some_tokens_are_not_attended_to() -> None:
    ids = [[5, 6], [7, 8]]
    assert pad_batch(Inputs(ids), np.array([1, 0]), np.array([2, 2]), 0, "cpu")[1:] == (None, None)
    attended = Inputs(ids, attended=[[1, 0], [1, 1]])
    found = pad_batch(attended, np.array([1, 0]), np.array([2, 2]), 0, "cpu")
    assert found[0].tolist() == [[7, 8], [5, 6]]
    assert found[1] is not None
    assert found[1].tolist() == [[1, 1], [1, 0]]


@given(st.lists(st.integers(1, 9), min_size=1, max_size=30), st.integers(1, 30))
def test_results_land_in_their_places(lengths: list[int], budget: int) -> None:
    inputs = Inputs([[place + 1] * length for place, length in enumerate(lengths)])
    sums = np.zeros(len(lengths), np.int64)
    ticks: list[int] = []

    def forward(ids: Any, mask: Any, types: Any) -> Any:
        assert types is None
        assert not torch.is_grad_enabled()
        return (ids if mask is None else ids * mask).sum(1)

    def take(places: Any, result: Any) -> None:
        sums[places] = result.numpy()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batching, "CPU_TOKENS", budget)
        run_batches(forward, inputs, take, pad=77, numerics=Numerics(), tick=ticks.append)
    assert sums.tolist() == [(place + 1) * length for place, length in enumerate(lengths)]
    assert sum(ticks) == len(lengths)


def test_no_texts_are_no_batches() -> None:
    run_batches(lambda *_: pytest.fail("nothing to run"), Inputs([]), lambda *_: None, pad=0, numerics=Numerics())


def test_numbers_that_are_not_finite_are_refused() -> None:
    values = np.zeros((4, 2, 2), np.float32)
    require_finite("m", values)
    for bad in (np.nan, np.inf, -np.inf):
        values[2, 1, 0] = bad
        with pytest.raises(ModelError, match="m computed a number that is not finite for input 2"):
            require_finite("m", values)


def test_numerics_are_what_the_machine_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert Numerics.of("auto", "bfloat16") == Numerics("cpu", "bfloat16")
    assert Numerics("cuda").budget > Numerics("cpu").budget
    for device in ("cuda", "cuda:1", "mps"):
        with pytest.raises(PrerequisiteError, match=f"device={device}"):
            Numerics.of(device, "float32")
    with pytest.raises(PrerequisiteError, match="float16 needs an accelerator"):
        Numerics.of("cpu", "float16")
    with pytest.raises(UnknownNameError, match="float32"):
        Numerics.of("cpu", "float64")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert Numerics.of("auto", "float16") == Numerics("cuda", "float16")


def test_a_narrow_type_is_for_products() -> None:
    a, b = torch.full((2, 2), 1 + 2**-9), torch.eye(2)
    with Numerics("cpu", "bfloat16").running():
        assert (a @ b).dtype == torch.bfloat16
    with Numerics("cpu", "float32").running():
        assert (a @ b).dtype == torch.float32
