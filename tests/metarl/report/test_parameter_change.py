"""Change of parameters by adaptation, computed by hand."""

import numpy as np
import torch

from metarl.report.parameter_change import principal_plane, what_changed
from metarl_envs import Tasks

TASKS = Tasks({"goal": torch.zeros(2, 2)})


def test_the_change_is_measured_against_the_length_before_and_context_by_itself():
    theta = {
        "weight_0": torch.tensor([3.0, 4.0]),
        "task.context": torch.zeros(2),
        "obs_mean": torch.ones(2),
        "adaptation.rate.weight_0": torch.ones(2),
    }
    adapted = {name: value.expand(2, 2).clone() for name, value in theta.items()}
    adapted["weight_0"] += torch.tensor([[0.0, 5.0], [1.0, 0.0]])
    adapted["task.context"] += torch.tensor([[0.0, 2.0], [0.0, 0.0]])
    change = what_changed(theta, adapted, TASKS)
    assert list(change.moved) == ["weight_0", "task.context"]  # what a policy acts by
    np.testing.assert_allclose(change.moved["weight_0"], [1.0, 0.2])
    np.testing.assert_allclose(change.moved["task.context"], [2.0, 0.0])


def test_the_plane_keeps_distances_of_points_that_lie_in_one():
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.normal(size=(7, 2)))[0].T
    flat = rng.normal(size=(6, 2))
    places, share = principal_plane(flat @ axes + 3.0)
    between = np.linalg.norm(flat[:, None] - flat[None], axis=-1)
    np.testing.assert_allclose(np.linalg.norm(places[:, None] - places[None], axis=-1), between)
    assert abs(share - 1) < 1e-12


def test_the_planes_share_is_that_of_the_two_largest_variances():
    points = np.diag([3.0, 2.0, 1.0])
    centred = points - points.mean(0)
    values = np.sort(np.linalg.eigvalsh(centred.T @ centred))
    assert abs(principal_plane(points)[1] - values[1:].sum() / values.sum()) < 1e-12


def test_equal_policies_lie_in_one_place():
    places, share = principal_plane(np.ones((4, 3)))
    np.testing.assert_array_equal(places, np.zeros((4, 2)))
    assert share == 0
    assert principal_plane(np.ones((1, 1)))[0].shape == (1, 2)
