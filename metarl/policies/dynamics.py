"""Dynamics models that adapt to the last steps: what an action does to this robot, as it is now.

An ensemble of networks predicts the change of the observation, and the reward where no rule gives
it. The model of each world follows from the meta-parameters and the last steps alone, at every
step anew, in one of three ways:

- `gradient`: one step down the error on the last steps, with a learned rate for every layer
  (GrBAL; Nagabandi et al. 2019, arXiv:1803.11347, Eq. 2 and 3); and, which is ours, a factor on
  every action, solved for.
- `recurrent`: a GRU reads the last steps, and the networks read its memory (ReBAL, there).
- `nothing`: the model stays as it is, as for planning without meta-learning.

Axes: M policies, E worlds each, B networks, S steps or candidates, I numbers that they read,
D predicted numbers, W last steps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Generator, Tensor

from metarl.policies.encoders.gru import STATE, Gru
from metarl.policies.mlp import Activation, forward, init_layers
from metarl.policies.params import ADAPTATION, Params, layers

Adapts = Literal["gradient", "recurrent", "nothing"]
RATE = ADAPTATION + "rate."
"""Start of the names of the learned rates: logarithms, one for every layer's weight and bias."""
GAIN = "gain"
"""Entry of an adapted model: (M, E, B, A) factors on the actions that networks read, so that it can
take back what an actuator does without changing what it knows of the body."""
RIDGE = ADAPTATION + "ridge"
"""Name of the logarithm of the weight, learned, that keeps factors at 1."""
FIRST_RIDGE = 0.5
"""Its initial value."""
MEMORY = "memory"
"""Entry of a model: (M, E, H) the GRU's memory of the last steps."""


class Steps(NamedTuple):
    """Steps in order of time, as networks read them."""

    inputs: Tensor  # (M, E, S, I) standardised observations, and actions as shares
    changes: Tensor  # (M, E, S, D) standardised
    valid: Tensor  # (M, E, S)


