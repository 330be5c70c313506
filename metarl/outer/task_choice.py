"""Choice of an iteration's training tasks: fresh draws, or a few representative tasks by need.

Representatives are a fixed set that covers the family: of many draws, one after the other the task
that is farthest from those chosen so far, in normalised parameters (Gonzalez 1985, the greedy
answer to the k-centre problem). With `worst` or `progress` they are drawn by need:

- `worst`: by the rank of their return, the lowest most of all; a sixth of the set further up a task
  is half as likely. Returns of tasks that cannot be solved stay low: they are met often
  too, which fits robots that must fail nowhere.
- `progress`: by how much their return changes, up or down, as the distance of a fast mean from a
  slow one (Matiisen et al. 2017, arXiv:1707.00183). Tasks that are solved or hopeless are rare.

A quarter of the draws is uniform over the set, so that no return grows stale.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Generator, Tensor

from metarl.distributed import Share
from metarl.policies.params import Params
from metarl.rollouts.data import Rollouts
from metarl_envs import TaskFamily, Tasks

Choice = Literal["uniform", "representative", "worst", "progress"]
FAST, SLOW, MET = "fast", "slow", "met"
"""Entries of a choice's state, each (R,): two means of the returns, and how often a task was met.
"""
DRAWS_EACH = 32
"""Draws of the family for every representative."""
UNIFORM_SHARE = 0.25
FAST_RATE, SLOW_RATE = 0.5, 0.1
HALVED_AFTER = 1 / 6
"""Share of the set, by rank, after which a task is half as likely."""


class TaskSource:
    """Draws the tasks of every iteration, and learns from their returns which are needed."""

    def __init__(self, family: TaskFamily, choice: Choice, representatives: int, seed: int) -> None:
        """Choose the representatives, which follow from the seed, if the choice is among them."""
        self._family = family
        self._choice: Choice = choice
        generator = Generator().manual_seed(seed)
        chosen = choice != "uniform"
        self._set = representatives_of(family, representatives, generator) if chosen else None

    def draw(self, state: Params, number: int, generator: Generator) -> tuple[Tasks, Tensor]:
        """M tasks, and which of the representatives they are, (M,); none of them: (0,)."""
        if self._set is None:
            return self._family.sample_tasks(number, generator, "train"), torch.zeros(0).long()
        size = len(self._set)
        chosen = drawn_representatives(self._choice, state, size, number, generator)
        return self._set[chosen], chosen

    def learned(self, state: Params, chosen: Tensor, rollouts: Rollouts, share: Share) -> Params:
        """The state after the last collection of an iteration.

        Args:
            state: before.
            chosen: as `draw` gave it.
            rollouts: of this process's slots.
            share: of the slots, the m-th of which runs task m modulo the number of tasks.
        """
        if not state:
            return state
        slots = torch.arange(share.total) if share.own is None else share.own
        of_all = share.gather({"slots": slots, "returns": rollouts.task_returns().cpu()})
        return with_returns(state, chosen[of_all["slots"] % len(chosen)], of_all["returns"])


def no_returns(choice: Choice, representatives: int) -> Params:
    """The state before the first return: {} where none is read."""
    if choice in ("uniform", "representative"):
        return {}
    return {name: torch.zeros(representatives) for name in (FAST, SLOW, MET)}


def representatives_of(family: TaskFamily, number: int, generator: Generator) -> Tasks:
    """Training tasks that cover the family: R tasks."""
    drawn = family.sample_tasks(DRAWS_EACH * number, generator, "train")
    features = family.task_features(drawn)
    middle = features.mean(0, keepdim=True)
    chosen = [int((features - middle).square().sum(1).argmin())]
    distance = torch.full((len(features),), torch.inf, dtype=features.dtype)
    for _ in range(number - 1):
        distance = torch.minimum(distance, (features - features[chosen[-1]]).square().sum(1))
        chosen.append(int(distance.argmax()))
    return drawn[chosen]


def drawn_representatives(
    choice: Choice, state: Params, size: int, number: int, generator: Generator
) -> Tensor:
    """Numbers of M of the R representatives.

    Args:
        choice: not "uniform".
        state: as `no_returns` and `with_returns` give it.
        size: R.
        number: M.
        generator: source of the draws.
    """
    if choice == "representative" or float(state[MET].min()) == 0:
        rounds = -(-number // size)
        # Those that were met least come first, in random order.
        met = state.get(MET, torch.zeros(size))
        orders = [torch.randperm(size, generator=generator) for _ in range(rounds)]
        orders[0] = orders[0][met[orders[0]].argsort(stable=True)]
        return torch.cat(orders)[:number]
    weights = UNIFORM_SHARE / size + (1 - UNIFORM_SHARE) * _needs(choice, state)
    return torch.multinomial(weights, number, replacement=True, generator=generator)


def with_returns(state: Params, chosen: Tensor, returns: Tensor) -> Params:
    """The state after more episodes.

    Args:
        state: before.
        chosen: numbers of the representatives that were met, (M,).
        returns: of each, (M,); NaN where the simulation diverged counts as the lowest known.
    """
    if not state:
        return state
    finite = torch.isfinite(returns)
    known = torch.cat([returns[finite], state[SLOW][state[MET] > 0]])
    if not len(known):
        return state
    returns = torch.where(finite, returns, known.min()).to(state[MET])
    none = torch.zeros_like(state[MET])
    count = none.index_add(0, chosen, torch.ones_like(returns))
    mean = none.index_add(0, chosen, returns) / count.clamp(min=1)
    met, first = count > 0, state[MET] == 0

    def moved(name: str, rate: float) -> Tensor:
        after = torch.where(first, mean, state[name].lerp(mean, rate))
        return torch.where(met, after, state[name])

    rates = {FAST: FAST_RATE, SLOW: SLOW_RATE}
    return {name: moved(name, rate) for name, rate in rates.items()} | {MET: state[MET] + count}


def _needs(choice: Choice, state: Params) -> Tensor:
    """Probability of each representative by its need alone, (R,)."""
    size = len(state[MET])
    if choice == "worst":
        rank = state[FAST].argsort(stable=True).argsort().float()
        weights = 0.5 ** (rank / (HALVED_AFTER * size))
    else:
        weights = (state[FAST] - state[SLOW]).abs() + 1e-6
    return weights / weights.sum()
