"""Statistics of what a policy observes in training: saved with it, and compared with on a robot."""

from __future__ import annotations

import torch

from metarl.rollouts.data import Rollouts


def observation_statistics(rollouts: Rollouts) -> dict[str, list[float]]:
    """Of every entry of the observation over all sound steps, as JSON values; {} without any.

    `mean` and `std` are over all tasks, episodes and steps; `std_within` is the standard deviation
    within an episode, its variance averaged over episodes: 0 for what stands still in each, such as
    a goal that is observed.
    """
    valid = rollouts.valid.flatten(0, 1).unsqueeze(-1)  # (M*E, T, 1)
    lengths = valid.sum(1)  # (M*E, 1)
    sound = lengths.squeeze(-1) > 0
    if not bool(sound.any()):
        return {}
    valid, lengths = valid[sound], lengths[sound]
    seen = torch.where(valid, rollouts.observations.flatten(0, 1)[sound].double(), 0.0)
    mean = seen.sum((0, 1)) / lengths.sum()
    deviation = torch.where(valid, seen - mean, 0.0)
    episode_mean = seen.sum(1, keepdim=True) / lengths.unsqueeze(1)
    within = torch.where(valid, seen - episode_mean, 0.0).square().sum(1) / lengths
    return {
        "mean": mean.tolist(),
        "std": (deviation.square().sum((0, 1)) / lengths.sum()).sqrt().tolist(),
        "std_within": within.mean(0).sqrt().tolist(),
    }
