"""What the learner knows of an environment: M tasks in E worlds each, stepped all at once.

`metarl_envs.BatchEnv` is one; a batched simulator of someone else's becomes one by these members.
N = M*E worlds in task-major order: world m*E + e runs task m. Nothing resets by itself.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Generator, Tensor

from metarl_envs import Tasks


class EnvStep(Protocol):
    """What one control step led to."""

    @property
    def observations(self) -> Tensor: ...  # (N, O)
    @property
    def rewards(self) -> Tensor: ...  # (N,)
    @property
    def terminated(self) -> Tensor: ...  # (N,) the MDP ended
    @property
    def truncated(self) -> Tensor: ...  # (N,) the horizon was reached
    @property
    def diverged(self) -> Tensor: ...  # (N,) not physics any more; the rest is finite there
    @property
    def quantity(self) -> Tensor: ...  # (N,) a physical quantity to report beside the reward


class TaskEnv(Protocol):
    """M x E worlds whose tasks are set from outside."""

    @property
    def num_tasks(self) -> int:
        """M."""
        ...

    @property
    def episodes_per_task(self) -> int:
        """E."""
        ...

    @property
    def horizon(self) -> int:
        """T, steps until an episode is truncated."""
        ...

    @property
    def device(self) -> torch.device:
        """Of all tensors that it gives and takes."""
        ...

    def set_tasks(self, tasks: Tasks) -> None:
        """Give each of the M tasks to its worlds; nothing is reset."""
        ...

    def reset(self, generator: Generator) -> Tensor:
        """Start an episode in every world: its first observations, (N, O)."""
        ...

    def step(self, actions: Tensor, mask: Tensor | None = None) -> EnvStep:
        """Apply controls, (N, A), in the worlds of `mask`, (N,); None: in all.

        The other worlds keep state and observation; what is said of them else means nothing.
        """
        ...

    # The same in three parts, of which a GPU captures the first and the last as graphs: they must
    # not wait for it, nor leave tensors behind that the next step reads elsewhere.

    def begin_step(self, actions: Tensor) -> None:
        """Take the controls of a step of all worlds."""
        ...

    def simulate(self) -> None:
        """Advance the physics."""
        ...

    def end_step(self) -> EnvStep:
        """What the step led to."""
        ...

    def complaint(self) -> str:
        """Why worlds diverged since the last reset, where a user can change it; "" otherwise."""
        ...
