"""Meta-World's ML1 on our engines: reach-v3, push-v3 and pick-place-v3, hidden goals, N worlds."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import mujoco

from metarl_envs.errors import unknown_name
from metarl_envs.families.sawyer_rewards import PickPlace, Push, Reach, Rules
from metarl_envs.family import TaskFamily
from metarl_envs.gym_worlds.metaworld import REWARD, STEPS, drawn_goals
from metarl_envs.inputs.numbers import whole
from metarl_envs.listed import Listed
from metarl_envs.parameters import Parameter
from metarl_envs.perturbations import Placement
from metarl_envs.robots.sawyer import OBJECT, sawyer
from metarl_envs.scene.markers import Marker

SEEDS = 2**32 - 2
"""The largest seed: the test's is the next one."""


@dataclass(frozen=True)
class Environment:
    """One of the package's environments."""

    model: str
    rules: type[Rules]
    object_height_m: float | None
    """At the start; None: where the object comes to rest."""


LYING_M = 0.02
"""Height of an object that lies on the table."""
ENVIRONMENTS: Mapping[str, Environment] = {
    "reach-v3": Environment("sawyer_reach_v3", Reach, LYING_M),
    "push-v3": Environment("sawyer_push_v3", Push, None),
    "pick-place-v3": Environment("sawyer_pick_place_v3", PickPlace, LYING_M),
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
    train, test = (drawn_goals([name], of_set)[name] for of_set in (seed, seed + 1))
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
        horizon=STEPS,
        quantity="success",
        markers=(Marker("goal", site="goal", position=_goal_place),),
        source=(
            f"ML1 {name} of Meta-World (Yu et al. 2019, arXiv:1910.10897; metaworld "
            f"{version('metaworld')}, rewards {REWARD}) under MuJoCo {mujoco.__version__}, its 50 "
            f"training and 50 test tasks of seed {seed}; the goal is hidden, 500 steps of 12.5 ms. "
            "Motions are the package's bit for bit."
        ),
    )


def _goal_place(task: Mapping[str, Any]) -> tuple[float, float, float]:
    """Place of the goal in pictures."""
    x, y, z = task["goal"][3:]
    return x, y, z
