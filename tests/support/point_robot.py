"""The point robot as a real one is met: one world, and sensors and rewards that may fail."""

from __future__ import annotations

import gymnasium
import numpy as np


class Robot(gymnasium.Wrapper):
    """The point robot; notes what it is sent, and may change its reward from an episode on."""

    def __init__(self, worse_from=10**9, penalty=0.0, poisoned=()):
        super().__init__(gymnasium.make("metarl_envs:MetaRL/Navigation-v0"))
        self.env.reset(options={"task": {"goal": [0.3, -0.2]}})
        self.sent, self.resets, self.lengths = [], 0, []
        self.worse_from, self.penalty, self.poisoned = worse_from, penalty, poisoned

    def reset(self, **how):
        self.resets += 1
        self.lengths.append(0)
        observation, info = self.env.reset(**how)
        return (observation * np.nan if "start" in self.poisoned else observation), info

    def step(self, action):
        assert np.isfinite(action).all()
        self.sent.append(action.copy())
        self.lengths[-1] += 1
        observation, reward, *rest = self.env.step(action)
        if self.resets > self.worse_from:
            reward -= self.penalty
        return observation, reward, *rest


class Failing(gymnasium.Wrapper):
    """Raises in its n-th episode, at the reset or at the second step."""

    def __init__(self, error, episode, where="step"):
        super().__init__(gymnasium.make("metarl_envs:MetaRL/Navigation-v0"))
        self.error, self.episode, self.where, self.resets, self.t = error, episode, where, 0, 0

    def reset(self, **how):
        self.resets, self.t = self.resets + 1, 0
        if (self.resets, self.where) == (self.episode, "reset"):
            raise self.error
        return self.env.reset(**how)

    def step(self, action):
        self.t += 1
        if (self.resets, self.where, self.t) == (self.episode, "step", 2):
            raise self.error
        return self.env.step(action)
