"""Adaptation from recorded episodes: a log, or a robot that is no `gymnasium.Env`."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from metarl.deploy.adapt import RobotAdaptation, plain_sizes
from metarl.deploy.collected import as_rollouts
from metarl.deploy.episodes import Episode, read_episodes
from metarl.deploy.limits import NO_LIMITS, Limits, check_limits
from metarl.deploy.policy import MetaPolicy, load
from metarl.policies.base import Policy
from metarl.policies.belief import Belief
from metarl.policies.gaussian import LOG_2PI, Gaussian
from metarl.policies.params import Params, dtype_of
from metarl_envs import InputError
from metarl_envs.inputs.numbers import whole

NO_NOISE = 1e-3
"""Mean square distance from the mean action, as a share of the noise's, below which there is no
noise."""
FAR = 4.0
"""Largest ratio of the variances of actions and of the policy's noise, either way. By chance 30
steps come to 1/4 or 4 about once in a million."""
FEWEST = 30
"""Steps' worth of noise that an action must have to be judged."""


def adapt_from(
    policy: MetaPolicy | str | Path,
    episodes: Any,  # noqa: ANN401 - what a user has
    *,
    steps: int | None = None,
    episodes_per_step: int | None = None,
    limits: Limits = NO_LIMITS,
    max_steps: int | None = None,
) -> MetaPolicy:
    """Adapt to the robot of recorded episodes, by the arithmetic of `MetaPolicy.adapt`.

    An episode is a `metarl.Episode` or a dict: `observations` (T + 1, O), or (T, O) with
    `final_observation` (O,); `actions` (T, A), as sent, in the action space's units; `rewards`
    (T,); and if it ended so, `terminated`, or `stopped="why"`. Longer ones are cut at the training
    horizon, as on a robot.

    **The actions must be the policy's own, with its noise**: as of `policy.predict(observation,
    deterministic=False)` or `metarl.AdaptationSession`. Adaptation learns which of the random
    deviations did well; mean actions hold none and are refused, and those of another controller are
    warned of. An action at a bound was cut there, and counts as the policy's mean choice beyond it.
    A policy that adapts by its memory alone reads what was sent, whoever sent it; its episodes are
    one trial, in this order.

    Args:
        policy: that acted in the episodes, meta-trained, or its folder.
        episodes: in the order of recording.
        steps: gradient steps, >= 1; None: as many as the policy was trained for. With more than
            one, the policy acted in the first part of the episodes, the policy after one step in
            the second, and so on.
        episodes_per_step: of each part but the last, which may have fewer; None: equal parts.
        limits: action bounds, `good_return`, `max_step_kl` and `stop_penalty`; the others act
            while a robot moves, and are refused.
        max_steps: of an episode that nothing ends, where that is less than the training horizon.

    Raises:
        InputError: for episodes that do not fit, or actions without noise.
        AdaptationNotFiniteError: if a step is not finite.
    """
    meta = policy if isinstance(policy, MetaPolicy) else load(policy)
    saved = meta.saved
    _, steps = plain_sizes(saved, 1, steps)
    check_limits(limits)
    for name in ("unsafe", "min_return", "check_episodes"):
        if name in limits.describe():
            raise InputError(
                f"limits.{name}: acts while the robot moves, and these episodes are over; leave it "
                "out (of an episode that was stopped, say stopped='...')"
            )
    function = limits.applied_to(saved.policy)
    log = read_episodes(episodes, function)
    if all(episode.diverged for episode in log):
        raise InputError(
            f"episodes: {len(log)} given, and none to adapt from: give at least one that did not "
            "diverge"
        )
    size = _part_size(len(log), steps, episodes_per_step)
    adapting = RobotAdaptation(
        saved, episodes=size, steps=steps, seed=None, limits=limits, max_steps=max_steps
    )
    for start in range(0, len(log), size):
        if adapting.finished:
            break
        part = [e.first_steps(adapting.horizon) for e in log[start : start + size]]
        if not adapting.acts_by_mean:
            params, beliefs = adapting.params, adapting.beliefs_before(part)
            acted = zip(part, beliefs, strict=True)
            part = [with_outputs(function, params, *episode) for episode in acted]
            check_noise(function, params, part, beliefs, first=start == 0)
        for episode in part:
            adapting.append(episode)
        adapting.learn(early=True)
    adapting.finish()
    return MetaPolicy(adapting.adapted(), adapting.episodes)


