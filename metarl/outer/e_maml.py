"""E-MAML: adaptation episodes are credited with the return after adaptation.

Stadie, Yang, Houthooft, Chen, Duan, Wu, Abbeel, Sutskever 2018, "Some Considerations on Learning to
Explore via Meta-Reinforcement Learning", Eq. 5, with ProMP's steps and penalty.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from metarl.distributed import mean_over_tasks
from metarl.outer.clipped_steps import ClippedSteps
from metarl.outer.meta_gradient import Iteration
from metarl.outer.minibatches import AdaptedPolicies
from metarl.policies.gaussian import log_prob
from metarl_envs.inputs.numbers import NotNegative


@dataclass(frozen=True)
class EMaml(ClippedSteps):
    """ProMP's descent with a term: - exploration * mean over tasks of R(phi_K) log phi_0(D_0).

    R is the standardised return after adaptation (`credit`). MAML drops the dependence of D_0 on
    the meta-parameters, and with it the incentive to explore.
    """

    inner_kl_penalty: NotNegative = 5e-4
    """Weight of the divergence of the policies that collected the data adapted on, >= 0."""
    exploration: NotNegative = 1.0
    """Weight of the credit for the episodes that the adaptation learns from, >= 0."""

    def loss(self, policies: AdaptedPolicies) -> Tensor:
        K, before, batch = policies.num_steps, policies.on_batches[0], policies.data.batches[0]
        penalty = sum(self.inner_kl_penalty / K * policies.kl(k) for k in range(K))
        score = batch.mean(log_prob(before, batch.rollouts.actions))
        weighted = credit(policies.iteration).to(score) * score
        credited = mean_over_tasks(weighted, policies.iteration.inner.failed)
        return penalty - self.exploration * credited - policies.surrogate(-1, self.clip)


def credit(iteration: Iteration) -> Tensor:
    """Return after adaptation, standardised over the tasks as in ProMP's experiments: (M,).

    0 for a task without returns.
    """
    failed = iteration.inner.failed
    returns = iteration.inner.known_returns()
    centred = (returns - mean_over_tasks(returns, returns.isnan())).nan_to_num()
    return centred / (mean_over_tasks(centred.square(), failed).sqrt() + 1e-8)
