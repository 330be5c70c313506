"""The state of a training run, which holds everything that a checkpoint needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

import numpy as np
import torch
from torch import Generator, Tensor

from metarl.adaptation.base import Adaptation
from metarl.policies.base import Policy
from metarl.policies.params import Params, weights


@dataclass(frozen=True)
class Generators:
    """One random stream per purpose, spawned from one seed; nothing uses a global generator."""

    init: Generator
    tasks: Generator
    resets: Generator
    actions: Generator
    evaluation: Generator
    """Validation tasks and their noise; read from copies, the same for all evaluations."""
    search: Generator
    """Perturbations of the meta-parameters by an evolutionary search."""
    order: Generator
    """Minibatches, and draws from a replay."""

    @staticmethod
    def from_seed(seed: int) -> Generators:
        """Independent streams from `numpy.random.SeedSequence(seed)`."""
        children = np.random.SeedSequence(seed).spawn(len(fields(Generators)))
        roots = [int(child.generate_state(1, np.uint64)[0] >> np.uint64(1)) for child in children]
        return Generators(*(Generator().manual_seed(root) for root in roots))

    def state(self) -> dict[str, Tensor]:
        """Each stream's state as a byte tensor, by name: copies."""
        return {f.name: getattr(self, f.name).get_state().clone() for f in fields(self)}

    @staticmethod
    def from_state(state: Mapping[str, Tensor]) -> Generators:
        """The inverse of `state`."""
        made = {}
        for f in fields(Generators):
            made[f.name] = Generator()
            made[f.name].set_state(state[f.name].to(torch.uint8))
        return Generators(**made)


def initial_params(policy: Policy, adaptation: Adaptation, generator: Generator) -> Params:
    """Fresh meta-parameters: the policy's and the adaptation's own."""
    params = policy.init(generator)
    return params | adaptation.init(weights(params), generator)


@dataclass(frozen=True)
class TrainState:
    """A run between two iterations.

    `generators` advance in place during an iteration, so a state is saved only between two.
    """

    params: Params
    """Meta-parameters, the adaptation's own included, with the normaliser; float32, on the CPU."""
    generators: Generators
    optimizer: Params = field(default_factory=dict)
    """State of the learner beside the parameters, on the CPU."""
    choice: Params = field(default_factory=dict)
    """State of the choice of tasks (`metarl.outer.task_choice`); {} where it needs none."""
    iteration: int = 0
    """Meta-iterations finished."""
    env_steps: int = 0
    """Environment steps simulated, over all tasks and collections."""
    refused_in_a_row: int = 0
    """Updates refused since the last accepted one, because they were not finite."""
    refused: int = 0
    """Updates refused in all."""
    observed: dict[str, list[float]] = field(default_factory=dict)
    """Statistics of the last iteration's observations, saved with the policy; not read in
    training."""
