"""Car-grip: what is observed and rewarded, and tyres, trim and payload seen in motion."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Generator

from metarl_envs import BatchEnv, Tasks, Transition, get_family
from metarl_envs.robots import lane

FAMILY = get_family("car-grip")
WHEELS = ("front_left", "front_right", "rear_left", "rear_right")


def tasks(*values: dict) -> Tasks:
    return Tasks.concatenate([FAMILY.make_task(value) for value in values])


def driven(given: Tasks, actions, threads=1) -> BatchEnv:
    """Cars that start in the middle of the lower straight, after these (steering, throttle)."""
    env = BatchEnv(FAMILY, len(given), 1, sim_threads=threads)
    env.set_tasks(given)
    qpos, qvel = (row.expand(len(given), -1).clone() for row in FAMILY.robot.initial_state())
    qpos[:, :2] = torch.tensor([-1.5, -lane.RADIUS_M])
    env.engine.reset(None, qpos, qvel)
    for action in actions:
        env.step(torch.tensor(action).expand(len(given), 2))
    return env


def state(x: float, y: float, yaw: float) -> dict[str, torch.Tensor]:
    qpos = torch.zeros(1, 13, dtype=torch.float64)
    qpos[0, :2] = torch.tensor([x, y], dtype=torch.float64)
    qpos[0, 3], qpos[0, 6] = math.cos(yaw / 2), math.sin(yaw / 2)
    qpos[0, 7:] = 9.0  # steering and wheel angles, which must not count
    return {"qpos": qpos, "qvel": torch.full((1, 12), 7.0).double()}


def test_the_observation_is_the_pose_in_the_lane_and_the_curvature_ahead():
    observed = FAMILY.robot.observation(state(0.0, -1.1, 0.2))
    lap = 6 + 2 * math.pi * 1.2
    phase = 2 * math.pi * 1.5 / lap
    pose = [0.1, math.sin(0.2), math.cos(0.2), math.cos(phase), math.sin(phase)]
    # The bend begins 1.5 m ahead.
    expected = [*pose, 0.0, 0.0, 0.0, 0.5 / 0.6 / 1.2]
    assert observed[0].tolist() == pytest.approx(expected, abs=1e-9)


def test_the_heading_is_seen_against_the_lane_in_bends_too():
    observed = FAMILY.robot.observation(state(2.7, 0.0, math.pi / 2 - 0.3))
    assert observed[0, 1:3].tolist() == pytest.approx([math.sin(-0.3), math.cos(0.3)])


@pytest.mark.parametrize(
    ("after", "metres", "ends"),
    [
        ((0.1, -1.2), 0.1, False),
        ((-0.1, -1.2), -0.1, False),
        ((0.0, -1.2), 0.0, False),
        ((0.1, -1.04), 0.1, False),
        ((0.1, -1.02), 0.1, True),  # 0.13 m of the car are left of its middle
        ((0.1, -1.36), 0.1, False),
        ((0.1, -1.38), 0.1, True),
    ],
)
def test_the_reward_is_the_way_along_the_lane(after, metres, ends):
    action = torch.zeros(1, 2)
    transition = Transition(state(0.0, -1.2, 0.0), state(*after, 0.0), action, 0.04, {})
    assert FAMILY.reward(transition).item() == pytest.approx(metres, abs=1e-9)
    quantity = FAMILY.robot.quantities[FAMILY.quantity]
    assert quantity(transition).item() == pytest.approx(metres / 0.04, abs=1e-9)
    assert bool(FAMILY.termination(transition)) == ends


def test_parameters_stand_in_the_models_fields():
    given = {"tyre_friction": 0.4, "rear_grip": 1.1, "steering_trim": 0.05, "payload": 1.2}
    env = BatchEnv(FAMILY, 1, 1)
    env.set_tasks(tasks(given))
    model, _ = env.engine.host_world(0)
    frictions = [model.geom(wheel).friction[0] for wheel in WHEELS]
    assert frictions == pytest.approx([0.4, 0.4, 0.44, 0.44])
    assert model.actuator("steering").biasprm[:2].tolist() == pytest.approx([4 * 0.05, -4.0])
    assert model.body("payload").mass[0] == pytest.approx(1.2)


def test_the_rear_tyres_grip_limits_the_acceleration():
    # The rear axle bears about half of the weight, more as the car accelerates.
    given = tasks({"tyre_friction": 0.3}, {"tyre_friction": 0.6}, {"tyre_friction": 1.0})
    env = driven(given, [(0.0, 80.0)] * 10)
    speed = env.engine.data["qvel"][:, 0] / 0.4
    expected = torch.tensor([0.3, 0.6, 1.0]) * 9.81 / 2
    assert (speed / expected).tolist() == pytest.approx([1.0] * 3, abs=0.2)
    assert speed[0] < speed[1] < speed[2]


def test_a_trim_steers_a_car_that_is_told_to_go_straight():
    given = tasks({}, {"steering_trim": 0.06}, {"steering_trim": -0.06})
    env = driven(given, [(0.0, 20.0)] * 25)
    turn, speed = env.engine.data["qvel"][:, 5], env.engine.data["qvel"][:, :2].norm(dim=1)
    expected = speed * math.tan(0.06) / 0.325  # the kinematic bicycle with a wheelbase of 0.325 m
    assert abs(turn[0]) < 0.01
    assert turn[1].item() == pytest.approx(expected[1].item(), rel=0.15)
    assert turn[2].item() == pytest.approx(-expected[2].item(), rel=0.15)


def test_a_payload_presses_on_the_tyres():
    env = driven(tasks({}, {"payload": 1.5}), [(0.0, 0.0)] * 10)
    for world, mass in ((0, 3.35), (1, 4.84)):
        model, data = env.engine.host_world(world)
        assert model.body_mass.sum() == pytest.approx(mass)
        weight = sum(data.efc_force[contact.efc_address] for contact in data.contact)
        assert weight == pytest.approx(mass * 9.81, rel=0.02)


def test_too_fast_into_the_bend_leaves_the_lane_on_slippery_tyres_only():
    env = BatchEnv(FAMILY, 2, 1)
    env.set_tasks(tasks({"tyre_friction": 0.3}, {"tyre_friction": 1.0}))
    qpos, qvel = (row.expand(2, -1).clone() for row in FAMILY.robot.initial_state())
    qpos[:, :2] = torch.tensor([-1.5, -lane.RADIUS_M])
    env.engine.reset(None, qpos, qvel)
    seen, left = env.observation(), torch.zeros(2, dtype=torch.bool)
    for _ in range(150):
        steering = 0.325 * seen[:, 5] - 1.2 * seen[:, 0] - seen[:, 1]
        step = env.step(torch.stack([steering.clamp(-0.4, 0.4), torch.full((2,), 50.0)], dim=1))
        seen, left = step.observations, left | step.terminated
    assert left.tolist() == [True, False]


def test_starts_lie_on_the_lane_and_follow_the_seed():
    env = BatchEnv(FAMILY, 1, 1)
    start = env.draw_start(1000, Generator().manual_seed(0))
    assert torch.equal(start.qpos, env.draw_start(1000, Generator().manual_seed(0)).qpos)
    observed = FAMILY.robot.observation({"qpos": start.qpos})
    assert 0.045 < observed[:, 0].abs().max() <= 0.05 + 1e-9
    assert 0.09 < observed[:, 1].abs().max() <= math.sin(0.1) + 1e-9
    along = lane.place(start.qpos[:, :2])
    assert along.min() < 0.1
    assert along.max() > lane.LAP_M - 0.1
    assert not start.qvel.any()


def test_trajectories_do_not_depend_on_simulator_threads():
    given = FAMILY.sample_tasks(5, Generator().manual_seed(0), "train")
    actions = [(0.2, 60.0)] * 12
    one, three = (driven(given, actions, threads=n).engine.data["qpos"] for n in (1, 3))
    assert torch.equal(one, three)
    assert len(one[:, 0].unique()) == 5