@dataclass(frozen=True)
class Dynamics:
    """Networks with what adapts them: frozen sizes, without tensors."""

    inputs: int
    """I, numbers of an observation and an action."""
    outputs: int
    """D."""
    actions: int
    """A."""
    networks: int
    """B."""
    hidden_sizes: tuple[int, ...]
    activation: Activation
    adapts: Adapts
    memory_size: int
    """H, of a recurrent model."""
    first_rate: float
    """Initial rate of the gradient step."""

    def init(self, generator: Generator) -> Params:
        """Fresh networks, each (B, ...), and what adapts them."""
        recurrent = self.adapts == "recurrent"
        read = self.inputs + (self.memory_size if recurrent else 0)
        sizes = (read, *self.hidden_sizes, self.outputs)
        each = [init_layers(sizes, generator) for _ in range(self.networks)]
        params = {name: torch.stack([one[name] for one in each]) for name in each[0]}
        if self.adapts == "gradient":
            start = torch.tensor(math.log(self.first_rate))
            params |= {RATE + name: start.clone() for name in each[0]}
            params |= {RIDGE: torch.tensor(math.log(FIRST_RIDGE))}
        return params | (self._encoder.init(generator) if recurrent else {})

    def adapted(self, params: Mapping[str, Tensor], past: Steps) -> Params:
        """The model of every world after its last steps, each entry (M, E, ...).

        Differentiable in the parameters where gradients are recorded, through the step.

        Args:
            params: with the entries of `init`, (M, ...).
            past: at most W steps of each world.
        """
        model = self.unadapted(params, past.valid.shape[-2])
        match self.adapts:
            case "nothing":
                return model
            case "recurrent":
                return model | {MEMORY: self._remembered(params, past)}
            case "gradient":
                return self._stepped(params, model, past)

    def unadapted(self, params: Mapping[str, Tensor], num_worlds: int) -> Params:
        """The model of every world before its first step, each entry (M, E, ...)."""
        model: Params = {}
        for name, value in layers(params).items():
            axis = value.dim() - (3 if name.startswith("weight") else 2)
            wide = value.unsqueeze(axis)
            model[name] = wide.expand(*wide.shape[:axis], num_worlds, *wide.shape[axis + 1 :])
        if self.adapts == "recurrent":
            model[MEMORY] = self._encoder.begin(params, num_worlds)[STATE]
        return model

    def predicted(self, model: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
        """Standardised changes, (M, E, B, S, D).

        Args:
            model: of every world.
            inputs: (M, E, B, S, I), or (M, E, 1, S, I) for all networks.
        """
        if MEMORY in model:
            memory = model[MEMORY].unsqueeze(-2).unsqueeze(-2)
            memory = memory.expand(*inputs.shape[:-1], self.memory_size)
            inputs = torch.cat([inputs, memory], dim=-1)
        if GAIN in model:
            unchanged = self.inputs - self.actions
            gain = torch.nn.functional.pad(model[GAIN], (unchanged, 0), value=1.0)
            inputs = inputs * gain.unsqueeze(-2)
        return forward(model, inputs, self.activation)

    def errors(self, model: Mapping[str, Tensor], steps: Steps) -> Tensor:
        """Squared errors of one-step predictions, means over D, 0 where not valid: (M, E, B, S)."""
        found = self.predicted(model, steps.inputs.unsqueeze(-3))
        squares = (found - steps.changes.unsqueeze(-3)).square().mean(-1)
        return squares * steps.valid.unsqueeze(-2)

    def _stepped(self, params: Mapping[str, Tensor], model: Params, past: Steps) -> Params:
        """The layers after one step down their mean error on W steps, and the factors solved for.

        Missing steps count as no error.
        """
        through = torch.is_grad_enabled()
        with torch.enable_grad():
            free = {
                n: v if through and v.requires_grad else v.detach().requires_grad_()
                for n, v in model.items()
            }
            found = self._with_and_without(free, past)
            missed = past.changes.unsqueeze(-3) - found[..., 0, :, :]  # (M, E, B, W, D)
            steps = past.valid.shape[-1]
            loss = missed.square().sum() / (steps * self.outputs)  # no world reads another's error
            gradient = torch.autograd.grad(loss, list(free.values()), create_graph=through)
            stepped = {
                name: value - _beside(params[RATE + name].exp(), value) * slope
                for (name, value), slope in zip(free.items(), gradient, strict=True)
            }
            stepped[GAIN] = 1 - self._shares_missing(params, found, missed)
        return stepped if through else {name: value.detach() for name, value in stepped.items()}

    def _with_and_without(self, model: Mapping[str, Tensor], past: Steps) -> Tensor:
        """Predictions of W steps with all actions, and without each: (M, E, B, 1 + A, W, D)."""
        kept = past.inputs.new_ones(1 + self.actions, self.inputs)
        kept[1:, self.inputs - self.actions :].fill_diagonal_(0)
        read = past.inputs[..., None, None, :, :] * kept.unsqueeze(-2)  # (M, E, 1, 1 + A, W, I)
        found = self.predicted(model, read.flatten(-3, -2)).unflatten(-2, read.shape[-3:-1])
        return found * past.valid[..., None, None, :, None]

    def _shares_missing(
        self, params: Mapping[str, Tensor], found: Tensor, missed: Tensor
    ) -> Tensor:
        """Shares of the actions that explain W steps best if they are missing: (M, E, B, A).

        Ridge regression on what each action does: those with the least
        |missed - sum_a share_a (predicted without a - predicted)|^2 + ridge |share|^2.
        """
        rows = found.flatten(-2)
        effects = rows[..., 1:, :] - rows[..., :1, :]  # (M, E, B, A, W D)
        ridge = params[RIDGE].exp()[..., None, None, None, None]
        one = torch.eye(self.actions, dtype=found.dtype, device=found.device)
        normal, target = effects @ effects.mT + ridge * one, effects @ missed.flatten(-2)[..., None]
        return torch.linalg.solve_ex(normal, target).result.squeeze(-1)

    def _remembered(self, params: Mapping[str, Tensor], past: Steps) -> Tensor:
        """The GRU's memory of the valid steps: (M, E, H)."""
        read = torch.cat([past.inputs, past.changes], dim=-1)
        state = self._encoder.begin(params, past.valid.shape[-2])
        for x, valid in zip(read.unbind(-2), past.valid.unbind(-1), strict=True):
            _, after = self._encoder.step(params, state, x)
            state = {STATE: torch.where(valid.unsqueeze(-1), after[STATE], state[STATE])}
        return state[STATE]

    @property
    def _encoder(self) -> Gru:
        return Gru(self.inputs + self.outputs, self.memory_size, 0)


def _beside(rate: Tensor, value: Tensor) -> Tensor:
    """A rate of each policy, (M,), as it is multiplied by an entry of its models, (M, E, ...)."""
    return rate.reshape(*rate.shape, *[1] * (value.dim() - rate.dim()))
