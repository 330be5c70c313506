"""Rotations of floating bodies, against MuJoCo's own and against angles worked out by hand."""

from __future__ import annotations

import math

import mujoco
import numpy as np
import pytest
import torch

from metarl_envs.rotations import (
    axes,
    down,
    in_body_frame,
    in_world_frame,
    turn_between,
    turned,
)


def about(axis, degrees):
    half = math.radians(degrees) / 2
    row = [math.cos(half), *(math.sin(half) * a for a in axis)]
    return torch.tensor([row], dtype=torch.float64)


def test_a_robot_turned_to_the_left_sees_north_at_its_front():
    seen = in_body_frame(about((0, 0, 1), 90), torch.tensor([[0.0, 2.0, 3.0]]).double())
    assert seen[0].tolist() == pytest.approx([2.0, 0.0, 3.0], abs=1e-12)


def test_gravity_points_ahead_nose_down_and_to_the_right_with_the_left_side_up():
    nose_down = down(about((0, 1, 0), 30))[0].tolist()
    assert nose_down == pytest.approx([0.5, 0.0, -math.cos(math.radians(30))], abs=1e-12)
    left_up = down(about((1, 0, 0), 30))[0].tolist()
    assert left_up == pytest.approx([0.0, -0.5, -math.cos(math.radians(30))])


def test_any_rotation_is_mujocos():
    rng = np.random.default_rng(0)
    quaternion = rng.normal(size=(20, 4))
    quaternion /= np.linalg.norm(quaternion, axis=1, keepdims=True)
    vector = rng.normal(size=(20, 3))
    seen = in_body_frame(torch.from_numpy(quaternion), torch.from_numpy(vector))
    falls = down(torch.from_numpy(quaternion))
    own_axes = axes(torch.from_numpy(quaternion))
    for i in range(20):
        matrix = np.zeros(9)
        mujoco.mju_quat2Mat(matrix, quaternion[i])
        np.testing.assert_allclose(seen[i], matrix.reshape(3, 3).T @ vector[i], atol=1e-12)
        np.testing.assert_allclose(falls[i], -matrix.reshape(3, 3)[2], atol=1e-12)
        np.testing.assert_allclose(own_axes[i], matrix.reshape(3, 3).T.flatten(), atol=1e-12)


def test_a_turn_leads_from_one_attitude_to_the_other_as_in_mujoco():
    rng = np.random.default_rng(1)
    before, after = rng.normal(size=(2, 20, 4))
    before /= np.linalg.norm(before, axis=1, keepdims=True)
    after /= np.linalg.norm(after, axis=1, keepdims=True)
    turn = turn_between(torch.from_numpy(before), torch.from_numpy(after))
    reached = turned(torch.from_numpy(before), turn).numpy()
    for i in range(20):
        difference = np.zeros(3)  # seen from the second, as its axis is from the first
        mujoco.mju_subQuat(difference, after[i], before[i])
        angle = np.linalg.norm(difference)
        length = 2 * math.sin(angle / 2)
        np.testing.assert_allclose(turn[i], difference / angle * length, atol=1e-9)
        np.testing.assert_allclose(reached[i] * np.sign(reached[i] @ after[i]), after[i], atol=1e-9)


def test_a_vector_seen_from_a_body_and_back_is_the_same():
    rng = np.random.default_rng(2)
    quaternion = torch.from_numpy(rng.normal(size=(2, 5, 4)))
    quaternion /= quaternion.norm(dim=-1, keepdim=True)
    vector = torch.from_numpy(rng.normal(size=(2, 5, 3)))
    back = in_world_frame(quaternion, in_body_frame(quaternion, vector))
    torch.testing.assert_close(back, vector, atol=1e-12, rtol=0)


def test_more_than_half_a_turn_counts_as_half_a_turn():
    level = torch.tensor([1.0, 0.0, 0.0, 0.0]).double()
    found = turned(level, torch.tensor([0.0, 0.0, 5.0]).double())
    torch.testing.assert_close(found, torch.tensor([0.0, 0.0, 0.0, 1.0]).double())
    assert turned(level, torch.zeros(3).double()).tolist() == level.tolist()
