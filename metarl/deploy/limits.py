"""What an adaptation on a robot must not do, and when it ends early."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from metarl.advantages import PolicyBatch
from metarl.params import Params
from metarl.policies import GaussianMlpPolicy, kl_divergence
from metarl_envs import InputError

Bound = float | Sequence[float]
HALVINGS = 30
"""Of the interval in which a step's scale is searched: to a relative 1e-9."""


@dataclass(frozen=True)
class Limits:
    """Limits of an adaptation on a robot; each one is off unless it is given.

    What they did is in the adapted policy's `adapted["limits"]`.
    """

    action_low: Bound | None = None
    """No control below this, one number or A of them, in the action space's units: while adapting
    and for the adapted policy from then on, saved or exported."""
    action_high: Bound | None = None
    """No control above this."""
    unsafe: Callable[[NDArray[np.float64]], bool] | None = None
    """Asked with the observation (O,) before each action; an episode in which it says yes ends at
    once. An episode that ends so, or by `min_return`, counts as if its worst reward had lasted to
    the horizon, so that being stopped is never better than going on."""
    min_return: float | None = None
    """An episode ends as soon as the sum of its rewards falls below this."""
    good_return: float | None = None
    """No further step where the episodes collected for it return at least this, on average."""
    max_step_kl: float | None = None
    """Size of a step, > 0, nats: one that is larger is scaled down. The size is KL(before || after)
    of the action noise, averaged over the states that the step was made from. Without a limit, the
    report says how large the steps were."""
    check_episodes: int = 0
    """0, or >= 2: so many episodes with the adapted policy, with its action noise. Where their
    return is lower than before adapting by more than two standard errors of the difference, the
    policy before adaptation is returned."""

    def __post_init__(self) -> None:
        for name in ("min_return", "good_return"):
            value = getattr(self, name)
            if value is not None and not math.isfinite(value):
                raise InputError(f"limits.{name} = {value}: must be a finite number")
        if self.max_step_kl is not None and not 0 < self.max_step_kl < math.inf:
            raise InputError(f"limits.max_step_kl = {self.max_step_kl}: must be greater than 0")
        if self.check_episodes != 0 and self.check_episodes < 2:
            raise InputError(
                f"limits.check_episodes = {self.check_episodes}: must be 0 (no check) or at least 2"
            )
        if self.unsafe is not None and not callable(self.unsafe):
            raise InputError(f"limits.unsafe = {self.unsafe!r}: must be a function of observations")

    def applied_to(self, policy: GaussianMlpPolicy) -> GaussianMlpPolicy:
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

    def describe(self) -> dict[str, Any]:
        """The limits that are on, as JSON values."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        if self.unsafe is not None:
            values["unsafe"] = getattr(self.unsafe, "__name__", type(self.unsafe).__name__)
        for name in ("action_low", "action_high"):
            if values[name] is not None:
                values[name] = np.asarray(values[name], dtype=float).tolist()
        if not self.check_episodes:
            del values["check_episodes"]
        return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True)
class Step:
    """A step after the limit on its size."""

    params: Params
    """Of one task, (1, ...)."""
    kl: float
    """Its size, nats."""
    scale: float
    """Share of the adaptation's own step that was taken, in (0, 1]."""


def limited_step(
    policy: GaussianMlpPolicy,
    before: Params,
    after: Params,
    batch: PolicyBatch,
    names: Sequence[str],
    max_kl: float | None,
) -> Step:
    """The step, or the largest part of it on the straight line whose size is at most `max_kl`.

    Args:
        policy: the policy function.
        before, after: parameters of one task, (1, ...).
        batch: the states that the size is averaged over.
        names: the entries that the policy acts by; others, such as an optimiser's memory, are
            taken from `after`.
        max_kl: nats; None for no limit.
    """
    old = policy.distribution(before, batch.observations)

    def part(scale: float) -> Params:
        moved = {n: before[n] + scale * (after[n] - before[n]) for n in names}
        return {**after, **moved}

    def size(params: Params) -> float:
        new = policy.distribution(params, batch.observations)
        return float((kl_divergence(old, new) * batch.weights).sum())

    kl = size(after)
    if max_kl is None or kl <= max_kl:
        return Step(after, kl, 1.0)
    low, high = 0.0, 1.0  # size(part(low)) <= max_kl < size(part(high))
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if size(part(middle)) <= max_kl else (low, middle)
    return Step(part(low), size(part(low)), low)


def is_worse(before: Tensor, after: Tensor) -> tuple[bool, float]:
    """Whether returns fell by more than two standard errors of the difference, and these two.

    Args:
        before: returns of sound episodes, (B,), B >= 1.
        after: the same after adaptation, (C,), B + C >= 3; none if every episode failed.
    """
    if len(after) == 0:
        return True, 0.0
    groups = (before.double(), after.double())
    squares = sum(((g - g.mean()) ** 2).sum() for g in groups)
    freedom = len(before) + len(after) - 2
    if freedom < 1:  # faults left one episode each: nothing says how noisy they are
        return False, math.inf
    variance = float(squares) / freedom * (1 / len(before) + 1 / len(after))
    margin = 2 * math.sqrt(variance)
    return bool(groups[1].mean() < groups[0].mean() - margin), margin


def _bound(
    name: str, given: Bound | None, default: tuple[float, ...], policy: GaussianMlpPolicy
) -> tuple[float, ...]:
    if given is None:
        return default
    values = np.asarray(given, dtype=np.float64)
    size = policy.action_size
    if values.shape not in ((), (size,)):
        raise InputError(
            f"limits.{name} of shape {values.shape}: must be one number, or {size}, one per action"
        )
    found = tuple(np.broadcast_to(values, (size,)).tolist())
    for i, (value, low, high) in enumerate(
        zip(found, policy.action_low, policy.action_high, strict=True)
    ):
        rounding = 1e-6 * max(abs(low), abs(high))  # of a bound that was read from a float32 space
        if not low - rounding <= value <= high + rounding:
            raise InputError(
                f"limits.{name}[{i}] = {value:g}: must be within the action space, "
                f"{low:g} to {high:g}"
            )
    return tuple(
        max(a, b) if name == "action_low" else min(a, b)
        for a, b in zip(found, default, strict=True)
    )
