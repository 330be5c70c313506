"""Every robot against Gymnasium's own v5 environment on the same randomised model."""

from __future__ import annotations

import dataclasses

import gymnasium
import mujoco
import numpy as np
import pytest
import torch

from metarl_envs import FAMILIES, BatchEnv, Floating, InputError, gym_robot
from metarl_envs.robots.ant import ANT
from metarl_envs.robots.base import Transition
from metarl_envs.robots.half_cheetah import HALF_CHEETAH
from metarl_envs.robots.point import POINT

GYMNASIUM = {
    "half-cheetah": ("HalfCheetah-v5", {}),
    "ant": ("Ant-v5", {"include_cfrc_ext_in_observation": False, "contact_cost_weight": 0}),
    "hopper": ("Hopper-v5", {}),
    "walker2d": ("Walker2d-v5", {}),
}
FIELDS = ("body_mass", "body_inertia", "geom_friction", "dof_damping", "actuator_gear")


def gymnasium_twin(batch: BatchEnv, world: int):
    """Gymnasium's environment with the physics of one world."""
    name, kwargs = GYMNASIUM[batch.family.robot.name]
    env = gymnasium.make(name, disable_env_checker=True, **kwargs).unwrapped
    model = batch.engine.host_world(world)[0]
    for field in FIELDS:
        getattr(env.model, field)[:] = getattr(model, field)
    env.model.opt.gravity[:] = model.opt.gravity
    mujoco.mj_setConst(env.model, mujoco.MjData(env.model))
    return env


def test_thousand_steps_equal_gymnasium_on_randomised_models(all_varied, generator):
    worlds, steps = 2, 1000
    batch = BatchEnv(all_varied, worlds, 1)
    batch.set_tasks(all_varied.sample_tasks(worlds, generator, "train"))
    twins = [gymnasium_twin(batch, world) for world in range(worlds)]
    data = batch.engine.data
    rng = np.random.default_rng(0)
    seeds = iter(range(10**6))

    def restart(mask: torch.Tensor) -> None:
        qpos, qvel = data["qpos"].clone(), data["qvel"].clone()
        for world in mask.nonzero()[:, 0].tolist():
            twins[world].reset(seed=next(seeds))
            qpos[world] = torch.from_numpy(twins[world].data.qpos)
            qvel[world] = torch.from_numpy(twins[world].data.qvel)
        batch.engine.reset(mask, qpos, qvel)

    restart(torch.ones(worlds, dtype=torch.bool))
    observation_error = reward_error = 0.0
    terminations = 0
    for _ in range(steps):
        actions = rng.uniform(-1, 1, (worlds, len(batch.action_low))).astype(np.float32)
        step = batch.step(torch.from_numpy(actions))
        ended = []
        for world, twin in enumerate(twins):
            observation, reward, terminated, _, _ = twin.step(actions[world])
            assert np.array_equal(data["qpos"][world].numpy(), twin.data.qpos)
            assert np.array_equal(data["qvel"][world].numpy(), twin.data.qvel)
            error = np.abs(step.observations[world].numpy() - observation).max()
            observation_error = max(observation_error, error)
            reward_error = max(reward_error, abs(float(step.rewards[world]) - reward))
            assert bool(step.terminated[world]) == terminated
            ended.append(bool(terminated))
        terminations += sum(ended)
        if any(ended):
            restart(torch.tensor(ended))
    assert not step.diverged.any()
    name = batch.family.robot.name
    print(
        f"{name}: largest error of observations {observation_error:.1e}, rewards {reward_error:.1e}"
    )
    assert observation_error <= 1e-12
    assert reward_error <= 1e-6
    if name in ("hopper", "walker2d"):
        assert terminations > 10, "the random walkers must have fallen, or nothing was compared"
    for twin in twins:
        twin.close()


def test_reset_noise_has_the_range_and_spread_of_gymnasium(robot, generator):
    qpos, qvel = robot.initial_state()
    batch_qpos, batch_qvel = robot.reset_state(qpos, qvel, 4000, generator)
    name, kwargs = GYMNASIUM[robot.name]
    env = gymnasium.make(name, disable_env_checker=True, **kwargs).unwrapped
    samples = []
    for seed in range(200):
        env.reset(seed=seed)
        samples.append(np.concatenate([env.data.qpos - qpos.numpy(), env.data.qvel]))
    theirs = np.stack(samples)
    ours = torch.cat([batch_qpos - qpos, batch_qvel - qvel], dim=1).numpy()
    for part in (slice(None, len(qpos)), slice(len(qpos), None)):
        assert abs(ours[:, part].std() / theirs[:, part].std() - 1) < 0.06
        assert abs(ours[:, part].mean()) < 0.03 * ours[:, part].std()
        kurtosis = [
            (x[:, part] ** 4).mean() / (x[:, part] ** 2).mean() ** 2 for x in (ours, theirs)
        ]
        assert abs(kurtosis[0] - kurtosis[1]) < 0.35  # 1.8 uniform, 3 normal
    env.close()


