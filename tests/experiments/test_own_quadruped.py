"""The dog of the guide "A position-controlled quadruped of your own" is what its page says."""

from __future__ import annotations

import math
from pathlib import Path

import mujoco
import pytest
import torch

from metarl_envs import BatchEnv, Transition, load_family

DOG = Path(__file__).resolve().parents[2] / "experiments" / "own_robot" / "dog.py"


@pytest.fixture(scope="module")
def family():
    return load_family(f"{DOG}:family")


def quaternion(axis, degrees):
    half = math.radians(degrees) / 2
    return [math.cos(half), *(math.sin(half) * a for a in axis)]


def transition(
    family, *, height=0.25, turned=(1, 0, 0, 0), velocity=(0, 0, 0), spin=(0, 0, 0), moved=0.0
):
    """A step of one robot whose first target moved by so much, at a commanded speed of 0.5 m/s."""
    qpos, _ = family.robot.initial_state()
    qpos[2:7] = torch.tensor([height, *turned])
    qvel = torch.tensor([*velocity, *spin, *[0.0] * 8], dtype=torch.float64)
    before = family.robot.keyframe_controls()[None]
    action = before.clone()
    action[0, 0] += moved
    return Transition(
        before={"ctrl": before},
        after={"qpos": qpos[None], "qvel": qvel[None]},
        action=action,
        dt_s=0.02,
        task={"speed": torch.tensor([0.5], dtype=torch.float64)},
    )


def test_the_reward_is_that_of_the_speed_along_the_trunk_times_its_costs(family):
    exact = transition(family, velocity=(0.5, 0, 0))
    assert float(family.reward(exact)) == pytest.approx(1.0)
    left = quaternion((0, 0, 1), 90)
    sideways = transition(family, turned=left, velocity=(0, 0.5, 0))  # its own "ahead"
    assert float(family.reward(sideways)) == pytest.approx(1.0)
    slow = transition(family, velocity=(0.3, 0, 0), spin=(0, 0, 0.5), moved=0.1)
    assert float(family.reward(slow)) == pytest.approx(math.exp(-0.8 - 0.005 - 0.0005))
    leaning = transition(family, turned=quaternion((0, 1, 0), 30), velocity=(0, 0, 0))
    assert float(family.reward(leaning)) == pytest.approx(math.exp(-2 - 0.5 * 0.25))


def test_a_step_never_costs_more_than_it_pays(family):
    tumbling = transition(family, spin=(20, 0, 0), moved=1.0)
    assert float(family.reward(tumbling)) == pytest.approx(math.exp(-2 - 0.02 * 400 - 0.05))


@pytest.mark.parametrize(
    ("degrees", "height", "fallen"),
    [(59, 0.25, False), (61, 0.25, True), (-61, 0.25, True), (0, 0.101, False), (0, 0.099, True)],
)
def test_it_has_fallen_beyond_60_degrees_or_below_10_centimetres(family, degrees, height, fallen):
    for axis in ((1, 0, 0), (0, 1, 0)):
        state = transition(family, turned=quaternion(axis, degrees), height=height)
        assert family.termination(state).tolist() == [fallen]


def test_place_heading_and_velocity_of_the_trunk_are_hidden(family):
    still = transition(family).after
    qpos, qvel = still["qpos"].clone(), still["qvel"].clone()
    qpos[:, :3] += 1.0
    qpos[:, 3:7] = torch.tensor(quaternion((0, 0, 1), 40))
    qvel[:, :3] = 2.0
    observe = family.robot.observation
    torch.testing.assert_close(observe({"qpos": qpos, "qvel": qvel}), observe(still))
    assert family.observation_size == 3 + 3 + 8 + 8 + 1  # the last one is the command


def test_an_untrained_policy_stands_at_home(family):
    model = family.robot.load_model()
    data = mujoco.MjData(model)
    mujoco.mj_resetDataKeyframe(model, data, 0)
    mujoco.mj_forward(model, data)
    feet = [g for g in range(model.ngeom) if model.geom_type[g] == mujoco.mjtGeom.mjGEOM_SPHERE]
    assert data.geom_xpos[feet, 2] == pytest.approx([0.02] * 4, abs=2e-4)
    env = BatchEnv(family, 1, 1)
    env.set_tasks(family.make_task({"speed": 0.0}))
    env.reset(torch.Generator().manual_seed(0))
    for _ in range(100):
        step = env.step(family.middle_action()[None])
    assert not step.terminated.any()
    assert float(env.engine.data["qpos"][0, 2]) == pytest.approx(0.25, abs=0.01)
    assert float(step.rewards[0]) > 0.95


def test_the_motor_that_dies_in_the_film_is_that_of_the_right_front_hip(family):
    env = BatchEnv(family, 1, 1)
    env.set_tasks(family.make_task({"dead_hip": 1}))
    env.reset(torch.Generator().manual_seed(0))
    forward = family.middle_action()
    forward[::2] += 0.3
    for _ in range(5):
        env.step(forward[None])
    hips = dict(
        zip(("FL", "FR", "RL", "RR"), env.engine.data["qpos"][0, 7::2].tolist(), strict=True)
    )
    assert min(hips, key=hips.__getitem__) == "FR"
    assert hips["FR"] < 0.75 < 0.8 < min(hips[leg] for leg in ("FL", "RL", "RR"))
