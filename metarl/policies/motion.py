"""Observations as networks read them, and the changes of a step as networks predict them.

A robot moves alike after a whole turn of a joint, and with any heading. So networks read sine and
cosine of an angle; of a floating body, the direction of gravity and its own velocity as seen from
it; and they predict how it turns and speeds up as seen from it.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from metarl.policies.normaliser import CLIP_OBSERVATIONS
from metarl_envs import Floating
from metarl_envs.rotations import down, in_body_frame, in_world_frame, turn_between, turned

Scale = tuple[Tensor, Tensor]
"""Mean and standard deviation, each (..., X)."""


@dataclass(frozen=True)
class Motion:
    """Meaning of the entries of an observation, as far as networks need to know."""

    observation_size: int
    """O."""
    task_size: int = 0
    """Entries at the end of the observation that are an observed task, which no step changes."""
    angles: tuple[int, ...] = ()
    """Entries that come round, in order."""
    floating: Floating | None = None
    """Entries of a floating body; None: there is none, or the heading counts."""

    @property
    def read_size(self) -> int:
        """R, numbers that networks read."""
        return self.observation_size + len(self.angles) - (self.floating is not None)

    @property
    def change_size(self) -> int:
        """D, numbers that a step changes."""
        return self.observation_size - self.task_size - (self.floating is not None)

    def read(self, observations: Tensor, scale: Scale) -> Tensor:
        """Observations as networks read them: (..., O) -> (..., R)."""
        spans = [(angle, angle + 1) for angle in self.angles]
        angles = [observations[..., start:end] for start, end in spans]
        own = [*(a.sin() for a in angles), *(a.cos() for a in angles)]
        if self.floating:
            attitude, velocity = self._attitude(observations), self._velocity(observations)
            speed = self._velocity(scale[1]).square().mean(-1, keepdim=True).sqrt()
            own += [down(attitude), standardised(in_body_frame(attitude, velocity), (0.0, speed))]
            quaternion, first = self.floating
            spans = sorted([*spans, (quaternion, quaternion + 4), (first, first + 3)])
        others = standardised(observations, scale)
        edges = itertools.pairwise([(0, 0), *spans, (self.observation_size,) * 2])
        return torch.cat([*(others[..., end:start] for (_, end), (start, _) in edges), *own], -1)

    def change(self, before: Tensor, after: Tensor) -> Tensor:
        """Change of a step: (..., O), twice -> (..., D)."""
        moved = (after - before)[..., : self.observation_size - self.task_size]
        if self.floating is None:
            return moved
        quaternion, first = self.floating
        attitude = self._attitude(before)
        turn = turn_between(attitude, self._attitude(after))
        faster = in_body_frame(attitude, self._velocity(moved))
        between, behind = moved[..., quaternion + 4 : first], moved[..., first + 3 :]
        return torch.cat([moved[..., :quaternion], turn, between, faster, behind], dim=-1)

    def after(self, before: Tensor, change: Tensor) -> Tensor:
        """The reverse of `change`, for what a network predicts: (..., O), (..., D) -> (..., O)."""
        task = before[..., self.observation_size - self.task_size :]
        if self.floating is None:
            moved = before[..., : self.observation_size - self.task_size] + change
            return torch.cat([moved, task], dim=-1)
        quaternion, first = self.floating
        attitude = self._attitude(before)
        turn = turned(attitude, change[..., quaternion : quaternion + 3])
        # A turn has one number less than a quaternion: what is behind it stands one place earlier.
        faster = in_world_frame(attitude, change[..., first - 1 : first + 2])
        return torch.cat(
            [
                before[..., :quaternion] + change[..., :quaternion],
                turn,
                before[..., quaternion + 4 : first] + change[..., quaternion + 3 : first - 1],
                self._velocity(before) + faster,
                before[..., first + 3 : self.observation_size - self.task_size]
                + change[..., first + 2 :],
                task,
            ],
            dim=-1,
        )

    def _attitude(self, observations: Tensor) -> Tensor:
        """The body's quaternion, of length 1 also where sensors err: (..., 4)."""
        assert self.floating is not None
        return normalize(observations[..., self.floating.quaternion :][..., :4], dim=-1)

    def _velocity(self, values: Tensor) -> Tensor:
        """The entries of the body's velocity: (..., 3)."""
        assert self.floating is not None
        return values[..., self.floating.velocity :][..., :3]


def standardised(values: Tensor, scale: tuple[Tensor | float, Tensor]) -> Tensor:
    """Values with mean 0 and variance 1, clipped."""
    mean, std = scale
    return ((values - mean) / std).clamp(-CLIP_OBSERVATIONS, CLIP_OBSERVATIONS)
