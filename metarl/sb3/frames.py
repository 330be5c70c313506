"""Stacks of frames for Stable-Baselines3: inputs of a policy that reads the last few steps.

SB3's VecFrameStack stacks observations alone. Here a past frame has its action and reward too, and
our policy's own functions keep the stack, so that both read the same numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnvWrapper, VecNormalize
from torch import Tensor

from metarl.policies.belief import Belief
from metarl.policies.frame_stack import OBSERVED, STACK, FrameStackPolicy
from metarl.sb3.vec_env import Infos


class StackedFrames(VecEnvWrapper):
    """Worlds whose observations are the inputs of the policy's network: (N, `input_size`).

    All observations in a stack are standardised by the normaliser's present statistics. Rewards in
    it are raw. The last observation of an episode (`terminal_observation`) has its stack too; the
    first of the next episode has an empty one.
    """

    def __init__(self, normaliser: VecNormalize, policy: FrameStackPolicy) -> None:
        """Wrap the normaliser; `reset` empties the stacks.

        Args:
            normaliser: of the worlds' rewards and perhaps observations.
            policy: whose stack it is.
        """
        size = policy.input_size
        space = gymnasium.spaces.Box(-np.inf, np.inf, (size,), np.float32)
        super().__init__(normaliser, observation_space=space)
        self._normaliser, self._policy = normaliser, policy
        self._belief = self._empty()

    def reset(self) -> NDArray[np.float32]:
        """Start an episode in every world: (N, input_size)."""
        self._normaliser.reset()
        self._belief = self._empty()
        return self.read(_array(self._normaliser.get_original_obs()))

    def step_async(self, actions: NDArray[Any]) -> None:
        """Take the controls (N, A) that `step_wait` will apply."""
        self._controls = torch.from_numpy(np.array(actions, dtype=np.float32))
        self._normaliser.step_async(actions)

    def step_wait(  # pyright: ignore[reportIncompatibleMethodOverride]  # an array, never a dict
        self,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_], Infos]:
        """One control step: inputs (N, input_size), normalised rewards (N,), ends (N,), infos."""
        _, rewards, ended, infos = self._normaliser.step_wait()
        earned = torch.from_numpy(self._normaliser.get_original_reward())
        stack = self._policy.stacked(self._belief, self._policy.outputs(self._controls), earned)
        for world in np.flatnonzero(ended):
            final = _array(infos[world]["terminal_observation"])[None]  # standardised
            infos[world]["terminal_observation"] = self._inputs(final, stack[world, None])[0]
        going_on = torch.from_numpy(~ended)
        self._belief = self._belief | {STACK: stack * going_on[:, None, None]}
        return self.read(_array(self._normaliser.get_original_obs())), rewards, ended, infos

    def read(self, observations: NDArray[np.float32]) -> NDArray[np.float32]:
        """Take raw observations (N, O) to act on, and return the inputs: (N, input_size)."""
        self._belief = self._belief | {OBSERVED: torch.from_numpy(observations.copy())}
        return self._inputs(self._standardised(observations), self._belief[STACK])

    def state(self) -> dict[str, Tensor]:
        """The stacks, as copies."""
        return {STACK: self._belief[STACK].clone()}

    def set_state(self, state: Mapping[str, Tensor], emptied: Tensor) -> None:
        """Return to a saved `state`, with empty stacks in the worlds of `emptied`, (N,)."""
        stack = state[STACK] * ~emptied[:, None, None]
        self._belief = self._belief | {STACK: stack}

    def _empty(self) -> Belief:
        return self._policy.begin(self._policy.initial_noise(), self.num_envs)

    def _inputs(self, standard: NDArray[np.float32], stack: Tensor) -> NDArray[np.float32]:
        past = self._standardised(self._policy.observations_in(stack).numpy())
        inputs = self._policy.inputs(torch.from_numpy(standard), torch.from_numpy(past), stack)
        return inputs.numpy()

    def _standardised(self, observations: NDArray[np.float32]) -> NDArray[np.float32]:
        return _array(self._normaliser.normalize_obs(observations))


def _array(observations: NDArray[Any] | dict[str, NDArray[Any]]) -> NDArray[np.float32]:
    """The observations of a space that is a box."""
    assert isinstance(observations, np.ndarray)
    return observations
