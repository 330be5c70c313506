"""A check that an episode follows from its task, its seed and its actions alone."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import torch
from torch import Generator, Tensor

from metarl_envs.batch_env import BatchEnv, Start
from metarl_envs.family import TaskFamily
from metarl_envs.finding import Finding, listed
from metarl_envs.leftovers import leftovers
from metarl_envs.motion import Motion, first_start, played, swing
from metarl_envs.robots.gym import GymRobot


def determinism(family: TaskFamily) -> Finding:
    """One seed gives the same bits in two new environments, and after other episodes."""
    tasks = family.sample_tasks(2, Generator().manual_seed(0), "train")
    worlds = [BatchEnv(family, len(tasks), 1) for _ in range(2)]
    starts: list[Start] = []
    for env in worlds:
        env.set_tasks(tasks)
        starts.append(first_start(env))
    if not torch.equal(starts[0].qpos, starts[1].qpos) or not torch.equal(
        starts[0].qvel, starts[1].qvel
    ):
        return Finding(
            "determinism",
            "FAILED",
            "ignores the seed: two starts drawn from one seed differ; reset= must draw from the "
            "generator that is given to it, and remember nothing",
        )

    def swung(env: BatchEnv) -> Motion:
        return played(env, starts[0], lambda t: swing(family, t).expand(len(tasks), -1))

    fresh, twin = (swung(env) for env in worlds)
    _stir(worlds[0])
    again = swung(worlds[0])
    if _same(fresh, twin) and _same(fresh, again):
        return Finding(
            "determinism", "ok", "same seed, same bits, in a new environment and after an episode"
        )
    return Finding("determinism", "FAILED", _cause(family, fresh, twin, again))


def _stir(env: BatchEnv) -> None:
    """An episode from another seed, under random actions: what may leave traces."""
    generator = Generator().manual_seed(1)
    low, high = env.action_low, env.action_high
    played(
        env,
        first_start(env, seed=1),
        lambda _: low + (high - low) * torch.rand((env.num_worlds, len(low)), generator=generator),
    )


def _same(one: Motion, other: Motion) -> bool:
    """Whether two motions are equal bit for bit; NaN is equal to NaN."""
    return all(
        a.shape == b.shape and torch.equal(a.nan_to_num(), b.nan_to_num())
        for a, b in (
            (getattr(one, name), getattr(other, name))
            for name in ("states", "observations", "rewards", "terminated")
        )
    )


def _cause(family: TaskFamily, fresh: Motion, twin: Motion, again: Motion) -> str:
    """Why motions from one seed differ, and how to fix it."""
    if impure := _impure_function(family):
        return impure
    if not isinstance(family.robot, GymRobot):
        return (
            "remembers across resets: a second episode from one seed differs from the first, so a "
            "function keeps something between its calls, in a global variable, a list or an "
            "attribute; let it read transition.before and the robot's outputs= instead"
        )
    env_id = family.robot.env_id
    if not torch.equal(fresh.observations[0], twin.observations[0]):
        return (
            f"ignores the seed: two new environments {env_id} begin differently after "
            "reset(seed=0); its reset should call super().reset(seed=seed) and draw from "
            "self.np_random alone"
        )
    if not _same(fresh, twin):
        return (
            f"draws random numbers of its own: two new environments {env_id} begin alike after "
            "reset(seed=0), then differ under the same actions; its step should draw from "
            "self.np_random alone"
        )
    generators, kept = leftovers(family.robot)
    if generators:
        return (
            f"ignores the seed: {env_id} draws from {listed(generators)}, which reset(seed=0) does "
            "not set back; draw from self.np_random, which super().reset(seed=seed) sets"
        )
    which = f": {listed(kept)}" if kept else ""
    return (
        f"remembers across resets: a second episode of {env_id} from one seed differs from the "
        f"first{which}; its reset has to set back all that its step changes"
    )


def _impure_function(family: TaskFamily) -> str:
    """What to say of a function that gives another result when called again; "" if none does."""
    env = BatchEnv(family, 2, 1)
    env.reset(Generator().manual_seed(0))
    transition = env.advance(swing(family, 0).expand(2, -1))
    data = env.engine.data
    calls: dict[str, Callable[[], Tensor]] = {
        "observation": lambda: family.robot.observation(data),
        "reward": lambda: family.reward(transition),
        "terminated": lambda: family.termination(transition),
    }
    for name, call in calls.items():
        if _repeats(call):
            continue
        if _repeats(lambda call=call: _seeded(call)):
            return (
                f"draws random numbers of its own: {name} gives different results for the same "
                "state; leave randomness to reset= and vary.observation_noise"
            )
        return (
            f"remembers across resets, or draws random numbers of its own: {name} gives different "
            "results for the same state, so it must not remember anything or draw anything; leave "
            "randomness to reset= and vary.observation_noise"
        )
    return ""


def _repeats(call: Callable[[], Tensor]) -> bool:
    """Whether calls give the same result, one after the other."""
    first, *others = (call().clone() for _ in range(3))
    return all(torch.equal(first.nan_to_num(), other.nan_to_num()) for other in others)


def _seeded(call: Callable[[], Tensor]) -> Tensor:
    """A call with the global generators of Python, NumPy and torch at one state, then set back."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 - what people use
    with torch.random.fork_rng(devices=[]):
        try:
            random.seed(0)
            np.random.seed(0)  # noqa: NPY002
            torch.manual_seed(0)
            return call()
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002
