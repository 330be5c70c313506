"""Trials that outlast an iteration, so that what a policy learns to believe holds beyond it.

Every task's trial goes on in the next iteration with a fixed probability, and begins anew with
another task otherwise: lengths are geometric. Gradients pass through one iteration's episodes.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Generator, Tensor

from metarl.policies.belief import Belief, where
from metarl.policies.params import Params
from metarl_envs import Tasks

GOES_ON, TASK, BELIEF = "trial.goes_on", "trial.task.", "trial.belief."


def no_trials(tasks: Tasks, belief: Belief) -> Params:
    """State before the first iteration: no trial goes on.

    Args:
        tasks: M of any, for their names and shapes.
        belief: of any, each (M, E, ...).
    """
    held = {TASK + name: torch.zeros_like(value) for name, value in tasks.values.items()}
    held |= {BELIEF + name: torch.zeros_like(value) for name, value in belief.items()}
    return held | {GOES_ON: torch.zeros(len(tasks), dtype=torch.bool)}


def trials_now(state: Mapping[str, Tensor], fresh: Tasks, begun: Belief) -> tuple[Tasks, Belief]:
    """Tasks and beliefs of this iteration: those of the trials that go on, and fresh ones.

    Args:
        state: from `no_trials` or `trials_after`.
        fresh: a new task for each of M.
        begun: the belief at the start of a trial, each (M, E, ...).
    """
    goes_on = state[GOES_ON]
    values = {name: state[TASK + name] for name in fresh.values}
    tasks = Tasks(where(goes_on, values, dict(fresh.values)))
    worlds = goes_on.unsqueeze(1)
    held = {name: state[BELIEF + name].to(value) for name, value in begun.items()}
    belief = where(worlds.expand(next(iter(begun.values())).shape[:2]), held, begun)
    return tasks, belief


def trials_after(tasks: Tasks, belief: Belief, probability: float, generator: Generator) -> Params:
    """State after an iteration, with the trials that go on drawn at random.

    Args:
        tasks: of this iteration, M.
        belief: after its last episode, each (M, E, ...).
        probability: of each trial to go on.
        generator: of the draws.
    """
    held = {TASK + name: value for name, value in tasks.values.items()}
    held |= {BELIEF + name: value.cpu() for name, value in belief.items()}
    return held | {GOES_ON: torch.rand(len(tasks), generator=generator) < probability}


def settings_above_zero(**shares: float) -> str:
    """Names of the settings of `outer` that are not 0, by which slots run other tasks."""
    return ", ".join(f"outer.{name}" for name, share in shares.items() if share)