def _part_size(count: int, steps: int, per_step: int | None) -> int:
    if per_step is not None:
        size = whole("episodes_per_step", per_step, 1)
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
def with_outputs(policy: Policy, params: Params, episode: Episode, belief: Belief) -> Episode:
    """The episode with the policy's outputs before scaling.

    Scaling is undone. An action at a bound was cut there, so its output lies beyond: it counts as
    the mean of the policy's own outputs beyond the bound, for which the gradient of the policy's
    mean is that of the probability of the cut action (Fisher's identity).

    `params` are those that acted, (1, ...), from the belief, (1, 1, ...); {}: a trial began.
    """
    if episode.outputs is not None or episode.steps == 0:
        return episode
    dist = _acted(policy, params, episode, belief)
    mean, std = dist.mean, dist.log_std.exp()
    low, high = policy.output_bounds()
    outputs = policy.outputs(torch.from_numpy(episode.actions))
    rounding = 1e-5 * policy.config.action_scale  # of an action in single precision
    above = mean + std * _mean_beyond((high - mean) / std)
    below = mean - std * _mean_beyond((mean - low) / std)
    outputs = torch.where(outputs >= high - rounding, above, outputs)
    outputs = torch.where(outputs <= low + rounding, below, outputs)
    return replace(episode, outputs=outputs.numpy())


@torch.no_grad()
def check_noise(
    policy: Policy,
    params: Params,
    episodes: Sequence[Episode],
    beliefs: Sequence[Belief],
    *,
    first: bool,
) -> None:
    """Refuse actions without noise; warn of those that another policy must have chosen.

    Variances are those of outputs that are cut at the bounds.

    Args:
        policy: the policy function.
        params: that should have acted, (1, ...).
        episodes: with outputs.
        beliefs: before each of them, as of `with_outputs`.
        first: True if they are for the first gradient step.

    Raises:
        InputError: if the actions are the mean actions.
    """
    expected = torch.zeros(policy.action_size, dtype=torch.float64)
    squares, from_mean = torch.zeros_like(expected), torch.zeros_like(expected)
    bounds = policy.output_bounds()
    for episode, belief in zip(episodes, beliefs, strict=True):
        if episode.diverged or episode.outputs is None:
            continue
        dist = _acted(policy, params, episode, belief)
        std = dist.log_std.exp()
        low, high = ((bound - dist.mean) / std for bound in bounds)
        noise = ((torch.from_numpy(episode.outputs) - dist.mean) / std).clamp(low, high)
        mean, variance = cut_moments(low, high)
        expected += variance.sum(0)
        squares += (noise - mean).square().sum(0)
        from_mean += (noise - torch.zeros_like(noise).clamp(low, high)).square().sum(0)
    if float(from_mean.sum()) < NO_NOISE * float(expected.sum()):
        raise InputError(
            "actions: are the policy's mean actions, without its noise, so nothing can be learned "
            "from them; sample them: policy.predict(observation, deterministic=False)"
        )
    ratios = (squares / expected).tolist()
    off = [
        f"actions[:, {i}] by {ratio**0.5:.2g}"
        for i, ratio in enumerate(ratios)
        if expected[i] >= FEWEST and not 1 / FAR <= ratio <= FAR
    ]
    if off:
        actor = "this policy" if first else "this policy after the gradient step before them"
        warnings.warn(
            f"the actions cannot all come from {actor}: in standard deviations of its noise they "
            f"would be off its mean action by about 1, and are {', '.join(off)}; the actions of "
            "another policy give a meaningless gradient",
            stacklevel=3,
        )


def cut_moments(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of a standard normal number that is clipped to [low, high]."""
    below, above = torch.special.ndtr(low), torch.special.ndtr(-high)
    at_low, at_high = (torch.exp(-0.5 * (z.square() + LOG_2PI)) for z in (low, high))
    mean = low * below + high * above + at_low - at_high
    inside = 1 - below - above + low * at_low - high * at_high
    square = low.square() * below + high.square() * above + inside
    return mean, (square - mean.square()).clamp(min=0)


def _acted(policy: Policy, params: Params, episode: Episode, belief: Belief) -> Gaussian:
    """Distribution of the policy's outputs in an episode, (T, A) and (1, A), double precision."""
    episode = replace(episode, diverged=False)
    rollouts = as_rollouts(policy, [episode], episode.steps, dtype_of(params))
    dist = policy.distribution(params, replace(rollouts, start=belief))
    return Gaussian(dist.mean[0, 0].double(), dist.log_std[0, 0].double())


def _mean_beyond(bound: Tensor) -> Tensor:
    """E[z | z > bound] of a standard normal z."""
    log_density = -0.5 * (bound.square() + LOG_2PI)
    return torch.exp(log_density - torch.special.log_ndtr(-bound))
