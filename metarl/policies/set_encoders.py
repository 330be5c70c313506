"""Set encoders: what the transitions of a task say about it, in any order and number.

Every encoder is a product of Gaussians. The latent z has the prior N(0, 1); a transition i
multiplies it by a factor N(v_i, 1 / p_i) in every dimension, so that

    precision  P = 1 + sum of p_i,      mean  (sum of p_i v_i) / P,      variance  1 / P.

Two running sums are all there is to remember, however long a trial is, and a transition counts the
same in the first and in the twentieth episode. Encoders differ in the precision of a factor:

    product     its own in every dimension (PEARL, Rakelly et al. 2019, Eq. 4 of arXiv:1903.08254)
    mean        1: the mean of embeddings, as a class's prototype is (Snell et al. 2017)
    attention   exp(score), one for all dimensions: the mean is a softmax over the transitions, with
                a learned query and an empty one beside them (Vinyals et al. 2016; Lee et al. 2019).
                Were the query the current observation, z would be no statement about the task, and
                running sums would not do.

PEARL leaves the prior out of the product and has no posterior before the first transition. With it,
the belief of a new trial is the prior itself.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from metarl.policies.gaussian import Gaussian
from metarl.policies.mlp import forward, init_layers
from metarl.policies.params import Params

PREFIX = "encoder."
"""Start of the names of an encoder's parameters."""
LARGEST_SCORE = 5.0
"""Bound on the logarithm of attention's weights, so that sums over thousands of them are exact."""


class Evidence(NamedTuple):
    """Sums over transitions, which the posterior of z follows from."""

    precision: Tensor  # (..., Z) sum of p
    weighted: Tensor  # (..., Z) sum of p * v

    def posterior(self) -> Gaussian:
        """N(mean, std^2) of z: (..., Z)."""
        precision = 1 + self.precision
        return Gaussian(self.weighted / precision, -0.5 * precision.log())

    def total(self, which: Tensor) -> Evidence:
        """Sum over the chosen ones of S transitions, by a mask (..., S): (..., Z)."""
        chosen = which.unsqueeze(-1)
        return Evidence(*(torch.where(chosen, term, 0.0).sum(-2) for term in self))

    def so_far(self, valid: Tensor) -> Evidence:
        """Sums before the first and after every one of S transitions: (..., S + 1, Z).

        Args:
            valid: transitions that count, (..., S).
        """
        counted = [torch.where(valid.unsqueeze(-1), term, 0.0) for term in self]
        return Evidence(*(torch.nn.functional.pad(c.cumsum(-2), (0, 0, 1, 0)) for c in counted))


@dataclass(frozen=True)
class SetEncoder(ABC):
    """A network from a transition to its factor. A subclass is frozen sizes, without tensors.

    Its methods are pure functions of the parameters of M policies, each (M, ...), or of one policy,
    without the axis M.
    """

    inputs: int
    """Numbers that describe a transition."""
    hidden_sizes: tuple[int, ...]
    """Units of each hidden layer."""
    size: int
    """Z, dimensions of the latent."""

    @property
    def weights(self) -> int:
        """Outputs of the network beside the Z values, which precisions follow from."""
        return 0

    @abstractmethod
    def precision(self, weights: Tensor, values: Tensor) -> Tensor:
        """Precisions of factors, > 0: (..., W), (..., Z) -> (..., Z)."""

    def init(self, generator: Generator) -> Params:
        """Xavier-uniform weights and zero biases of one encoder, float32, named `encoder.*`."""
        sizes = (self.inputs, *self.hidden_sizes, self.size + self.weights)
        return {PREFIX + name: v for name, v in init_layers(sizes, generator).items()}

    def factors(self, params: Mapping[str, Tensor], transitions: Tensor) -> Evidence:
        """Factors of S transitions, (..., S, D), each as the evidence that it is: (..., S, Z)."""
        layers = {n.removeprefix(PREFIX): v for n, v in params.items() if n.startswith(PREFIX)}
        outputs = forward(layers, transitions, "relu")
        values, weights = outputs.split([self.size, self.weights], dim=-1)
        precision = self.precision(weights, values)
        return Evidence(precision, precision * values)


@dataclass(frozen=True)
class Product(SetEncoder):
    """Product of Gaussians with precisions of their own."""

    @property
    def weights(self) -> int:
        return self.size

    def precision(self, weights: Tensor, values: Tensor) -> Tensor:
        # Precisions, not variances as in PEARL's code: a transition that says nothing has 0.
        return torch.nn.functional.softplus(weights)


@dataclass(frozen=True)
class Mean(SetEncoder):
    """Mean of embeddings."""

    def precision(self, weights: Tensor, values: Tensor) -> Tensor:
        return torch.ones_like(values)


@dataclass(frozen=True)
class Attention(SetEncoder):
    """Attention by one learned query."""

    @property
    def weights(self) -> int:
        return 1

    def precision(self, weights: Tensor, values: Tensor) -> Tensor:
        return (LARGEST_SCORE * torch.tanh(weights / LARGEST_SCORE)).exp().expand_as(values)


SET_ENCODERS: Mapping[str, type[SetEncoder]] = {
    "product": Product,
    "mean": Mean,
    "attention": Attention,
}
