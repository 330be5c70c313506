"""Adaptation to one simulated task, with the episodes of a step in parallel worlds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from metarl.adaptation.inner_loop import run_inner_loop
from metarl.deploy.adapt import (
    adaptation_generators,
    adapted_policy,
    plain_sizes,
)
from metarl.deploy.collected import replayed_belief
from metarl.deploy.gradient_step import NOT_FINITE, adapts_by_belief_alone
from metarl.errors import NonFiniteUpdateError
from metarl.evaluation.evaluate import CPU, mean_quantity, mean_returns
from metarl.evaluation.hypotheses import NO_HYPOTHESES, BeliefSearch, hypotheses_of
from metarl.evaluation.labels import quantity_label, task_text
from metarl.evaluation.trials import belief_after
from metarl.methods.setup import env_of, family_of, inner_loop_of
from metarl.policies.belief import Belief
from metarl.policies.params import Params, expand, to
from metarl.rollouts.collect import Collector
from metarl.rollouts.data import Rollouts, joined_episodes
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
    """Per gradient step; of a policy that adapts by its memory alone, K times as many in a row."""
    returns: NDArray[np.float64]  # (K+1,) of the mean action, before and after each step
    """Means over as many fresh episodes, which start the same for every step, each from the belief
    of that step."""
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
        by_mean = adapts_by_belief_alone(self.saved)
        steps = "" if by_mean else f"{'gradient steps':>16}"
        lines = [
            f"{self.family.name}: {task_text(self.family, self.task, 0)}",
            f"{steps}  {'episodes used':>13}  {'return':>8}  {name}{f', {unit}' if unit else ''}",
        ]
        for k, (r, q) in enumerate(zip(self.returns, self.quantity, strict=True)):
            steps = "" if by_mean else f"{k:>16}"
            row = f"{steps}  {k * self.episodes:>13}  {r:>z8.1f}  {q:>z{len(name)}.2f}"
            lines.append(row)
        lines.append(f"  gain from adaptation {self.gain:+z.1f}")
        adapted = "by it, in one trial" if by_mean else "with action noise"
        lines.append(f"  measured by the mean action, on fresh episodes; adapted {adapted}")
        if trial := self.saved.metadata["adapted"].get("trial"):
            shown = ", ".join(f"{value:z.1f}" for value in trial["returns"])
            lines.append(f"  returns of the trial's episodes: {shown}")
            if tried := trial.get("beliefs_tried"):
                lines.append(
                    f"  it returned less than training tasks do, so it tried {tried} of their "
                    f"beliefs, and goes on with {trial['goes_on_with']}"
                )
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
    The episodes of a policy with a memory follow one another in one world, as one trial.

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
    family, (resets, actions) = family_of(saved.config), adaptation_generators(seed)

    def collector(num_worlds: int) -> Callable[..., Rollouts]:
        env = env_of(
            saved.config, 1, num_worlds, sim_threads=sim_threads, engine=engine, device=device
        )
        env.set_tasks(task)
        return partial(Collector(env, saved.policy).collect, resets=resets, actions=actions)

    start, inner_config = to(expand(saved.params, 1), device), inner_loop_of(saved.config, 1.0)
    collect_episodes, trial = collector(episodes), None
    if begun := to(expand(saved.begin(1), 1), device):
        trial = SimulatedTrial(saved, begun, collector(1), episodes)
    inner = run_inner_loop(
        saved.policy, inner_config, start, steps, trial or collect_episodes, collect_last=not trial
    )
    adapted_from = inner.rollouts[:steps]
    if bool(inner.failed.any()) or any(bool(r.diverged.all()) for r in adapted_from):
        raise NonFiniteUpdateError(NOT_FINITE.format(step=f"of {steps}"))
    measured, same_starts, belief = [], resets.get_state(), None
    for k, params in enumerate(inner.policies):
        resets.set_state(same_starts)
        if trial is not None:
            belief = trial.belief(params, k)
        known = belief and {n: v.expand(1, episodes, *v.shape[2:]) for n, v in belief.items()}
        measured.append(collect_episodes(params, explore=False, belief=known))
    returns = np.array([mean_returns(rollouts)[0] for rollouts in measured])
    report = {
        "task": task.describe(0),
        "episodes": episodes,
        "steps": steps,
        "seed": seed,
        "returns": returns.tolist(),
    }
    if trial is not None:
        report["trial"] = trial.describe()
    return Adaptation(
        saved=adapted_policy(saved, inner.adapted, report, belief),
        family=family,
        task=task,
        episodes=episodes,
        returns=returns,
        quantity=np.array([mean_quantity(rollouts)[0] for rollouts in measured]),
        faulted_episodes=int(sum(r.diverged.sum() for r in [*adapted_from, *measured])),
    )


class SimulatedTrial:
    """A trial of one policy in one simulated world: the episodes of all steps, in order."""

    def __init__(
        self, saved: SavedPolicy, begun: Belief, collect: Callable[..., Rollouts], episodes: int
    ) -> None:
        """Start without an episode.

        Args:
            saved: the policy.
            begun: its belief at the start, (1, 1, ...).
            collect: `Collector.collect` in one world, with its random streams.
            episodes: per step.
        """
        self._saved, self._begun, self._collect, self._episodes = saved, begun, collect, episodes
        self._lived: list[Rollouts] = []
        self._by_memory = adapts_by_belief_alone(saved)
        self._search = BeliefSearch.begin(begun)
        self._hypotheses = hypotheses_of(saved) if self._by_memory else NO_HYPOTHESES
        self._chosen = [begun]
        """The belief after the episodes of each step, of a policy that takes none."""
        self._device = next(iter(begun.values())).device

    def __call__(self, params: Params) -> Rollouts:
        """The next episodes, by parameters (1, ...): (1, E, ...)."""
        belief = self.belief(params, len(self._lived) // self._episodes)
        for _ in range(self._episodes):
            if self._by_memory:
                belief, trying = self._search.next(self._hypotheses)
                one = self._collect(params, explore=False, belief=belief).to(self._device)
                outcome = one.returns(), belief_after(one)
                self._search = self._search.after(self._hypotheses, trying, *outcome)
            else:
                one = self._collect(params, explore=True, belief=belief).to(self._device)
                belief = belief_after(one)
            self._lived.append(one)
        self._chosen.append(self._search.chosen(self._hypotheses))
        return joined_episodes(self._lived[-self._episodes :])

    def belief(self, params: Params, steps: int) -> Belief:
        """Belief of parameters (1, ...) about the episodes of the first steps, (1, 1, ...)."""
        if self._by_memory:
            return self._chosen[steps]
        belief = self._begun
        for one in self._lived[: steps * self._episodes]:
            belief = replayed_belief(self._saved.policy, params, belief, one)
        return belief

    def describe(self) -> dict[str, Any]:
        """Numbers of episodes and steps, and returns, of what did not diverge, as JSON values."""
        lived = [one for one in self._lived if not bool(one.diverged.any())]
        return {
            "episodes": len(lived),
            "steps": int(sum(one.valid.sum() for one in lived)),
            "returns": [float(one.task_returns()) for one in lived],
            **(self._search.describe() if self._by_memory else {}),
        }
