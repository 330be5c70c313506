"""ProMP: the clipped surrogate with a penalty on the policies before adaptation.

Rothfuss, Lee, Clavera, Asfour, Abbeel 2019, "ProMP: Proximal Meta-Policy Search", Eq. 9 to 12.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from metarl.outer.clipped_steps import ClippedSteps
from metarl.outer.minibatches import AdaptedPolicies
from metarl_envs.inputs.numbers import NotNegative


@dataclass(frozen=True)
class ProMp(ClippedSteps):
    """Descent on the mean over tasks of a penalised surrogate.

        inner_kl_penalty * mean over k < K of KL(phi_k_old || phi_k) - clipped surrogate of phi_K

    ProMP's low-variance curvature is the inner loss `ratio`. MAML has no penalty: its trust region
    is TRPO's, on the policies after adaptation.
    """

    inner_kl_penalty: NotNegative = 5e-4
    """Weight of the divergence of the policies that collected the data adapted on, >= 0."""

    def loss(self, policies: AdaptedPolicies) -> Tensor:
        K = policies.num_steps
        penalty = sum(self.inner_kl_penalty / K * policies.kl(k) for k in range(K))
        return penalty - policies.surrogate(-1, self.clip)
