"""Adaptation from episodes that are there already: a log, or a robot that is no `gymnasium.Env`."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from metarl.deploy.episodes import Episode, read_episodes
from metarl.deploy.limits import Limits
from metarl.deploy.robot_adaptation import AdaptedOnRobot, RobotAdaptation
from metarl.params import Params
from metarl.policies import Gaussian, GaussianMlpPolicy
from metarl.policy_folder import SavedPolicy
from metarl_envs import InputError
from metarl_envs.numbers import whole

LIVE_LIMITS = ("unsafe", "min_return", "check_episodes")
"""Those that act while a robot moves."""
NO_NOISE = 1e-3
"""Mean square of the standardised noise of all actions, below which they hold none: 1 is right."""
FAR = 4.0
"""How many times larger or smaller than 1 that of one action may be. By chance 30 steps come to
1/4 or 4 about once in a million."""
FEWEST = 30
"""Steps that an action must have inside its range to be judged."""
INSIDE = 3.0
"""Standard deviations between the mean action and its bounds that make it inside."""


def adapt_from_log(
    saved: SavedPolicy,
    given: Any,  # noqa: ANN401 - what a user has
    *,
    steps: int,
    episodes_per_step: int | None,
    limits: Limits,
    max_steps: int | None,
) -> AdaptedOnRobot:
    """The arithmetic of an adaptation on a robot, on episodes that were met before.

    Args:
        saved: the policy to start from, which acted in the episodes.
        given: the episodes, in the order in which they were met.
        steps: gradient steps, K; with K > 1 the policy after k steps acted in the k-th part.
        episodes_per_step: of each part but the last, which may have fewer; None: equal parts.
        limits: those that hold without a robot.
        max_steps: of an episode that goes on; None: the horizon.

    Raises:
        InputError: for episodes that do not fit, or actions without noise.
        AdaptationNotFiniteError: if a step is not finite.
    """
    for name in LIVE_LIMITS:
        if name in limits.describe():
            raise InputError(
                f"limits.{name}: acts while the robot moves, and these episodes are over; leave it "
                "out (of an episode that was stopped, say stopped='...')"
            )
    policy = limits.applied_to(saved.policy)
    episodes = read_episodes(given, policy)
    if all(episode.diverged for episode in episodes):
        raise InputError(f"episodes: {len(episodes)} given, and none to adapt from")
    size = _part_size(len(episodes), steps, episodes_per_step)
    adapting = RobotAdaptation(
        saved, episodes=size, steps=steps, seed=None, limits=limits, max_steps=max_steps
    )
    for start in range(0, len(episodes), size):
        if adapting.finished:
            break
        part = [e.first_steps(adapting.horizon) for e in episodes[start : start + size]]
        part = [with_outputs(policy, adapting.params, episode) for episode in part]
        check_noise(policy, adapting.params, part, len(episodes) > size)
        for episode in part:
            adapting.append(episode)
        adapting.learn(early=True)
    return adapting.result()


def _part_size(count: int, steps: int, given: int | None) -> int:
    if given is not None:
        size = whole("episodes_per_step", given, 1)
        if not (steps - 1) * size < count <= steps * size:
            raise InputError(
                f"episodes: {count} given, and {steps} gradient steps on {size} each take "
                f"{(steps - 1) * size + 1} to {steps * size}"
            )
        return size
    if count % steps:
        raise InputError(
            f"episodes: {count} given, which {steps} gradient steps do not share equally; say "
            "episodes_per_step, or steps=1 if the policy as it is acted in all of them"
        )
    return count // steps


@torch.no_grad()
def with_outputs(policy: GaussianMlpPolicy, params: Params, episode: Episode) -> Episode:
    """The episode with the outputs behind its actions.

    Scaling is undone. An action at a bound was cut there, so its output lies beyond: it counts as
    the mean of the policy's own outputs beyond the bound, for which the gradient of the policy's
    mean is that of the probability of the cut action (Fisher's identity).

    Args:
        policy: the policy function.
        params: that acted, (1, ...).
        episode: of its robot.
    """
    if episode.outputs is not None or episode.steps == 0:
        return episode
    dist = _acted(policy, params, episode)
    low, high = _bounds(policy)
    outputs = _unscaled(policy, torch.from_numpy(episode.actions))
    rounding = 1e-6 * policy.config.action_scale
    above = dist.mean + _mean_beyond((high - dist.mean) / dist.log_std.exp()) * dist.log_std.exp()
    below = dist.mean - _mean_beyond((dist.mean - low) / dist.log_std.exp()) * dist.log_std.exp()
    outputs = torch.where(outputs >= high - rounding, above, outputs)
    outputs = torch.where(outputs <= low + rounding, below, outputs)
    return replace(episode, outputs=outputs.numpy())


@torch.no_grad()
def check_noise(
    policy: GaussianMlpPolicy, params: Params, episodes: Sequence[Episode], parts: bool
) -> None:
    """Refuse actions without noise; warn of those that another policy must have chosen.

    Only steps count in which the mean action is inside its range: others may be cut.

    Args:
        policy: the policy function.
        params: that should have acted, (1, ...).
        episodes: with outputs.
        parts: whether there are more episodes, for other gradient steps.

    Raises:
        InputError: if the actions are the mean actions.
    """
    squares = torch.zeros(policy.action_size, dtype=torch.float64)
    counts = torch.zeros_like(squares)
    low, high = _bounds(policy)
    for episode in episodes:
        if episode.diverged or episode.outputs is None:
            continue
        dist = _acted(policy, params, episode)
        std = dist.log_std.exp()
        inside = (dist.mean - low > INSIDE * std) & (high - dist.mean > INSIDE * std)
        noise = (torch.from_numpy(episode.outputs) - dist.mean) / std
        squares += torch.where(inside, noise.square(), 0.0).sum(0)
        counts += inside.sum(0)
    if float(counts.sum()) == 0:
        return
    if float(squares.sum() / counts.sum()) < NO_NOISE:
        raise InputError(
            "actions: are the policy's mean actions, without its noise, so nothing can be learned "
            "from them; sample them: policy.session(), or policy.predict(observation, "
            "deterministic=False)"
        )
    off = [
        f"actions[:, {i}] by {math_sqrt(squares[i] / counts[i]):.2g} of them"
        for i in range(policy.action_size)
        if counts[i] >= FEWEST and not 1 / FAR <= float(squares[i] / counts[i]) <= FAR
    ]
    if off:
        which = "this policy as it was after the step before" if parts else "this policy"
        warnings.warn(
            f"the actions cannot all come from {which}: they lie off its mean action by one "
            f"standard deviation of its noise, as a rule, and here {', '.join(off)}; what another "
            "policy did gives a gradient that means nothing",
            stacklevel=5,
        )


def math_sqrt(value: Tensor) -> float:
    """Its square root."""
    return float(value) ** 0.5


def _acted(policy: GaussianMlpPolicy, params: Params, episode: Episode) -> Gaussian:
    """The policy's outputs in an episode, (T, A) and (1, A) in double precision."""
    seen = torch.as_tensor(episode.observations[:-1], dtype=params["log_std"].dtype)
    dist = policy.distribution(params, seen.unsqueeze(0))
    return Gaussian(dist.mean[0].double(), dist.log_std[0].double())


def _unscaled(policy: GaussianMlpPolicy, controls: Tensor) -> Tensor:
    """Controls (..., A) -> outputs, where they were not cut."""
    lows, highs = (torch.tensor(b, dtype=torch.float64) for b in action_range(policy))
    middle, half = 0.5 * (highs + lows), 0.5 * (highs - lows)
    return (controls.double() - middle) / half * policy.config.action_scale


def action_range(policy: GaussianMlpPolicy) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The actuator range that outputs are scaled to."""
    return policy.action_low, policy.action_high


def _bounds(policy: GaussianMlpPolicy) -> tuple[Tensor, Tensor]:
    """The outputs beyond which controls are cut, each (A,)."""
    lows, highs = policy.control_limits or action_range(policy)
    return tuple(_unscaled(policy, torch.tensor(b, dtype=torch.float64)) for b in (lows, highs))


def _mean_beyond(bound: Tensor) -> Tensor:
    """E[z | z > bound] of a standard normal z."""
    log_density = -0.5 * bound.square() - 0.5 * torch.log(torch.tensor(2 * torch.pi))
    return torch.exp(log_density - torch.special.log_ndtr(-bound))
