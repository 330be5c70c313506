"""Names of the entries of observations and actions, for users of an exported policy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

import mujoco
import torch
from torch import Generator, Tensor

from metarl_envs.engines.cpu import CpuEngine
from metarl_envs.family import TaskFamily
from metarl_envs.mjcf.names import control_names, names
from metarl_envs.robots.base import MujocoRobot, State, fresh

WIDTHS = {mujoco.mjtJoint.mjJNT_FREE: (7, 6), mujoco.mjtJoint.mjJNT_BALL: (4, 3)}
"""Positions and velocities of a joint that has more than one."""


def action_names(family: TaskFamily) -> list[str]:
    """Of each action, (A,): the model's actuators; `action[i]` where it is none, or has no name."""
    size = len(family.action_bounds()[0])
    robot = family.robot
    if robot.xml is None or robot.controls is not None:
        return [f"action[{i}]" for i in range(size)]
    found = control_names(robot.load_model())
    return unique([found[i] or f"action[{i}]" for i in range(size)])


def observation_names(family: TaskFamily) -> list[str]:
    """Of each entry of the observation, (O,).

    `qpos.JOINT` and `qvel.JOINT` for what a robot's observation copies from the state of its model,
    by number for a joint of several; a parameter's own name where the policy observes it, `task[i]`
    for the features that an oracle observes; `observation[i]` for what is computed, and for robots
    that are no MuJoCo model of ours.
    """
    size, robot = family.observation_size, family.robot
    found = [f"observation[{i}]" for i in range(size)]
    if robot.xml is not None:
        found[: robot.observation_size] = _copied(robot, found[: robot.observation_size])
    observed = [
        parameter.name + (f"[{i}]" if parameter.shape else "")
        for parameter in family.parameters
        if parameter.observed
        for i in range(parameter.shape[0] if parameter.shape else 1)
    ]
    features = size - robot.observation_size - len(observed)
    found[robot.observation_size :] = [*observed, *(f"task[{i}]" for i in range(features))]
    return unique(found)


def _copied(robot: MujocoRobot, otherwise: list[str]) -> list[str]:
    """Names of the entries that are a position or a velocity, recognised by their values."""
    model, state = robot.load_model(), _odd_state(robot)
    positions, velocities = joint_coordinates(model)
    known: dict[float, str] = {}
    for name, labels in (("qpos", positions), ("qvel", velocities)):
        known |= dict(zip(state[name][0].tolist(), labels, strict=True))
    observe: Callable[[State], Tensor] = robot.observation
    seen = observe(fresh(robot, state))[0].tolist()
    return [known.get(value, name) for value, name in zip(seen, otherwise, strict=True)]


def _odd_state(robot: MujocoRobot) -> Mapping[str, Tensor]:
    """A state near the start in which no two numbers are the same."""
    engine = CpuEngine(robot.load_model(), 1, outputs=robot.outputs)
    random = Generator().manual_seed(0)
    state = (
        row + 0.1 * torch.rand(row.shape, generator=random, dtype=torch.float64)
        for row in robot.initial_state()
    )
    engine.reset(None, *(row.unsqueeze(0) for row in state))
    return engine.data


def joint_coordinates(model: mujoco.MjModel) -> tuple[list[str], list[str]]:
    """Names of a model's positions and velocities, (nq,) and (nv,)."""
    coordinates: tuple[list[str], list[str]] = ([], [])
    joints = names(model, "joint")
    labels = unique([joints[i] or f"joint{i}" for i in range(model.njnt)])
    for joint, label in enumerate(labels):
        widths = WIDTHS.get(mujoco.mjtJoint(model.jnt_type[joint]), (1, 1))
        for kind, found, width in zip(("qpos", "qvel"), coordinates, widths, strict=True):
            numbers = [f"[{i}]" for i in range(width)] if width > 1 else [""]
            found += [f"{kind}.{label}{number}" for number in numbers]
    return coordinates


def unique(labels: list[str]) -> list[str]:
    """The same, with a number behind those that are there more than once."""
    count = Counter(labels)
    seen: Counter[str] = Counter()
    result = []
    for label in labels:
        result.append(f"{label}#{seen[label]}" if count[label] > 1 else label)
        seen[label] += 1
    return result
