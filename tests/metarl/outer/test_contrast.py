"""The contrast of tasks by hand."""

import math

import pytest
import torch

from metarl.outer.contrast import info_nce, same_tasks


def test_cross_entropy_of_picking_the_own_task():
    anchors = torch.tensor([[0.0], [2.0]])
    positives = torch.tensor([[1.0], [2.0]])
    # Squared distances by a temperature of 2: (0.5, 2) and (0.5, 0).
    first = 0.5 + math.log(math.exp(-0.5) + math.exp(-2))
    second = math.log(math.exp(-0.5) + 1)
    same = same_tasks(torch.tensor([[1.0, 0.0], [1.0, 0.5]]))
    assert float(info_nce(anchors, positives, same, 2.0)) == pytest.approx((first + second) / 2)


def test_the_same_task_again_is_no_negative():
    features = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    same = same_tasks(features)
    assert same.tolist() == [[True, False, True], [False, True, False], [True, False, True]]
    embeddings = torch.tensor([[0.0], [3.0], [0.1]]).double()
    loss = info_nce(embeddings, embeddings, same, 1.0)
    alone = math.log(1 + math.exp(-9)), math.log(1 + math.exp(-(2.9**2)))
    both = math.log(1 + math.exp(-9) + math.exp(-(2.9**2)))
    assert float(loss) == pytest.approx((alone[0] + both + alone[1]) / 3, rel=1e-6)


def test_descent_pulls_the_own_task_near_and_pushes_the_others_away():
    positives = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    anchors = torch.zeros(2, 2, requires_grad=True)
    info_nce(anchors, positives, torch.eye(2, dtype=torch.bool), 0.5).backward()
    assert anchors.grad[0, 0] < 0 < anchors.grad[1, 0]
