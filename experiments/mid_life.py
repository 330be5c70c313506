r"""A leg that reverses in mid-episode: steps until a policy with a memory acts as before.

    metarl train half-cheetah-reversed --method teacher-student --iterations 380 --seed S \
        --outer.teacher-share 0.29 --outer.teacher-rate 0.002 --outer.reinforcement-share 0.58 \
        --outer.reinforcement-rate 0.0005 --outer.changes 1 --policy.init-std 0.15
    python -m experiments.mid_life RUN [RUN ...]

Trials of half-cheetah-reversed, held out. In the second episode the back leg's motors are rewired;
nothing says so. Compared is the reward per step, a mean over tasks, with that of the same policy in
trials that had the rewired leg from the start. Prints a table and writes mid_life.json.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from numpy.typing import NDArray
from torch import Generator
from tyro.conf import Positional

from metarl.evaluation.trials import live_through
from metarl.methods.setup import env_of, family_of
from metarl.policies.params import expand
from metarl.rollouts.collect import Collector
from metarl.rollouts.stepping import TaskChange
from metarl.runs.checkpoint import SavedPolicy, load_policy
from metarl.runs.files import plain
from metarl.versions import git_commit, versions
from metarl_envs import Tasks

LEG = "back_leg"


@dataclass(frozen=True)
class Options:
    """Runs and sizes."""

    runs: Positional[tuple[Path, ...]]
    """Runs on half-cheetah-reversed, one for each seed."""
    tasks: int = 100
    """Held-out tasks."""
    trials: int = 5
    """Of each task."""
    at: int = 40
    """Step of the second episode before which the leg is rewired."""
    window: int = 10
    """Steps that the reward is averaged over."""
    recovered: float = 0.9
    """Share of the steady reward that counts as back."""
    seed: int = 0
    """Of tasks and resets."""
    out: Path = Path("experiments/results/mid_life.json")
    """File for the result."""


def rewards(saved: SavedPolicy, before: Tasks, after: Tasks, options: Options) -> NDArray[Any]:
    """Mean reward at each step of the second episode, whose task changes at `options.at`: (T,)."""
    env = env_of(saved.config, len(before), options.trials, sim_threads=1)
    env.set_tasks(before)
    collector, noise = Collector(env, saved.policy), Generator()
    resets = Generator().manual_seed(options.seed)
    lived = live_through(collector, saved.params, resets, noise, [1])
    episode = collector.collect(
        expand(saved.params, 1),
        resets,
        noise,
        explore=False,
        belief=lived.beliefs[1],
        changes={options.at: TaskChange(after)},
    )
    return episode.rewards.masked_fill(~episode.valid, float("nan")).nanmean((0, 1)).numpy()


def measure(run: Path, options: Options) -> dict[str, Any]:
    """Steps until recovery of one policy, and its rewards."""
    saved = load_policy(run)
    stream = Generator().manual_seed(options.seed)
    before = family_of(saved.config).sample_tasks(options.tasks, stream, "test")
    after = Tasks({**before.values, LEG: -before.values[LEG]})
    changed, steady = (rewards(saved, tasks, after, options) for tasks in (before, after))
    window = np.ones(options.window) / options.window
    lives, goal = (np.convolve(r[options.at :], window, "valid") for r in (changed, steady))
    back = lives >= options.recovered * goal
    lost = np.flatnonzero(~back)
    steps = 0 if not len(lost) else int(lost[-1]) + 1
    return {
        "run": run.name,
        "steps_until_back": steps if steps < len(back) else None,
        "reward_before": float(changed[: options.at][-options.window :].mean()),
        "reward_changed": changed.tolist(),
        "reward_steady": steady.tolist(),
    }


def main(options: Options) -> None:
    """Measure every run, print a line for each, write the result."""
    results = [measure(run, options) for run in options.runs]
    print(
        "steps after the change from which on every window of "
        f"{options.window} steps earns {options.recovered:.0%} of the steady reward:"
    )
    for result in results:
        changed, at = np.array(result["reward_changed"]), options.at
        parts = [changed[start : start + 10].mean() for start in range(at - 10, len(changed), 10)]
        print(
            f"  {result['run']}: {result['steps_until_back']}; reward per step in tens from "
            f"{at - 10} on: {', '.join(f'{part:.2f}' for part in parts)}"
        )
    sizes = {name: getattr(options, name) for name in ("tasks", "trials", "at", "window", "seed")}
    document: dict[str, Any] = {"sizes": sizes, "results": results}
    document |= {"commit": git_commit(), "versions": versions()}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(plain(document), indent=1) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
