"""PPO through the adaptation; without one, multi-task PPO (Schulman et al. 2017)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from metarl.outer.clipped_steps import ClippedSteps
from metarl.outer.minibatches import AdaptedPolicies


@dataclass(frozen=True)
class Ppo(ClippedSteps):
    """Ascent on the clipped surrogate (Eq. 7) of phi_K, a mean over tasks.

    Baselines are configured by it too: Stable-Baselines3's PPO has the same settings.
    """

    def loss(self, policies: AdaptedPolicies) -> Tensor:
        return -policies.surrogate(-1, self.clip)
