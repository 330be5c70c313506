"""Metrics of an iteration of any learner, over the tasks of all processes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from metarl.distributed import gather_over_ranks, sum_over_ranks
from metarl.outer.learner import Experience
from metarl.rollouts.data import Rollouts


def rollout_metrics(collections: Sequence[Rollouts]) -> dict[str, float]:
    """Returns before and after adaptation, episode lengths and diverged worlds of a meta-batch."""
    pre, post = collections[0], collections[-1]
    returns = (gather_over_ranks(rollouts.task_returns()) for rollouts in (pre, post))
    return_pre, return_post = (float(values.nanmean()) for values in returns)

    def of_all_tasks(values: Sequence[Tensor]) -> Tensor:
        """One (m, E) of each collection: (collections, M, E)."""
        return gather_over_ranks(torch.stack(list(values)), dim=1)

    diverged = of_all_tasks([rollouts.diverged for rollouts in collections])
    intact = ~diverged[[0, -1]]
    lengths = of_all_tasks([pre.valid.sum(-1), post.valid.sum(-1)])
    truncated = of_all_tasks([rollouts.truncated.any(-1) for rollouts in collections])
    return {
        "rollout/return_pre": return_pre,
        "rollout/return_post": return_post,
        "rollout/adaptation_gain": return_post - return_pre,
        "rollout/ep_len_mean": float(lengths[intact].float().mean()),
        "health/nonfinite_envs": float(diverged.sum()),
        "health/fault_share": float(diverged.float().mean()),
        "health/truncation_rate": float(truncated.float().mean()),
    }


def num_steps(experience: Experience) -> int:
    """Environment steps of an iteration."""
    steps = sum(rollouts.num_steps() for rollouts in experience.rollouts)
    return int(sum_over_ranks(torch.tensor(steps)))


def time_metrics(experience: Experience, steps: int, total_s: float) -> dict[str, float]:
    """Shares of the iteration's wall-clock time; `update_s` is all but the collections."""
    return {
        "time/collect_s": experience.collect_s,
        "time/update_s": total_s - experience.collect_s,
        "time/fps": steps / total_s,
    }


def observation_statistics(rollouts: Rollouts) -> dict[str, list[float]]:
    """Mean and spread of each entry of the observation over valid steps, as JSON values.

    Saved with the policy, to compare a robot's observations with. `mean` and `std` are over all
    tasks, episodes and steps. `std_within` is the standard deviation within an episode, its
    variance averaged over episodes: 0 for entries that are constant in each, such as an observed
    goal. {} without a valid step.
    """
    valid = rollouts.valid.flatten(0, 1).unsqueeze(-1)  # (M*E, T, 1)
    lengths = valid.sum(1)  # (M*E, 1)
    intact = lengths.squeeze(-1) > 0
    episodes, steps = (sum_over_ranks(count) for count in (intact.sum(), lengths.sum()))
    if not bool(episodes):
        return {}
    valid, lengths = valid[intact], lengths[intact]
    observations = torch.where(valid, rollouts.observations.flatten(0, 1)[intact].double(), 0.0)
    mean = sum_over_ranks(observations.sum((0, 1))) / steps
    deviation = torch.where(valid, observations - mean, 0.0)
    variance = sum_over_ranks(deviation.square().sum((0, 1))) / steps
    episode_mean = observations.sum(1, keepdim=True) / lengths.unsqueeze(1)
    within = torch.where(valid, observations - episode_mean, 0.0).square().sum(1) / lengths
    return {
        "mean": mean.tolist(),
        "std": variance.sqrt().tolist(),
        "std_within": (sum_over_ranks(within.sum(0)) / episodes).sqrt().tolist(),
    }
