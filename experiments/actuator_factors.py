"""Factors on the actions: what GrBAL's models say of which actuator is dead.

    python -m experiments.actuator_factors runs/model_based/half-cheetah-crippled-grbal-*

On every robot of the family and on a healthy one, runs drive some episodes by their mean action.
After every tenth step the model adapts to the last ones; printed and written are its mean factors.
No policy was told which actuator is dead.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro
from torch import Tensor
from tyro.conf import Positional

from experiments.model_measures import adapted_at, lived
from metarl.methods.setup import family_of
from metarl.policies.dynamics import GAIN
from metarl.policies.params import expand
from metarl.policies.planning import PlanningPolicy
from metarl.runs.checkpoint import SavedPolicy, load_policy
from metarl.versions import git_commit, versions
from metarl_envs import Tasks
from metarl_envs.distributions import Choice

HEALTHY = -1.0
"""Value of the parameter at which nothing is dead."""


@dataclass(frozen=True)
class Options:
    """Runs and sizes."""

    runs: Positional[tuple[Path, ...]]
    """Of GrBAL, on one family of robots with a dead actuator."""
    episodes: int = 5
    """Of every robot."""
    out: Path = Path("experiments/results")
    """Folder for actuator-factors-FAMILY.json."""


def factors(saved: SavedPolicy, episodes: int) -> dict[float, Tensor]:
    """Mean factors of the actions, (A,), by what is dead; the healthy robot comes first.

    Raises:
        SystemExit: for another method or family.
    """
    policy, (parameter, *others) = saved.policy, family_of(saved.config).parameters
    kinds = (parameter.train, parameter.extrapolation)
    if others or not all(isinstance(kind, Choice) for kind in kinds):
        raise SystemExit(f"{saved.config.family}: give runs on a family with dead actuators")
    if not (isinstance(policy, PlanningPolicy) and policy.config.adapts == "gradient"):
        raise SystemExit(f"{saved.config.method}: give runs of grbal, whose models have factors")
    robots = [HEALTHY, *itertools.chain(*(k.options for k in kinds if isinstance(k, Choice)))]
    dead = torch.tensor(robots).repeat_interleave(episodes)
    lives = lived(saved, Tasks({parameter.name: dead}), seed=0)
    found: dict[float, list[Tensor]] = {robot: [] for robot in robots}
    with torch.no_grad():
        for t in range(policy.config.window, lives.valid.shape[-1], 10):
            for robot, values in found.items():
                which = (dead == robot) & lives.valid[:, 0, :t].all(-1)
                model = adapted_at(policy, expand(saved.params, 1), lives, t, which)
                values.append(model[GAIN][0].mean(1))
    return {robot: torch.cat(values).mean(0) for robot, values in found.items()}


def table(means: dict[float, list[float]]) -> str:
    """Mean factors as Markdown: a row for each robot."""
    actions = len(means[HEALTHY])
    lines = [
        f"| dead | {' | '.join(f'action {n}' for n in range(actions))} |",
        f"|---{'|---' * actions}|",
    ]
    for robot, row in means.items():
        name = "none" if robot == HEALTHY else f"{robot:.0f}"
        lines.append(f"| {name} | {' | '.join(f'{factor:.2f}' for factor in row)} |")
    return "\n".join(lines)


def main(options: Options) -> None:
    """Print and write the factors, means over runs."""
    torch.set_num_threads(1)
    policies = [load_policy(run) for run in options.runs]
    each = [factors(saved, options.episodes) for saved in policies]
    means = {robot: torch.stack([one[robot] for one in each]).mean(0).tolist() for robot in each[0]}
    print(table(means))
    family = family_of(policies[0].config).name
    document = {"family": family, "factors": means, "commit": git_commit(), "versions": versions()}
    options.out.mkdir(parents=True, exist_ok=True)
    written = options.out / f"actuator-factors-{family}.json"
    written.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
