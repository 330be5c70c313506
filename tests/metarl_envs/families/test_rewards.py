"""Rewards, quantities and terminations at fixed states, against arithmetic written out here."""

from __future__ import annotations

import pytest
import torch

from metarl_envs import Transition, get_family

NO_STATE = torch.zeros(1, 9, dtype=torch.float64)


def tensor(*values: float) -> torch.Tensor:
    return torch.tensor([values], dtype=torch.float64)


def half_cheetah(x_before: float, x_after: float, action, **task) -> Transition:
    before, after = NO_STATE.clone(), NO_STATE.clone()
    before[0, 0], after[0, 0] = x_before, x_after
    values = {name: torch.tensor([value]) for name, value in task.items()}
    return Transition({"qpos": before}, {"qpos": after}, tensor(*action), 0.05, values)


def ant(before, after, action, height=0.5, **task) -> Transition:
    """Torso at `before` and `after` (x, y) by xpos; qpos says another x, which must not count."""
    xpos = [torch.zeros(1, 14, 3, dtype=torch.float64) for _ in range(2)]
    xpos[0][0, 1, :2], xpos[1][0, 1, :2] = tensor(*before), tensor(*after)
    qpos = torch.full((1, 15), 77.0, dtype=torch.float64)
    qpos[0, 2] = height
    state = {"qpos": qpos, "qvel": torch.zeros(1, 14, dtype=torch.float64), "xpos": xpos[1]}
    values = {n: torch.tensor([v], dtype=torch.float64) for n, v in task.items()}
    return Transition({"xpos": xpos[0]}, state, tensor(*action), 0.05, values)


def walker(x_after: float, height: float, angle: float, action, nq: int) -> Transition:
    before, after = torch.zeros(1, nq).double(), torch.zeros(1, nq).double()
    after[0, :3] = tensor(x_after, height, angle)
    state = {"qpos": after, "qvel": torch.zeros_like(after)}
    return Transition({"qpos": before}, state, tensor(*action), 0.008, {})


def reward(family: str, transition: Transition) -> float:
    return get_family(family).reward(transition).item()


def terminates(family: str, transition: Transition) -> bool:
    return bool(get_family(family).termination(transition).item())


def quantity(family: str, transition: Transition) -> float:
    chosen = get_family(family)
    return chosen.robot.quantities[chosen.quantity](transition).item()


# The half-cheetah moves from x = 1.0 to 1.1 m in 0.05 s: v = 2 m/s.
# |a|^2 = 0.5^2 + 0.5^2 + 1^2 = 1.5.
CHEETAH_ACTION = (0.5, -0.5, 1.0, 0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("family", "task", "expected"),
    [
        ("half-cheetah-direction", {"direction": 1.0}, 2.0 - 0.05 * 1.5),
        ("half-cheetah-direction", {"direction": -1.0}, -2.0 - 0.05 * 1.5),
        ("half-cheetah-velocity", {"velocity": 0.5}, -1.5 - 0.05 * 1.5),
        ("half-cheetah-velocity", {"velocity": 3.0}, -1.0 - 0.05 * 1.5),
        ("half-cheetah-dynamics", {}, 2.0 - 0.1 * 1.5),
        ("half-cheetah-crippled", {}, 2.0 - 0.05 * 1.5),
        ("half-cheetah-reversed", {}, 2.0 - 0.05 * 1.5),
        ("half-cheetah-payload-velocity", {"velocity": -1.0}, -9.0 - 0.05 * 1.5),
    ],
)
def test_half_cheetah(family, task, expected):
    transition = half_cheetah(1.0, 1.1, CHEETAH_ACTION, **task)
    assert reward(family, transition) == pytest.approx(expected, abs=1e-12)
    assert quantity(family, transition) == pytest.approx(2.0, abs=1e-12)
    assert not terminates(family, transition)


