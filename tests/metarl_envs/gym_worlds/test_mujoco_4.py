"""Gymnasium-Robotics on MuJoCo 4, and dictionaries of observations."""

from __future__ import annotations

import sys
import warnings
from types import ModuleType

import gymnasium
import mujoco
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict, Tuple
from torch import Generator

from metarl_envs import BatchEnv, InputError, family_from_gym, gym_robot, vary
from metarl_envs.gym_worlds.mujoco_4 import fix_for_mujoco_4

HERE = Box(-1.0, 1.0, (2,))
ASKING = """
import mujoco

def hinge_or_slide(kind):
    return kind in (mujoco.mjtJoint.mjJNT_HINGE, mujoco.mjtJoint.mjJNT_SLIDE)
"""


class GoToGoal(gymnasium.Env):
    """A point with a goal, as goal environments have them."""

    observation_space: gymnasium.Space = Dict({"observation": HERE, "desired_goal": HERE})
    action_space = HERE

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.at, self.goal = np.zeros(2), self.np_random.uniform(-1, 1, 2)
        return self.seen(), {}

    def step(self, action):
        self.at = self.at + 0.1 * action
        away = float(np.linalg.norm(self.at - self.goal))
        return self.seen(), -away, False, False, {"is_success": away < 0.1}

    def seen(self):
        return {"observation": self.at, "desired_goal": self.goal}


class TwoSpaces(GoToGoal):
    observation_space = Tuple((HERE, HERE))


@pytest.fixture(autouse=True)
def forgotten():
    """Afterwards, the ids that were registered before."""
    before = set(gymnasium.registry)
    yield
    for name in [name for name in gymnasium.registry if name.startswith("Test/")]:
        assert name not in before
        del gymnasium.registry[name]


def test_a_dictionary_of_observations_becomes_one_vector_in_the_order_of_its_keys():
    gymnasium.register("Test/GoToGoal-v0", entry_point=GoToGoal, max_episode_steps=5)
    robot = gym_robot("Test/GoToGoal-v0", infos=("is_success",))
    assert robot.observation_size == 4
    family = family_from_gym(
        robot, [vary.action_delay(1)], name="go-to-goal", quantity="is_success"
    )
    assert family.measures_success
    env = BatchEnv(family, 2, 1)
    start = env.draw_start(2, Generator().manual_seed(0))
    env.start(start)
    seen = env.step(torch.full((2, 2), 0.5, dtype=torch.float64)).observations
    own = gymnasium.make("Test/GoToGoal-v0").unwrapped
    own.reset(seed=int(start.qpos[1, 0]))
    np.testing.assert_allclose(seen[1].numpy(), [*own.goal, 0.05, 0.05], rtol=1e-6)


def test_other_spaces_are_refused():
    gymnasium.register("Test/TwoSpaces-v0", entry_point=TwoSpaces)
    with pytest.raises(InputError, match=r"observation space Tuple.*must be a Box"):
        gym_robot("Test/TwoSpaces-v0")


def test_a_type_of_joint_is_found_among_several(monkeypatch):
    """The comparison that fails in MuJoCo 4, in a stand-in for the module that makes it."""
    utilities = ModuleType("gymnasium_robotics.utils.mujoco_utils")
    exec(ASKING, vars(utilities))
    for name in ("gymnasium_robotics", "gymnasium_robotics.utils"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, utilities.__name__, utilities)
    entry = "gymnasium_robotics.envs.somewhere:Env"
    gymnasium.register("Test/Fetch-v0", entry_point=entry)
    kinds = np.arange(4, dtype=np.int32)  # free, ball, slide, hinge
    fix_for_mujoco_4("Pendulum-v1")
    assert not any(utilities.hinge_or_slide(kind) for kind in kinds)  # unless MuJoCo changes
    fix_for_mujoco_4("Test/Fetch-v0")
    assert [utilities.hinge_or_slide(kind) for kind in kinds] == [False, False, True, True]
    assert utilities.mujoco.mj_step is mujoco.mj_step
    assert mujoco.mjtJoint.mjJNT_HINGE is not utilities.mujoco.mjtJoint.mjJNT_HINGE


@pytest.mark.parametrize(
    ("env_id", "success", "body", "sizes"),
    [
        ("FetchReach-v4", "is_success", "robot0:gripper_link", (16, 4)),
        ("FetchPush-v4", "is_success", "object0", (31, 4)),
        ("FetchSlide-v4", "is_success", "object0", (31, 4)),
        ("PointMaze_UMaze-v3", "success", "particle", (8, 2)),
    ],
)
def test_fetch_and_point_maze_vary_in_friction_and_mass(env_id, success, body, sizes):
    pytest.importorskip("gymnasium_robotics", reason="needs the extra robotics")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own
        robot = gym_robot(f"gymnasium_robotics:{env_id}", infos=(success,))
        family = family_from_gym(
            robot,
            [vary.mass(robot, body, (0.2, 5.0)), vary.friction(robot, "*", (0.2, 2.0))],
            quantity=success,
        )
        assert (robot.observation_size, robot.action_size) == sizes
        assert family.measures_success
        env = BatchEnv(family, 3, 1)
        (mass, friction) = (p.name for p in family.parameters)
        env.set_tasks(
            type(env.tasks).concatenate(
                [family.make_task(v) for v in ({}, {mass: 5.0}, {friction: 0.2})]
            )
        )
        start = env.draw_start(1, Generator().manual_seed(0)).of(torch.zeros(3, dtype=torch.long))
        begun = env.start(start)
        # One goal; a heavier hand settles elsewhere, by less than a millimetre.
        torch.testing.assert_close(begun, begun[:1].expand_as(begun), atol=1e-3, rtol=0)
        models = [env.engine.host_world(i)[0] for i in range(3)]
        masses = [model.body(body).mass[0] for model in models]
        assert masses[1] == pytest.approx(5 * masses[0]) and masses[2] == masses[0]
        frictions = [model.geom_friction[:, 0] for model in models]
        np.testing.assert_allclose(frictions[2], 0.2 * frictions[0])
        step = env.step(torch.ones(3, sizes[1], dtype=torch.float64))
        assert torch.isfinite(step.observations).all() and not step.diverged.any()
        assert set(step.quantity.tolist()) <= {0.0, 1.0}
