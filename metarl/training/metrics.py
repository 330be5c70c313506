"""Metrics of an iteration of any learner, over the tasks of all processes."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from metarl.distributed import gather_by_name, sum_by_name, sum_over_ranks
from metarl.outer.learner import Experience
from metarl.rollouts.data import Rollouts


def rollout_metrics(collections: Sequence[Rollouts]) -> dict[str, float]:
    """Returns before and after adaptation, episode lengths and diverged worlds of a meta-batch."""
    pre, post = collections[0], collections[-1]
    by_task = {  # axes: collection, task
        "returns": [pre.task_returns(), post.task_returns()],
        "lengths": [pre.valid.sum(-1), post.valid.sum(-1)],
        "diverged": [rollouts.diverged for rollouts in collections],
        "truncated": [rollouts.truncated.any(-1) for rollouts in collections],
    }
    of_all = gather_by_name({name: torch.stack(v) for name, v in by_task.items()}, dim=1)
    return_pre, return_post = (float(values.nanmean()) for values in of_all["returns"])
    lengths, diverged, truncated = of_all["lengths"], of_all["diverged"], of_all["truncated"]
    intact = ~diverged[[0, -1]]
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
    valid, lengths = valid[intact], lengths[intact]
    observations = torch.where(valid, rollouts.observations.flatten(0, 1)[intact].double(), 0.0)
    total = sum_by_name(
        {"episodes": intact.sum(), "steps": lengths.sum(), "observations": observations.sum((0, 1))}
    )
    episodes, steps = total["episodes"], total["steps"]
    if not bool(episodes):
        return {}
    mean = total["observations"] / steps
    deviation = torch.where(valid, observations - mean, 0.0)
    episode_mean = observations.sum(1, keepdim=True) / lengths.unsqueeze(1)
    within = torch.where(valid, observations - episode_mean, 0.0).square().sum(1) / lengths
    squares = sum_by_name({"all": deviation.square().sum((0, 1)), "within": within.sum(0)})
    return {
        "mean": mean.tolist(),
        "std": (squares["all"] / steps).sqrt().tolist(),
        "std_within": (squares["within"] / episodes).sqrt().tolist(),
    }
