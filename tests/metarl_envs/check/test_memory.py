"""Episodes follow from task, seed and actions alone: each cause of a difference is reported."""

from __future__ import annotations

import random

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from gymnasium.wrappers import NormalizeObservation
from support.small_models import box, family_of, robot_of

from metarl_envs import family_from_gym, vary
from metarl_envs.check.memory import determinism


class Mass(gymnasium.Env):
    """A mass on a line that is pushed: x, v; what a subclass remembers is its fault."""

    observation_space = Box(-np.inf, np.inf, (2,), np.float64)
    action_space = Box(-1, 1, (1,), np.float32)
    dt = 0.05

    def __init__(self):
        self.m, self.x, self.wear, self.flags = 1.0, np.zeros(2), 0, {"broken": False}
        self.own, self.python = np.random.default_rng(0), random.Random(0)

    def first(self):
        return 0.1 * self.np_random.normal(size=2)

    def pushed(self, action):
        return action

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x = self.first()
        return self.x.copy(), {}

    def step(self, action):
        force = self.pushed(float(action[0]))
        self.x = self.x + self.dt * np.array([self.x[1], force / self.m])
        return self.x.copy(), -abs(float(self.x[0])), False, False, {}


class Wearing(Mass):
    def pushed(self, action):
        self.wear += 1
        return action * max(0.0, 1 - 0.01 * self.wear)


class Breaking(Mass):
    def pushed(self, action):
        self.flags["broken"] |= bool(abs(self.x[0]) > 0.3)
        return 0.0 if self.flags["broken"] else action


class Jerked(Mass):
    """Breaks for good under jerks, which swinging actions have none of."""

    last = 0.0

    def first(self):
        self.last = 0.0
        return super().first()

    def pushed(self, action):
        self.flags["broken"] |= abs(action - self.last) > 1.2
        self.last = action
        return 0.0 if self.flags["broken"] else action


class Strict(Mass):
    """Must not be stepped beyond its end."""

    over = False

    def first(self):
        self.over = False
        return super().first()

    def step(self, action):
        assert not self.over
        observation, reward, _, truncated, info = super().step(action)
        self.over = abs(float(self.x[0])) > 0.3
        return observation, reward, self.over, truncated, info


class Drifting(Mass):
    def __init__(self):
        super().__init__()
        self.gain = 1.0

    def pushed(self, action):
        self.gain *= 1.001
        return action * self.gain


class Varying(Mass):
    """Changes what varies, which is set anew after every reset."""

    def pushed(self, action):
        self.m *= 1.001
        return action


class GlobalStart(Mass):
    def first(self):
        return np.random.normal(size=2)  # noqa: NPY002 - the fault


class OwnStart(Mass):
    def first(self):
        return self.own.normal(size=2)


class PythonStart(Mass):
    def first(self):
        return np.array([self.python.random(), 0.0])


class NoSuper(Mass):
    def reset(self, *, seed=None, options=None):
        self.x = self.first()
        return self.x.copy(), {}


class Windy(Mass):
    def pushed(self, action):
        return action + np.random.default_rng().normal()


class Fixed(Mass):
    def first(self):
        return np.zeros(2)


def normalised():
    return NormalizeObservation(Mass())


def checked(monkeypatch, entry_point):
    spec = gymnasium.envs.registration.EnvSpec("Mass-v0", entry_point, max_episode_steps=60)
    monkeypatch.setitem(gymnasium.registry, "Mass-v0", spec)
    return determinism(family_from_gym("Mass-v0", lambda r: [vary.attribute(r, "m", (0.5, 2.0))]))


@pytest.mark.parametrize(
    ("entry_point", "kind", "named"),
    [
        (Wearing, "remembers across resets", "wear is 0 after the first reset and"),
        (Breaking, "remembers across resets", "flags.broken is False after the first reset and T"),
        (Jerked, "remembers across resets", "flags.broken is False after the first reset and T"),
        (Drifting, "remembers across resets", "gain is 1.0 after the first reset and 1."),
        (normalised, "remembers across resets", "NormalizeObservation.obs_rms.mean is ["),
        (GlobalStart, "ignores the seed", "super().reset(seed=seed)"),
        (NoSuper, "ignores the seed", "super().reset(seed=seed)"),
        (OwnStart, "ignores the seed", "draws from own, which reset(seed=0) does not set back"),
        (PythonStart, "ignores the seed", "draws from python, which"),
        (Windy, "draws random numbers of its own", "its step should draw from self.np_random"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_an_environment_does_is_named_by_its_cause(monkeypatch, entry_point, kind, named):
    found = checked(monkeypatch, entry_point)
    assert found.verdict == "FAILED"
    assert found.text.startswith(kind)
    assert named in found.text
    assert "\n" not in found.text


def test_a_change_of_what_varies_does_not_survive_a_reset(monkeypatch):
    assert checked(monkeypatch, Varying).verdict == "ok"


def test_a_sound_environment_passes_and_one_start_for_all_seeds_is_asked_about(monkeypatch):
    assert checked(monkeypatch, Mass).verdict == "ok"
    assert checked(monkeypatch, Strict).verdict == "ok"
    found = checked(monkeypatch, Fixed)
    assert found.verdict == "note"
    assert "begins alike, whatever the seed" in found.text


def position(transition):
    return -transition.after["qpos"][:, 0]


class Counted:
    """A reward that fades with every call."""

    calls = 0

    def __call__(self, transition):
        self.calls += 1
        return position(transition) * 0.99**self.calls


class Latched:
    """A reward that is gone for good once the box has moved."""

    over = False

    def __call__(self, transition):
        self.over |= bool((position(transition).abs() > 0.02).any())
        return position(transition) * (0.0 if self.over else 1.0)


class Differences:
    """A velocity from the position of the call before."""

    last = torch.zeros(1)

    def __call__(self, transition):
        now = position(transition).clone()
        before, self.last = (self.last if self.last.shape == now.shape else now), now
        return now - before


def private(generator=None):
    generator = torch.Generator().manual_seed(0)
    return lambda t: position(t) + torch.rand(len(t.action), generator=generator)


@pytest.mark.parametrize(
    ("reward", "kind", "named"),
    [
        (Counted(), "remembers across resets", "reward gives other results for the same state"),
        (Differences(), "remembers across resets", "reward gives other results"),
        (Latched(), "remembers across resets", "a second episode from one seed differs"),
        (lambda t: position(t) + torch.rand(len(t.action)), "draws random numbers", "reward"),
        (lambda t: position(t) + random.random(), "draws random numbers of its own", "reward"),
        (private(), "draws random numbers of its own", "reward"),
    ],
    ids=["counted", "differences", "latched", "torch", "python", "private"],
)
def test_functions_that_remember_or_draw_are_distinguished(tmp_path, reward, kind, named):
    found = determinism(family_of(robot_of(tmp_path, box(gear=50)), reward=reward))
    assert found.verdict == "FAILED"
    assert found.text.startswith(kind)
    assert named in found.text


def test_other_functions_are_named_and_a_reset_has_to_use_its_generator(tmp_path):
    noisy = robot_of(tmp_path, box(), observation=lambda s: s["qpos"] + torch.rand(1))
    assert "observation gives different results" in determinism(family_of(noisy)).text
    loose = robot_of(
        tmp_path, box(), reset=lambda q, v, n, g: (q + torch.rand(n, len(q)), v.expand(n, -1))
    )
    found = determinism(family_of(loose))
    assert found.verdict == "FAILED"
    assert found.text.startswith("ignores the seed: two starts drawn from one seed differ")
