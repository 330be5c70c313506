"""The state of N robots' trials between two actions, which `predict` and `observe` hand on.

A policy with a memory reads the outcome of every action: the action, its reward, an episode's end.
It knows its own actions. So a policy that reads no rewards takes an outcome that was not reported
as one step of an episode that goes on; one that reads them refuses to act on without.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from metarl.policies.belief import Belief, Outcome, where
from metarl.runs.policy_folder import SavedPolicy
from metarl_envs import InputError
from metarl_envs.gym_worlds.calls import plain_array
from metarl_envs.inputs.numbers import shown, tensor


@dataclass(frozen=True)
class TrialState:
    """Belief about N robots after an action, or after its outcome."""

    belief: Belief  # (N, ...)
    sent: Tensor | None = None
    """Outputs behind the last actions as they were sent, (N, A), until `observe` takes their
    outcome; None after it."""


def belief_to_act(
    saved: SavedPolicy,
    observations: Tensor,
    state: TrialState | None,
    episode_start: ArrayLike | None,
) -> Belief:
    """Belief about N robots before they act, each (N, ...).

    Args:
        saved: the policy.
        observations: finite, (N, O).
        state: as it was handed on; None: all trials begin.
        episode_start: (N,), where a trial begins; None: nowhere.

    Raises:
        InputError: for another state, or one whose action was not observed though the policy reads
            its reward.
    """
    count = len(observations)
    fresh = saved.begin(count)
    if state is None or not fresh:
        return fresh
    if not isinstance(state, TrialState):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InputError(f"state = {shown(state)}: must be what `predict` or `observe` returned")
    shapes = {name: value.shape for name, value in state.belief.items()}
    if shapes != {name: value.shape for name, value in fresh.items()}:
        raise InputError(
            f"state of another policy, or of other than {count} robots: must be what `predict` or "
            "`observe` returned last"
        )
    begins = torch.zeros(count, dtype=torch.bool)
    if episode_start is not None:
        begins = _flags("episode_start", episode_start, count)
    belief = state.belief
    if state.sent is not None and not bool(begins.all()):
        if saved.policy.reads_rewards:
            raise InputError(
                "state: the outcome of the last action is missing, and this policy reads rewards: "
                "state = policy.observe(state, action, reward, observation, terminated, truncated) "
                "after every step, or metarl.RobotTrial(policy), which keeps the state itself"
            )
        unknown, no = torch.zeros_like(observations[:, 0]), torch.zeros_like(begins)
        outcome = Outcome(state.sent, unknown, no, no, observations)
        belief = saved.policy.observe(saved.params, belief, outcome)
    return where(begins, fresh, belief)


@torch.no_grad()
def observed(
    saved: SavedPolicy,
    state: TrialState,
    action: ArrayLike,
    reward: ArrayLike,
    observation: ArrayLike,
    terminated: ArrayLike,
    truncated: ArrayLike,
) -> TrialState:
    """The state after the outcome of N robots' last actions.

    Raises:
        InputError: for a state whose outcome was observed already, another shape, or a number that
            is not finite. The state stays as it was.
    """
    if state.sent is None:
        raise InputError(
            "state: the outcome of its last action was observed already; act first, with `predict`"
        )
    policy, count = saved.policy, len(state.sent)
    outcome = Outcome(
        policy.sent(policy.outputs(_rows(saved, "action", action, count))),
        _rewards(reward, count) if policy.reads_rewards else torch.zeros(count),
        _flags("terminated", terminated, count),
        _flags("truncated", truncated, count),
        _rows(saved, "observation", observation, count),
    )
    return TrialState(policy.observe(saved.params, state.belief, outcome))


def finite_rows(saved: SavedPolicy, name: str, value: Any) -> Tensor:  # noqa: ANN401 - any type
    """Observations or actions, (N, S) or (S,), in single precision.

    Raises:
        InputError: for anything but numbers, another size, or naming the entry that is not finite.
    """
    size = saved.policy.observation_size if name == "observation" else saved.policy.action_size
    try:
        numbers = torch.from_numpy(plain_array(value).astype(np.float32))
    except (TypeError, ValueError):
        raise InputError(f"{name} = {shown(value)}: must be numbers") from None
    if numbers.dim() not in (1, 2) or numbers.shape[-1] != size:
        raise InputError(
            f"{name} of shape {tuple(numbers.shape)}: the policy reads ({size},) or (N, {size})"
        )
    bad = torch.nonzero(~torch.isfinite(numbers.view(-1, size)))
    if len(bad):
        row, i = bad[0].tolist()
        names: Any = saved.family.get(f"{name}_names")
        known = isinstance(names, list) and len(names) == size and names[i] != f"{name}[{i}]"
        label = f"{name}[{i}] ({names[i]})" if known else f"{name}[{i}]"
        raise InputError(
            f"{label} = {float(numbers.view(-1, size)[row, i])}: must be finite; no action follows "
            "from it"
        )
    return numbers


def _rows(saved: SavedPolicy, name: str, value: ArrayLike, count: int) -> Tensor:
    """(N, S), also of one robot's (S,)."""
    numbers = finite_rows(saved, name, value)
    rows = numbers.view(-1, numbers.shape[-1])
    if len(rows) != count:
        raise InputError(f"{name} of shape {tuple(numbers.shape)}: the state is of {count} robots")
    return rows


def _rewards(value: ArrayLike, count: int) -> Tensor:
    """Finite rewards of N robots, (N,); one robot's may be a number."""
    numbers = tensor("reward", value).float()
    if numbers.numel() != count:
        expected = "one number" if count == 1 else f"{count} numbers, one of each robot"
        raise InputError(f"reward = {shown(value)}: must be {expected}")
    if not bool(torch.isfinite(numbers).all()):
        raise InputError(f"reward = {shown(value)}: must be finite; this policy reads it")
    return numbers.view(count)


def _flags(name: str, value: ArrayLike, count: int) -> Tensor:
    """Truth values of N robots, (N,), from as many or one."""
    try:
        flags = plain_array(value)
    except ValueError:  # rows of unequal length
        flags = np.array("")
    known = flags.dtype.kind in "biuf" and flags.size in (1, count)
    if not known or not np.isin(flags, (0, 1)).all():
        raise InputError(f"{name} = {shown(value)}: must be True or False, or {count} of them")
    return torch.from_numpy(flags.astype(bool).reshape(-1)).expand(count)
