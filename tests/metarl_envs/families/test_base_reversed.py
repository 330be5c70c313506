"""Base-reversed: what is observed, the reward, and eight wirings seen in motion."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Generator

from metarl_envs import BatchEnv, Tasks, Transition, get_family
from metarl_envs.robots.mobile_base import START_WITHIN_M, heading

FAMILY = get_family("base-reversed")
WIRINGS = [(a, b, side) for a in (1.0, -1.0) for b in (1.0, -1.0) for side in (1.0, -1.0)]
FULL_SPEED = 0.033 * 6.67  # m/s


def wired(wirings, goal=(0.5, 0.0)) -> Tasks:
    return Tasks(
        {
            "goal": torch.tensor([goal] * len(wirings), dtype=torch.float64),
            "motor_gear": torch.tensor([w[:2] for w in wirings], dtype=torch.float64),
            "side": torch.tensor([wiring[2] for wiring in wirings]),
        }
    )


def moving(wirings, action, threads=1) -> BatchEnv:
    """All worlds from one start, after a second of the action."""
    env = BatchEnv(FAMILY, len(wirings), 1, sim_threads=threads)
    env.set_tasks(wired(wirings))
    start = env.draw_start(1, Generator().manual_seed(3))
    env.start(type(start).concatenate([start] * len(wirings)))
    for _ in range(10):
        env.step(torch.tensor(action).expand(len(wirings), 2))
    return env


def forward_and_turn(env: BatchEnv) -> tuple[torch.Tensor, torch.Tensor]:
    """Speed along the heading, m/s, and yaw rate, rad/s: each (N,)."""
    cos, sin = heading(env.engine.data["qpos"])
    qvel = env.engine.data["qvel"]
    return qvel[:, 0] * cos + qvel[:, 1] * sin, qvel[:, 5]


def test_the_reward_is_minus_the_distance_to_the_goal():
    before, after = torch.zeros(1, 9), torch.zeros(1, 9)
    before[0, 3] = after[0, 3] = 1.0
    after[0, :2] = torch.tensor([0.2, 0.1])
    task = {"goal": torch.tensor([[0.5, 0.5]])}
    transition = Transition({"qpos": before}, {"qpos": after}, torch.ones(1, 2), 0.1, task)
    quantities = FAMILY.robot.quantities
    assert FAMILY.reward(transition).item() == pytest.approx(-0.5)  # a 3-4-5 triangle
    assert quantities[FAMILY.quantity](transition).item() == pytest.approx(0.5)
    assert quantities["speed_m_per_s"](transition).item() == pytest.approx(math.sqrt(0.05) / 0.1)
    assert not FAMILY.termination(transition).any()


def test_the_observation_is_the_pose_the_motion_and_the_goal_alone():
    qpos, qvel = torch.zeros(1, 9), torch.full((1, 8), 7.0)
    qvel[0, :2], qvel[0, 5] = torch.tensor([0.1, 0.2]), -0.5
    yaw = 2.0
    qpos[0, :2] = torch.tensor([0.3, -0.4])
    qpos[0, 3], qpos[0, 6] = math.cos(yaw / 2), math.sin(yaw / 2)
    qpos[0, 7:] = 5.0  # wheel angles, which must not count
    observed = FAMILY.robot.observation({"qpos": qpos, "qvel": qvel})
    forward = 0.1 * math.cos(yaw) + 0.2 * math.sin(yaw)
    expected = [0.3, -0.4, math.cos(yaw), math.sin(yaw), forward, -0.5]
    assert observed[0].tolist() == pytest.approx(expected)
    tasks = FAMILY.observed_task(wired(WIRINGS, goal=(0.1, 0.2)))
    assert tasks.tolist() == [[0.1, 0.2]] * 8


def test_each_wiring_answers_equal_wheel_speeds_in_its_own_way():
    # Without a swap action 0 drives the left wheel, and the base turns by (right - left) / 0.16 m.
    env = moving(WIRINGS, (6.67, 3.335))
    forward, turn = forward_and_turn(env)
    left = [a if side > 0 else 0.5 * b for a, b, side in WIRINGS]
    right = [0.5 * b if side > 0 else a for a, b, side in WIRINGS]
    for i in range(8):
        # The servos reach 98 % of the speed against friction, and tyres slip a little in turns.
        assert forward[i].item() == pytest.approx(
            FULL_SPEED * (left[i] + right[i]) / 2, abs=0.05 * FULL_SPEED
        ), WIRINGS[i]
        assert turn[i].item() == pytest.approx(
            FULL_SPEED * (right[i] - left[i]) / 0.16, rel=0.08
        ), WIRINGS[i]


def test_a_wheel_turns_at_the_action_over_its_gear():
    gears = [(0.8, 0.8, 1.0), (1.0, 1.0, 1.0), (1.25, 1.25, 1.0), (-0.8, -0.8, 1.0)]
    forward, _ = forward_and_turn(moving(gears, (4.0, 4.0)))
    expected = [0.033 * 4 / gear for gear, *_ in gears]
    assert forward.tolist() == pytest.approx(expected, rel=0.04)


def test_the_wiring_stands_in_the_models_fields():
    env = BatchEnv(FAMILY, 1, 1)
    env.set_tasks(wired([(0.9, -1.2, -1.0)]))
    model, _ = env.engine.host_world(0)
    assert model.actuator_gear[:, 0].tolist() == [0.9, -1.2]
    assert model.body("wheel_1").pos.tolist() == [0.0, -0.08, 0.0]
    assert model.body("wheel_2").pos.tolist() == [0.0, 0.08, 0.0]


def test_starts_are_anywhere_in_the_square_at_any_heading_and_follow_the_seed():
    env = BatchEnv(FAMILY, 1, 1)
    start = env.draw_start(2000, Generator().manual_seed(0))
    assert torch.equal(start.qpos, env.draw_start(2000, Generator().manual_seed(0)).qpos)
    assert START_WITHIN_M - 0.01 < start.qpos[:, :2].abs().max() <= START_WITHIN_M
    cos, sin = heading(start.qpos)
    assert abs(cos.mean()) < 0.05
    assert abs(sin.mean()) < 0.05
    assert torch.allclose(start.qpos[:, 3:7].norm(dim=1), torch.ones(2000).double())
    assert not start.qvel.any()


def test_trajectories_do_not_depend_on_simulator_threads():
    one, three = (moving(WIRINGS, (6.67, -2.0), threads=n).engine.data["qpos"] for n in (1, 3))
    assert torch.equal(one, three)
    assert len(one[:, 0].unique()) == 8


def test_half_of_the_motors_are_reversed():
    tasks = FAMILY.sample_tasks(2000, Generator().manual_seed(0), "train")
    assert (tasks.values["motor_gear"] < 0).double().mean().item() == pytest.approx(0.5, abs=0.02)
