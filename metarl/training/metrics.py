"""Metrics of an iteration of any learner: pure functions from its experience to named numbers."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from metarl.outer.learner import Experience
from metarl.rollouts.data import Rollouts


def rollout_metrics(collections: Sequence[Rollouts]) -> dict[str, float]:
    """Returns before and after adaptation, lengths and faults, over the meta-batch."""
    pre, post = collections[0], collections[-1]
    return_pre, return_post = (float(r.task_returns().nanmean()) for r in (pre, post))
    diverged = torch.stack([rollouts.diverged for rollouts in collections])
    sound = ~torch.stack([rollouts.diverged for rollouts in (pre, post)])
    lengths = torch.stack([rollouts.valid.sum(-1) for rollouts in (pre, post)])
    ended = torch.stack([rollouts.truncated.any(-1) for rollouts in collections])
    return {
        "rollout/return_pre": return_pre,
        "rollout/return_post": return_post,
        "rollout/adaptation_gain": return_post - return_pre,
        "rollout/ep_len_mean": float(lengths[sound].float().mean()),
        "health/nonfinite_envs": float(diverged.sum()),
        "health/fault_share": float(diverged.float().mean()),
        "health/truncation_rate": float(ended.float().mean()),
    }


def time_metrics(experience: Experience, total_s: float) -> dict[str, float]:
    """Shares of the iteration's wall-clock time; `update_s` is all but the collections."""
    steps = sum(rollouts.num_steps() for rollouts in experience.rollouts)
    return {
        "time/collect_s": experience.collect_s,
        "time/update_s": total_s - experience.collect_s,
        "time/fps": steps / total_s,
    }
