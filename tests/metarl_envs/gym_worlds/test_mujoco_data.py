"""MuJoCo inside environments that somebody else wrote."""

from __future__ import annotations

import gymnasium
import mujoco
import numpy as np
import pytest
import torch
from support import somebody
from torch import Generator

from metarl_envs import BatchEnv, InputError, family_from_gym, gym_robot, vary
from metarl_envs.gym_worlds.mujoco_data import paths_of_data

ID = "Somebody/Pole-v0"


def family(kept: str):
    robot = gym_robot(ID, kept=kept)
    return family_from_gym(robot, [vary.mass(robot, "pole", (0.5, 2.0))], name="pole")


def plain_pole(factor: float, seed: int, actions: torch.Tensor) -> np.ndarray:
    """qpos and qvel of a pole in MuJoCo alone, its mass times a factor."""
    model = mujoco.MjModel.from_xml_string(somebody.XML)
    model.body_mass[:] *= factor
    model.body_inertia[:] *= factor
    mujoco.mj_setConst(model, mujoco.MjData(model))
    data = mujoco.MjData(model)
    env = gymnasium.make(ID)
    data.qpos[:] = env.reset(seed=seed)[0][0]
    for action in actions.tolist():
        data.ctrl[:] = action
        mujoco.mj_step(model, data, 5)
    return np.concatenate([data.qpos, data.qvel])


@pytest.mark.parametrize(
    ("kept", "path"),
    [
        ("self", "data"),
        ("odd names", "state"),
        ("wrapped", "_env._physics._data._data"),
        ("ghost", "data"),
        ("scratch", "sim"),
        ("copied model", "data"),
        ("at reset", "data"),
        ("rebuilt", "data"),
    ],
)
def test_the_model_that_is_stepped_varies_wherever_it_is_kept(kept, path):
    pole = family(kept)
    assert (pole.robot.source.data, pole.dt_s) == (path, pytest.approx(0.02))
    env = BatchEnv(pole, 2, 1)
    env.set_tasks(pole.make_task({"pole_mass": 1.7})[[0, 0]])
    for seed in (3, 4):  # a second episode: the task outlives a reset
        env.engine.reset(None, torch.full((2, 1), float(seed)), torch.zeros(2, 0))
        actions = torch.rand(10, 1, generator=Generator().manual_seed(seed)) * 2 - 1
        for action in actions:
            step = env.step(action.expand(2, 1))
        expected = plain_pole(1.7, seed, actions)
        np.testing.assert_allclose(step.observations[1].numpy(), expected, rtol=1e-6)
        assert env.engine.data["qpos"][1] == pytest.approx(expected[0])
        assert abs(plain_pole(1.0, seed, actions) - expected).max() > 1e-3
    model, data = env.engine.host_world(0)
    assert model.body_mass[1] == pytest.approx(1.7 * pole.robot.load_model().body_mass[1])
    assert data.qpos[0] == pytest.approx(step.observations[0, 0].item())


def test_several_models_that_are_stepped_are_refused_where_one_is_needed():
    robot = gym_robot(ID, kept="twins", dt_s=0.02)  # it may still vary by its attributes
    with pytest.raises(InputError, match=r"holds 2 MuJoCo models, with the data left, right"):
        vary.mass(robot, "pole", (0.5, 2.0))


def test_environments_that_share_a_model_are_refused():
    env = BatchEnv(family("shared"), 2, 1)
    with pytest.raises(InputError, match="two of them step one and the same MjModel"):
        env.reset(Generator().manual_seed(0))


def test_faults_are_those_of_the_episode():
    env = BatchEnv(family("warned"), 1, 1)
    env.reset(Generator().manual_seed(0))
    data = env.engine._vector.envs[0]._worlds[0].simulation.data
    data.warning[mujoco.mjtWarning.mjWARN_BADQVEL].number = 2
    assert env.step(torch.zeros(1, 1)).diverged.tolist() == [True]
    env.reset(Generator().manual_seed(0))
    assert env.step(torch.zeros(1, 1)).diverged.tolist() == [False]


def test_an_environment_without_mujoco_holds_none():
    assert paths_of_data(gymnasium.make("Pendulum-v1")) == []
    with pytest.raises(InputError, match="not simulated by MuJoCo"):
        vary.mass(gym_robot("Somebody/Point-v0"), "pole", (0.5, 2.0))
