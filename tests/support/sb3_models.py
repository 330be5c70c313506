"""Environments and small PPO models of Stable-Baselines3."""

from __future__ import annotations

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from stable_baselines3 import PPO

from metarl_envs import MetaEnv, get_family

CLOSE = {"rtol": 2e-5, "atol": 1e-6}
"""Tolerance of equal actions: the same sums in single precision, in another order."""
SMALL = {"n_steps": 32, "batch_size": 16, "n_epochs": 2, "device": "cpu"}
VELOCITY = "half-cheetah-velocity"


class Elsewhere(gymnasium.Env):
    """An environment with spaces as asked for, which never ends and pays for small actions."""

    def __init__(self, observations=4, low=(-1.0, -1.0), high=(1.0, 1.0), actions=None):
        self.observation_space = Box(-np.inf, np.inf, (observations,), np.float32)
        self.action_space = actions or Box(np.float32(low), np.float32(high))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.np_random.normal(size=self.observation_space.shape).astype(np.float32), {}

    def step(self, action):
        observation = self.np_random.normal(size=self.observation_space.shape)
        return observation.astype(np.float32), -float(np.square(action).sum()), False, False, {}


def env_of(name: str, horizon: int = 10) -> gymnasium.Env:
    return gymnasium.wrappers.TimeLimit(MetaEnv(get_family(name)), horizon)


def ppo(env, **policy_kwargs) -> PPO:
    kwargs = {"net_arch": [7, 5], "log_std_init": -1.0} | policy_kwargs
    model = PPO("MlpPolicy", env, policy_kwargs=kwargs, seed=0, learning_rate=0.02, **SMALL)
    model.learn(64)
    return model


def observations(size: int) -> np.ndarray:
    """Some of them so large that the normaliser clips them."""
    drawn = np.random.default_rng(0).normal(size=(200, size)) * 3
    drawn[:20] *= 50
    return drawn.astype(np.float32)
