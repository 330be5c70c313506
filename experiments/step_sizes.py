"""Size of a policy's adaptation steps, and the gain that a cap on it costs.

    python -m experiments.step_sizes                    # the bundled policy
    python -m experiments.step_sizes RUN --episodes 5

Adapts to held-out tasks (training tasks, where a family has no others), each step scaled down to
shares of `training_step_kl`, the largest step of training tasks, and prints what the mean action
gains. `metarl.Limits.max_step_kl` is that largest step by default.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro
from torch import Generator
from tyro.conf import Positional

import metarl
from metarl.deploy.gradient_step import RobotSteps, training_step_kl
from metarl.methods.setup import family_of, inner_loop_of
from metarl.policies.params import Params, expand
from metarl.rollouts.collect import Collector
from metarl.rollouts.data import Rollouts
from metarl_envs import BatchEnv

BUNDLED = Path(metarl.__file__).parent / "assets" / "half-cheetah-direction"
SHARES = (0.01, 0.03, 0.1, 0.3, 1.0, math.inf)
MEASURED = 5
"""Episodes of the mean action per task."""


@dataclass(frozen=True)
class Options:
    """Policy, tasks and episodes."""

    policy: Positional[Path] = BUNDLED
    """A run or policy folder."""
    tasks: int = 20
    """Held-out tasks."""
    episodes: tuple[int, ...] = (5, 20)
    """Episodes per step."""


def main(options: Options) -> None:
    """Print the size of the first step and the gain against caps."""
    saved = metarl.load(options.policy).saved
    family, config = family_of(saved.config), inner_loop_of(saved.config, 1.0)
    split = "test" if family.holds_out else "train"
    tasks = family.sample_tasks(options.tasks, Generator().manual_seed(100), split)
    names, start = list(saved.params), expand(saved.params, options.tasks)

    def gathered(count: int, params: Params, seed: int, *, explore: bool) -> Rollouts:
        env = BatchEnv(family, options.tasks, count, horizon=saved.config.horizon)
        env.set_tasks(tasks)
        streams = (Generator().manual_seed(seed + i) for i in (0, 1))
        return Collector(env, saved.policy).collect(params, *streams, explore=explore)

    def returns(params: Params) -> np.ndarray:
        return gathered(MEASURED, params, 10, explore=False).task_returns().double().numpy()

    before = returns(start)
    print(f"{options.policy.name}: return {before.mean():.1f} before adapting")
    for episodes in options.episodes:
        largest = training_step_kl(saved, min(episodes, 5), steps=1)
        rollouts = gathered(episodes, start, 1, explore=True)
        sizes: list[float] = []
        print(f"{episodes} episodes; the largest step of training tasks is {largest:.3g} nats")
        for share in SHARES:
            stepped: list[Params] = []
            for m in range(options.tasks):
                steps = RobotSteps(saved, config, share * largest)
                step = steps.step(steps.begin(), rollouts.some_tasks([m]), 0)
                if step is None:
                    raise SystemExit(f"task {m}: the step is not finite")
                stepped.append({n: step.params[n] for n in names})
                sizes += [step.kl] if share == math.inf else []
            gain = returns({n: torch.cat([p[n] for p in stepped]) for n in names}) - before
            error = gain.std(ddof=1) / math.sqrt(len(gain))
            print(
                f"  cap {share * largest:8.3g} ({share:g}): gain {gain.mean():7.1f} +- {error:.1f}"
            )
        low, middle, high = np.quantile(sizes, [0, 0.5, 1])
        print(f"  steps here: {low:.3g} to {high:.3g} nats, median {middle:.3g}")


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
