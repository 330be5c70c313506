"""Rewards and successes of Meta-World's reach-v3, push-v3 and pick-place-v3, for N worlds at once.

The formulas are those of version "v2" of the rewards in metaworld 3.0.0 (MIT), written as functions
of tensors. They are made of two pieces of fuzzy logic: `near`, dm_control's tolerance with its
"long tail", and `both`, the product of Hamacher.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from metarl_envs.robots.base import Transition
from metarl_envs.robots.sawyer import HAND_START, Parts, Settled

REACHED_M = 0.05
"""Distance within which rewards call a goal reached."""
RADIUS_M = 0.015
"""Least distance of a pad to the middle of an object that it holds."""
PAD_M = 0.05
"""Distance of a pad to the object from which on it cages it."""
ASIDE_M = 0.005
"""Distance of the tip to the object, in x and z, from which on it cages it."""
CAGED = 0.97
"""Caging from which on it pays to close the fingers."""
HELD_M = 0.02
"""Distance of the tip to an object that it holds."""
LIFTED_M = 0.01
"""Height over its start of an object that is lifted."""


def near(x: Tensor, low: float, high: float, margin: Tensor) -> Tensor:
    """1 within [low, high], 0.1 at `margin` from there, less beyond: (N,) or (N, d) each.

    1 / (1 + (3 d / margin)^2) at a distance d; 0 outside where the margin is 0.
    """
    outside = torch.where(x < low, low - x, x - high)
    value = 1 / ((outside / margin * 3) ** 2 + 1)
    value = torch.where(margin > 0, value, 0.0)
    return torch.where((x >= low) & (x <= high), 1.0, value)


def both(a: Tensor, b: Tensor) -> Tensor:
    """Product of Hamacher, a b / (a + b - a b), of numbers in [0, 1]; 0 where both are: (N,)."""
    product = a * b
    total = a + b - product
    return torch.where(total > 0, product / torch.where(total > 0, total, 1.0), 0.0)


@dataclass(frozen=True)
class Rules(ABC):
    """Reward and success of an environment."""

    success_m: ClassVar[float]
    """Distance to the goal that is a success."""
    parts: Parts
    start: Settled

    @abstractmethod
    def reward(self, transition: Transition) -> Tensor:
        """From 0 to 10: (N,)."""

    @abstractmethod
    def distance(self, transition: Transition) -> Tensor:
        """Distance to the goal of what should be there, m: (N,)."""

    def begin(self, transition: Transition) -> Tensor:
        """Place of the object at the start, m: (N, 3)."""
        return at_height(transition.task["goal"][:, :2], self.start.object_height_m)

    def success(self, transition: Transition) -> Tensor:
        """1 where the goal is reached after this step, else 0: (N,)."""
        distance = self.distance(transition)
        return (distance <= self.success_m).to(distance.dtype)


class Reach(Rules):
    """Bring the tip to the goal."""

    success_m = REACHED_M

    def reward(self, transition: Transition) -> Tensor:
        margin = _distance_to(_goal(transition), HAND_START)
        return 10 * near(self.distance(transition), 0.0, REACHED_M, margin)

    def distance(self, transition: Transition) -> Tensor:
        return (self.parts.tip(transition.after) - _goal(transition)).norm(dim=1)


class Push(Rules):
    """Push the object along the table to the goal, a place on it."""

    success_m = REACHED_M

    def reward(self, transition: Transition) -> Tensor:
        parts, state = self.parts, transition.after
        place, begin = parts.place(state), self.begin(transition)
        distance = self.distance(transition)
        margin = (begin - self._on_table(transition)).norm(dim=1)
        in_place = near(distance, 0.0, REACHED_M, margin)
        pads = parts.pads(state)
        margins = ((pads - begin[:, 1:2]).abs() - PAD_M).abs()
        caging = near((pads - place[:, 1:2]).abs(), RADIUS_M, PAD_M, margins)
        grasped = _grasped(self, transition, caging, begin)
        tip = (place - parts.tip(state)).norm(dim=1)
        held = (tip < HELD_M) & (parts.opening(state) > 0)
        reward = torch.where(held, 4 * grasped + 1 + 5 * in_place, 2 * grasped)
        return torch.where(distance < REACHED_M, 10.0, reward)

    def distance(self, transition: Transition) -> Tensor:
        return (self.parts.place(transition.after) - self._on_table(transition)).norm(dim=1)

    def _on_table(self, transition: Transition) -> Tensor:
        """Place of the goal at the height of an object at rest, m: (N, 3)."""
        return at_height(_goal(transition)[:, :2], self.start.object_height_m)


class PickPlace(Rules):
    """Lift the object to the goal, in the air."""

    success_m = 0.07

    def reward(self, transition: Transition) -> Tensor:
        parts, state = self.parts, transition.after
        place, begin = parts.place(state), self.begin(transition)
        distance = self.distance(transition)
        margin = (begin - _goal(transition)).norm(dim=1)
        in_place = near(distance, 0.0, REACHED_M, margin)
        left, right = parts.pads(state).unbind(dim=1)
        gaps = torch.stack([left - place[:, 1], place[:, 1] - right], dim=1)
        # The pads "at the start" of the package are views of the state: they are those of now.
        margins = (gaps.abs() - PAD_M).abs()
        caging = near(gaps, RADIUS_M, PAD_M, margins)
        grasped = _grasped(self, transition, caging, begin)
        tip = (place - parts.tip(state)).norm(dim=1)
        held = (tip < HELD_M) & (parts.opening(state) > 0)
        lifted = held & (place[:, 2] - LIFTED_M > begin[:, 2])
        reward = both(grasped, in_place)
        reward = torch.where(lifted, reward + 1 + 5 * in_place, reward)
        return torch.where(distance < REACHED_M, 10.0, reward)

    def distance(self, transition: Transition) -> Tensor:
        return (self.parts.place(transition.after) - _goal(transition)).norm(dim=1)


def at_height(places: Tensor, height_m: float) -> Tensor:
    """Places (N, 2) at a height: (N, 3)."""
    return torch.cat([places, places.new_full((len(places), 1), height_m)], dim=1)


def _goal(transition: Transition) -> Tensor:
    """Place of the goal, the last numbers of the task, m: (N, 3)."""
    return transition.task["goal"][:, 3:]


def _grasped(rules: Rules, transition: Transition, pads: Tensor, begin: Tensor) -> Tensor:
    """Caging of the object and closing of the fingers, half each, from 0 to 1: (N,).

    Args:
        rules: of the environment.
        transition: the step.
        pads: (N, 2) caging in y by each of the pads.
        begin: (N, 3) place of the object at the start.
    """
    state = transition.after
    place, tip = rules.parts.place(state), rules.parts.tip(state)
    aside = _in_xz(tip - place)
    x, _, z = rules.start.tip_m
    margin = torch.sqrt((begin[:, 0] - x) ** 2 + (begin[:, 2] - z) ** 2) - ASIDE_M
    caging = both(both(pads[:, 0], pads[:, 1]), near(aside, 0.0, ASIDE_M, margin))
    closing = torch.where(caging > CAGED, transition.action[:, 3].clamp(0.0, 1.0), 0.0)
    return (both(caging, closing) + caging) / 2


def _in_xz(way: Tensor) -> Tensor:
    """Length of ways (N, 3) in x and z: (N,)."""
    return torch.sqrt(way[:, 0] ** 2 + way[:, 2] ** 2)


def _distance_to(places: Tensor, point: tuple[float, float, float]) -> Tensor:
    """Distance of places (N, 3) to a point: (N,)."""
    # Plain numbers: a tensor made here could not be captured in a CUDA graph.
    ways = zip(places.unbind(dim=1), point, strict=True)
    return torch.stack([axis - p for axis, p in ways], dim=1).norm(dim=1)
