"""Adaptation to one simulated task, with the episodes of a step in parallel worlds."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from metarl.adaptation.inner_loop import run_inner_loop
from metarl.deploy.adapt import adaptation_generators, adapted_policy, plain_sizes
from metarl.deploy.gradient_step import NOT_FINITE
from metarl.errors import NonFiniteUpdateError
from metarl.evaluation.evaluate import CPU, mean_quantity, mean_returns
from metarl.evaluation.labels import quantity_label, task_text
from metarl.methods.setup import env_of, family_of, inner_loop_of
from metarl.policies.params import Params, expand, to
from metarl.rollouts.collect import Collector
from metarl.runs.policy_folder import SavedPolicy, save_policy
from metarl_envs import EngineName, TaskFamily, Tasks
from metarl_envs.inputs.numbers import whole


@dataclass(frozen=True)
class Adaptation:
    """Result of K gradient steps on one task."""

    saved: SavedPolicy
    """The adapted policy."""
    family: TaskFamily
    task: Tasks  # M = 1
    episodes: int
    """Per gradient step."""
    returns: NDArray[np.float64]  # (K+1,) of the mean action, before and after each step
    """Means over as many fresh episodes, which start the same for every step."""
    quantity: NDArray[np.float64]  # (K+1,)
    faulted_episodes: int
    """Of those adapted from, and those measured on."""

    @property
    def params(self) -> Params:
        """The adapted parameters, without axis M."""
        return self.saved.params

    @property
    def gain(self) -> float:
        """Return after the last step minus before the first."""
        return float(self.returns[-1] - self.returns[0])

    def summary(self) -> str:
        """Return and physical quantity of the mean action after each step, as plain text."""
        name, unit = quantity_label(self.family.quantity)
        lines = [
            f"{self.family.name}: {task_text(self.family, self.task, 0)}",
            f"  {'gradient steps':>14}  {'episodes used':>13}  {'return':>8}  "
            f"{name}{f', {unit}' if unit else ''}",
        ]
        lines += [
            f"  {k:>14}  {k * self.episodes:>13}  {r:>z8.1f}  {q:>z{len(name)}.2f}"
            for k, (r, q) in enumerate(zip(self.returns, self.quantity, strict=True))
        ]
        lines.append(f"  gain from adaptation {self.gain:+z.1f}")
        lines.append("  measured by the mean action, on fresh episodes; adapted with action noise")
        if self.faulted_episodes:
            lines.append(f"  left out: {self.faulted_episodes} episodes that diverged")
        return "\n".join(lines)

    def save(self, folder: str | Path) -> Path:
        """Write the adapted policy as a folder that `metarl.load` reads."""
        return save_policy(Path(folder), self.saved)


def adapt_to_task(
    saved: SavedPolicy,
    task: Tasks,
    *,
    episodes: int = 20,
    steps: int | None = None,
    seed: int = 0,
    sim_threads: int = 1,
    device: torch.device = CPU,
    engine: EngineName = "cpu",
) -> Adaptation:
    """Adapt to one simulated task, all episodes of a step in parallel worlds.

    Given the rollouts, the same arithmetic as `MetaPolicy.adapt` without limits. It adapts with
    action noise, and measures as a policy is deployed: by the mean action, on episodes of its own.

    Args:
        saved: the policy.
        task: one task of its family.
        episodes: per gradient step, >= 1.
        steps: K, gradient steps, >= 1; None: as many as the policy was trained for.
        seed: fixes resets and actions.
        sim_threads: simulator threads; the result does not depend on it.
        device: where gradients are computed.
        engine: simulator; `auto` is warp where `device` is a GPU.

    Raises:
        InputError: for more than one task, one out of range, or sizes below 1.
        NonFiniteUpdateError: if a step is not finite.
    """
    episodes, steps = plain_sizes(saved, episodes, steps)
    seed, sim_threads = whole("seed", seed, 0), whole("sim_threads", sim_threads, 1)
    family = family_of(saved.config)
    env = env_of(saved.config, 1, episodes, sim_threads=sim_threads, engine=engine, device=device)
    env.set_tasks(task)
    collector = Collector(env, saved.policy)
    resets, actions = adaptation_generators(seed)
    start, inner_config = to(expand(saved.params, 1), device), inner_loop_of(saved.config, 1.0)
    collect_episodes = partial(collector.collect, resets=resets, actions=actions)
    inner = run_inner_loop(saved.policy, inner_config, start, steps, collect_episodes)
    if bool(inner.failed.any()) or any(bool(r.diverged.all()) for r in inner.rollouts[:-1]):
        raise NonFiniteUpdateError(NOT_FINITE.format(step=f"of {steps}"))
    measured, same_starts = [], resets.get_state()
    for params in inner.policies:
        resets.set_state(same_starts)
        measured.append(collect_episodes(params, explore=False))
    returns = np.array([mean_returns(rollouts)[0] for rollouts in measured])
    report = {
        "task": task.describe(0),
        "episodes": episodes,
        "steps": steps,
        "seed": seed,
        "returns": returns.tolist(),
    }
    return Adaptation(
        saved=adapted_policy(saved, inner.adapted, report),
        family=family,
        task=task,
        episodes=episodes,
        returns=returns,
        quantity=np.array([mean_quantity(rollouts)[0] for rollouts in measured]),
        faulted_episodes=int(sum(r.diverged.sum() for r in [*inner.rollouts[:-1], *measured])),
    )
