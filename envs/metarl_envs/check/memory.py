"""A check that an episode follows from its task, its seed and its actions alone."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Generator, Tensor

from metarl_envs.batch_env import BatchEnv, Start
from metarl_envs.check.finding import Finding, listed
from metarl_envs.check.leftovers import leftovers
from metarl_envs.check.motion import Motion, first_start, played, swing
from metarl_envs.family import TaskFamily

CALLS = 8
"""Of a function on one state. Random results hardly come in order: in 2 of 8! cases."""

NO_MEMORY = (
    "must not remember anything in a global variable, a list or an attribute: read "
    "transition.before and the robot's outputs= instead"
)


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
    other = _stir(worlds[0])
    again = swung(worlds[0])
    if not (_same(fresh, twin) and _same(fresh, again)):
        return Finding("determinism", "FAILED", _cause(family, fresh, twin, again))
    if family.robot.source is not None and torch.equal(other, fresh.observations[0]):
        return Finding(
            "determinism",
            "note",
            "every episode begins alike, whatever the seed: is that meant? If its reset draws "
            "random numbers, let them come from self.np_random",
        )
    return Finding(
        "determinism", "ok", "same seed, same bits, in a new environment and after an episode"
    )


def _stir(env: BatchEnv) -> Tensor:
    """An episode from another seed, under random actions: what may leave traces.

    Returns:
        Its first observations (N, O).
    """
    generator = Generator().manual_seed(1)
    low, high = env.action_low, env.action_high

    def drawn(_: int) -> Tensor:
        share = torch.rand((env.num_worlds, len(low)), generator=generator, dtype=torch.float64)
        return low + (high - low) * share

    return played(env, first_start(env, seed=1), drawn).observations[0]


def _same(one: Motion, other: Motion) -> bool:
    """True if two motions are equal bit for bit; NaN is equal to NaN."""
    return all(
        a.shape == b.shape and torch.equal(a.nan_to_num(), b.nan_to_num())
        for a, b in (
            (getattr(one, name), getattr(other, name))
            for name in ("states", "observations", "rewards", "terminated")
        )
    )


def _cause(family: TaskFamily, fresh: Motion, twin: Motion, again: Motion) -> str:
    """The reason that motions from one seed differ, and the fix."""
    if impure := _impure_function(family):
        return impure
    if family.robot.source is None:
        return (
            "remembers across resets: a second episode from one seed differs from the first; "
            f"functions {NO_MEMORY}"
        )
    env_id = family.robot.name
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
    generators, kept = leftovers(family.robot.source)
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
    """The flaw of a function that gives another result when called again; "" if none does."""
    env = BatchEnv(family, 2, 1)
    env.reset(Generator().manual_seed(0))
    transition = env.advance(swing(family, 0).expand(2, -1))
    calls: dict[str, Callable[[], Tensor]] = {
        "observation": lambda: family.robot.observation(env.seen),
        "reward": lambda: family.reward(transition),
        "terminated": lambda: family.termination(transition),
    }
    for name, call in calls.items():
        results = [float(call().double().nan_to_num().sum()) for _ in range(CALLS)]
        if len(set(results)) == 1:
            continue
        if sorted(results) in (results, results[::-1]):
            return (
                f"remembers across resets: {name} gives other results for the same state each time "
                f"that it is called ({results[0]:.6g}, then {results[1]:.6g}); it {NO_MEMORY}"
            )
        return (
            f"draws random numbers of its own: {name} gives different results for the same state; "
            "leave randomness to reset= and vary.observation_noise"
        )
    return ""
