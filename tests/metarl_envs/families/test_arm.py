"""Arm families: rewards by hand, lengths of the arm, and what is hidden stays hidden."""

from __future__ import annotations

import math

import mujoco
import pytest
import torch
from torch import Generator

from metarl_envs import BatchEnv, Tasks, Transition, get_family
from metarl_envs.robots.arm import ARM, HOME, HOME_TIP

REACH, ENCODER = get_family("arm-reach"), get_family("arm-encoder")
BOTH = pytest.mark.parametrize("family", [REACH, ENCODER], ids=lambda f: f.name)


def played(family, tasks: Tasks, actions: torch.Tensor, threads: int = 1) -> list[torch.Tensor]:
    """Observations after the reset and each step, from one start; actions (T, 6) for all worlds."""
    env = BatchEnv(family, len(tasks), 1, sim_threads=threads)
    env.set_tasks(tasks)
    start = env.draw_start(1, Generator().manual_seed(2))
    seen = [env.start(type(start).concatenate([start] * len(tasks))).clone()]
    rows = (action.expand(len(tasks), -1) for action in actions)
    return seen + [env.step(action).observations.clone() for action in rows]


def wandering(family, steps: int) -> torch.Tensor:
    low, high = family.action_bounds()
    share = torch.rand((steps, 6), generator=Generator().manual_seed(3), dtype=torch.float64)
    return low + (high - low) * share


@BOTH
def test_the_reward_is_minus_the_distance_of_the_tip_to_the_target(family):
    # 0.1 m in front of home and 0.05 m below it; the target is 0.02 m to the right: 3-D distance.
    tip = torch.tensor(HOME_TIP) + torch.tensor([0.1, 0.0, -0.05])
    after = {"site_xpos": tip.expand(1, 1, 3)}
    task = {"target": torch.tensor([[0.0, 0.02, 0.0]])}
    transition = Transition(after, after, torch.zeros(1, 6), 0.04, task)
    expected = math.sqrt(0.1**2 + 0.02**2 + 0.05**2)
    assert family.reward(transition).item() == pytest.approx(-10 * expected, abs=1e-5)
    assert family.quantity == "tip_to_target_m"
    assert family.robot.quantities[family.quantity](transition).item() == pytest.approx(
        expected, abs=1e-6
    )
    assert not family.termination(transition)


def test_the_arm_has_the_published_lengths_and_mass():
    model = ARM.load_model()
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)  # all joints 0: stretched along x
    tip = data.site("tip").xpos
    assert tip == pytest.approx([0.425 + 0.3922, 0.1333 + 0.0996, 0.1625 - 0.0997], abs=1e-9)
    masses = (3.761, 8.058, 2.846, 1.37, 1.3, 0.365)
    assert model.body_mass[1:] == pytest.approx(masses)
    assert model.actuator_forcerange[:, 1].tolist() == [150.0] * 3 + [28.0] * 3


def test_the_keyframe_and_the_tip_above_it_are_those_that_the_robot_names():
    model = ARM.load_model()
    data = mujoco.MjData(model)
    mujoco.mj_resetDataKeyframe(model, data, 0)
    mujoco.mj_forward(model, data)
    assert data.qpos == pytest.approx(HOME)
    assert data.site("tip").xpos == pytest.approx(HOME_TIP, abs=1e-4)
    low, high = ARM.action_bounds()
    assert ((low + high) / 2).tolist() == pytest.approx(list(HOME))
    assert (high - low).tolist() == pytest.approx([1.2] * 6)


def test_servos_hold_the_arm_against_gravity_and_follow_within_pi_rad_per_second():
    env = BatchEnv(REACH, 1, 1)
    env.reset(Generator().manual_seed(0))
    home = torch.tensor([HOME], dtype=torch.float64)
    for _ in range(50):
        env.step(home)
    assert (env.engine.data["qpos"] - home).abs().max() < 1e-3
    fastest = 0.0
    for _ in range(50):
        env.step(home + 0.6)
        fastest = max(fastest, float(env.engine.data["qvel"].abs().max()))
    assert (env.engine.data["qpos"] - home - 0.6).abs().max() < 1e-3
    assert 2.0 < fastest < math.pi


