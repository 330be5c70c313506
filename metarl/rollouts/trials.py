"""Trials: what one policy lives through on one task, n episodes in order.

Learners of in-episode adaptation train one policy for all tasks, so all worlds are its own: axes
are 1 policy, N worlds, L = n*T steps, O observation, A action, F task features.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor

from metarl.distributed import Share, own_slice, world_size
from metarl.policies.belief import Belief, where
from metarl.policies.params import expand
from metarl.rollouts.collect import Collector
from metarl.rollouts.data import Rollouts
from metarl.rollouts.stepping import TaskChange
from metarl_envs import Tasks

START = "start."
"""Prefix of the entries of a trial's first belief."""


@dataclass(frozen=True)
class Trial:
    """A stretch of n episodes of N trials, joined in time. Padding is where `valid` is false.

    It has the members of `metarl.policies.belief.Episodes`.
    """

    observations: Tensor  # (1, N, L, O)
    actions: Tensor  # (1, N, L, A) outputs
    log_probs: Tensor  # (1, N, L) of the policy that acted
    rewards: Tensor  # (1, N, L)
    terminated: Tensor  # (1, N, L)
    truncated: Tensor  # (1, N, L)
    valid: Tensor  # (1, N, L)
    final_observations: Tensor  # (1, N, n, O) after each episode's last step
    features: Tensor  # (1, N, L, F) the true task, which no deployed policy observes
    clock: Tensor  # (1, N, L, 2) share of its episode, and of the stretch's episodes, that is over
    start: Belief
    """The belief before the first step, each (1, N, ...)."""

    def entries(self) -> dict[str, Tensor]:
        """All tensors by name, those of the belief as `start.*`."""
        own = {name: value for name, value in vars(self).items() if name != "start"}
        return own | {START + name: value for name, value in self.start.items()}

    @staticmethod
    def of_entries(entries: Mapping[str, Tensor]) -> Trial:
        """The inverse of `entries`."""
        start = {n.removeprefix(START): v for n, v in entries.items() if n.startswith(START)}
        own = {name: value for name, value in entries.items() if not name.startswith(START)}
        return Trial(**own, start=start)  # pyright: ignore[reportArgumentType]

    def some_worlds(self, index: Tensor) -> Trial:
        """The trials of some worlds, (n,) of N."""
        return Trial.of_entries({name: value[:, index] for name, value in self.entries().items()})

    def to(self, device: torch.device) -> Trial:
        """The same trials on another device."""
        return Trial.of_entries({name: v.to(device) for name, v in self.entries().items()})

    def own_part(self) -> Trial:
        """The trials of this process's part of the worlds."""
        if world_size() == 1:
            return self
        return self.some_worlds(
            own_slice(torch.arange(self.valid.shape[1], device=self.valid.device))
        )

    def of_all(self, share: Share) -> Trial:
        """The trials of all processes, each of which has those of its share of the tasks."""
        return Trial.of_entries(share.gather(self.entries(), dim=1))


def joined(episodes: Sequence[Rollouts], features: Tensor, start: Belief) -> Trial:
    """The stretch of a trial that consecutive collections are, each of one episode per world.

    Args:
        episodes: n collections, (M, E, T, ...), each continuing the trials of the one before.
        features: of the task at every step, (M, L, F).
        start: the belief that the first collection began with, each (M, E, ...).
    """
    M, E, T = episodes[0].valid.shape

    def over_time(name: str) -> Tensor:
        return torch.cat([getattr(e, name) for e in episodes], dim=2).flatten(0, 1).unsqueeze(0)

    names = ("observations", "actions", "log_probs", "rewards", "terminated", "truncated", "valid")
    n = len(episodes)
    clock = torch.cartesian_prod(torch.arange(n) / n, torch.arange(T) / T).flip(-1)  # (n*T, 2)
    final = torch.stack([e.final_observations for e in episodes], dim=2)
    return Trial(
        **{name: over_time(name) for name in names},
        final_observations=final.flatten(0, 1).unsqueeze(0),
        features=features.to(final).repeat_interleave(E, dim=0).unsqueeze(0),
        clock=clock.to(final).expand(1, M * E, n * T, 2),
        start={name: v.reshape(1, M * E, *v.shape[2:]) for name, v in start.items()},
    )


@dataclass(frozen=True)
class TrialExperience:
    """Episodes of every world's trial in order, as a learner collects them.

    Where several processes share the tasks, each has the trials of all of them, so that it can take
    its part of any minibatch, and the rollouts of its own.
    """

    rollouts: Sequence[Rollouts]
    """n collections, (m, E, T, ...)."""
    trial: Trial
    """The same of all M tasks, joined."""
    tasks: Tasks
    """M, as they are after the last step."""
    belief: Belief
    """The belief after the last episode, each (M, E, ...)."""
    collect_s: float
    """Wall-clock seconds of the collections."""


def belief_after(rollouts: Rollouts) -> Belief:
    """The belief that trials go on with, (M, E, ...), of rollouts that began with a given one.

    A diverged episode leaves no trace in it, as it counts for no gradient step: the simulation
    failed, and what a policy would have made of that says nothing about the task.
    """
    return where(~rollouts.diverged, rollouts.belief, rollouts.start)


