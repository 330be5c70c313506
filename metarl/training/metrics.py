"""Metrics of an iteration, by name: pure functions of an inner loop."""

from __future__ import annotations

import torch
from torch import Tensor

from metarl.adaptation.inner_loop import InnerLoop
from metarl.adaptation.losses import mean_kl
from metarl.policies.mlp import GaussianMlpPolicy
from metarl.policies.params import acting
from metarl.rollouts.advantages import first_episodes


def iteration_metrics(policy: GaussianMlpPolicy, inner: InnerLoop) -> dict[str, float]:
    """Return, adaptation and fault metrics of one iteration."""
    return rollout_metrics(inner) | inner_metrics(policy, inner)


def rollout_metrics(inner: InnerLoop) -> dict[str, float]:
    """Returns before and after adaptation, lengths and faults, over the meta-batch."""
    pre, post = inner.rollouts[0], inner.rollouts[-1]
    return_pre, return_post = (float(r.task_returns().nanmean()) for r in (pre, post))
    faulted = torch.stack([rollouts.faulted for rollouts in inner.rollouts])
    sound = ~torch.stack([rollouts.faulted for rollouts in (pre, post)])
    lengths = torch.stack([rollouts.valid.sum(-1) for rollouts in (pre, post)])
    ended = torch.stack([rollouts.truncated.any(-1) for rollouts in inner.rollouts])
    return {
        "rollout/return_pre": return_pre,
        "rollout/return_post": return_post,
        "rollout/adaptation_gain": return_post - return_pre,
        "rollout/ep_len_mean": float(lengths[sound].float().mean()),
        "health/nonfinite_envs": float(faulted.sum()),
        "health/fault_share": float(faulted.float().mean()),
        "health/failed_adaptations": float(inner.failed.sum()),
        "health/truncation_rate": float(ended.float().mean()),
    }


@torch.no_grad()
def inner_metrics(policy: GaussianMlpPolicy, inner: InnerLoop) -> dict[str, float]:
    """Size of the adaptation: KL on a few pre-adaptation episodes, and distance of parameters."""
    start, adapted = inner.policies[0], inner.adapted
    batch = first_episodes(inner.batches[0], 0.1)
    before, after = (policy.distribution(p, batch.rollouts) for p in (start, adapted))
    kl = mean_kl(before, after, batch)
    moved: list[Tensor] = [
        (adapted[name] - value).flatten(1) for name, value in acting(start).items()
    ]
    distance = torch.cat(moved, dim=1).norm(dim=1)
    return {
        "inner/kl": float(kl.mean()),
        "inner/step_norm": float(distance.mean()),
        "train/explained_variance": float(inner.batches[-1].explained_variance.mean()),
    }


def time_metrics(inner: InnerLoop, total_s: float) -> dict[str, float]:
    """Wall-clock time of an iteration by phase; `update_s` is all but the collections."""
    steps = sum(rollouts.num_steps() for rollouts in inner.rollouts)
    return {
        "time/collect_s": inner.collect_s,
        "time/update_s": total_s - inner.collect_s,
        "time/fps": steps / total_s,
    }