@BOTH
def test_observations_do_not_depend_on_what_is_hidden(family):
    tasks = family.sample_tasks(5, Generator().manual_seed(0), "extrapolation")
    same = {"target": torch.zeros(5, 3)} if family is ENCODER else {}
    actions = wandering(family, 40)
    actions = torch.cat([actions, actions[-1:].expand(50, 6)])
    seen = torch.stack(played(family, Tasks({**tasks.values, **same}), actions))
    spread = seen.amax(dim=1) - seen.amin(dim=1)  # over tasks
    if family is REACH:
        assert spread.max() == 0
    # Offsets differ by up to 0.4 rad. The arm's inertia depends on its true pose, so that jumps of
    # the targets, as here, look a little different, but not the start, nor the rest after 2 s.
    assert spread[0].max() < 1e-9
    assert spread.max() < 0.08
    assert spread[-1].max() < 1e-3


def test_an_offset_moves_the_tip_though_the_joints_seem_to_be_in_place():
    tasks = [ENCODER.make_task({"encoder_offset": b}) for b in ([0.0] * 6, [0.1, 0, 0, 0, 0, 0])]
    env = BatchEnv(ENCODER, 2, 1)
    env.set_tasks(Tasks.concatenate(tasks))
    env.reset(Generator().manual_seed(0))
    home = torch.tensor([HOME] * 2, dtype=torch.float64)
    for _ in range(60):
        step = env.step(home)
    assert (step.observations[:, :6] - home).abs().max() < 1e-3
    assert (env.engine.data["qpos"][1] - home[1])[0] == pytest.approx(-0.1, abs=1e-3)
    # The shoulder turns about z: a chord of the circle on which the tip is.
    radius = math.hypot(*HOME_TIP[:2])
    chord = 2 * radius * math.sin(0.05)
    assert step.quantity.tolist() == pytest.approx([0.0, chord], abs=2e-3)
    assert step.rewards.tolist() == pytest.approx([0.0, -10 * chord], abs=2e-2)
    # Whoever knows the offset adds it to the target.
    for _ in range(60):
        step = env.step(home + env.tasks.values["encoder_offset"])
    assert step.quantity.tolist() == pytest.approx([0.0, 0.0], abs=2e-3)


def test_the_observed_target_ends_the_observation():
    task = ENCODER.make_task({"target": [0.05, -0.1, 0.0]})
    first = played(ENCODER, task, wandering(ENCODER, 1))[0][0]
    assert first[6:].tolist() == [0.05, -0.1, 0.0]
    assert (REACH.observation_size, ENCODER.observation_size) == (15, 9)


@BOTH
def test_every_task_is_within_reach(family):
    """The tip comes within 2 cm of the corners of the space of targets."""
    model = family.robot.load_model()
    data = mujoco.MjData(model)
    low, high = (bound.numpy() for bound in family.action_bounds())
    edge = 0.15 if family is REACH else 0.12
    for corner in torch.cartesian_prod(*[torch.tensor([-edge, edge])] * 3).double().numpy():
        joints, jacobian = (low + high) / 2, torch.zeros(3, 6, dtype=torch.float64).numpy()
        for _ in range(60):
            data.qpos[:] = joints
            mujoco.mj_kinematics(model, data)
            mujoco.mj_comPos(model, data)
            mujoco.mj_jacSite(model, data, jacobian, None, 0)
            error = HOME_TIP + corner - data.site("tip").xpos
            joints = (joints + 2.0 * jacobian.T @ error).clip(low, high)
        assert (error**2).sum() ** 0.5 < 0.02


@BOTH
def test_trajectories_are_equal_for_any_number_of_threads(family):
    tasks = family.sample_tasks(5, Generator().manual_seed(0), "train")
    one, three = (played(family, tasks, wandering(family, 15), threads) for threads in (1, 3))
    assert torch.equal(torch.stack(one), torch.stack(three))
