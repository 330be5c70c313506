"""Episodes of M x E worlds, step by step: on a CPU with an eye on who is alive, on a GPU captured.

Axes: M tasks, E episodes per task, N = M*E worlds, T steps, O observation, A action.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from metarl.policies.base import Policy
from metarl.policies.belief import Belief, Outcome, where
from metarl.policies.params import Params
from metarl.rollouts.task_env import EnvStep, TaskEnv

Capture = Callable[[Callable[[], None]], Callable[[], None]]
"""From work on tensors that stay where they are to what does it again, such as a graph's launch."""


class StepBuffers:
    """What M policies see, do and get in an episode of each of N worlds, and what they believe.

    Time-major, so that a step writes one contiguous block. All tensors are there from the start
    and are written in place. The number of a step is an int, or a tensor (1,) on their device,
    which nobody has to wait for.
    """

    def __init__(
        self,
        env: TaskEnv,
        policy: Policy,
        params: Mapping[str, Tensor],
        noise: Tensor,
        belief: Belief,
    ) -> None:
        """Tensors for `env.horizon` steps.

        Args:
            env: whose worlds; not kept.
            policy: the policy function.
            params: per-task parameters, (M, ...), read at every step.
            noise: of the policies' outputs, (T, N, A), likewise.
            belief: at the start, (M, E, ...): copied.
        """
        T, N, A = noise.shape
        self._policy, self._params, self._noise = policy, params, noise
        self._by_task = (env.num_tasks, env.episodes_per_task)

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
        """The policies' controls at step t, (N, A), their outputs being noted."""
        seen = self.observations[t].view(*self._by_task, -1)
        dist, belief = self._policy.act(self._params, self.belief, seen)
        self._believe(belief)
        output = dist.mean.flatten(0, 1) + self._noise[t].flatten(0, -2)  # (N, A)
        _write(self.outputs, t, output)
        return self._policy.controls(output)

    def note(self, t: int | Tensor, step: EnvStep, observations: Tensor) -> None:
        """What step t led to, with what is seen after it."""
        _write(self.rewards, t, step.rewards)
        _write(self.quantity, t, step.quantity)
        _write(self.terminated, t, step.terminated)
        _write(self.truncated, t, step.truncated)
        _write(self.diverged, t, step.diverged)
        _write(self.observations, t + 1, observations)
        if self.belief:
            self._believe(self._policy.observe(self._params, self.belief, self._outcome(t)))
        self.alive &= ~(step.terminated | step.truncated | step.diverged)

    def _outcome(self, t: int | Tensor) -> Outcome:
        """What followed the action of step t, as replayed later."""

        def at(buffer: Tensor, t: int | Tensor) -> Tensor:
            return buffer[t].view(*self._by_task, *buffer.shape[2:])

        flags = at(self.terminated, t), at(self.truncated, t)
        sent = self._policy.sent(at(self.outputs, t))
        return Outcome(sent, at(self.rewards, t), *flags, at(self.observations, t + 1))

    def _believe(self, belief: Belief) -> None:
        """Take over a belief in the worlds whose episode goes on."""
        if belief:
            alive = self.alive.view(self._by_task)
            for name, value in where(alive, belief, self.belief).items():
                self.belief[name].copy_(value)


def _write(buffer: Tensor, t: int | Tensor, value: Tensor) -> None:
    if isinstance(t, int):
        buffer[t] = value
    else:
        buffer.index_copy_(0, t, value.to(buffer.dtype).unsqueeze(0))


def run_while_alive(env: TaskEnv, buffers: StepBuffers) -> int:
    """Step from the first observations until no world is alive: how many steps that took.

    For engines on a CPU, where to look at `alive` costs nothing.
    """
    mask = None
    for t in range(env.horizon):
        step = env.step(buffers.act(t), mask)
        buffers.note(t, step, step.observations)
        if not bool(buffers.alive.all()):
            mask = buffers.alive
            if not bool(mask.any()):
                return t + 1
    return env.horizon


class CapturedSteps:
    """A time step of one policy function in one environment, captured once and repeated T times.

    The step is three launches: from observations to controls, the engine's own graph, and all that
    follows from it. The engine's is not part of one with the others: its solver loops until all
    worlds have converged, and CUDA refuses such nodes in a graph within a graph (NVIDIA/warp#1827).
    Captured into torch's own, Warp would suspend the capture at each of them, and torch's
    allocator takes what is resumed for another one.

    All worlds go on to the end, since the engine steps them all anyway. Those whose episode is over
    are seen as they ended, as if they had not moved.
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
        """Captures; the worlds are left somewhere, to be reset.

        Args:
            env: whose worlds.
            policy: the policy function.
            params: per-task parameters, (M, ...), for their names and shapes.
            noise: (T, N, A), for its shape.
            belief: (M, E, ...), likewise.
            capture: what makes the two graphs.
        """
        self._env = env
        self._params: Params = {name: value.clone() for name, value in params.items()}
        self._noise = noise.clone()
        self._t = t = torch.zeros(1, dtype=torch.long, device=noise.device)
        self.buffers = buffers = StepBuffers(env, policy, self._params, self._noise, belief)

        def act() -> None:
            env.begin_step(buffers.act(t))

        def note() -> None:
            step = env.end_step()
            before = buffers.observations[t].squeeze(0)
            seen = torch.where(buffers.alive[:, None], step.observations, before)
            buffers.note(t, step, seen)
            t.add_(1)

        self._act, self._note = capture(act), capture(note)

    def run(
        self, params: Mapping[str, Tensor], noise: Tensor, belief: Belief, observations: Tensor
    ) -> None:
        """T steps from the first observations, (N, O), without waiting for the device.

        Args:
            params: per-task parameters, (M, ...).
            noise: of the policies' outputs, (T, N, A).
            belief: at the start, (M, E, ...).
            observations: as the reset gave them.
        """
        for name, value in self._params.items():
            value.copy_(params[name])
        for name, value in self.buffers.belief.items():
            value.copy_(belief[name])
        self._noise.copy_(noise)
        self._t.zero_()
        self.buffers.alive.fill_(True)
        self.buffers.observations[0] = observations
        for _ in range(self._env.horizon):
            self._act()
            self._env.simulate()
            self._note()