# The ant's torso moves from (0.2, 0) to (0.3, -0.1): v_x = 2 m/s; |a|^2 = 8 * 0.5^2 = 2.
@pytest.mark.parametrize(
    ("family", "height", "task", "expected", "ends"),
    [
        ("ant-direction", 0.5, {"direction": 1.0}, 2.0 + 1.0 - 0.5 * 2, False),
        ("ant-direction", 0.5, {"direction": -1.0}, -2.0 + 1.0 - 0.5 * 2, False),
        ("ant-direction", 1.01, {"direction": -1.0}, -2.0 + 0.0 - 0.5 * 2, True),
        ("ant-direction", 0.19, {"direction": 1.0}, 2.0 + 0.0 - 0.5 * 2, True),
        ("ant-velocity", 0.5, {"velocity": 3.0}, -1.0 + 1.05 - 0.005 * 2, False),
        ("ant-velocity", 1.01, {"velocity": 0.5}, -1.5 + 1.05 - 0.005 * 2, True),
        # p - goal = (0.3 - 1, -0.1 + 2) = (-0.7, 1.9)
        ("ant-goal", 0.5, {"goal": (1.0, -2.0)}, -(0.7 + 1.9) - 0.1 * 2, False),
        ("ant-goal", 0.1, {"goal": (1.0, -2.0)}, -(0.7 + 1.9) - 0.1 * 2, False),
        ("ant-crippled", 0.5, {}, 2.0 + 0.05, False),
        ("ant-crippled", 1.01, {}, 2.0 + 0.05, False),
    ],
)
def test_ant(family, height, task, expected, ends):
    transition = ant((0.2, 0.0), (0.3, -0.1), (0.5, -0.5) * 4, height, **task)
    assert reward(family, transition) == pytest.approx(expected, abs=1e-12)
    assert terminates(family, transition) == ends


def test_ant_quantities():
    goal = ant((0.2, 0.0), (0.3, -0.1), (0.0,) * 8, goal=(0.0, 0.3))
    assert quantity("ant-goal", goal) == pytest.approx(0.5)  # 3-4-5 triangle
    assert quantity("ant-direction", goal) == pytest.approx(2.0)


def test_ant_health_bounds_are_inclusive_and_nan_is_unhealthy():
    for height, ends in ((0.2, False), (1.0, False), (float("nan"), True)):
        assert terminates("ant-velocity", ant((0, 0), (0, 0), (0.0,) * 8, height)) == ends
    fast = ant((0, 0), (0, 0), (0.0,) * 8)
    fast.after["qvel"][0, 3] = torch.inf
    assert terminates("ant-velocity", fast)


# 0.016 m in 0.008 s: v = 2 m/s; |a|^2 = 1 + 0.25 = 1.25.
@pytest.mark.parametrize(
    ("height", "angle", "alive"),
    [(1.2, 0.0, 1.0), (0.71, 0.19, 1.0), (0.7, 0.0, 0.0), (1.2, 0.2, 0.0), (1.2, -0.2, 0.0)],
)
def test_hopper(height, angle, alive):
    transition = walker(0.016, height, angle, (1.0, 0.5, 0.0), nq=6)
    expected = 2.0 + alive - 1e-3 * 1.25
    assert reward("hopper-dynamics", transition) == pytest.approx(expected, abs=1e-12)
    assert terminates("hopper-dynamics", transition) == (alive == 0.0)
    assert quantity("hopper-dynamics", transition) == pytest.approx(2.0)


def test_hopper_ends_when_anything_reaches_a_hundred():
    transition = walker(0.0, 1.2, 0.0, (0.0, 0.0, 0.0), nq=6)
    transition.after["qvel"][0, 5] = -100.0
    assert terminates("hopper-dynamics", transition)
    transition.after["qvel"][0, 5] = -99.9
    assert not terminates("hopper-dynamics", transition)


@pytest.mark.parametrize(
    ("height", "angle", "alive"),
    [(1.2, 0.0, 1.0), (0.81, 0.99, 1.0), (0.8, 0.0, 0.0), (2.0, 0.0, 0.0), (1.2, -1.0, 0.0)],
)
def test_walker2d(height, angle, alive):
    transition = walker(0.016, height, angle, (1.0, 0.5, 0.0, 0.0, 0.0, 0.0), nq=9)
    expected = 2.0 + alive - 1e-3 * 1.25
    assert reward("walker2d-dynamics", transition) == pytest.approx(expected, abs=1e-12)
    assert terminates("walker2d-dynamics", transition) == (alive == 0.0)


def point(x: float, y: float, goal) -> Transition:
    position = tensor(x, y)
    start = {"qpos": torch.zeros_like(position)}
    return Transition(start, {"qpos": position}, position, 1.0, {"goal": tensor(*goal)})


def test_navigation():
    at = point(0.3, 0.4, (0.0, 0.0))
    assert reward("navigation", at) == pytest.approx(-0.5)
    assert quantity("navigation", at) == pytest.approx(0.5)
    assert not terminates("navigation", at)
    assert terminates("navigation", point(0.309, 0.391, (0.3, 0.4)))
    assert not terminates("navigation", point(0.3, 0.411, (0.3, 0.4)))


def test_clipping_of_observed_velocities_is_gymnasiums():
    for name, nq in (("hopper-dynamics", 6), ("walker2d-dynamics", 9)):
        state = {"qpos": torch.arange(float(nq))[None], "qvel": torch.full((1, nq), -25.0)}
        observed = get_family(name).robot.observation(state)
        assert observed[0].tolist() == [*range(1, nq), *([-10.0] * nq)]
