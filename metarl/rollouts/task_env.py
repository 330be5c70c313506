"""The learner's view of an environment: M tasks in E worlds each, stepped all at once.

`metarl_envs.BatchEnv` has these members; another batched simulator becomes a `TaskEnv` by them.
N = M*E worlds in task-major order: world m*E + e runs task m. Nothing resets by itself.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Generator, Tensor

from metarl_envs import Tasks


class EnvStep(Protocol):
    """Outcome of one control step."""

    @property
    def observations(self) -> Tensor: ...  # (N, O)
    @property
    def rewards(self) -> Tensor: ...  # (N,)
    @property
    def terminated(self) -> Tensor: ...  # (N,) the MDP ended
    @property
    def truncated(self) -> Tensor: ...  # (N,) the horizon was reached
    @property
    def diverged(self) -> Tensor: ...  # (N,) the simulation failed; the rest is finite there
    @property
    def quantity(self) -> Tensor: ...  # (N,) a physical quantity to report beside the reward, or 1

    # where the task is solved in this step


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
    def measures_success(self) -> bool:
        """True if the quantity is a flag of success, so that an episode's is that of any step."""
        ...

    @property
    def device(self) -> torch.device:
        """Device of all tensors that go in and come out."""
        ...

    def set_tasks(self, tasks: Tasks) -> None:
        """Give each of the M tasks to its worlds; nothing is reset."""
        ...

    def reset(self, generator: Generator) -> Tensor:
        """Start an episode in every world: its first observations, (N, O)."""
        ...

    def reset_part(self, generator: Generator, total: int, worlds: Tensor) -> Tensor:
        """`reset` where other processes have the other worlds of a meta-batch.

        Args:
            generator: all of them draw from it for every world, so that it goes on alike.
            total: number of worlds of all processes.
            worlds: numbers among them of this environment's, (N,).
        """
        ...

    def step(self, actions: Tensor, mask: Tensor | None = None) -> EnvStep:
        """Apply controls, (N, A), in the worlds of `mask`, (N,); None: in all.

        The other worlds keep state and observation; the rest of their outcome is undefined.
        """
        ...

    # `step` in three parts. On a GPU the first and the last are captured as graphs: they must not
    # wait for it, and must write what the next step reads to the same memory each time.

    def begin_step(self, actions: Tensor) -> None:
        """Take the controls of a step of all worlds."""
        ...

    def simulate(self) -> None:
        """Advance the physics."""
        ...

    def end_step(self) -> EnvStep:
        """Outcome of the step."""
        ...

    def overflow_message(self) -> str:
        """The capacity limit exceeded since the last reset, and how to raise it; "" if none."""
        ...