def collect_trial(
    collector: Collector,
    params: Mapping[str, Tensor],
    tasks: Tasks,
    features: Callable[[Tasks], Tensor],
    num_episodes: int,
    resets: Generator,
    actions: Generator,
    belief: Belief,
    change: tuple[int, TaskChange] | None = None,
) -> TrialExperience:
    """n episodes in each world, by one policy with exploration.

    Args:
        collector: of the environment.
        params: of one policy, without axis M.
        tasks: M, from the first step on.
        features: of tasks, (M, F).
        num_episodes: n.
        resets, actions: sources of noise.
        belief: before the first episode, each (M, E, ...).
        change: step of the stretch's L before which tasks change, > 0, and the others; None: they
            stay.
    """
    began, shared, share = time.perf_counter(), expand(params, 1), collector.share
    T = collector.env.horizon
    at, changed = change or (num_episodes * T, TaskChange(tasks))
    after = changed.tasks
    if share.own is not None:
        tasks, changed = tasks[share.own], _of_share(changed, share)
        belief = {name: share.of(value) for name, value in belief.items()}
    collector.env.set_tasks(tasks)
    episodes: list[Rollouts] = []
    for n in range(num_episodes):
        before = belief_after(episodes[-1]) if episodes else belief
        changes = {at % T: changed} if at // T == n else {}
        episodes.append(collector.collect(shared, resets, actions, belief=before, changes=changes))
    later = torch.arange(num_episodes * T).unsqueeze(-1) >= at  # (L, 1)
    known = [features(one).unsqueeze(1) for one in (changed.tasks, tasks)]  # (m, 1, F)
    trial = joined(episodes, torch.where(later, *known), belief).of_all(share)
    after_all = share.gather(belief_after(episodes[-1]))
    return TrialExperience(episodes, trial, after, after_all, time.perf_counter() - began)


def _of_share(change: TaskChange, share: Share) -> TaskChange:
    """The change of this process's tasks, and of what its worlds know of them."""
    assert share.own is not None
    known = {
        name: share.of(value.reshape(share.total, -1, *value.shape[2:])).flatten(0, 1).unsqueeze(0)
        for name, value in change.known.items()
    }
    return TaskChange(change.tasks[share.own], known)


def trial_advantages(
    rewards: Tensor,
    values: Tensor,
    ended: Tensor,
    valid: Tensor,
    discount: float,
    gae_lambda: float,
    *,
    across_episodes: bool,
) -> Tensor:
    """Generalised advantage estimates over a trial (Schulman et al. 2016, Eq. 16): (..., L).

    The value after the stretch's last step is 0: the objective is the return of so many episodes of
    so many steps, and the critic sees the clock. For the same reason it does not matter whether an
    episode terminated or its clock ran out.

    Args:
        rewards, values, valid: (..., L).
        ended: (..., L), true at the last valid step of an episode.
        discount: gamma.
        gae_lambda: lambda.
        across_episodes: the step after an episode's last one is the next episode's first, so that
            finding out early pays later (RL^2); False: every episode for itself.
    """
    L = values.shape[-1]
    steps = torch.arange(L, device=valid.device)
    at_or_after = torch.where(valid, steps, L).flip(-1).cummin(-1).values.flip(-1)
    none = torch.full_like(at_or_after[..., :1], L)
    following = torch.cat([values, torch.zeros_like(values[..., :1])], dim=-1).gather(
        -1, torch.cat([at_or_after[..., 1:], none], dim=-1)
    )
    goes_on = torch.ones_like(values) if across_episodes else (~ended).to(values)
    deltas = torch.where(valid, rewards + discount * goes_on * following - values, 0.0)
    shares = torch.where(valid, discount * gae_lambda * goes_on, 1.0)  # of the estimate after it
    # The loop over time has two operations: on a GPU, where each is a launch, it is most of all.
    after, found = torch.zeros_like(values[..., 0]), []
    for delta, share in zip(deltas.flip(-1).unbind(-1), shares.flip(-1).unbind(-1), strict=True):
        after = delta + share * after
        found.append(after)
    return torch.where(valid, torch.stack(found[::-1], dim=-1), 0.0)


def valid_steps(valid: Tensor) -> Tensor:
    """Places of the valid steps among all, (S,), in order: (1, N, L) -> (S,).

    Waits for the device, once; a mask as an index does so each time.
    """
    return valid.flatten().nonzero().squeeze(1)


def as_steps(trial: Trial, *others: Tensor) -> tuple[Trial, tuple[Tensor, ...]]:
    """Every valid step as a world of its own, for a policy that acts on no earlier step.

    Args:
        trial: (1, N, L, ...).
        others: more tensors of its steps, (1, N, L).

    Returns:
        The same with axes (1, S, 1, ...) for S valid steps, in order.
    """
    chosen = valid_steps(trial.valid)
    worlds = chosen // trial.valid.shape[2]

    def each(value: Tensor) -> Tensor:
        return value[:, worlds]

    def split(value: Tensor) -> Tensor:
        return value.flatten(1, 2)[:, chosen].unsqueeze(2)

    names = ("observations", "actions", "log_probs", "rewards", "terminated", "truncated", "valid")
    steps = replace(
        trial,
        **{name: split(getattr(trial, name)) for name in names},
        final_observations=each(trial.final_observations[:, :, -1:]),
        features=split(trial.features),
        clock=split(trial.clock),
        start={name: each(value) for name, value in trial.start.items()},
    )
    return steps, tuple(map(split, others))
