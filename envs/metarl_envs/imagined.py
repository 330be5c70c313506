"""Outcomes of imagined steps: reward and end by the family's own rules, from observations alone.

A planner asks what a step would pay that no simulator takes. Rewards are functions of states, and
observations tell a robot's state as far as `MujocoRobot.recovered` says. Goals that a policy
observes are read where it reads them, so that another goal may be asked for at any step.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from metarl_envs.family import TaskFamily
from metarl_envs.perturbations import EncoderOffset, ObservationBias, ObservationGain
from metarl_envs.robots.base import Transition

SensorError = ObservationBias | ObservationGain | EncoderOffset
"""Of a whole episode; the mean of fresh noise is zero."""


class Outcomes(NamedTuple):
    """Rewards of N steps, and those of them that end the episode."""

    rewards: Tensor  # (N,)
    terminated: Tensor  # (N,)


def tells_outcomes(family: TaskFamily) -> bool:
    """True if observations and actions tell the reward: no goal is hidden, and states follow.

    They do not follow from sensors with constant errors, which a planner would take for the state.
    """
    hidden_goal = any(p.effect is None and not p.observed for p in family.parameters)
    wrong_sensors = any(isinstance(p.perturbation, SensorError) for p in family.parameters)
    return family.robot.recovered is not None and not (hidden_goal or wrong_sensors)


def imagined_outcomes(
    family: TaskFamily, observations: Tensor, controls: Tensor, following: Tensor
) -> Outcomes:
    """Outcomes of N steps of a family that tells them, on any device.

    Hidden parameters of the physics, which rewards do not read, are nominal.

    Args:
        family: one of which `tells_outcomes` is true.
        observations, following: before and after each step, (N, O).
        controls: of each step, (N, A).
    """
    robot = family.robot
    assert robot.recovered is not None
    own = robot.observation_size
    before, after = robot.recovered(observations[:, :own], following[:, :own], robot.dt_s)
    task = _task(family, observations[:, own:])
    transition = Transition(before, after, controls, robot.dt_s, task)
    return Outcomes(family.reward(transition), family.termination(transition))


def _task(family: TaskFamily, observed: Tensor) -> dict[str, Tensor]:
    """Values of all parameters, each (N,) or (N, d), from the end of the observations."""
    values, at = {}, 0
    for parameter in family.parameters:
        size = math.prod(parameter.shape)
        if parameter.observed:
            columns, at = observed[:, at : at + size], at + size
        else:
            given = parameter.nominal
            nominal = given if isinstance(given, tuple) else (given,)
            filled = [observed.new_full((len(observed),), value) for value in nominal]
            columns = torch.stack(filled, dim=1)
        values[parameter.name] = columns.reshape(len(observed), *parameter.shape)
    return values
