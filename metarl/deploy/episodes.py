"""Episodes of a robot as data, read and checked, whatever drove it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metarl.policies.base import Policy
from metarl_envs import InputError, unknown_name
from metarl_envs.gym_worlds.calls import plain_array
from metarl_envs.inputs.numbers import shown, tensor

FORMS = {
    "observations": (2, "(T + 1, O), with the one after the last step"),
    "actions": (2, "(T, A)"),
    "rewards": (1, "(T,)"),
    "outputs": (2, "(T, A)"),
    "final_observation": (1, "(O,)"),
}
"""Number of axes, and shape in words."""
ARRAYS = ("observations", "actions", "rewards", "outputs")


@dataclass(frozen=True)
class Episode:
    """One episode of T steps.

    Arrays, tensors and lists become NumPy arrays of float64. Flags are one truth value, or T of
    them, of which only the last may be true.

    Raises:
        InputError: naming the field and what is expected, also for a number that is not finite.
    """

    observations: NDArray[np.float64]  # (T + 1, O)
    """Before every action, and after the last."""
    actions: NDArray[np.float64]  # (T, A)
    """As sent, in the action space's units."""
    rewards: NDArray[np.float64]  # (T,)
    """As earned."""
    terminated: bool = False
    """The task itself ended it, such as a fall."""
    truncated: bool = False
    """A time limit ended it, or the end of the log."""
    stopped: str = ""
    """Reason of a stop for safety: "unsafe" and "min_return" are limits, other words your own. Its
    missing steps are counted as `Limits.stop_penalty` says."""
    diverged: bool = False
    """A number was not finite after these steps, or the environment reported so: left out."""
    outputs: NDArray[np.float64] | None = None  # (T, A)
    """Actions before scaling and clipping, in episodes that this library recorded."""

    def __post_init__(self) -> None:
        values = {name: getattr(self, name) for name in ARRAYS}
        arrays = {name: _numbers(name, v) for name, v in values.items() if v is not None}
        for name in ARRAYS[:3]:
            if name not in arrays:
                raise InputError(f"{name}: missing; must be numbers {FORMS[name][1]}")
        steps = len(arrays["rewards"])
        for name in ("terminated", "truncated", "diverged"):
            object.__setattr__(self, name, _flag(name, getattr(self, name), steps))
        for name, array in arrays.items():
            wanted = steps + (name == "observations")
            empty = self.diverged and len(array) == steps == 0
            if len(array) != wanted and not empty:
                also = ", or give final_observation" if name == "observations" else ""
                raise InputError(
                    f"{name} of shape {array.shape}, with {steps} rewards: must be "
                    f"{FORMS[name][1]}, so {wanted} rows{also}"
                )
            object.__setattr__(self, name, array)
        if steps == 0 and not self.diverged:
            raise InputError("rewards: are empty, so there is nothing to adapt from; leave it out")
        if not isinstance(self.stopped, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InputError(f"stopped = {shown(self.stopped)}: must be words, such as 'unsafe'")

    @staticmethod
    def read(episode: Episode | Mapping[str, Any]) -> Episode:
        """An episode from a mapping with the names of the fields.

        The observation after the last step may stand apart, as `final_observation` (O,).

        Raises:
            InputError: naming the field and what is expected.
        """
        if isinstance(episode, Episode):
            return episode
        if not isinstance(episode, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InputError(
                f"{shown(episode)}: must be a metarl.Episode, or a dict with observations, actions "
                "and rewards"
            )
        values: dict[str, Any] = {**dict.fromkeys(ARRAYS[:3]), **episode}
        final = values.pop("final_observation", None)
        known = [f.name for f in fields(Episode)]
        for name in values:
            if name not in known:
                raise unknown_name("field of an episode", str(name), known)
        if final is not None and values["observations"] is not None:
            last = _numbers("final_observation", final)
            before = _numbers("observations", values["observations"])
            if last.shape != before.shape[1:]:
                raise InputError(
                    f"final_observation of shape {last.shape}: must be {before.shape[1:]}, like "
                    "each row of observations"
                )
            values["observations"] = np.concatenate([before, last[None]])
        return Episode(**values)

    @property
    def steps(self) -> int:
        """T."""
        return len(self.rewards)

    @property
    def returned(self) -> float:
        """The sum of the rewards; NaN if it diverged."""
        return float("nan") if self.diverged else float(sum(self.rewards.tolist()))

    @property
    def ended(self) -> str:
        """Kind of its end: terminated, truncated, diverged, or stopped and by what."""
        if self.diverged:
            return "diverged"
        if self.terminated:
            return "terminated"
        if self.stopped in ("unsafe", "min_return"):
            return f"stopped by limits.{self.stopped}"
        return f"stopped: {self.stopped}" if self.stopped else "truncated"

    def first_steps(self, horizon: int) -> Episode:
        """The episode, truncated after at most `horizon` steps."""
        if self.steps <= horizon:
            return self
        outputs = None if self.outputs is None else self.outputs[:horizon]
        return Episode(
            self.observations[: horizon + 1],
            self.actions[:horizon],
            self.rewards[:horizon],
            truncated=True,
            outputs=outputs,
        )


@dataclass(frozen=True)
class EpisodeRecord:
    """An episode's record for a callback; as text, one line."""

    collection: int
    """From 1: the gradient step that it is for; the check comes after the last."""
    collections: int
    """Gradient steps in all."""
    check: bool
    """True if it was for the check, by the adapted policy."""
    number: int
    """From 1, within its collection."""
    of: int
    """Episodes of the collection."""
    episode: Episode

    @property
    def returned(self) -> float:
        """The sum of its rewards, as earned; NaN if it diverged."""
        return self.episode.returned

    @property
    def steps(self) -> int:
        """Number of its steps."""
        return self.episode.steps

    @property
    def ended(self) -> str:
        """Kind of its end, as `Episode.ended`."""
        return self.episode.ended

    def __str__(self) -> str:
        where = "check, " if self.check else ""
        if self.collections > 1 and not self.check:
            where = f"step {self.collection} of {self.collections}, "
        ended = "" if self.ended == "truncated" else f", {self.ended}"
        return (
            f"{where}episode {self.number} of {self.of}: return {self.returned:.1f}, "
            f"{self.steps} steps{ended}"
        )


def read_episodes(episodes: Any, policy: Policy | None = None) -> list[Episode]:  # noqa: ANN401
    """Episodes from a sequence of `Episode` or mappings.

    Args:
        episodes: as a user gives them.
        policy: whose spaces they must have; None: of any robot.

    Raises:
        InputError: naming the episode, the field, and what is expected.
    """
    if isinstance(episodes, (Episode, Mapping, str)) or not isinstance(episodes, Iterable):
        raise InputError(f"episodes = {shown(episodes)}: must be a list of episodes")
    read: list[Episode] = []
    for e, episode in enumerate(episodes):
        try:
            read.append(Episode.read(episode))
            if policy is not None:
                _check_fit(read[-1], policy)
        except InputError as error:
            raise InputError(f"episodes[{e}]: {error}") from None
    return read


def _check_fit(episode: Episode, policy: Policy) -> None:
    """Refuse an episode of other sizes, or with an action outside the action space."""
    sizes = (policy.observation_size, policy.action_size, policy.action_size)
    for name, size in zip(("observations", "actions", "outputs"), sizes, strict=True):
        array: NDArray[np.float64] | None = getattr(episode, name)
        if array is not None and len(array) and array.shape[1] != size:
            raise InputError(f"{name} of shape {array.shape}: the policy has {size} a row")
    if episode.steps == 0:
        return
    low, high = np.array(policy.action_low), np.array(policy.action_high)
    rounding = 1e-5 * (high - low)
    outside = (episode.actions < low - rounding) | (episode.actions > high + rounding)
    if outside.any():
        t, i = (int(index) for index in np.argwhere(outside)[0])
        raise InputError(
            f"actions[{t}, {i}] = {episode.actions[t, i]:g}: the action space is {low[i]:g} to "
            f"{high[i]:g}; give actions as they were sent, in its units"
        )


def rows(arrays: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """(n, size), also where n = 0 and the size is not known."""
    return np.array(arrays) if arrays else np.zeros((0, 0))


def _numbers(name: str, value: Any) -> NDArray[np.float64]:  # noqa: ANN401 - any type
    """Finite numbers with the axes of the field, as a new array."""
    array = tensor(name, value).numpy()
    axes, form = FORMS[name]
    if array.ndim != axes:
        raise InputError(f"{name} of shape {array.shape}: must be {form}")
    if not np.isfinite(array).all():
        index = tuple(np.argwhere(~np.isfinite(array))[0].tolist())
        raise InputError(
            f"{name}[{', '.join(map(str, index))}] = {array[index]}: must be finite; cut the "
            "episode before it, or leave it out"
        )
    return array


def _flag(name: str, value: Any, steps: int) -> bool:  # noqa: ANN401 - any type
    """One truth value; of one per step the last, where no other is true."""
    try:
        array = plain_array(value)
    except ValueError:  # rows of unequal length
        array = np.array("")
    numbers = array.dtype.kind in "biuf"
    if not numbers or array.shape not in ((), (steps,)) or not np.isin(array, (0, 1)).all():
        raise InputError(
            f"{name} = {shown(value)}: must be True or False, or {steps} of them, one per step"
        )
    flags = array.reshape(-1).astype(bool)
    if flags[:-1].any():
        t = int(flags.argmax())
        raise InputError(
            f"{name}[{t}] is true, but {steps - t - 1} steps follow: give each episode by itself"
        )
    return bool(flags.any())
