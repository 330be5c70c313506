"""Planning with the simulator itself: what knowing the dead actuator or leg is worth to a robot.

    python -m experiments.perfect_model                          # half an hour of one core
    python -m experiments.perfect_model half-cheetah-crippled    # ten minutes

The planner of `grbal`, with MuJoCo in the place of its model, drives a crippled robot for an
episode. It plans for the robot as it is (`own`), for a healthy one (`healthy`), or for one whose
next part is dead instead (`other`). Where the three return the same, this planner gains nothing by
knowing which part is dead.
"""

# mujoco ships no types, and its names come from compiled modules.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import mujoco
import numpy as np
import torch
import tyro
from mujoco import rollout
from torch import Tensor
from tyro.conf import Positional

from experiments.studies import known
from metarl.policies.planner import Bounds, icem, planner_noise, shifted
from metarl.policies.planning import PlanningConfig
from metarl.versions import git_commit, versions
from metarl_envs import TaskFamily, get_family

STATE = mujoco.mjtState.mjSTATE_FULLPHYSICS
X = 1
"""Place of the root's position in a state, after the time."""


@dataclass(frozen=True)
class Crippled:
    """A family of robots with a dead part; its reward is v + `bonus` - `cost` |a|^2."""

    family: TaskFamily
    parts: tuple[tuple[int, ...], ...]
    """Actuators of each part."""
    dead: tuple[int, ...]
    """Parts that are dead, one robot each."""
    cost: float = 0.0
    bonus: float = 0.0


FAMILIES = {
    "half-cheetah-crippled": Crippled(
        get_family("half-cheetah-crippled"), tuple((n,) for n in range(6)), tuple(range(6)), 0.05
    ),
    "ant-crippled": Crippled(  # its actuators begin with those of leg 3
        get_family("ant-crippled"), ((2, 3), (4, 5), (6, 7), (0, 1)), dead=(3,), bonus=0.05
    ),
}


@dataclass(frozen=True)
class Options:
    """Robots and sizes."""

    names: Positional[tuple[str, ...]] = tuple(FAMILIES)
    """Families."""
    seeds: tuple[int, ...] = (0, 1)
    """One episode each."""
    out: Path = Path("experiments/results")
    """Folder for perfect-model-FAMILY.json."""


class Simulator(NamedTuple):
    """A robot with a dead part, or none."""

    robot: Crippled
    model: mujoco.MjModel
    data: mujoco.MjData
    imagined: mujoco.MjData
    """State that plans leave behind."""

    @classmethod
    def of(cls, robot: Crippled, dead: int | None) -> Simulator:
        """A robot of which a part's actuators have no gear."""
        model = robot.family.robot.load_model()
        if dead is not None:
            model.actuator_gear[list(robot.parts[dead])] = 0
        return cls(robot, model, mujoco.MjData(model), mujoco.MjData(model))

    def state(self) -> np.ndarray:
        """The state now, (S,)."""
        state = np.empty(mujoco.mj_stateSize(self.model, STATE))
        mujoco.mj_getState(self.model, self.data, state, STATE)
        return state

    def rewards(self, state: np.ndarray, plans: Tensor) -> Tensor:
        """Sums of the family's rewards from a state on: (C, H, A) -> (C,)."""
        family, frames = self.robot.family, self.robot.family.robot.frame_skip
        controls = plans.double().repeat_interleave(frames, dim=1).numpy()
        starts = np.broadcast_to(state, (len(plans), len(state)))
        states, _ = rollout.rollout(self.model, self.imagined, starts, controls)
        ends = np.asarray(states)[:, -1, X]
        run = (ends - state[X]) / family.dt_s  # sum of the speeds of all steps
        spent = self.robot.cost * plans.double().square().sum((1, 2))
        return torch.from_numpy(run) + self.robot.bonus * plans.shape[1] - spent


def episode(of: Crippled, dead: int, believed: int | None, seed: int, steps: int) -> float:
    """Return of a robot that plans with what it believes to be dead."""
    config, rng = PlanningConfig(), np.random.default_rng(seed)
    robot, imagined = Simulator.of(of, dead), Simulator.of(of, believed)
    robot.data.qpos[:] += rng.uniform(-0.1, 0.1, robot.model.nq)
    robot.data.qvel[:] = 0.1 * rng.standard_normal(robot.model.nv)
    mujoco.mj_forward(robot.model, robot.data)
    plan = torch.zeros(config.plan_steps, robot.model.nu)
    shape = (config.rounds, config.candidates, *plan.shape)
    noise = planner_noise(shape, config.plan_color, plan.dtype, plan.device)
    bounds = Bounds(-torch.ones(robot.model.nu), torch.ones(robot.model.nu))
    total = 0.0
    for _ in range(steps):
        returns = partial(imagined.rewards, robot.state())
        best, mean = icem(plan, returns, noise, config.plan_std, bounds, config.temperature)
        total += float(robot.rewards(robot.state(), best[None, :1]))
        robot.data.ctrl[:] = best[0].numpy()
        mujoco.mj_step(robot.model, robot.data, of.family.robot.frame_skip)
        plan = shifted(mean)
    return total


def returns_by_belief(robot: Crippled, options: Options) -> dict[int, dict[str, list[float]]]:
    """Returns of each robot by the one that is planned for, printed on the way."""
    found: dict[int, dict[str, list[float]]] = {}
    for dead in robot.dead:
        planned = {"own": dead, "healthy": None, "other": (dead + 1) % len(robot.parts)}
        found[dead] = {
            name: [
                episode(robot, dead, believed, seed, robot.family.horizon) for seed in options.seeds
            ]
            for name, believed in planned.items()
        }
        print(dead, {name: round(float(np.mean(v))) for name, v in found[dead].items()}, flush=True)
    return found


def main(options: Options) -> None:
    """Measure and write each family."""
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    for name in known(options.names, FAMILIES):
        print(name)
        found = returns_by_belief(FAMILIES[name], options)
        document = {"dead": found, "commit": git_commit(), "versions": versions()}
        written = options.out / f"perfect-model-{name}.json"
        written.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
