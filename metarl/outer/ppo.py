"""PPO's clipped surrogate as meta-objective: ProMP, E-MAML, MAML++, and plain Adam as one step.

Rothfuss, Lee, Clavera, Asfour, Abbeel 2019, "ProMP: Proximal Meta-Policy Search", Eq. 9 to 12.
With phi_k the policies after k adaptation steps and D_k what they collected, minimise

    -mean over tasks of  clipped surrogate of phi_K on D_K
    + inner_kl_penalty * mean over tasks and k < K of  KL(phi_k_old || phi_k) on D_k

by a few steps of Adam on the same data, each differentiated through the whole adaptation. The
first step is plain gradient ascent on the surrogate: there all ratios are 1. ProMP's low-variance
curvature is the inner loss `ratio`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated

import torch
from torch import Tensor

from metarl.adaptation.adam import adam_step, init_adam
from metarl.adaptation.base import Loss, loss_gradient
from metarl.adaptation.losses import inner_losses, mean_kl, plus_linear, surrogate
from metarl.outer.base import Iteration, MetaObjective, Update
from metarl.outer.sound_tasks import cut_gradients, mean_over_tasks
from metarl.outer.trail import Trail
from metarl.policies.gaussian import Gaussian, entropy, log_prob
from metarl.policies.params import Params, acting, detach, expand, flatten, learned
from metarl.rollouts.advantages import PolicyBatch, some_episodes
from metarl_envs.inputs.numbers import Count, NotNegative, Positive, Range, Share

STEP_SCALE = "step_scale"
GROWTH = 1.25
"""Of the steps' length, per iteration in which none led too far."""


@dataclass(frozen=True)
class Minibatch:
    """Some episodes of every task, from each of the K + 1 collections."""

    batches: list[PolicyBatch]
    losses: list[Loss]
    """What each of the K adaptation steps descends."""
    old: list[Gaussian]
    """The policies that acted, on the batches."""


