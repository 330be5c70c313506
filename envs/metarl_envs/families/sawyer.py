"""Meta-World's ML1 on our engines: reach-v3, push-v3 and pick-place-v3, hidden goals, N worlds."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metarl_envs.errors import unknown_name
from metarl_envs.families.sawyer_rewards import PickPlace, Push, Reach, Rules
from metarl_envs.family import TaskFamily
from metarl_envs.inputs.numbers import whole
from metarl_envs.listed import Listed
from metarl_envs.parameters import Parameter
from metarl_envs.perturbations import Placement
from metarl_envs.robots.sawyer import OBJECT, sawyer
from metarl_envs.scene.markers import Marker

HORIZON = 500
GOALS = 50
"""Tasks of training, and of the test."""
APART_M = 0.15
"""Least horizontal distance of the goal to the object."""
DRAWS = 2
"""Tasks that the package draws for each one it keeps: its reset draws twice."""
OBJECT_LOW, OBJECT_HIGH = (-0.1, 0.6, 0.02), (0.1, 0.7, 0.02)
"""Places of the object at the start, m; the height is always the same."""
SEEDS = 2**32 - 2
"""The largest seed: the test's is the next one."""

Numbers = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Environment:
    """One of the package's environments."""

    model: str
    rules: type[Rules]
    goal_low: tuple[float, float, float]
    goal_high: tuple[float, float, float]
    """Places of the goal, m."""
    object_height_m: float | None
    """At the start; None: where the object comes to rest."""


IN_THE_AIR = ((-0.1, 0.8, 0.05), (0.1, 0.9, 0.3))
ON_THE_TABLE = ((-0.1, 0.8, 0.01), (0.1, 0.9, 0.02))
ENVIRONMENTS: Mapping[str, Environment] = {
    "reach-v3": Environment("sawyer_reach_v3", Reach, *IN_THE_AIR, OBJECT_LOW[2]),
    "push-v3": Environment("sawyer_push_v3", Push, *ON_THE_TABLE, None),
    "pick-place-v3": Environment("sawyer_pick_place_v3", PickPlace, *IN_THE_AIR, OBJECT_LOW[2]),
}


def batched_ml1(name: str, seed: int = 0) -> TaskFamily:
    """The family of ML1 (Meta-World) of one environment, simulated by our engines.

    Observations, rewards, successes and motions are those of the package under MuJoCo 4, step by
    step; its 50 training and 50 test tasks are those of `metaworld.ML1(name, seed=seed)`.

    Args:
        name: "reach-v3", "push-v3" or "pick-place-v3".
        seed: of the tasks.

    Raises:
        InputError: for another environment, an impossible seed, or without the package metaworld.
    """
    if name not in ENVIRONMENTS:
        raise unknown_name("environment of Meta-World on our engines", name, ENVIRONMENTS)
    seed = whole("seed", seed, least=0, most=SEEDS)
    environment = ENVIRONMENTS[name]
    made = sawyer(environment.model, environment.object_height_m)
    rules = environment.rules(made.parts, made.start)
    quantities = {"success": rules.success, "distance_to_goal_m": rules.distance}
    train, test = benchmark_goals(name, seed), benchmark_goals(name, seed + 1)
    goal = Parameter(
        name="goal",
        unit="m",
        description="where the object begins, and where it (to reach: the tip) should go; the "
        "object's height does not count, nor the goal's on the table",
        nominal=train[0],
        train=Listed(train),
        held_out=Listed(test),
        effect=Placement(OBJECT),
    )
    return TaskFamily(
        name=f"metaworld-ml1-{name}",
        robot=dataclasses.replace(made.robot, quantities=quantities),
        parameters=(goal,),
        reward=rules.reward,
        horizon=HORIZON,
        quantity="success",
        markers=(Marker("goal", site="goal", position=_goal_place),),
        source=(
            f"ML1 {name} of Meta-World (Yu et al. 2019, arXiv:1910.10897; metaworld 3.0.0, rewards "
            f"v2) under MuJoCo 4.0, its 50 training and 50 test tasks of seed {seed}; the goal is "
            "hidden, 500 steps of 12.5 ms. Motions are the package's bit for bit."
        ),
    )


def benchmark_goals(name: str, seed: int) -> Numbers:
    """The 50 tasks that the package's ML1 draws with a seed: object x, y, z, then goal x, y, z.

    Each is drawn uniformly, and again while object and goal are too near each other.
    """
    environment = ENVIRONMENTS[name]
    low = np.array([*OBJECT_LOW, *environment.goal_low])
    high = np.array([*OBJECT_HIGH, *environment.goal_high])
    random = np.random.RandomState(seed)  # the package's generator
    rows = [_drawn_apart(random, low, high) for _ in range(DRAWS * GOALS)]
    return tuple(tuple(row.tolist()) for row in rows[DRAWS - 1 :: DRAWS])


def _drawn_apart(
    random: np.random.RandomState, low: NDArray[np.float64], high: NDArray[np.float64]
) -> NDArray[np.float64]:
    """An object and a goal that are far enough apart: (6,)."""
    while True:
        row = random.uniform(low, high)
        if np.linalg.norm(row[:2] - row[3:5]) >= APART_M:
            return row


def _goal_place(task: Mapping[str, Any]) -> tuple[float, float, float]:
    """Place of the goal in pictures."""
    x, y, z = task["goal"][3:]
    return x, y, z
