"""Matrix products: one result, whether matrices are laid out for the processor or not."""

from __future__ import annotations

import pytest
import torch

from tamis.rerankers.products import Matrix, product


@pytest.fixture
def matrices() -> list[Matrix]:
    torch.manual_seed(0)
    return [Matrix(24, outputs) for outputs in (8, 16, 8)]


@pytest.mark.parametrize("shape", [(5, 24), (3, 7, 24), (1, 24)])
@pytest.mark.parametrize("relu", [False, True])
def test_products_are_side_by_side(matrices: list[Matrix], shape: tuple[int, ...], relu: bool) -> None:
    x = torch.randn(shape)
    expected = torch.cat([x @ matrix.weight.T for matrix in matrices], -1)
    expected = expected.clamp(min=0) if relu else expected
    with torch.inference_mode():
        run = product(x, *matrices, relu=relu)
        reduced = product(x.bfloat16(), *matrices, relu=relu).float()
    learnt = product(x, *matrices, relu=relu)
    assert torch.allclose(run, expected, atol=1e-5)
    assert torch.allclose(learnt, expected, atol=1e-5)
    assert learnt.requires_grad
    assert torch.allclose(reduced, expected, atol=0.05)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        cast = product(x, *matrices, relu=relu)
    assert cast.dtype == torch.bfloat16
    assert torch.allclose(cast.float(), expected, atol=0.05)


def test_changed_weights_count(matrices: list[Matrix]) -> None:
    x = torch.randn(2, 24)
    with torch.inference_mode():
        before = product(x, matrices[0])
    with torch.no_grad():
        matrices[0].weight.mul_(2)
    with torch.inference_mode():
        assert torch.allclose(product(x, matrices[0]), 2 * before, atol=1e-5)
    matrices[0].load_state_dict({"weight": matrices[0].weight.detach() / 4}, assign=True)
    with torch.inference_mode():
        assert torch.allclose(product(x, matrices[0]), before / 2, atol=1e-5)
