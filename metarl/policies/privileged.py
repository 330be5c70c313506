"""Policies that observe the task itself, which only simulation knows: teachers of students."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from metarl.policies.base import Policy
from metarl.policies.belief import Belief, Episodes
from metarl.policies.gaussian import Gaussian
from metarl.policies.mlp import MlpConfig, forward, init_layers
from metarl.policies.normaliser import Statistics
from metarl.policies.params import Params

TASK_FEATURES = "task"
"""The belief, (M, E, F): the features of the true task, known from the start."""
TASK_ENCODER = "task_encoder."


@dataclass(frozen=True)
class PrivilegedPolicy(Policy):
    """N(mean(observation, task), std^2).

    The network reads the standardised observation and task features, as an oracle that observes its
    task does; with a latent it reads tanh of an encoding of the features instead (RMA, Kumar et al.
    2021, phase 1).
    """

    config: MlpConfig
    num_features: int = 0
    """F, numbers that describe the task."""
    latent_size: int = 0
    """Z, numbers that the task is encoded in; 0: the network reads the features themselves."""
    encoder_sizes: tuple[int, ...] = (64,)
    """Units of each hidden layer of the encoder."""
    initial_output: float = 1.0
    """Factor on the initial weights of the last layer."""

    def init(self, generator: Generator) -> Params:
        read = self.latent_size or self.num_features
        sizes = (self.observation_size + read, *self.config.hidden_sizes, self.action_size)
        params = init_layers(sizes, generator, last=self.initial_output) | self.initial_noise()
        if self.latent_size:
            layers = (self.num_features, *self.encoder_sizes, self.latent_size)
            encoder = init_layers(layers, generator)
            params |= {TASK_ENCODER + name: value for name, value in encoder.items()}
        return params | self.initial_statistics()

    def begin(self, params: Mapping[str, Tensor], num_worlds: int) -> Belief:
        """A task in the middle of the training ranges, until the true one is given."""
        tasks = params["log_std"].shape[:-1]
        return {TASK_FEATURES: params["log_std"].new_zeros(*tasks, num_worlds, self.num_features)}

    def act(
        self, params: Mapping[str, Tensor], belief: Belief, observations: Tensor
    ) -> tuple[Gaussian, Belief]:
        mean = self.mean(params, observations, belief[TASK_FEATURES])
        return Gaussian(mean, self.log_std(params)), belief

    def distribution(self, params: Mapping[str, Tensor], episodes: Episodes) -> Gaussian:
        """As in `Policy`, by one product for all steps."""
        assert episodes.features is not None, "a teacher's episodes come with their tasks"
        features = episodes.features.flatten(-3, -2)
        mean = self.mean(params, episodes.observations.flatten(-3, -2), features)
        return Gaussian(
            mean.unflatten(-2, episodes.valid.shape[-2:]), self.log_std(params).unsqueeze(-2)
        )

    def mean(self, params: Mapping[str, Tensor], observations: Tensor, features: Tensor) -> Tensor:
        """Mean output: (..., S, O), (..., S, F) -> (..., S, A)."""
        standard, task = self._standard(params, observations, features)
        read = torch.cat([standard, self._read(params, task)], dim=-1)
        return forward(params, read, self.config.activation)

    def latent(self, params: Mapping[str, Tensor], features: Tensor) -> Tensor:
        """Latent that the network reads, or the features: (..., S, F) -> (..., S, Z or F)."""
        nothing = features.new_zeros(*features.shape[:-1], self.observation_size)
        return self._read(params, self._standard(params, nothing, features)[1])

    def initial_statistics(self) -> Params:
        """Entries of the normaliser of observation and task: (O + F,)."""
        if not self.config.normalize_observations:
            return {}
        return Statistics.fresh(self.observation_size + self.num_features).entries()

    def standardised(self, params: Mapping[str, Tensor], observations: Tensor) -> Tensor:
        nothing = observations.new_zeros(*observations.shape[:-1], self.num_features)
        return self._standard(params, observations, nothing)[0]

    def _standard(
        self, params: Mapping[str, Tensor], observations: Tensor, features: Tensor
    ) -> tuple[Tensor, Tensor]:
        read = super().standardised(params, torch.cat([observations, features], dim=-1))
        standard, task = read.split([self.observation_size, self.num_features], dim=-1)
        return standard, task

    def _read(self, params: Mapping[str, Tensor], task: Tensor) -> Tensor:
        if not self.latent_size:
            return task
        own = {n.removeprefix(TASK_ENCODER): v for n, v in params.items() if TASK_ENCODER in n}
        return torch.tanh(forward(own, task, self.config.activation))
