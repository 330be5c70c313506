"""Limits of an adaptation on a robot: action bounds, stops, early ends."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metarl.policies.base import Policy
from metarl_envs import InputError
from metarl_envs.inputs.numbers import real, reals, whole

Bound = float | Sequence[float]


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
    """Asked with the observation (O,) before each action; an episode in which it says yes ends at
    once. One that the environment terminates in the same step counts as terminated."""
    min_return: float | None = None
    """An episode ends as soon as the sum of its rewards falls below this."""
    stop_penalty: float = 1.0
    """What being stopped costs beyond the worst that could have come, > 0, in units of the largest
    absolute reward that was met. An episode that `unsafe` or `min_return` ends counts as if every
    step that is missing had given the worst reward met in any episode, or 0 if that is less
    (`metarl.deploy.stops`), so that being stopped is never better than going on."""
    good_return: float | None = None
    """No further step where the episodes collected for it return at least this, on average."""
    max_step_kl: float | None = None
    """Size of a step, > 0, nats: one that is larger is scaled down. The size is KL(before || after)
    of the action noise, averaged over the states that the step was made from. None: the largest
    size among training tasks in simulation (`metarl.deploy.step_size`). math.inf: no cap."""
    check_episodes: int = 0
    """0, or >= 2: so many episodes with the adapted policy, with its action noise. The policy
    before adaptation is returned where a larger share of them than before adapting was stopped or
    diverged, or where their return fell by more than its noise (`metarl.deploy.check`). Three
    episodes before adapting show a fall of five standard deviations in 95 % of cases, two in
    56 %."""

    def __post_init__(self) -> None:
        plain: dict[str, Any] = {}
        for name in ("min_return", "good_return"):
            if getattr(self, name) is not None:
                plain[name] = real(f"limits.{name}", getattr(self, name))
        for name in ("action_low", "action_high"):
            if getattr(self, name) is not None:
                plain[name] = _plain_bound(f"limits.{name}", getattr(self, name))
        plain["check_episodes"] = whole("limits.check_episodes", self.check_episodes)
        plain["stop_penalty"] = real("limits.stop_penalty", self.stop_penalty)
        if plain["stop_penalty"] <= 0:
            raise InputError(f"limits.stop_penalty = {self.stop_penalty}: must be greater than 0")
        cap = self.max_step_kl
        if cap is not None and not (isinstance(cap, float) and cap == math.inf):
            plain["max_step_kl"] = real("limits.max_step_kl", cap)
            if plain["max_step_kl"] <= 0:
                raise InputError(
                    f"limits.max_step_kl = {cap}: must be greater than 0 (math.inf: no cap)"
                )
        if plain["check_episodes"] != 0 and plain["check_episodes"] < 2:
            raise InputError(
                f"limits.check_episodes = {self.check_episodes}: must be 0 (no check) or at least 2"
            )
        if self.unsafe is not None and not callable(self.unsafe):
            raise InputError(f"limits.unsafe = {self.unsafe!r}: must be a function of observations")
        for name, value in plain.items():
            object.__setattr__(self, name, value)

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
        """Answer of `unsafe` to an observation; False without it.

        Raises:
            InputError: if it says neither yes nor no.
        """
        if self.unsafe is None:
            return False
        said = self.unsafe(observation)
        try:
            return bool(said)
        except (TypeError, ValueError, RuntimeError):  # an array of several, NumPy's or torch's
            raise InputError(
                f"limits.unsafe = {said!r} for one observation: must be True or False"
            ) from None

    def describe(self) -> dict[str, Any]:
        """The limits that were given, as JSON values."""
        values = {
            f.name: getattr(self, f.name)
            for f in fields(self)
            if getattr(self, f.name) != f.default
        }
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


def _plain_bound(name: str, given: Any) -> Bound:  # noqa: ANN401 - any type
    return reals(name, given) if np.ndim(given) else real(name, given)


def _bound(
    name: str, given: Bound | None, default: tuple[float, ...], policy: Policy
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
