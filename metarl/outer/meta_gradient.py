"""Gradient meta-learning: an adaptation in the inner loop, an outer update of its start.

Any adaptation goes with any outer update. MAML-TRPO is `GradientStep` with `Trpo`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Generator, Tensor

from metarl.adaptation.base import Adaptation, Batch
from metarl.adaptation.inner_loop import InnerLoop, InnerLoopConfig, run_inner_loop
from metarl.adaptation.losses import InnerLoss, inner_batches, mean_kl
from metarl.distributed import gather_by_name, world_size
from metarl.outer.learner import Learner, LearnerParts, LearnerSettings, Update
from metarl.outer.state import Generators, TrainState, initial_params
from metarl.policies.base import Policy
from metarl.policies.normaliser import Statistics
from metarl.policies.params import Params, acting, expand, learned, to
from metarl.rollouts.advantages import first_episodes
from metarl.rollouts.collect import Collector
from metarl.rollouts.data import Rollouts
from metarl_envs import Tasks

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Iteration:
    """Data of one meta-iteration that an outer update learns from."""

    policy: Policy
    adaptation: Adaptation
    inner_loss: InnerLoss
    """Form of the loss that the adaptation descends."""
    inner: InnerLoop
    """The collections, and the policies of every task."""
    progress: float
    """Share of meta-training that is over, in [0, 1)."""

    def inner_batches(self) -> list[Batch]:
        """The batch that each adaptation step learned from."""
        return inner_batches(self.policy, self.inner.batches[:-1], self.inner_loss)


@dataclass(frozen=True)
class OuterUpdate(LearnerSettings):
    """A step of the meta-parameters. A subclass is a frozen dataclass of settings, no tensors."""

    def learner(self, parts: LearnerParts) -> MetaLearner:
        return MetaLearner(self, parts)

    def propose(
        self, params: Params, optimizer: Params, meta_batch_size: int, generator: Generator
    ) -> Params:
        """The parameters that each of M slots starts its inner loop from: each (M, ...).

        By default the meta-parameters; a search over the parameters perturbs them.
        """
        del optimizer, generator
        return expand(params, meta_batch_size)

    @abstractmethod
    def update(
        self, params: Params, optimizer: Mapping[str, Tensor], iteration: Iteration
    ) -> Update:
        """One step of the meta-parameters, without axis M.

        Tasks whose adaptation was not finite (`InnerLoop.failed`) do not count; if all failed, the
        update is not finite and is refused. Sums and means over tasks are those of
        `metarl.distributed`.

        Args:
            params: the meta-parameters, with the policy's statistics, which stay as they are.
            optimizer: the optimiser's state.
            iteration: the rollouts collected from `params`.
        """


class MetaLearner(Learner[InnerLoop]):
    """Any adaptation with any outer update, as in Algorithm 3 of Finn et al. 2017 (MAML)."""

    def __init__(self, outer: OuterUpdate, parts: LearnerParts) -> None:
        self._outer, self._parts = outer, parts

    @property
    def policy(self) -> Policy:
        return self._parts.policy

    def init(self, seed: int) -> TrainState:
        generators = Generators.from_seed(seed)
        params = initial_params(self.policy, self._parts.inner.adaptation, generators.init)
        return TrainState(params, generators, self._outer.init(learned(params)))

    def collect(self, collector: Collector, state: TrainState, tasks: Tasks) -> InnerLoop:
        """K times: collect, adapt; then collect once more."""
        parts, rng, share = self._parts, state.generators, collector.share
        M = share.total
        collector.env.set_tasks(tasks[share.of(torch.arange(M)) % len(tasks)])
        params, optimizer = self._on_device(state)
        start = self._outer.propose(params, optimizer, M, rng.search)
        start = {name: share.of(value) for name, value in start.items()}
        collect_episodes = partial(collector.collect, resets=rng.resets, actions=rng.actions)
        return run_inner_loop(
            self.policy, self._inner_loop(state), start, parts.adaptation_steps, collect_episodes
        )

    def update(self, state: TrainState, experience: InnerLoop) -> Update:
        inner_loop = self._inner_loop(state)
        iteration = Iteration(
            self.policy,
            inner_loop.adaptation,
            inner_loop.inner_loss,
            experience,
            self._progress(state),
        )
        params, optimizer, metrics = self._outer.update(*self._on_device(state), iteration)
        params = update_normaliser(self.policy, params, experience.rollouts)
        metrics |= inner_metrics(self.policy, experience)
        return Update(params, to(optimizer, CPU), metrics)

    def _progress(self, state: TrainState) -> float:
        return state.iteration / self._parts.iterations

    def _inner_loop(self, state: TrainState) -> InnerLoopConfig:
        inner = self._parts.inner
        return replace(inner, adaptation=inner.adaptation.at(self._progress(state)))

    def _on_device(self, state: TrainState) -> tuple[Params, Params]:
        device = self._parts.device
        return to(state.params, device), to(state.optimizer, device)


def update_normaliser(policy: Policy, params: Params, rollouts: Sequence[Rollouts]) -> Params:
    """Parameters on the CPU, with the observations of every collection in their normaliser.

    Those of adapted policies are included. A meta-policy that stands still observes speeds near
    zero, and speeds of its adapted policies would be clipped: 13 and 53 % of the steps of two
    Meta-SGD policies on half-cheetah-direction after 2.4 million steps, and none this way. Their
    returns were 154 and 171, and 166 and 195 with the meta-policy's observations alone.
    """
    params = to(params, rollouts[0].valid.device)
    for collection in rollouts if policy.statistics(params) else ():
        own = Statistics.of(collection.observations[collection.valid])
        of_all = gather_by_name({n: value.unsqueeze(0) for n, value in own._asdict().items()})
        for others in zip(*of_all.values(), strict=True):
            # A process whose worlds have all diverged has none.
            if world_size() == 1 or bool(others[-1]):
                params = policy.with_statistics(params, Statistics(*others))
    return to(params, CPU)


@torch.no_grad()
def inner_metrics(policy: Policy, inner: InnerLoop) -> dict[str, float]:
    """Size of the adaptation, as KL on a few pre-adaptation episodes and as a distance."""
    start, adapted = inner.policies[0], inner.adapted
    batch = first_episodes(inner.batches[0], 0.1)
    before, after = (policy.distribution(p, batch.rollouts) for p in (start, adapted))
    moved = [(adapted[name] - value).flatten(1) for name, value in acting(start).items()]
    distance = torch.cat(moved, dim=1).norm(dim=1)
    by_task = {
        "inner/kl": mean_kl(before, after, batch),
        "inner/step_norm": distance,
        "train/explained_variance": inner.batches[-1].explained_variance,
        "failed": inner.failed,
    }
    of_all = gather_by_name(by_task)
    failed = of_all.pop("failed")
    means = {name: float(values.mean()) for name, values in of_all.items()}
    return means | {"health/failed_adaptations": float(failed.sum())}
