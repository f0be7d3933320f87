"""Poolings, worked out by hand."""

from __future__ import annotations

import pytest
import torch

from tamis.encoders.pooling import POOLINGS, pool

STATES = torch.tensor([[[1.0, -1], [3, -5], [8, 8]], [[2, 0], [4, 6], [6, 3]]])
MASK = torch.tensor([[1, 1, 0], [1, 1, 1]])
WANTED = {
    "cls": [[1, -1], [2, 0]],
    "lasttoken": [[3, -5], [6, 3]],
    "max": [[3, -1], [6, 6]],
    "mean": [[2, -3], [4, 3]],
    "mean_sqrt_len_tokens": [[4 / 2**0.5, -6 / 2**0.5], [12 / 3**0.5, 9 / 3**0.5]],
    "weightedmean": [[(1 + 2 * 3) / 3, (-1 - 2 * 5) / 3], [(2 + 8 + 18) / 6, (0 + 12 + 9) / 6]],
}


@pytest.mark.parametrize("how", POOLINGS)
def test_what_is_masked_does_not_count(how: str) -> None:
    torch.testing.assert_close(pool(STATES, MASK, how), torch.tensor(WANTED[how], dtype=torch.float32))


@pytest.mark.parametrize("how", POOLINGS)
def test_no_mask_is_a_mask_of_ones(how: str) -> None:
    torch.testing.assert_close(pool(STATES, None, how), pool(STATES, torch.ones(2, 3, dtype=torch.int64), how))
    torch.testing.assert_close(pool(STATES[1:], None, how), torch.tensor(WANTED[how][1:], dtype=torch.float32))


@pytest.mark.parametrize("how", POOLINGS)
def test_sums_are_in_float32(how: str) -> None:
    many = torch.full((1, 1000, 1), 1.0 + 2**-7, dtype=torch.bfloat16)
    found = pool(many, None, how)
    assert found.dtype == torch.float32
    want = (1 + 2**-7) * (1000**0.5 if how == "mean_sqrt_len_tokens" else 1)
    assert float(found) == pytest.approx(want, rel=1e-5)  # a sum in bfloat16 stops at 256