def test_model_sizes_and_bounds_equal_gymnasium(robot):
    name, kwargs = GYMNASIUM[robot.name]
    env = gymnasium.make(name, disable_env_checker=True, **kwargs).unwrapped
    assert env.observation_space.shape == (robot.observation_size,)
    low, high = robot.action_bounds()
    assert np.array_equal(low.numpy(), env.action_space.low)
    assert np.array_equal(high.numpy(), env.action_space.high)
    assert robot.dt_s == env.dt
    model = robot.load_model()
    for field in (*FIELDS, "dof_armature", "jnt_range", "jnt_stiffness", "geom_size", "qpos0"):
        assert np.array_equal(getattr(model, field), getattr(env.model, field)), field
    assert model.opt.integrator == env.model.opt.integrator
    assert robot.render_fps == env.metadata["render_fps"]
    env.close()


def test_functions_keep_single_precision(all_varied, generator):
    batch = BatchEnv(all_varied, 2, 1)
    batch.reset(generator)
    step = batch.step(torch.full((2, len(batch.action_low)), 0.5))

    def single(state):
        return {name: value.float() for name, value in state.items()}

    old = step.transition
    transition = Transition(
        single(old.before), single(old.after), old.action.float(), old.dt_s, single(old.task)
    )
    assert all_varied.robot.observation(transition.after).dtype == torch.float32
    rewards = all_varied.reward(transition)
    assert rewards.dtype == torch.float32
    torch.testing.assert_close(rewards.double(), step.rewards, rtol=0, atol=1e-3)
    for quantity in all_varied.robot.quantities.values():
        assert quantity(transition).dtype == torch.float32


def test_load_model_gives_a_copy_that_may_be_changed(robot):
    robot.load_model().body_mass[:] = 0
    assert robot.load_model().body_mass[1] > 0


@pytest.mark.parametrize(
    ("robot", "has_model", "mixed_units"),
    [
        (HALF_CHEETAH, True, True),
        (POINT, False, False),
        (gym_robot("InvertedPendulum-v5"), True, True),
        (gym_robot("Pendulum-v1"), False, True),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_every_kind_of_robot_answers_what_families_and_pictures_ask(robot, has_model, mixed_units):
    assert (robot.has_model, robot.mixed_units) == (has_model, mixed_units)
    if has_model:
        assert robot.load_model().nq > 0
    else:
        with pytest.raises(InputError, match=robot.name):
            robot.load_model()
    assert robot.keyframe_controls() is None
    assert robot.action_middle is None
    robot.camera.check(mujoco.MjModel.from_xml_string("<mujoco/>"))


def test_angles_of_an_observation_are_hinges_without_limits():
    robots = {family.robot.name: family.robot for family in FAMILIES.values()}
    with_angles = [robot for robot in robots.values() if robot.angles]
    assert HALF_CHEETAH in with_angles
    for robot in with_angles:
        model = robot.load_model()
        data = mujoco.MjData(model)
        hinges = (model.jnt_type == mujoco.mjtJoint.mjJNT_HINGE) & ~model.jnt_limited.astype(bool)
        for place in robot.angles:
            for joint in np.flatnonzero(hinges):
                data.qpos[:] = 0
                data.qpos[model.jnt_qposadr[joint]] = 7.5
                state = {"qpos": torch.tensor(data.qpos)[None], "qvel": torch.zeros(1, model.nv)}
                if float(robot.observation(state)[0, place]) == 7.5:
                    break
            else:
                pytest.fail(f"entry {place} of {robot.name} is no angle that may come round")


@pytest.mark.parametrize("angles", [(17,), (-1,), (3, 1), (1, 1)])
def test_angles_that_are_no_entries_in_order_are_refused(angles):
    with pytest.raises(InputError, match=r"angles of half-cheetah = .* must be .* from 0 to 16"):
        dataclasses.replace(HALF_CHEETAH, angles=angles)


def test_a_floating_body_of_an_observation_is_a_free_joint_and_its_velocity():
    robots = {family.robot.name: family.robot for family in FAMILIES.values()}
    floating = [robot for robot in robots.values() if robot.floating]
    assert ANT in floating
    for robot in floating:
        model = robot.load_model()
        (joint,) = np.flatnonzero(model.jnt_type == mujoco.mjtJoint.mjJNT_FREE)
        place, speed = model.jnt_qposadr[joint], model.jnt_dofadr[joint]
        qpos, qvel = torch.zeros(1, model.nq).double(), torch.zeros(1, model.nv).double()
        qpos[0, place + 3 : place + 7] = torch.tensor([1.0, 2.0, 3.0, 4.0])
        qvel[0, speed : speed + 3] = torch.tensor([5.0, 6.0, 7.0])
        seen = robot.observation({"qpos": qpos, "qvel": qvel})[0]
        quaternion, velocity = robot.floating
        assert seen[quaternion : quaternion + 4].tolist() == [1, 2, 3, 4]
        assert seen[velocity : velocity + 3].tolist() == [5, 6, 7]


@pytest.mark.parametrize("places", [(-1, 13), (13, 1), (1, 4), (1, 25)])
def test_a_floating_body_that_is_not_within_the_observation_is_refused(places):
    with pytest.raises(InputError, match=r"floating of ant = .* all from 0 to 26"):
        dataclasses.replace(ANT, floating=Floating(*places))
