"""ProMP: the clipped surrogate with a penalty on the policies before adaptation.

Rothfuss, Lee, Clavera, Asfour, Abbeel 2019, "ProMP: Proximal Meta-Policy Search", Eq. 9 to 12.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from metarl.outer.clipped_steps import ClippedSteps
from metarl.outer.minibatches import AdaptedPolicies
from metarl_envs import InputError


@dataclass(frozen=True)
class ProMp(ClippedSteps):
    """Descent on the mean over tasks of a penalised surrogate.

        inner_kl_penalty * mean over k < K of KL(phi_k_old || phi_k) - clipped surrogate of phi_K

    ProMP's low-variance curvature is the inner loss `ratio`. MAML has no penalty: its trust region
    is TRPO's, on the policies after adaptation.
    """

    inner_kl_penalty: float = 5e-4
    """Weight of the divergence of the policies that collected the data adapted on, >= 0."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.inner_kl_penalty < 0:
            raise InputError(f"inner_kl_penalty = {self.inner_kl_penalty}: must be at least 0")

    def loss(self, policies: AdaptedPolicies) -> Tensor:
        K = policies.num_steps
        penalty = sum(self.inner_kl_penalty / K * policies.kl(k) for k in range(K))
        return penalty - policies.surrogate(-1, self.clip)
