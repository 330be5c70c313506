"""Meta-World's benchmarks ML1 and ML10 as families: `metaworld-ml1:push-v3`, `metaworld-ml10`.

Benchmark: Yu et al. 2019, arXiv:1910.10897, as its package metaworld 3.0 has it (the extra
`metaworld`), which `metarl_envs.gym_worlds.metaworld` adapts; the faults that it works around are
listed there.

The benchmark's protocol of meta-testing, 10 episodes of adaptation on each test goal and then 3
that are measured, is `metarl evaluate RUN --splits test --tasks 50 --episodes 10 --measured 3
--budgets` (of ML10 with `--tasks 250`), with the success rate beside the return, of ML10 also by
class. All episodes begin alike, and the mean action has no noise: `--measured 1` says the same. A
policy with a belief is measured in the eleventh episode of each trial.
"""

from __future__ import annotations

import dataclasses
import functools
from importlib.metadata import version

import mujoco
import torch
from torch import Tensor

from metarl_envs.builders.from_gym import gym_robot
from metarl_envs.errors import unknown_name
from metarl_envs.families.sawyer import ENVIRONMENTS, batched_ml1
from metarl_envs.family import TaskFamily
from metarl_envs.gym_worlds.metaworld import (
    GOALS,
    ID,
    LONGEST,
    NUMBERS,
    REWARD,
    STEPS,
    class_names,
    drawn_goals,
    ml10_names,
)
from metarl_envs.gym_worlds.worlds import ATTRIBUTE
from metarl_envs.listed import Listed
from metarl_envs.parameters import Fields, ModelEffect, Parameter
from metarl_envs.robots.gym import own_reward

BEGINNING = "metaworld-"
"""Of the names of these families."""
NAMES = (
    "metaworld-ml1:NAME (one of 50 classes, such as reach-v3) and metaworld-ml10, with the extra "
    "metaworld"
)
"""The names, for lists of families."""
MODULE = "metarl_envs.gym_worlds.metaworld"
SEED = 0
"""The benchmark's seed: goals of other seeds are others."""


def metaworld_family(name: str) -> TaskFamily:
    """The family of "metaworld-ml10", "metaworld-ml1:push-v3" or "metaworld-ml1-push-v3".

    The last is its own name, as folders cannot be called by the one before.

    Raises:
        InputError: for an unknown name, or without the package metaworld.
    """
    benchmark = name.removeprefix(BEGINNING)
    if benchmark == "ml10":
        return _ml10()
    for beginning in ("ml1:", "ml1-"):
        if benchmark.startswith(beginning):
            return _ml1(benchmark.removeprefix(beginning))
    raise unknown_name(
        "task family", name, [f"{BEGINNING}ml10", f"{BEGINNING}ml1:push-v3", f"{BEGINNING}ml1"]
    )


@functools.cache
def _ml1(name: str) -> TaskFamily:
    """One class, 50 goals to train on and 50 others to test with; on our engines where it can be.

    There it moves bit for bit as the package's own environment does (`tests/metarl_envs/families`),
    and several times as fast.
    """
    if name not in class_names():
        raise unknown_name("class of metaworld-ml1", name, class_names())
    return batched_ml1(name, SEED) if name in ENVIRONMENTS else packaged_ml1(name)


def packaged_ml1(name: str) -> TaskFamily:
    """One class, each world of which is an environment of the package."""
    train, test = (drawn_goals([name], seed)[name] for seed in (SEED, SEED + 1))
    goal = Parameter(
        name="goal",
        unit="m",
        description="where objects begin and where they should go, the class's random vector",
        nominal=train[0],
        train=Listed(train),
        held_out=Listed(test),
        effect=_attributes(NUMBERS[: len(train[0])]),
    )
    said = f"ML1 {name}: {GOALS} goals to train, {GOALS} to test."
    return _family(f"ml1-{name}", (name,), goal, train[0], said, tested=len(test))


@functools.cache
def _ml10() -> TaskFamily:
    """Ten classes to train on and five others to test with, 50 goals each."""
    names = ml10_names()
    every = names[0] + names[1]
    sets = []
    for part in names:
        goals = drawn_goals(part, SEED)
        sets.append(
            tuple(
                (float(every.index(name)), *goal, *(0.0,) * (LONGEST - len(goal)))
                for name in part
                for goal in goals[name]
            )
        )
    train, test = sets
    task = Parameter(
        name="task",
        unit="1",
        description="class, then its random vector in m (where objects begin and where they should "
        f"go), with zeros up to {LONGEST} numbers; classes: "
        + ", ".join(f"{i} {name}" for i, name in enumerate(every)),
        nominal=train[0],
        train=Listed(train, kinds=every),
        held_out=Listed(test, kinds=every),
        effect=_attributes(("kind", *NUMBERS)),
    )
    said = f"ML10: ten classes to train, five others to test, {GOALS} goals each."
    return _family("ml10", every, task, train[0][1:], said, tested=len(test))


def _family(
    name: str,
    classes: tuple[str, ...],
    task: Parameter,
    first: tuple[float, ...],
    said: str,
    tested: int,
) -> TaskFamily:
    """A family of these classes, whose worlds begin with the first one's goal `first`."""
    robot = gym_robot(f"{MODULE}:{ID}", infos=("success",), names=classes, goal=first)
    shared = "the worlds of a process share one MuJoCo model of each class"
    return TaskFamily(
        name=f"{BEGINNING}{name}",
        robot=dataclasses.replace(robot, name=f"Meta-World's Sawyer, {name}", no_model=shared),
        parameters=(task,),
        reward=own_reward,
        horizon=STEPS,
        quantity="success",
        source=f"Meta-World {said} Package metaworld {version('metaworld')} (arXiv:1910.10897) on "
        f"MuJoCo {mujoco.__version__}, rewards {REWARD}, goals of the benchmark's seed {SEED}, "
        "goal hidden. Success: in any step of an episode, as the benchmark counts it; no episode "
        "ends there. The benchmark's protocol is metarl evaluate RUN --splits test "
        f"--tasks {tested} --episodes 10 --measured 3 --budgets. Numbers on other versions of "
        "MuJoCo or of the rewards are others.",
    )


def _attributes(names: tuple[str, ...]) -> ModelEffect:
    """Sets attributes of the environment to the numbers of a vector, in order."""
    fields = tuple(f"{ATTRIBUTE}{name}" for name in names)

    def transform(own: Fields, value: Tensor) -> Fields:
        del own
        return dict(zip(fields, torch.unbind(value, dim=1), strict=True))

    return ModelEffect(fields, transform)
