"""Deployment: a meta-trained policy meets one task, adapts in a few episodes, and acts."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Generator

from metarl.adaptation.inner_loop import run_inner_loop
from metarl.deploy.adapt import (
    adaptation_generators,
    adapted_policy,
    check_callback,
    plain_sizes,
)
from metarl.deploy.collected import one_outcome
from metarl.deploy.description import describe_policy
from metarl.deploy.episode_so_far import UnsafeStartError
from metarl.deploy.episodes import Episode, EpisodeRecord
from metarl.deploy.gradient_step import NOT_FINITE
from metarl.deploy.gym_rollouts import adapt_on_env
from metarl.deploy.interruption import (
    AdaptationCancelled,
    AdaptationExit,
    AdaptationInterruptedError,
)
from metarl.deploy.limits import NO_LIMITS, Limits
from metarl.errors import NonFiniteUpdateError
from metarl.evaluation.evaluate import CPU, mean_quantity, mean_returns
from metarl.evaluation.labels import quantity_label, task_text
from metarl.methods.setup import env_of, family_of, inner_loop_of
from metarl.policies.base import Belief, where
from metarl.policies.params import Params, expand, to
from metarl.rollouts.collect import Collector
from metarl.runs.checkpoint import SavedPolicy, load_policy, save_policy
from metarl_envs import EngineName, InputError, TaskFamily, Tasks
from metarl_envs.gym_worlds.calls import plain_array
from metarl_envs.inputs.numbers import whole


def load(path: str | Path) -> MetaPolicy:
    """The policy in a run folder or policy folder, adapted ones included, ready to act.

    Raises:
        RunError: if there is none, or it cannot be used.
    """
    return MetaPolicy(load_policy(Path(path)))


@dataclass(frozen=True, repr=False)
class MetaPolicy:
    """A policy that acts, and that adapts to the task it finds. Adapting returns a new one."""

    saved: SavedPolicy
    episodes: tuple[Episode, ...] = ()
    """What it was adapted from on a robot, in this process: `metarl.save_episodes` keeps them."""
    _sampler: Generator = field(default_factory=lambda: Generator().manual_seed(0), repr=False)

    def __repr__(self) -> str:
        """Three lines: what it is, how it was trained, how it was adapted."""
        return describe_policy(self.saved)

    def adapt(
        self,
        env: gymnasium.Env[Any, Any],
        episodes: int = 5,
        steps: int | None = None,
        seed: int = 0,
        limits: Limits = NO_LIMITS,
        on_episode: Callable[[EpisodeRecord], object] | None = None,
        verbose: bool = False,
    ) -> MetaPolicy:
        """Adapt to the task that `env` is in, with `episodes` episodes before each gradient step.

        Steps the environment `episodes * steps` times to an episode's end or to the training
        horizon, whichever comes first. It is reset, but never told another task.

        Args:
            env: any environment with the policy's spaces.
            episodes: per gradient step, >= 1. Baseline and advantages come from these alone, so
                one or two give a noisy step.
            steps: gradient steps, >= 1; None: as many as the policy was trained for.
            seed: fixes the action noise, and is given to the environment's first reset.
            limits: what it must not do, and when it ends early. Without them steps are still
                capped (`Limits.max_step_kl`).
            on_episode: called with an `EpisodeRecord` after every episode. An error or Ctrl-C of it
                cuts the adaptation short like one of the environment.
            verbose: print a line after every episode.

        Returns:
            The adapted policy; `adapted` is the report and `episodes` the raw data. Where the
            robot is unsafe before a later episode, the policy is adapted from the episodes until
            then, with a warning. Observations unlike those of training are a warning too.

        Raises:
            InputError: for other spaces, sizes that are too small, limits that do not fit the
                action space, or a robot that is unsafe before it moved.
            AdaptationNotFiniteError: if a step is not finite; `episodes` is the raw data.
            AdaptationInterruptedError: if the environment raises an error after an episode that
                can be adapted from; `policy` is adapted from such episodes.
            AdaptationCancelled, AdaptationExit: the same for Ctrl-C and for `sys.exit`.
        """
        check_callback(on_episode)

        def tell(record: EpisodeRecord) -> None:
            if verbose:
                print(record, flush=True)
            if on_episode is not None:
                on_episode(record)

        done = adapt_on_env(
            self.saved,
            env,
            episodes=episodes,
            steps=steps,
            seed=whole("seed", seed),
            limits=limits,
            on_episode=tell,
        )
        policy, error = MetaPolicy(done.saved, done.episodes), done.error
        if error is None:
            return policy
        line = f"the adaptation was cut short: {done.describe()}"
        if isinstance(error, UnsafeStartError):
            warnings.warn(line, stacklevel=2)
            return policy
        if isinstance(error, KeyboardInterrupt):
            raise AdaptationCancelled(f"{line}; it is this error's `policy`", policy) from error
        if isinstance(error, SystemExit):
            raise AdaptationExit(error, policy) from error
        if not isinstance(error, Exception):
            raise error
        raise AdaptationInterruptedError(f"{line}; it is this error's `policy`", policy) from error

    def predict(
        self,
        observation: ArrayLike,
        state: Belief | None = None,
        episode_start: ArrayLike | None = None,
        deterministic: bool = True,
    ) -> tuple[NDArray[np.float32], Belief | None]:
        """Actions for observations: (O,) -> (A,) or (N, O) -> (N, A), within the action space.

        They keep to the action bounds of the limits that it was adapted with.

        The signature is Stable-Baselines3's, so that its tools take this object. Unlike there, the
        mean is the default: after adaptation one wants to act, not to explore.

        Args:
            observation: of one robot, or of N.
            state: what a policy with a memory remembers, as this or `observe` returned it; None: a
                trial begins. Policies without one neither need nor return it.
            episode_start: (N,), where it begins again.
            deterministic: the mean action; False: with the policy's noise.

        Raises:
            InputError: for another shape, or a number that is not finite.
        """
        policy = self.saved.policy
        try:
            given = torch.from_numpy(plain_array(observation).astype(np.float32))
        except (TypeError, ValueError):
            shown = " ".join(repr(observation).split())[:60]
            raise InputError(f"observation = {shown}: must be numbers") from None
        if given.dim() not in (1, 2) or given.shape[-1] != policy.observation_size:
            size = policy.observation_size
            raise InputError(
                f"observation of shape {tuple(given.shape)}: the policy reads ({size},) or "
                f"(N, {size})"
            )
        if not bool(torch.isfinite(given).all()):
            *_, i = torch.nonzero(~torch.isfinite(given))[0].tolist()
            value = given.view(-1, policy.observation_size)[:, i]
            bad = float(value[~torch.isfinite(value)][0])
            raise InputError(f"observation[{i}] = {bad}: must be finite; no action follows from it")
        seen = given.view(-1, policy.observation_size)
        with torch.no_grad():
            belief = self._belief(len(seen), state, episode_start)
            dist, belief = policy.act(self.saved.params, belief, seen)
            outputs = dist.mean
            if not deterministic:
                noise = torch.randn(outputs.shape, generator=self._sampler)
                outputs = outputs + policy.log_std(self.saved.params).exp() * noise
        # Scaling may leave the range by rounding, where its middle is not zero.
        low, high = (np.array(b, np.float32) for b in (policy.action_low, policy.action_high))
        actions = np.clip(policy.controls(outputs).numpy(), low, high)
        return (actions[0] if given.dim() == 1 else actions), belief or None

    def observe(
        self,
        state: Belief | None,
        action: ArrayLike,
        reward: float,
        observation: ArrayLike,
        terminated: bool = False,
        truncated: bool = False,
    ) -> Belief | None:
        """The state of one robot after a step, for the next `predict`.

        Policies without a memory need none of it. What one with a memory makes of rewards and ends
        reaches it here, those of an episode's last step too.

        Args:
            state: as `predict` returned it with the action.
            action: (A,), as sent.
            reward: earned by it.
            observation: after it, (O,).
            terminated, truncated: whether and how the episode ended.
        """
        if state is None:
            return None
        policy = self.saved.policy
        outputs = policy.outputs(torch.as_tensor(np.asarray(action), dtype=torch.float32))
        told = one_outcome(policy, outputs, reward, observation, terminated, truncated)
        with torch.no_grad():
            return policy.observe(self.saved.params, state, told)

    def _belief(self, num_worlds: int, state: Belief | None, started: ArrayLike | None) -> Belief:
        """What the policy believes of N robots: (N, ...)."""
        fresh = self.saved.policy.begin(self.saved.params, num_worlds)
        if state is None or not fresh:
            return fresh
        shapes = {name: value.shape for name, value in fresh.items()}
        if shapes != {name: value.shape for name, value in state.items()}:
            raise InputError(
                f"state of another policy, or of other than {num_worlds} robots: must be what "
                "`predict` returned last"
            )
        if started is None:
            return state
        begins = torch.as_tensor(np.asarray(started, dtype=bool)).view(num_worlds)
        return where(begins, fresh, state)

    @property
    def adapted(self) -> dict[str, Any] | None:
        """How the policy was adapted; None if it was not."""
        return self.saved.metadata.get("adapted")

    def save(self, folder: str | Path) -> Path:
        """Write a policy folder that `metarl.load` reads."""
        saved = self.saved
        return save_policy(
            Path(folder), saved.config, saved.policy, saved.params, saved.metadata, saved.family
        )


class MeanActions:
    """A policy that drives one robot by its mean action, from the start of a trial."""

    def __init__(self, policy: MetaPolicy) -> None:
        self._policy = policy
        self._state: Belief | None = None
        self._action = np.zeros(0, np.float32)

    def act(self, observation: NDArray[np.float64]) -> NDArray[np.float32]:
        """The action to send: (O,) -> (A,)."""
        self._action, self._state = self._policy.predict(observation, self._state)
        return self._action

    def observe(
        self, reward: float, observation: NDArray[np.float64], terminated: bool, truncated: bool
    ) -> None:
        """Take what it led to."""
        self._state = self._policy.observe(
            self._state, self._action, reward, observation, terminated, truncated
        )


@dataclass(frozen=True)
class Adaptation:
    """What K gradient steps did on one task."""

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
            f"  {k:>14}  {k * self.episodes:>13}  {returned:>z8.1f}  {amount:>z{len(name)}.2f}"
            for k, (returned, amount) in enumerate(zip(self.returns, self.quantity, strict=True))
        ]
        lines.append(f"  gain from adaptation {self.gain:+z.1f}")
        lines.append("  measured by the mean action, on fresh episodes; adapted with action noise")
        if self.faulted_episodes:
            lines.append(f"  left out: {self.faulted_episodes} episodes that diverged")
        return "\n".join(lines)

    def save(self, folder: str | Path) -> Path:
        """Write the adapted policy as a folder that `metarl.load` reads."""
        return MetaPolicy(self.saved).save(folder)


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
        engine: what simulates; `auto` is warp where `device` is a GPU.

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
