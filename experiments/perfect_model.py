"""Planning with the simulator itself: what knowing the dead actuator is worth to the half-cheetah.

    python -m experiments.perfect_model   # ten minutes of one core

The planner of `grbal`, with MuJoCo in the place of its model, drives a robot of
`half-cheetah-crippled` for an episode. It plans for the robot as it is (`own`), for a healthy one
(`healthy`), or for one whose next actuator is dead instead (`other`). Where the three return the
same, this planner gains nothing by knowing which actuator is dead.
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

from metarl.policies.planner import Bounds, icem, planner_noise, shifted
from metarl.policies.planning import PlanningConfig
from metarl.versions import git_commit, versions
from metarl_envs import get_family

FAMILY = get_family("half-cheetah-crippled")
ACTUATORS = 6
STATE = mujoco.mjtState.mjSTATE_FULLPHYSICS
X = 1
"""Place of the root's position in a state, after the time."""


@dataclass(frozen=True)
class Options:
    """Robots and sizes."""

    dead: tuple[int, ...] = tuple(range(ACTUATORS))
    """Actuators that are dead, one robot each."""
    seeds: tuple[int, ...] = (0, 1)
    """One episode each."""
    steps: int = FAMILY.horizon
    """Of an episode."""
    out: Path = Path("experiments/results")
    """Folder for perfect_model.json."""


class Simulator(NamedTuple):
    """A robot with a dead actuator, or none."""

    model: mujoco.MjModel
    data: mujoco.MjData
    imagined: mujoco.MjData
    """State that plans leave behind."""

    @classmethod
    def of(cls, dead: int | None) -> Simulator:
        """A robot whose actuator has no gear."""
        model = FAMILY.robot.load_model()
        if dead is not None:
            model.actuator_gear[dead] = 0
        return cls(model, mujoco.MjData(model), mujoco.MjData(model))

    def state(self) -> np.ndarray:
        """The state now, (S,)."""
        state = np.empty(mujoco.mj_stateSize(self.model, STATE))
        mujoco.mj_getState(self.model, self.data, state, STATE)
        return state

    def rewards(self, state: np.ndarray, plans: Tensor) -> Tensor:
        """Sum of the family's rewards, v - 0.05 |a|^2, from a state on: (C, H, A) -> (C,)."""
        frames = FAMILY.robot.frame_skip
        controls = plans.double().repeat_interleave(frames, dim=1).numpy()
        starts = np.broadcast_to(state, (len(plans), len(state)))
        states, _ = rollout.rollout(self.model, self.imagined, starts, controls)
        ends = np.asarray(states)[:, -1, X]
        run = (ends - state[X]) / FAMILY.dt_s  # sum of the speeds of all steps
        return torch.from_numpy(run) - 0.05 * plans.double().square().sum((1, 2))


def episode(dead: int, believed: int | None, seed: int, steps: int) -> float:
    """Return of a robot that plans with what it believes to be dead."""
    config, rng = PlanningConfig(), np.random.default_rng(seed)
    robot, imagined = Simulator.of(dead), Simulator.of(believed)
    robot.data.qpos[:] += rng.uniform(-0.1, 0.1, robot.model.nq)
    robot.data.qvel[:] = 0.1 * rng.standard_normal(robot.model.nv)
    mujoco.mj_forward(robot.model, robot.data)
    plan = torch.zeros(config.plan_steps, ACTUATORS)
    shape = (config.rounds, config.candidates, *plan.shape)
    noise = planner_noise(shape, config.plan_color, plan.dtype, plan.device)
    bounds = Bounds(-torch.ones(ACTUATORS), torch.ones(ACTUATORS))
    total = 0.0
    for _ in range(steps):
        returns = partial(imagined.rewards, robot.state())
        best, mean = icem(plan, returns, noise, config.plan_std, bounds, config.temperature)
        total += float(robot.rewards(robot.state(), best[None, :1]))
        robot.data.ctrl[:] = best[0].numpy()
        mujoco.mj_step(robot.model, robot.data, FAMILY.robot.frame_skip)
        plan = shifted(mean)
    return total


def main(options: Options) -> None:
    """Returns of every robot by the one that is planned for, printed and written."""
    torch.set_num_threads(1)
    found: dict[int, dict[str, list[float]]] = {}
    for dead in options.dead:
        planned = {"own": dead, "healthy": None, "other": (dead + 1) % ACTUATORS}
        found[dead] = {
            name: [episode(dead, believed, seed, options.steps) for seed in options.seeds]
            for name, believed in planned.items()
        }
        print(dead, {name: round(float(np.mean(v))) for name, v in found[dead].items()}, flush=True)
    document = {"dead": found, "commit": git_commit(), "versions": versions()}
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "perfect_model.json").write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
