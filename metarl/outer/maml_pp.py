"""MAML++: early in meta-training, policies before the last adaptation step count too.

Antoniou, Edwards, Storkey 2019, "How to train your MAML", Eq. 4, with ProMP's steps and penalty.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from metarl.outer.clipped_steps import ClippedSteps
from metarl.outer.minibatches import AdaptedPolicies
from metarl_envs.inputs.numbers import NotNegative, Share


@dataclass(frozen=True)
class MamlPlusPlus(ClippedSteps):
    """ProMP's descent with sum over k of w_k * clipped surrogate of phi_k; MAML has w_K = 1 alone.

    Learned rates per layer and step and the annealed order of derivatives belong to its adaptation,
    `LayerRates`.
    """

    inner_kl_penalty: NotNegative = 5e-4
    """Weight of the divergence of the policies that collected the data adapted on, >= 0."""
    multi_step_until: Share = 0.33
    """Share of meta-training, in [0, 1], in which policies before the last step count too: equally
    at first, fading linearly."""

    def loss(self, policies: AdaptedPolicies) -> Tensor:
        K = policies.num_steps
        penalties = [self.inner_kl_penalty / K * policies.kl(k) for k in range(K)]
        total = torch.zeros_like(penalties[0])
        for k, weight in enumerate(self.step_weights(K, policies.iteration.progress)):
            total = total + penalties[k]
            if weight:
                total = total - weight * policies.surrogate(k + 1, self.clip)
        return total

    def step_weights(self, K: int, progress: float) -> list[float]:
        """w_1, ..., w_K, of sum 1, at this share of meta-training, in [0, 1)."""
        remaining = max(0.0, 1 - progress / self.multi_step_until) if self.multi_step_until else 0.0
        early = remaining / K
        return [*[early] * (K - 1), 1 - early * (K - 1)]
