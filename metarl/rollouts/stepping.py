"""Steps of M x E worlds through one episode: masked on a CPU, as captured graphs on a GPU.

Axes: M tasks, E episodes per task, N = M*E worlds, T steps, O observation, A action.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from metarl.policies.base import Policy
from metarl.policies.belief import Belief, Outcome, where
from metarl.policies.params import Params
from metarl.rollouts.task_env import EnvStep, TaskEnv
from metarl_envs import Tasks


class TaskChange(NamedTuple):
    """Other tasks in the midst of an episode."""

    tasks: Tasks  # M
    known: Belief = {}  # noqa: RUF012 - never changed
    """Entries of the policy's belief that change with them, as a teacher's that observes the task,
    each shaped as in the belief of `Policy.act`."""


Changes = Mapping[int, TaskChange]
"""Changes of an episode's tasks, by the step before which they are set."""
Capture = Callable[[Callable[[], None]], Callable[[], None]]
"""Captures a function over fixed tensors and returns its replay, such as a CUDA graph's launch."""


class StepBuffers:
    """Preallocated time-major buffers for one episode in each of N worlds, with beliefs.

    Each step writes one contiguous block in place. The number of a step is an int, or a tensor (1,)
    on their device, which is read without waiting.
    """

    def __init__(
        self, policy: Policy, params: Mapping[str, Tensor], noise: Tensor, belief: Belief
    ) -> None:
        """Allocate T steps.

        Args:
            policy: the policy function.
            params: per-task parameters, (M, ...), or of one policy, (1, ...), read at every step.
            noise: of the policies' outputs, (T, N, A), read at every step.
            belief: at the start, (M, E, ...), or (1, N, ...) of one policy: copied.
        """
        T, N, A = noise.shape
        self._policy, self._params, self._noise = policy, params, noise
        self._by_policy = by_policy(params, N)

        def buffer(*shape: int, dtype: torch.dtype = noise.dtype) -> Tensor:
            return torch.zeros(shape, dtype=dtype, device=noise.device)

        self.observations = buffer(T + 1, N, policy.observation_size)  # the last after the end
        self.outputs = buffer(T, N, A)
        self.rewards, self.quantity = buffer(T, N), buffer(T, N)
        self.terminated, self.truncated, self.diverged = (
            buffer(T, N, dtype=torch.bool) for _ in range(3)
        )
        self.alive = torch.ones(N, dtype=torch.bool, device=noise.device)
        self.belief = {
            name: value.clone(memory_format=torch.contiguous_format)
            for name, value in belief.items()
        }

    def act(self, t: int | Tensor) -> Tensor:
        """Store the policies' outputs at step t and return their controls, (N, A)."""
        observations = self.observations[t].view(*self._by_policy, -1)
        dist, belief = self._policy.act(self._params, self.belief, observations)
        self._believe(belief)
        output = dist.mean.flatten(0, 1) + self._noise[t].flatten(0, -2)  # (N, A)
        _write(self.outputs, t, output)
        return self._policy.controls(output)

    def store(self, t: int | Tensor, step: EnvStep, observations: Tensor) -> None:
        """Store the outcome of step t, and the observations after it, (N, O)."""
        _write(self.rewards, t, step.rewards)
        _write(self.quantity, t, step.quantity)
        _write(self.terminated, t, step.terminated)
        _write(self.truncated, t, step.truncated)
        _write(self.diverged, t, step.diverged)
        _write(self.observations, t + 1, observations)
        if self.belief:
            self._believe(self._policy.observe(self._params, self.belief, self._outcome(t)))
        self.alive &= ~(step.terminated | step.truncated | step.diverged)

    def know(self, entries: Belief) -> None:
        """Replace entries of the belief, in every world."""
        for name, value in entries.items():
            self.belief[name].copy_(value)

    def _outcome(self, t: int | Tensor) -> Outcome:
        """Outcome of step t as `metarl.policies.belief.outcomes` gives it."""

        def at(buffer: Tensor, t: int | Tensor) -> Tensor:
            return buffer[t].view(*self._by_policy, *buffer.shape[2:])

        flags = at(self.terminated, t), at(self.truncated, t)
        sent = self._policy.sent(at(self.outputs, t))
        return Outcome(sent, at(self.rewards, t), *flags, at(self.observations, t + 1))

    def _believe(self, belief: Belief) -> None:
        """Update the belief in the worlds whose episode goes on."""
        # What a policy hands back as it got it is not copied: a window of steps can be large.
        changed = {name: v for name, v in belief.items() if v is not self.belief[name]}
        if changed:
            alive = self.alive.view(self._by_policy)
            for name, value in where(alive, changed, self.belief).items():
                self.belief[name].copy_(value)