def minibatches(iteration: Iteration, count: int) -> list[Minibatch]:
    """The data of an iteration in `count` parts of whole episodes; fewer if there are fewer.

    In every part the adaptation steps as it does on all episodes, as long as the meta-parameters
    are those that collected them; only the step's derivative is estimated on the part.
    """
    inner, policy = iteration.inner, iteration.policy
    count = min(count, inner.batches[0].weights.shape[1] // iteration.horizon)
    made = []
    for first in range(count):
        which = slice(first, None, count)
        batches = [one_part(b, iteration.horizon, which, count) for b in inner.batches]
        losses = inner_losses(policy, batches[:-1], iteration.inner_loss)
        with torch.no_grad():
            old = [
                policy.distribution(phi, batch.observations)
                for phi, batch in zip(inner.policies, batches, strict=True)
            ]
        made.append(Minibatch(batches, losses, old))
    for k, phi in enumerate(inner.policies[:-1]):
        own = [loss_gradient(phi, list(acting(phi)), part.losses[k]) for part in made]
        whole = {name: torch.stack([g[name] for g in own]).mean(0) for name in own[0]}
        for part, gradient in zip(made, own, strict=True):
            slope = {name: whole[name] - value for name, value in gradient.items()}
            part.losses[k] = plus_linear(part.losses[k], slope)
    return made


def one_part(batch: PolicyBatch, horizon: int, which: slice, count: int) -> PolicyBatch:
    """Some episodes, weighted so that the mean over the `count` parts is the whole batch."""
    part = some_episodes(batch, horizon, which)
    return replace(part, weights=count * part.weights)


@dataclass(frozen=True)
class Ppo(MetaObjective):
    """Several steps of Adam per meta-iteration on the clipped surrogate."""

    learning_rate: Positive = 1e-3
    """Adam's step size for the policy's weights, > 0."""
    adaptation_lr: Positive = 1e-3
    """Adam's step size for the adaptation's own meta-parameters, > 0."""
    final_rate: Share = 1.0
    """Share of both step sizes that is left at the end of meta-training, in [0, 1]; on the way
    there they follow half a cosine (Loshchilov and Hutter 2017, Eq. 5; MAML++, section 4)."""
    epochs: Count = 1
    """Passes over the data of a meta-iteration, >= 1."""
    minibatches: Count = 5
    """Adam steps per pass, >= 1, each on its share of every task's episodes. ProMP's own choice is
    5 passes over 1 minibatch, at five times the cost."""
    clip: Annotated[float, Range(gt=0, lt=1)] = 0.3
    """Likelihood ratios count within 1 - clip and 1 + clip, in (0, 1)."""
    max_kl: Positive = 0.5
    """How far the adapted policies may diverge in an iteration, nats, > 0. A step that leads beyond
    is taken back and steps are half as long from then on, until iterations without such a step
    let them grow again. Steps rarely go so far; but the clip alone bounds no policy: one step
    through an adaptation with large learned rates moved them by 200 nats, and all was lost."""
    inner_kl_penalty: NotNegative = 5e-4
    """Weight of the divergence of the policies that collected the data adapted on, >= 0."""
    exploration: NotNegative = 0.0
    """Weight of E-MAML's term, >= 0: credit for the episodes that the adaptation learns from."""
    multi_step_until: Share = 0.0
    """Share of meta-training, in [0, 1], in which policies before the last step count too (MAML++,
    Antoniou et al. 2019, Eq. 4): equally at first, fading linearly."""

    def init(self, learned: Params) -> Params:
        return init_adam(learned) | {STEP_SCALE: torch.ones(())}

    def update(
        self, params: Params, optimizer: Mapping[str, Tensor], iteration: Iteration
    ) -> Update:
        parts = minibatches(iteration, self.minibatches)
        trail = Trail(params, optimizer, room=self.epochs * len(parts))
        scale, taken_back = optimizer[STEP_SCALE].double(), torch.zeros_like(trail.steps)
        pace, norms = self.pace(iteration.progress), []
        for part in parts * self.epochs:
            here, moments = trail.last()
            kl, gradient = self.differentiate(here, iteration, part)
            norms.append(flatten(gradient).norm())
            too_far = self.too_far(kl, trail)
            trail.step(*self.step(here, moments, gradient, pace * scale), unless=too_far)
            scale = torch.where(too_far, scale / 2, scale)
            taken_back = taken_back + too_far
        before, _ = self.measure(params, iteration, parts[0])
        after, kl = self.measure(trail.last()[0], iteration, parts[0])
        if bool(self.too_far(kl, trail)):  # no step of the loop above waits for the device
            trail.back()
            scale, taken_back = scale / 2, taken_back + 1
            after, kl = self.measure(trail.last()[0], iteration, parts[0])
        params, state = trail.last()
        scale = torch.where(taken_back > 0, scale, (GROWTH * scale).clamp(max=1.0))
        state[STEP_SCALE] = scale.to(state[STEP_SCALE])
        failed = iteration.inner.failed
        metrics = {
            "train/policy_loss": float(before),
            "train/improvement": float(before - after),
            "train/approx_kl": float(kl),
            "train/grad_norm": float(norms[0]),
            "train/step_scale": float(scale),
            "train/steps_taken_back": float(taken_back),
            "train/entropy": float(mean_over_tasks(entropy(parts[0].old[-1]), failed)),
            "train/std": float(params["log_std"].exp().mean()),
        }
        return Update(params, state, metrics)

    def too_far(self, kl: Tensor, trail: Trail) -> Tensor:
        """Whether the newest point is to be left for the one before, where there is one: ()."""
        return ~(kl <= self.max_kl) & (trail.steps > 0)  # also where kl is not a number

    def differentiate(
        self, params: Params, iteration: Iteration, data: Minibatch
    ) -> tuple[Tensor, Params]:
        """Divergence of phi_K, and the meta-loss's gradient for the learned entries."""
        theta = {n: v.requires_grad_() for n, v in detach(learned(params)).items()}
        loss, kl = self.loss(params | theta, iteration, data)
        grads = torch.autograd.grad(loss, list(theta.values()), materialize_grads=True)
        return kl.detach(), dict(zip(theta, grads, strict=True))

    @torch.no_grad()
    def measure(
        self, params: Params, iteration: Iteration, data: Minibatch
    ) -> tuple[Tensor, Tensor]:
        """Meta-loss and divergence of phi_K."""
        return self.loss(params, iteration, data)

    def step(
        self, params: Params, optimizer: Params, gradient: Params, scale: float | Tensor
    ) -> tuple[Params, Params]:
        """One step of Adam, its length times `scale`: new parameters and optimiser's state."""
        rates = scale * self.learning_rate, scale * self.adaptation_lr
        moved, state = adam_step(learned(params), gradient, optimizer, *rates)
        return params | moved, state

    def loss(self, params: Params, iteration: Iteration, data: Minibatch) -> tuple[Tensor, Tensor]:
        """The meta-loss at meta-parameters without axis M, and the divergence of phi_K.

        Args:
            params: where it is evaluated; differentiable in the learned entries.
            iteration: policy and adaptation.
            data: what it is evaluated on.
        """
        K, failed = len(data.losses), iteration.inner.failed
        counts = self.step_weights(K, iteration.progress)
        state = iteration.adaptation.begin(cut_gradients(expand(params, len(failed)), failed))
        total, kl = torch.zeros(()), torch.zeros(())
        for k, (batch, behaviour) in enumerate(zip(data.batches, data.old, strict=True)):
            dist = iteration.policy.distribution(state, batch.observations)
            kl = mean_over_tasks(mean_kl(behaviour, dist, batch), failed)
            if k == 0 and self.exploration:
                score = (log_prob(dist, batch.actions) * batch.weights).sum(-1)
                credited = mean_over_tasks(credit(iteration).to(score) * score, failed)
                total = total - self.exploration * credited
            if counts[k]:
                gain = mean_over_tasks(surrogate(dist, batch, self.clip), failed)
                total = total - counts[k] * gain
            if k < K:
                total = total + self.inner_kl_penalty / K * kl
                state = iteration.adaptation.step(state, data.losses[k], k)
        return total, kl

    def pace(self, progress: float) -> float:
        """Share of the step sizes when this share of meta-training, in [0, 1], is over."""
        left = (1 + math.cos(math.pi * progress)) / 2
        return self.final_rate + (1 - self.final_rate) * left

    def step_weights(self, K: int, progress: float) -> list[float]:
        """How much the policies after 0, 1, ..., K steps count: K + 1 numbers of sum 1."""
        remaining = max(0.0, 1 - progress / self.multi_step_until) if self.multi_step_until else 0.0
        early = remaining / K
        return [0.0, *[early] * (K - 1), 1 - early * (K - 1)]


def credit(iteration: Iteration) -> Tensor:
    """What each task's pre-adaptation episodes led to: (M,), standardised over the meta-batch.

    E-MAML (Stadie et al. 2018, Eq. 5) multiplies the score of the episodes adapted on by the
    return after adaptation. Standardised as in ProMP's experiments; 0 for a task without returns.
    """
    failed = iteration.inner.failed
    returns = iteration.inner.known_returns()
    centred = torch.nan_to_num(returns - returns.nanmean())
    return centred / (mean_over_tasks(centred.square(), failed).sqrt() + 1e-8)
