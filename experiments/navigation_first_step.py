"""Result of the first inner step on `navigation`: the goal's direction, or also its distance?

    python -m experiments.navigation_first_step RUN

Adapts to 200 held-out goals with one gradient step and prints, by the goal's distance, where the
mean actions of the adapted policies settle.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import torch
from torch import Generator
from torch.nn.functional import cosine_similarity

from metarl.adaptation.inner_loop import run_inner_loop
from metarl.methods.setup import inner_loop_of
from metarl.policies.params import expand
from metarl.rollouts.collect import Collector
from metarl.runs.checkpoint import load_policy
from metarl_envs import BatchEnv, get_family

SETTLED = 30
"""Steps after which the mean position is taken; the way there takes ten at most."""


def main(run: Path) -> None:
    """Print one line per range of goal distances."""
    saved, family = load_policy(run), get_family("navigation")
    env = BatchEnv(family, num_tasks=200, episodes_per_task=20)
    tasks, resets, actions = (Generator().manual_seed(seed) for seed in range(3))
    env.set_tasks(family.sample_tasks(env.num_tasks, tasks, "test"))
    start, loop = expand(saved.params, env.num_tasks), inner_loop_of(saved.config, 1.0)
    collect_episodes = partial(Collector(env, saved.policy).collect, resets=resets, actions=actions)
    inner = run_inner_loop(saved.policy, loop, start, 1, collect_episodes, collect_last=False)
    after = collect_episodes(inner.adapted, explore=False)
    valid = after.valid[:, :, SETTLED:].unsqueeze(-1)
    positions = after.observations[:, :, SETTLED:] * valid
    place = positions.sum((1, 2)) / valid.sum((1, 2)).clamp(min=1)  # (M, 2)
    goal = env.tasks.values["goal"].float()
    distance = goal.norm(dim=1)
    angle_deg = torch.rad2deg(torch.acos(cosine_similarity(place, goal).clamp(-1, 1)))
    print("goal at (m)  tasks  settles at (m)  off by (degrees)  return")
    for low, high in ((0.1, 0.2), (0.2, 0.3), (0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (0.6, 0.71)):
        chosen = (distance >= low) & (distance < high)
        print(
            f"{low:.1f} - {high:.1f}    {int(chosen.sum()):>5}  "
            f"{float(place[chosen].norm(dim=1).mean()):>14.2f}  "
            f"{float(angle_deg[chosen].mean()):>16.1f}  "
            f"{float(after.task_returns()[chosen].mean()):>6.1f}"
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
