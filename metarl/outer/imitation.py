"""Imitation of a teacher on the student's own episodes, from the last few collections.

DAgger (Ross et al. 2011, arXiv:1011.0686), as RMA's second phase (Kumar et al. 2021,
arXiv:2107.04034): the student acts, the teacher names the action or the latent that it would have
chosen there. Data of the teacher's own episodes would not hold what the student's mistakes lead to.
Axes: C collections, N worlds, L steps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Generator, Tensor

from metarl.adaptation.adam import adam_step
from metarl.distributed import own_slice, sum_over_ranks
from metarl.outer.recent_trials import num_replayed, replayed, some_of
from metarl.outer.trial_ppo import clipped_gradient, leaves, prefixed, without_prefix
from metarl.policies.memory import MemoryPolicy
from metarl.policies.params import Params, expand, learned
from metarl.rollouts.trials import Trial

Targets = Literal["actions", "latents", "both"]
ACTION, LATENT = "target.action", "target.latent"
ADAM = "imitation_adam."


def imitate(
    policy: MemoryPolicy,
    params: Params,
    training: Params,
    *,
    targets: Targets,
    width: float,
    passes: int,
    minibatches: int,
    learning_rate: float,
    max_grad_norm: float,
    generator: Generator,
) -> tuple[Params, Params, dict[str, float]]:
    """Adam on the distance from the teacher, over trials drawn from the replay.

    Args:
        policy: the student.
        params: of the student, without axis M.
        training: with the replay and Adam's state.
        targets: what the student takes over: the teacher's mean actions, its latents, or both.
        width: of actions, in half ranges; infinite for the teacher's mean action, see `distance`.
        passes: each is over as many trials as one collection holds.
        minibatches: Adam steps per pass.
        learning_rate: Adam's step size.
        max_grad_norm: longest gradient of a step.
        generator: of the draws.

    Returns:
        Parameters, training state, metrics.
    """
    adam, moving = without_prefix(ADAM, training), learned(params)
    filled, worlds = num_replayed(training)
    errors, norms, device = [], [], next(iter(moving.values())).device
    for _ in range(passes):
        drawn = torch.randperm(filled, generator=generator)[:worlds].to(device)
        for which in drawn.chunk(minibatches):
            trial, wanted = replayed(training, own_slice(which))
            steps = some_of(training, "valid", which).sum()
            at = leaves(moving)
            loss = distance(policy, expand(params | at, 1), trial, wanted, targets, width, steps)
            gradient, norm = clipped_gradient(loss, at, max_grad_norm)
            moving, adam = adam_step(moving, gradient, adam, learning_rate, learning_rate)
            errors.append(loss.detach())
            norms.append(norm)
    metrics = {
        "train/imitation_loss": float(sum_over_ranks(torch.stack(errors)).mean()),
        "train/grad_norm": float(torch.stack(norms).mean()),
    }
    return params | moving, training | prefixed(ADAM, adam), metrics


def distance(
    policy: MemoryPolicy,
    params: Mapping[str, Tensor],
    trial: Trial,
    wanted: Mapping[str, Tensor],
    targets: Targets,
    width: float = math.inf,
    steps: Tensor | None = None,
) -> Tensor:
    """Mean squared distance of actions and of latents over valid steps, summed: ().

    Where the history leaves open which of several actions the teacher would take, the least
    squared distance is at their mean, which may be the action of none of them: right and left make
    a student that waits. With a finite width w a squared distance e^2 of actions counts as
    2 w^2 (1 - exp(-e^2 / 2 w^2)) (Welsch's loss), whose least mean is at the mode of the teacher's
    likely actions, blurred by w: the student commits itself to one of them, and sees.

    Of several processes each has the part of its own trials, and `steps` is the number of valid
    steps of all, (); None: these are all.
    """
    dist, summaries = policy.scan(params, trial)
    weight = trial.valid.unsqueeze(-1) / (trial.valid.sum() if steps is None else steps)
    total = torch.zeros((), device=weight.device)
    if targets != "latents":
        error = (dist.mean - wanted[ACTION]) / policy.config.action_scale
        squared = error.square()
        if width < math.inf:
            squared = squared.sum(dim=-1, keepdim=True)
            squared = -2 * width**2 * torch.expm1(-squared / (2 * width**2))
        total = total + (squared * weight).sum()
    if targets != "actions":
        latents = policy.latent(params, summaries.flatten(1, 2)).unflatten(1, weight.shape[1:3])
        error = latents - wanted[LATENT]
        total = total + (error.square() * weight).sum()
    return total
