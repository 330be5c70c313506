"""The trot: feet where the strides put them, by the model's own kinematics."""

from __future__ import annotations

import math

import mujoco
import numpy as np
import pytest
import torch

from metarl_envs.robots.trot import LONGEST_M, SHORTEST_M, TROTTING, trot

FEET = ("FL_foot", "FR_foot", "RL_foot", "RR_foot")
HIPS = ("FL_thigh", "FR_thigh", "RL_thigh", "RR_thigh")


def feet(time_s: float, strides: tuple[float, ...]) -> torch.Tensor:
    """Places of the feet from their thighs, m, once the servos have arrived: (4, 3)."""
    model = TROTTING.load_model()
    data = mujoco.MjData(model)
    state = {"time": torch.tensor([time_s], dtype=torch.float64)}
    targets = trot(state, torch.tensor([strides * 4], dtype=torch.float64))["ctrl"]
    data.qpos[3], data.qpos[7:] = 1.0, targets[0].numpy()
    mujoco.mj_kinematics(model, data)
    places = np.array(
        [data.geom(f).xpos - data.body(h).xpos for f, h in zip(FEET, HIPS, strict=True)]
    )
    return torch.from_numpy(places)


STRIDE_S = 1 / 3


@pytest.mark.parametrize(
    ("share_of_stride", "ahead", "lifted"),
    [
        # The first pair stands for half of a stride while it goes back, and swings ahead in a bow.
        (0.0, 0.5, 0.0),
        (0.25, 0.0, 0.0),
        (0.5, -0.5, 0.0),
        (0.75, 0.0, 0.07),
        (7 / 12, -math.cos(math.pi / 6) / 2, 0.035),
    ],
)
def test_feet_go_back_on_the_floor_and_ahead_above_it(share_of_stride, ahead, lifted):
    first = feet(share_of_stride * STRIDE_S, (0.2, 0.0, 0.0))[[0, 3]]
    assert first[:, 0].tolist() == pytest.approx([0.2 * ahead] * 2, abs=1e-9)
    assert first[:, 1].tolist() == pytest.approx([0.0] * 2, abs=1e-9)
    assert first[:, 2].tolist() == pytest.approx([lifted - 0.215] * 2, abs=1e-9)
    later = feet((share_of_stride + 0.5) * STRIDE_S, (0.2, 0.0, 0.0))
    torch.testing.assert_close(later[[1, 2]], first)


def test_sideways_strides_and_height():
    places = feet(0.0, (0.0, 0.1, 0.03))
    # At the end of its swing the first pair is to the left, as far as the second is to the right.
    for leg, side in enumerate((1, -1, -1, 1)):
        assert places[leg].tolist() == pytest.approx([0.0, side * 0.05, -0.245], abs=1e-9)


def test_a_robot_alone_walks_as_among_many_to_the_last_bit():
    # Vectorised arithmetic may round otherwise at the end of a batch than in its lanes.
    state = {"time": torch.linspace(0.0, 1.0, 101, dtype=torch.float64)}
    low, high = (torch.tensor(b * 4, dtype=torch.float64) for b in (SHORTEST_M, LONGEST_M))
    shares = torch.rand(101, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    strides = low + (high - low) * shares
    together = trot(state, strides)["ctrl"]
    for world in range(101):
        alone = trot({"time": state["time"][[world]]}, strides[[world]])["ctrl"]
        assert torch.equal(alone[0], together[world])
