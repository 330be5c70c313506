"""Environments with other spaces, or that break Gymnasium's interface, are one clear line."""

import math

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from support.tiny import tiny_policy

from metarl import Limits
from metarl.deploy import (
    MetaPolicy,
)
from metarl_envs import InputError

UNCAPPED = Limits(max_step_kl=math.inf)


def test_environment_with_other_spaces_is_refused_naming_both():
    policy = MetaPolicy(tiny_policy("half-cheetah-direction"))
    other = gymnasium.make("metarl_envs:MetaRL/Navigation-v0")
    with pytest.raises(InputError, match=r"\(2,\).* reads a Box of shape \(17,\)"):
        policy.adapt(other)
    other.action_space = Box(-2, 2, (2,))
    with pytest.raises(InputError, match=r"Box\(-2.0, 2.0.* Box of shape \(2,\) from"):
        MetaPolicy(tiny_policy("navigation")).adapt(other)


@pytest.mark.parametrize("reward", [np.zeros(2), np.zeros((2, 2)), None, "much", [None], b"1"])
def test_a_reward_that_is_no_number_is_one_line(reward):
    class Paying(gymnasium.Wrapper):
        def step(self, action):
            observation, _, *rest = self.env.step(action)
            return observation, reward, *rest

    policy = MetaPolicy(tiny_policy("navigation"))
    env = Paying(gymnasium.make("metarl_envs:MetaRL/Navigation-v0", disable_env_checker=True))
    with pytest.raises(InputError, match=r"reward .* = .*: must be one") as caught:
        policy.adapt(env, episodes=1)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "kind",
    [float, np.float32, lambda r: np.array([r]), lambda r: torch.tensor([[r]]), lambda r: [r]],
)
def test_a_reward_of_one_element_is_a_number(kind):
    class Paying(gymnasium.Wrapper):
        def step(self, action):
            observation, _, *rest = self.env.step(action)
            return torch.as_tensor(observation), kind(0.5), *rest

    policy = MetaPolicy(tiny_policy("navigation", horizon=4))
    env = Paying(gymnasium.make("metarl_envs:MetaRL/Navigation-v0", disable_env_checker=True))
    assert policy.adapt(env, episodes=2).adapted["returns"] == [2.0]


@pytest.mark.parametrize("observation", [np.zeros(3), None, "here", np.zeros((1, 2))])
def test_an_observation_of_another_form_is_refused_before_the_first_step(observation):
    class Seeing(gymnasium.Wrapper):
        def reset(self, **how):
            return observation, self.env.reset(**how)[1]

        def step(self, action):
            raise AssertionError("the robot moved")

    env = Seeing(gymnasium.make("metarl_envs:MetaRL/Navigation-v0", disable_env_checker=True))
    with pytest.raises(InputError, match=r"observation .* = .* shape \(2,\)"):
        MetaPolicy(tiny_policy("navigation")).adapt(env, limits=UNCAPPED)


class Habit(gymnasium.Wrapper):
    """Gives something else than Gymnasium's interface says, from the first reset or step on."""

    def __init__(self, reset=lambda given: given, step=lambda given: given):
        made = gymnasium.make("metarl_envs:MetaRL/Navigation-v0", disable_env_checker=True)
        super().__init__(made)
        self.change_reset, self.change_step, self.steps = reset, step, 0

    def reset(self, **how):
        return self.change_reset(self.env.reset(**how))

    def step(self, action):
        self.steps += 1
        return self.change_step(self.env.step(action))


@pytest.mark.parametrize(
    ("habit", "message"),
    [
        ({"reset": lambda given: given[0]}, "reset gave ndarray: reset"),
        ({"reset": lambda given: (given[0], None)}, r"reset gave \(ndarray, NoneType\)"),
        ({"step": lambda given: (*given[:3], {})}, "step 1 gave .*four are the old Gym's"),
        ({"step": lambda given: None}, "step 1 gave NoneType"),
        ({"step": lambda given: (*given[:2], None, False, {})}, "step 1: terminated .* = None"),
        ({"step": lambda given: (*given[:3], "no", {})}, "step 1: truncated .* = 'no'"),
        ({"step": lambda given: (*given[:4], None)}, "step 1: info = None: must be a dict"),
        ({"step": lambda given: ({"o": given[0]}, *given[1:])}, "step 1: observation .* = {'o'"),
        (
            {"step": lambda given: ([[0.0], []], *given[1:])},
            r"step 1: observation .* = \[\[0.0\], ",
        ),
    ],
)
def test_what_is_not_gymnasium_s_interface_is_refused_at_the_first_step(habit, message):
    env = Habit(**habit)
    with pytest.raises(InputError, match=f"^environment MetaRL/Navigation-v0: {message}") as caught:
        MetaPolicy(tiny_policy("navigation", horizon=6)).adapt(env, episodes=2)
    assert env.steps == (0 if "reset" in habit else 1)
    assert "\n" not in str(caught.value)


def test_ends_of_any_type_are_ends():
    def ends(kind, place):
        def step(given):
            return *given[:place], kind(env.steps % 3 == 0), *given[place + 1 :]

        env = Habit(step=step)
        return MetaPolicy(tiny_policy("navigation", horizon=6)).adapt(env, episodes=2).adapted

    for kind in (bool, int, float, np.bool_, lambda end: np.array([end]), torch.tensor):
        assert ends(kind, 2)["collections"][0]["steps"] == 3.0
        assert ends(kind, 3)["collections"][0]["steps"] == 3.0


def test_what_is_not_one_environment_is_refused():
    policy = MetaPolicy(tiny_policy("navigation", horizon=6))
    vec_env = pytest.importorskip("stable_baselines3.common.vec_env")
    name = "metarl_envs:MetaRL/Navigation-v0"
    several = gymnasium.vector.SyncVectorEnv([lambda: gymnasium.make(name)] * 2)
    for wrong in (vec_env.DummyVecEnv([lambda: gymnasium.make(name)]), several, None, "Ant-v5"):
        with pytest.raises(InputError, match=r"env is of type \w+: must be one gymnasium.Env; "):
            policy.adapt(wrong, episodes=2)
    several.close()


def test_a_dict_of_observations_is_refused_with_what_makes_it_flat():
    env = Habit()
    env.observation_space = gymnasium.spaces.Dict({"o": env.observation_space})
    with pytest.raises(InputError, match=r"Dict.*such as gymnasium.wrappers.FlattenObservation"):
        MetaPolicy(tiny_policy("navigation")).adapt(env, episodes=2)