def by_policy(params: Mapping[str, Tensor], num_worlds: int) -> tuple[int, int]:
    """(policies, worlds of each): (M, E), or (1, N) where one policy acts in all worlds."""
    count = len(next(iter(params.values())))
    return count, num_worlds // count


def _write(buffer: Tensor, t: int | Tensor, value: Tensor) -> None:
    if isinstance(t, int):
        buffer[t] = value
    else:
        buffer.index_copy_(0, t, value.to(buffer.dtype).unsqueeze(0))


def run_while_alive(env: TaskEnv, buffers: StepBuffers, changes: Changes) -> int:
    """Step from the first observations until no world is alive; returns the number of steps.

    For engines on a CPU, where reading `alive` costs nothing.

    Args:
        env: reset.
        buffers: with the first observations.
        changes: of the tasks, by the step before which they are set.
    """
    mask = None
    for t in range(env.horizon):
        if t in changes:
            env.set_tasks(changes[t].tasks)
            buffers.know(changes[t].known)
        step = env.step(buffers.act(t), mask)
        buffers.store(t, step, step.observations)
        if not bool(buffers.alive.all()):
            mask = buffers.alive
            if not bool(mask.any()):
                return t + 1
    return env.horizon


class CapturedSteps:
    """A time step of one policy function in one environment, captured once and repeated T times.

    The step is three launches: observations to controls, the engine's own graph, and storing the
    outcome. The engine's graph is apart: its solver loops until all worlds have converged, and CUDA
    refuses such nodes in a graph within a graph (NVIDIA/warp#1827). In a capture by torch, Warp
    would suspend it at each of them, and torch's allocator takes the resumed one for another.

    The engine steps all worlds to the end. Worlds whose episode is over keep its last observation.
    """

    def __init__(
        self,
        env: TaskEnv,
        policy: Policy,
        params: Mapping[str, Tensor],
        noise: Tensor,
        belief: Belief,
        capture: Capture,
    ) -> None:
        """Capture a step; the worlds have to be reset afterwards.

        Args:
            env: the worlds.
            policy: the policy function.
            params, noise, belief: as of `run`, for their names, shapes and types.
            capture: makes the two graphs.
        """
        self._env = env
        self._params: Params = {name: value.clone() for name, value in params.items()}
        self._noise = noise.clone()
        self._t = t = torch.zeros(1, dtype=torch.long, device=noise.device)
        self.buffers = buffers = StepBuffers(policy, self._params, self._noise, belief)

        def act() -> None:
            env.begin_step(buffers.act(t))

        def store() -> None:
            step = env.end_step()
            before = buffers.observations[t].squeeze(0)
            observations = torch.where(buffers.alive[:, None], step.observations, before)
            buffers.store(t, step, observations)
            t.add_(1)

        self._act, self._store = capture(act), capture(store)

    def run(
        self,
        params: Mapping[str, Tensor],
        noise: Tensor,
        belief: Belief,
        observations: Tensor,
        changes: Changes,
    ) -> None:
        """T steps from the first observations, (N, O), without waiting for the device.

        Args:
            params: per-task parameters, (M, ...).
            noise: of the policies' outputs, (T, N, A).
            belief: at the start, (M, E, ...).
            observations: as the reset gave them.
            changes: of the tasks, by the step before which they are set.
        """
        for name, value in self._params.items():
            value.copy_(params[name])
        for name, value in self.buffers.belief.items():
            value.copy_(belief[name])
        self._noise.copy_(noise)
        self._t.zero_()
        self.buffers.alive.fill_(True)
        self.buffers.observations[0] = observations
        for t in range(self._env.horizon):
            if t in changes:
                self._env.set_tasks(changes[t].tasks)
                self.buffers.know(changes[t].known)
            self._act()
            self._env.simulate()
            self._store()
