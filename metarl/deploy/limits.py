"""Limits of an adaptation on a robot: action bounds, stops and their cost, early ends."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metarl.policies.base import Policy
from metarl_envs import InputError
from metarl_envs.inputs.numbers import Range, real, reals, whole

Bound = float | Sequence[float]


def _plain_bound(name: str, value: Any) -> Bound:  # noqa: ANN401 - any type
    return reals(name, value) if np.ndim(value) else real(name, value)


def _plain_cap(name: str, value: Any) -> float:  # noqa: ANN401 - any type
    if isinstance(value, float) and value == math.inf:
        return math.inf
    cap = real(name, value)
    if cap <= 0:
        raise InputError(f"{name} = {cap}: must be greater than 0 (math.inf: no cap)")
    return cap


@dataclass(frozen=True)
class Limits:
    """Limits of an adaptation on a robot. All but the cap on a step's size are off unless given.

    Numbers may be NumPy's or torch's, bounds also arrays; they are kept as plain ones. What the
    limits did is in the adapted policy's `adapted`.

    Raises:
        InputError: naming the field and what is allowed.
    """

    action_low: Bound | None = None
    """No control below this, one number or A of them, in the action space's units: while adapting
    and for the adapted policy from then on, saved or exported."""
    action_high: Bound | None = None
    """No control above this."""
    unsafe: Callable[[NDArray[np.float64]], bool] | None = None
    """Called with the observation (O,) before each action; True ends the episode at once. One that
    the environment terminates in the same step counts as terminated."""
    min_return: float | None = None
    """An episode ends as soon as the sum of its rewards falls below this."""
    stop_penalty: float = 1.0
    """Cost of being stopped beyond the missing steps, > 0, in units of the largest absolute reward
    of any episode. An episode that `unsafe` or `min_return` ends counts as if every step that is
    missing had given the worst reward of any episode, or 0 if that is less (`stop_costs`), so that
    being stopped is never better than going on."""
    good_return: float | None = None
    """No further step where the episodes collected for it return at least this, on average."""
    max_step_kl: float | None = None
    """Largest size of a step, > 0, nats: a larger one is scaled down. The size is
    KL(before || after) of the action noise, averaged over the states that the step was made from.
    None: the largest size among training tasks in simulation (`metarl.deploy.gradient_step`).
    math.inf: no cap."""
    check_episodes: int = 0
    """Check episodes with the adapted policy and its action noise: 0 (off) or >= 2. The policy
    before adaptation is returned where a larger share of them than before adapting was stopped or
    diverged, or where their return fell by more than its noise (`metarl.deploy.check`). Three
    episodes before adapting show a fall of five standard deviations in 95 % of cases, two in
    56 %."""

    def __post_init__(self) -> None:
        plain = {
            "action_low": _plain_bound,
            "action_high": _plain_bound,
            "min_return": real,
            "good_return": real,
            "stop_penalty": real,
            "max_step_kl": _plain_cap,
            "check_episodes": whole,
        }
        for name, convert in plain.items():
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, convert(f"limits.{name}", value))
        Range(gt=0).check("limits.stop_penalty", self.stop_penalty)
        if self.check_episodes != 0 and self.check_episodes < 2:
            raise InputError(
                f"limits.check_episodes = {self.check_episodes}: must be 0 (no check) or at least 2"
            )
        if self.unsafe is not None and not callable(self.unsafe):
            raise InputError(f"limits.unsafe = {self.unsafe!r}: must be a function of observations")

    def applied_to(self, policy: Policy) -> Policy:
        """The policy function whose controls keep to these action bounds, and to its own.

        Raises:
            InputError: for bounds of another size, outside the action space, or crossed.
        """
        if self.action_low is None and self.action_high is None:
            return policy
        low, high = policy.control_limits or (policy.action_low, policy.action_high)
        lows = _bound("action_low", self.action_low, low, policy)
        highs = _bound("action_high", self.action_high, high, policy)
        for i, (a, b) in enumerate(zip(lows, highs, strict=True)):
            if a > b:
                raise InputError(
                    f"limits.action_low[{i}] = {a:g}: must be at most action_high[{i}] = {b:g}"
                )
        return replace(policy, control_limits=(lows, highs))

    def is_unsafe(self, observation: NDArray[np.float64]) -> bool:
        """Result of `unsafe` for an observation; False without it.

        Raises:
            InputError: if it is not a truth value.
        """
        if self.unsafe is None:
            return False
        unsafe = self.unsafe(observation)
        try:
            return bool(unsafe)
        except (TypeError, ValueError, RuntimeError):  # an array of several, NumPy's or torch's
            raise InputError(
                f"limits.unsafe = {unsafe!r} for one observation: must be True or False"
            ) from None

    def describe(self) -> dict[str, Any]:
        """The limits that were given, as JSON values."""
        given = {f.name for f in fields(self) if getattr(self, f.name) != f.default}
        values = {name: value for name, value in vars(self).items() if name in given}
        if self.unsafe is not None:
            values["unsafe"] = getattr(self.unsafe, "__name__", type(self.unsafe).__name__)
        if self.max_step_kl == math.inf:
            values["max_step_kl"] = "inf"
        return {n: list(v) if isinstance(v, tuple) else v for n, v in values.items()}


NO_LIMITS = Limits()


def check_limits(limits: Limits) -> None:
    """Raise `InputError` for anything else, such as a dict or None."""
    if not isinstance(limits, Limits):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InputError(f"limits = {limits!r}: must be metarl.Limits(...)")


def _bound(
    name: str, bound: Bound | None, current: tuple[float, ...], policy: Policy
) -> tuple[float, ...]:
    """The narrower one of a bound that was given and the current one: (A,)."""
    if bound is None:
        return current
    values, size = np.asarray(bound, dtype=np.float64), policy.action_size
    if values.shape not in ((), (size,)):
        raise InputError(
            f"limits.{name} of shape {values.shape}: must be one number, or {size}, one per action"
        )
    values = np.broadcast_to(values, (size,))
    low, high = np.array(policy.action_low), np.array(policy.action_high)
    rounding = 1e-6 * np.maximum(abs(low), abs(high))  # of bounds read from a float32 space
    for i in np.flatnonzero((values < low - rounding) | (values > high + rounding)):
        raise InputError(
            f"limits.{name}[{i}] = {values[i]:g}: must be within the action space, {low[i]:g} to "
            f"{high[i]:g}"
        )
    narrower = np.maximum if name == "action_low" else np.minimum
    return tuple(narrower(values, current).tolist())


def stop_costs(
    episodes: Sequence[NDArray[np.float64]], stopped: Sequence[bool], full: int, penalty: float
) -> NDArray[np.float64]:
    """Costs of being stopped, to add to the returns of episodes: (E,), negative or 0.

    A stopped episode has fewer rewards than it would have had: with negative rewards its short sum
    would be a good one, and adaptation would learn to be stopped. So every step that is missing
    counts as the worst reward of any of the episodes, or 0 if that is less, since the environment
    might have ended the episode there. Where rewards had become worse up to a stop, the missing
    ones go on to at the same pace. The penalty comes on top. So an episode that goes on with
    rewards no worse than that returns more than if it had been stopped, whatever their sign and
    number; rewards worse than any so far are not known.

    Args:
        episodes: rewards of all episodes of one adaptation, each (L,), as earned; none of one that
            diverged.
        stopped: by a limit, (E,).
        full: steps of an episode that goes on, `metarl.deploy.gym_rollouts.time_limit`.
        penalty: of a stop, in units of the largest absolute reward (1 where all are 0).
    """
    costs = np.zeros(len(episodes))
    if not any(stopped):
        return costs
    rewards = np.concatenate(episodes)
    worst, unit = float(rewards.min()), float(np.abs(rewards).max()) or 1.0
    # One pace for all: with paces of their own, a shorter episode could come out as the better.
    pace = max(
        (r[0] - r.min()) / max(len(r) - 1, 1)
        for r, was in zip(episodes, stopped, strict=True)
        if was
    )
    for e in np.flatnonzero(stopped).tolist():
        after = np.arange(1, full - len(episodes[e]) + 1)
        costs[e] = np.minimum(worst - pace * after, 0.0).sum() - penalty * unit
    return costs
