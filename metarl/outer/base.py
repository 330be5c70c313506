"""What every meta-objective is: how the meta-parameters learn from an inner loop."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from torch import Generator, Tensor

from metarl.adaptation.base import Adaptation, Loss
from metarl.adaptation.inner_loop import InnerLoop
from metarl.adaptation.losses import InnerLoss, inner_losses
from metarl.policies.base import Policy
from metarl.policies.params import Params, expand
from metarl_envs.inputs.plain import PlainFields


@dataclass(frozen=True)
class Iteration:
    """What one meta-iteration gives a meta-objective to learn from."""

    policy: Policy
    adaptation: Adaptation
    inner_loss: InnerLoss
    """Form of the loss that the adaptation descends."""
    inner: InnerLoop
    """The collections, and what each task's policy became."""
    horizon: int
    """T, so that whole episodes can be left out where fewer will do."""
    progress: float
    """Share of meta-training that is over, in [0, 1)."""

    def losses(self) -> list[Loss]:
        """The loss that each adaptation step descended."""
        return inner_losses(self.policy, self.inner.batches[:-1], self.inner_loss)


class Update(NamedTuple):
    """What a meta-objective makes of an iteration."""

    params: Params
    """New meta-parameters, without axis M."""
    optimizer: Params
    """New state of the optimiser."""
    metrics: dict[str, float]


@dataclass(frozen=True)
class MetaObjective(PlainFields, ABC):
    """How the meta-parameters learn. A subclass is a frozen dataclass of settings, no tensors.

    What has to survive from one iteration to the next is the optimiser's state: named tensors
    that the trainer keeps in its checkpoints.
    """

    def init(self, learned: Params) -> Params:
        """Fresh state of the optimiser for these meta-parameters; {} for none."""
        del learned
        return {}

    def num_distinct_tasks(self, meta_batch_size: int) -> int:
        """How many tasks are drawn for M slots; slot m runs the (m modulo this)-th one.

        Fewer than M where several candidates must meet the same tasks.

        Raises:
            InputError: if the meta-batch cannot be divided so.
        """
        return meta_batch_size

    def check(self, adaptation: Adaptation) -> None:
        """Refuse an adaptation with which this could not learn.

        Raises:
            InputError: naming both, and what to use.
        """
        del adaptation

    def propose(
        self, params: Params, optimizer: Params, meta_batch_size: int, generator: Generator
    ) -> Params:
        """The parameters that each of M slots starts its inner loop from: each (M, ...).

        By default the meta-parameters themselves; a search over the parameters perturbs them.
        """
        del optimizer, generator
        return expand(params, meta_batch_size)

    @abstractmethod
    def update(
        self, params: Params, optimizer: Mapping[str, Tensor], iteration: Iteration
    ) -> Update:
        """One step of the meta-parameters, without axis M.

        Tasks whose adaptation was not finite (`InnerLoop.failed`) have no part in it; if all of
        them failed, it is not finite itself, and will be refused.

        Args:
            params: the meta-parameters, with the policy's statistics, which stay as they are.
            optimizer: the optimiser's state.
            iteration: what was collected from `params`.
        """
