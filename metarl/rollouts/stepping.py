"""Episodes of M x E worlds, step by step: on a CPU with an eye on who is alive, on a GPU recorded.

Axes: M tasks, E episodes per task, N = M*E worlds, T steps, O observation, A action.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from metarl.policies.mlp import GaussianMlpPolicy
from metarl.policies.params import Params
from metarl_envs import BatchEnv, BatchStep

Recorder = Callable[[Callable[[], None]], Callable[[], None]]
"""From work on tensors that stay where they are to what does it again, such as a graph's launch."""


class Episodes:
    """What M policies see, do and get in an episode of each of N worlds.

    Time-major, so that a step writes one contiguous block. All tensors are there from the start
    and are written in place. The number of a step is an int, or a tensor (1,) on their device,
    which nobody has to wait for.
    """

    def __init__(
        self, env: BatchEnv, policy: GaussianMlpPolicy, params: Mapping[str, Tensor], noise: Tensor
    ) -> None:
        """Tensors for `env.horizon` steps.

        Args:
            env: whose worlds; not kept.
            policy: the policy function.
            params: per-task parameters, (M, ...), read at every step.
            noise: of the policies' outputs, (T, N, A), likewise.
        """
        T, N, A = noise.shape
        self._policy, self._params, self._noise = policy, params, noise
        self._by_task = (env.num_tasks, env.episodes_per_task, policy.observation_size)
        self._quantity_of = env.family.robot.quantities[env.family.quantity]

        def buffer(*shape: int, dtype: torch.dtype = noise.dtype) -> Tensor:
            return torch.zeros(shape, dtype=dtype, device=noise.device)

        self.observations = buffer(T + 1, N, policy.observation_size)  # the last after the end
        self.outputs = buffer(T, N, A)
        self.rewards, self.quantity = buffer(T, N), buffer(T, N)
        self.terminated, self.truncated, self.faulted = (
            buffer(T, N, dtype=torch.bool) for _ in range(3)
        )
        self.alive = torch.ones(N, dtype=torch.bool, device=noise.device)

    def act(self, t: int | Tensor) -> Tensor:
        """The policies' controls at step t, (N, A), their outputs being noted."""
        seen = self.observations[t].view(self._by_task)
        mean = self._policy.mean(self._params, seen)
        output = mean.flatten(0, 1) + self._noise[t].flatten(0, -2)  # (N, A)
        _write(self.outputs, t, output)
        return self._policy.controls(output)

    def note(self, t: int | Tensor, step: BatchStep) -> None:
        """What step t led to."""
        _write(self.rewards, t, step.rewards)
        _write(self.quantity, t, self._quantity_of(step.transition))
        _write(self.terminated, t, step.terminated)
        _write(self.truncated, t, step.truncated)
        _write(self.faulted, t, step.faulted)
        _write(self.observations, t + 1, step.observations)
        self.alive &= ~(step.terminated | step.truncated | step.faulted)


def _write(buffer: Tensor, t: int | Tensor, value: Tensor) -> None:
    if isinstance(t, int):
        buffer[t] = value
    else:
        buffer.index_copy_(0, t, value.to(buffer.dtype).unsqueeze(0))


def run_while_alive(env: BatchEnv, episodes: Episodes) -> int:
    """Step from the first observations until no world is alive: how many steps that took.

    For engines on a CPU, where to look at `alive` costs nothing.
    """
    mask = None
    for t in range(env.horizon):
        episodes.note(t, env.step(episodes.act(t), mask))
        if not bool(episodes.alive.all()):
            mask = episodes.alive
            if not bool(mask.any()):
                return t + 1
    return env.horizon


class RecordedEpisodes:
    """A time step of one policy function in one environment, recorded once and repeated T times.

    The step is three launches: from observations to controls, the engine's own graph, and all that
    follows from it. The engine's is not part of one with the others: its solver loops until all
    worlds have converged, and CUDA refuses such nodes in a graph within a graph (NVIDIA/warp#1827).
    Recorded into torch's own, Warp would suspend the recording at each of them, and torch's
    allocator takes what is resumed for another one.

    All worlds go on to the end, since the engine steps them all anyway. Those whose episode is over
    are seen as they ended, as if they had not moved.
    """

    def __init__(
        self,
        env: BatchEnv,
        policy: GaussianMlpPolicy,
        params: Mapping[str, Tensor],
        noise: Tensor,
        record: Recorder,
    ) -> None:
        """Records; the worlds are left somewhere, to be reset.

        Args:
            env: whose worlds; not kept alive, since it keeps its recordings.
            policy: the policy function.
            params: per-task parameters, (M, ...), for their names and shapes.
            noise: (T, N, A), for its shape.
            record: what makes the two recordings.
        """
        self._params: Params = {name: value.clone() for name, value in params.items()}
        self._noise = noise.clone()
        self._t = t = torch.zeros(1, dtype=torch.long, device=noise.device)
        self.episodes = episodes = Episodes(env, policy, self._params, self._noise)
        # In a cycle, worlds and graphs would stay in the GPU's memory until garbage is collected.
        env = weakref.proxy(env)

        def act() -> None:
            env.begin_step(episodes.act(t))

        def note() -> None:
            step = env.end_step()
            seen = torch.where(
                episodes.alive[:, None], step.observations, episodes.observations[t].squeeze(0)
            )
            episodes.note(t, replace(step, observations=seen))
            t.add_(1)

        self._act, self._note = record(act), record(note)

    def run(
        self, env: BatchEnv, params: Mapping[str, Tensor], noise: Tensor, observations: Tensor
    ) -> None:
        """T steps from the first observations, (N, O), without waiting for the device.

        Args:
            env: the one that was recorded, reset.
            params: per-task parameters, (M, ...).
            noise: of the policies' outputs, (T, N, A).
            observations: as the reset gave them.
        """
        for name, value in self._params.items():
            value.copy_(params[name])
        self._noise.copy_(noise)
        self._t.zero_()
        self.episodes.alive.fill_(True)
        self.episodes.observations[0] = observations
        for _ in range(env.horizon):
            self._act()
            env.engine.step(env.family.robot.frame_skip)
            self._note()
