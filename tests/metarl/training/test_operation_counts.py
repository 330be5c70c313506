"""Counts of operations and waits, against ones that are counted by hand."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from metarl.methods.families import recipe
from metarl.training.benchmark import benchmark
from metarl.training.operation_counts import OperationCounts

X = torch.arange(6.0).reshape(2, 3)


def counted(work):
    with OperationCounts() as counts:
        work()
    return counts.kernels, counts.waits


@pytest.mark.parametrize(
    ("work", "expected"),
    [
        (lambda: (X + 1) * 2, (2, 0)),
        (lambda: X.mT.unsqueeze(0).expand(4, 3, 2).detach(), (0, 0)),
        (lambda: torch.empty(3), (0, 0)),
        (lambda: X.clone().add_(1), (2, 0)),
        (lambda: torch._foreach_add([X, X, X], 1.0), (1, 0)),
        (lambda: float(X[0, 1]), (0, 1)),
        (lambda: bool((X > 0).any()), (2, 1)),
        (lambda: X[torch.tensor([[True, False, True], [False, True, True]])], (0, 1)),
        (lambda: X[:, torch.tensor([0, 2])], (1, 0)),
        (lambda: X.nonzero(), (0, 1)),
    ],
)
def test_kernels_and_waits(work, expected):
    assert counted(work) == expected


def test_operations_of_derivatives_are_counted():
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    forward = counted(lambda: x.exp().sum())
    both = counted(lambda: torch.autograd.grad(x.exp().sum(), x))
    assert forward == (2, 0)
    assert both == (4, 0)  # and the 1 that it begins with, and one product
    inside = counted(lambda: torch.func.grad(lambda y: y.exp().sum())(X))
    assert inside == (4, 0)


def test_nothing_is_counted_afterwards():
    with OperationCounts() as counts:
        X.exp()
    X.exp()
    assert counts.kernels == 1


def test_an_update_has_as_many_operations_for_more_worlds():
    config = dataclasses.replace(
        recipe("navigation", "promp"), meta_batch_size=2, horizon=4, device="cpu", engine="cpu"
    )
    few, many = benchmark(config, (20, 40), rounds=1)
    assert few.update_kernels == many.update_kernels > 1000
    assert few.update_waits == many.update_waits == 13
