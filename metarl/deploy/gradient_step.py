"""One gradient step on one robot, no larger than its limit."""

from __future__ import annotations

import torch

from metarl.adaptation.inner_loop import InnerLoopConfig, keep_finite
from metarl.adaptation.losses import InnerLoss, inner_loss
from metarl.deploy.limits import Step, limited_step
from metarl.policies.base import Policy
from metarl.policies.params import Params
from metarl.rollouts.advantages import PolicyBatch


@torch.no_grad()
def adaptation_step(
    policy: Policy,
    params: Params,
    batch: PolicyBatch,
    how: InnerLoopConfig,
    k: int,
    names: list[str],
    max_kl: float,
    form: InnerLoss | None = None,
) -> Step | None:
    """The k-th step of one task, (1, ...), within the limit on its size; None if not finite.

    Args:
        policy: the policy function.
        params: that the episodes were collected with.
        batch: the episodes.
        how: how the policy adapts.
        k: 0 for the first.
        names: the entries of a policy, without what `Adaptation.begin` adds.
        max_kl: the most that it may move the policy, nats.
        form: of the loss; None for that of meta-training.
    """
    loss = inner_loss(policy, batch, form or how.inner_loss)
    stepped, failed = keep_finite(params, how.adaptation.step(params, loss, k))
    if bool(failed.any()):
        return None
    return limited_step(policy, params, stepped, batch, names, max_kl)
