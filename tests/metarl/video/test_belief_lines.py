"""Beliefs as lines over time."""

import numpy as np
import torch

from metarl.video.belief import belief_vectors, principal_components
from metarl.video.captions import trailing_means


def test_all_floating_tensors_of_a_belief_are_one_row_for_each_world():
    belief = {
        "hidden": torch.tensor([[[1.0, 2.0]], [[3.0, 4.0]]]),
        "place": torch.tensor([[5], [6]]),  # whole numbers: a place in a buffer, not a belief
        "posterior": torch.tensor([[[[7.0], [8.0]]], [[[9.0], [10.0]]]]),
    }
    expected = [[1.0, 2.0, 7.0, 8.0], [3.0, 4.0, 9.0, 10.0]]
    np.testing.assert_array_equal(belief_vectors(belief, 2), expected)
    assert belief_vectors({}, 2).shape == (2, 0)


def test_components_are_those_of_made_motion_largest_first_and_rising():
    # Two worlds that move by known amounts along two orthonormal directions of R^3.
    along, across = np.array([0.6, 0.8, 0.0]), np.array([0.0, 0.0, 1.0])
    a = np.array([[-3.0, -1.0, 1.0, 3.0], [-3.0, -1.0, 1.0, 3.0]])
    b = np.array([[-1.0, 1.0, -1.0, 1.0], [1.0, -1.0, 1.0, -1.0]]) / 2
    beliefs = 5.0 + a[..., None] * along + b[..., None] * across
    lines = principal_components(beliefs, (3, 3))
    assert lines.shape == (2, 4, 2)  # a third direction does not vary
    np.testing.assert_allclose(lines[..., 0], a, atol=1e-12)
    np.testing.assert_allclose(np.abs(lines[..., 1]), np.abs(b), atol=1e-12)
    np.testing.assert_allclose(principal_components(-beliefs, (3, 3))[..., 0], a, atol=1e-12)


def test_a_belief_that_rests_after_the_end_has_no_weight():
    moving = np.linspace(0.0, 1.0, 5)[None, :, None] * np.array([1.0, 0.0])
    resting = moving.copy()
    resting[:, 3:] = [0.0, 100.0]  # after the end: outside of what was lived
    lines = principal_components(resting, (2,))
    np.testing.assert_allclose(lines[0, :3, 0], [-0.25, 0.0, 0.25], atol=1e-12)


def test_without_a_belief_there_are_no_lines():
    assert principal_components(np.zeros((2, 5, 0)), (4, 4)).shape == (2, 5, 0)


def test_trailing_means_by_hand():
    values = np.array([[0.0, 2.0, 4.0, 10.0]])
    np.testing.assert_array_equal(trailing_means(values, 2), [[0.0, 1.0, 3.0, 7.0]])
    np.testing.assert_array_equal(trailing_means(values[..., None], 1)[..., 0], values)
