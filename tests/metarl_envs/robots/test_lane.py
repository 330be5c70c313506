"""The oval lane: places, offsets, directions and curvature at points worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from metarl_envs.robots import lane

# Straights of 3 m at y = -1.2 and 1.2, half circles of radius 1.2 m around (1.5, 0) and (-1.5, 0).
BEND = math.pi * 1.2
AT = [  # x, y: along, offset to the left, direction
    ((-1.5, -1.2), 0.0, 0.0, (1.0, 0.0)),
    ((0.0, -1.1), 1.5, 0.1, (1.0, 0.0)),
    ((2.7, 0.0), 3.0 + BEND / 2, 0.0, (0.0, 1.0)),
    ((1.5 + 1.4 * math.cos(0.5), 1.4 * math.sin(0.5)), 3.0 + 1.2 * (0.5 + math.pi / 2), -0.2,
     (-math.sin(0.5), math.cos(0.5))),
    ((0.5, 1.2), 3.0 + BEND + 1.0, 0.0, (-1.0, 0.0)),
    ((-2.5, 0.0), 6.0 + 1.5 * BEND, 0.2, (0.0, -1.0)),
]  # fmt: skip


@pytest.mark.parametrize(("position", "along", "left", "direction"), AT)
def test_a_position_in_the_lane(position, along, left, direction):
    at = torch.tensor([position], dtype=torch.float64)
    assert lane.place(at).item() == pytest.approx(along, abs=1e-9)
    assert lane.offset(at).item() == pytest.approx(left, abs=1e-9)
    assert lane.direction(at)[0].tolist() == pytest.approx(direction, abs=1e-9)
    found = lane.point(torch.tensor([along]).double(), torch.tensor([left]).double())
    assert found[0].tolist() == pytest.approx(position, abs=1e-6)


def test_the_heading_grows_by_a_turn_each_lap():
    along = torch.tensor([0.0, 3.0, 3.0 + BEND / 2, 6.0 + BEND, 6.0 + 2 * BEND + 1.0])
    expected = [0.0, 0.0, math.pi / 2, math.pi, 2 * math.pi]
    assert lane.turned(along.double()).tolist() == pytest.approx(expected, abs=1e-6)


def test_curvature_ahead_is_a_mean_over_the_stretch():
    at = torch.tensor([1.5, 4.0, 5.5 + 2 * BEND], dtype=torch.float64)
    # From 1.5 m on, the last 0.5 m of 0.6 m lie in the bend; the lap ends on a bend.
    assert lane.curvature(at, 1.4, 2.0).tolist() == pytest.approx([0.5 / 0.6 / 1.2, 1 / 1.2, 0.0])
    assert lane.curvature(at, 0.0, 0.4).tolist() == pytest.approx([0.0, 1 / 1.2, 1 / 1.2])


def test_progress_goes_on_over_the_end_of_the_lap_and_is_negative_backwards():
    end = torch.tensor([[-1.5 - 1.2 * math.sin(0.1), -1.2 * math.cos(0.1)]], dtype=torch.float64)
    begin = torch.tensor([[-1.3, -1.2]], dtype=torch.float64)
    assert lane.progress(end, begin).item() == pytest.approx(1.2 * 0.1 + 0.2)
    assert lane.progress(begin, end).item() == pytest.approx(-0.32)
