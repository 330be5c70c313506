"""A small meta-problem in float64 that tests of adaptations and outer updates share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from support.helpers import HORIZON, random_batch, rollouts_of, some_tasks
from torch import Generator, Tensor

from metarl.adaptation.base import Adaptation, Batch, adapt
from metarl.adaptation.inner_loop import InnerLoop
from metarl.adaptation.losses import InnerLoss, inner_batches, surrogate
from metarl.outer.meta_gradient import Iteration
from metarl.policies.mlp import GaussianMlpPolicy, MlpConfig
from metarl.policies.params import (
    ADAPTATION,
    STATISTICS,
    Params,
    acting,
    expand,
    fixed,
    learned,
    statistics,
    weights,
)
from metarl.rollouts.advantages import PolicyBatch
from metarl.rollouts.data import Rollouts


@dataclass(frozen=True)
class MetaProblem:
    """Meta-parameters and what their inner loop collected: batch k by the policies after k steps.

    Batches are data: they stay what they are when the parameters move.
    """

    policy: GaussianMlpPolicy
    adaptation: Adaptation
    form: InnerLoss
    theta: Params  # without axis M
    batches: list[PolicyBatch]  # K + 1
    policies: list[Params]  # K + 1, each (M, ...)
    failures: tuple[int, ...] = ()  # tasks whose adaptation was not finite

    @property
    def failed(self) -> Tensor:
        return torch.tensor([m in self.failures for m in range(self.num_tasks)])

    @property
    def num_tasks(self) -> int:
        return len(self.batches[0].weights)

    @property
    def steps(self) -> list[Batch]:
        return inner_batches(self.policy, self.batches[:-1], self.form)

    def adapted(self, theta: Params) -> Params:
        """The adapted policies of other meta-parameters: (...) -> (M, ...)."""
        return adapt(self.adaptation, expand(theta, self.num_tasks), self.steps)

    def adapted_each(self, start: Params) -> Params:
        """Entries that the adapted policies act by, from learned ones of each task: (M, ...)."""
        params = start | expand(fixed(self.theta), self.num_tasks)
        return acting(adapt(self.adaptation, params, self.steps))

    def score(self, adapted: Params) -> Tensor:
        """Mean post-adaptation surrogate of `acting` entries (M, ...): ()."""
        params = adapted | expand(statistics(self.theta), self.num_tasks)
        post = self.batches[-1]
        return surrogate(self.policy.distribution(params, post.rollouts), post).mean()

    def objective(self, start: Params) -> Tensor:
        """Score after adaptation, from learned entries that all tasks share: (...) -> ()."""
        return self.score(self.adapted_each(expand(start, self.num_tasks)))

    def of_tasks(self, *tasks: int) -> MetaProblem:
        """The problem of these tasks alone."""
        return replace(
            self,
            batches=[some_tasks(batch, tasks) for batch in self.batches],
            policies=[{n: v[list(tasks)] for n, v in phi.items()} for phi in self.policies],
            failures=tuple(i for i, m in enumerate(tasks) if m in self.failures),
        )

    def iteration(self, returns: Sequence[float] = (1, 2, 4), progress: float = 0.0) -> Iteration:
        """Input of an outer update; `returns` are those of each task after adaptation."""
        after = rollouts_with(torch.tensor(returns, dtype=torch.float64))
        rollouts = [after] * len(self.batches)
        inner = InnerLoop(rollouts, self.batches, self.policies, self.failed, 0.0)
        return Iteration(self.policy, self.adaptation, self.form, inner, progress)


def meta_problem(
    adaptation: Adaptation,
    form: InnerLoss,
    num_steps: int,
    *,
    num_tasks: int = 3,
    episodes: int = 6,
    num_invalid: int = 4,
    context_size: int = 0,
    seed: int = 0,
) -> MetaProblem:
    """The data of an inner loop: batch k is of the policies after k steps."""
    generator = torch.Generator().manual_seed(seed)
    policy, theta = small_policy(adaptation, context_size, generator)
    state = adaptation.begin(expand(theta, num_tasks))
    batches, policies = [], []
    for k in range(num_steps + 1):
        policies.append({name: state[name].detach() for name in theta})
        samples, own_seed = episodes * HORIZON, 100 * seed + k
        batch = random_batch(policy, policies[-1], num_tasks, samples, own_seed, num_invalid)
        batches.append(batch)
        if k < num_steps:
            (step,) = inner_batches(policy, batches[-1:], form)
            state = adaptation.step(state, step, k)
    return MetaProblem(policy, adaptation, form, theta, batches, policies)


def off_policy_problem(
    adaptation: Adaptation,
    form: InnerLoss,
    num_steps: int,
    *,
    num_tasks: int = 3,
    context_size: int = 0,
    seed: int = 0,
) -> MetaProblem:
    """Episodes adapted on are of policies near theta, so that likelihood ratios are not 1."""
    generator = torch.Generator().manual_seed(seed)
    policy, theta = small_policy(adaptation, context_size, generator, own_noise=0.02)
    start = expand(theta, num_tasks)
    batches = []
    for k in range(num_steps):
        behaviour = {
            name: value if name.startswith(STATISTICS) else value + noise(0.05, value, generator)
            for name, value in start.items()
        }
        batches.append(random_batch(policy, behaviour, num_tasks, 20, 100 * seed + k))
    adapted = adapt(adaptation, start, inner_batches(policy, batches, form))
    batches.append(random_batch(policy, adapted, num_tasks, 20, 100 * seed + 99))
    policies = [start] * num_steps + [adapted]
    return MetaProblem(policy, adaptation, form, theta, batches, policies)


def small_policy(
    adaptation: Adaptation, context_size: int, generator: Generator, own_noise: float = 0.0
) -> tuple[GaussianMlpPolicy, Params]:
    """A policy with normalised observations, and float64 parameters away from symmetric points."""
    config = MlpConfig(hidden_sizes=(4, 3), normalize_observations=True, context_size=context_size)
    policy = GaussianMlpPolicy(config, 3, (-1.0, -1.0), (1.0, 1.0))
    params = policy.init(generator)
    params |= adaptation.init(weights(params), generator)
    theta = {name: value.double() for name, value in params.items()}
    for name, value in learned(theta).items():
        size = own_noise if name.startswith(ADAPTATION) else 0.1
        theta[name] = value + noise(size, value, generator)
    return policy, theta


def noise(size: float, like: Tensor, generator: Generator) -> Tensor:
    """Normal float64 noise of this size."""
    return size * torch.randn(like.shape, generator=generator, dtype=torch.float64)


def rollouts_with(returns: Tensor) -> Rollouts:
    """One episode of one step for each task, with these returns, (M,); NaN: it diverged."""
    rewards = torch.nan_to_num(returns).view(-1, 1, 1)
    observations = torch.zeros(len(returns), 1, 1, 1)
    return rollouts_of(observations, rewards=rewards, diverged=returns.isnan().view(-1, 1))


def finite_difference(
    function: Callable[[Tensor], Tensor], at: Tensor, eps: float = 1e-5
) -> Tensor:
    """Central differences of a scalar function at every coordinate: (D,) -> (D,)."""
    shifts = eps * torch.eye(len(at), dtype=at.dtype)
    values = torch.vmap(function)(torch.cat([at + shifts, at - shifts]))
    return (values[: len(at)] - values[len(at) :]) / (2 * eps)


def displaced(given: MetaProblem, size: float = 0.1) -> Params:
    """Meta-parameters some way from those that collected the data."""
    generator = torch.Generator().manual_seed(3)
    return given.theta | {
        name: value + noise(size, value, generator) for name, value in learned(given.theta).items()
    }


def double(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)
