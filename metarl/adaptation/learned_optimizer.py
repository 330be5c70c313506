"""Adaptation by a learned optimiser: an LSTM reads each weight's gradient and emits its update.

Andrychowicz et al. 2016, "Learning to learn by gradient descent by gradient descent"
(arXiv 1606.04474), Eq. 3; an LSTM as meta-learner also in Ravi and Larochelle 2017, whose gates on
the weights themselves are not used here. The differences from the paper: the LSTM has one layer
instead of two, and its output is added to a plain gradient step. MAML adapts by that step alone;
here the outer loop learns the rule as well as where it starts.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor

from metarl.adaptation.base import Adaptation, Batch, loss_gradient
from metarl.policies.params import ADAPTATION, TASK, Params, detach, weights
from metarl_envs.inputs.numbers import Count, Positive

LOG_RATE = ADAPTATION + "lstm.log_rate"  # ()
WEIGHT = ADAPTATION + "lstm.weight"  # (2 + H, 4H): input, forget, candidate and output gate
BIAS = ADAPTATION + "lstm.bias"  # (4H,)
WEIGHT_OUTPUT = ADAPTATION + "lstm.weight_output"  # (H, 1)
HIDDEN, CELL = TASK + "lstm.hidden", TASK + "lstm.cell"  # (M, D, H), D coordinates of all weights

LOG_RANGE = 10.0
"""p of appendix A: gradients below e^-p count as small."""


@dataclass(frozen=True)
class LearnedOptimizer(Adaptation):
    """phi = theta - rate * gradient + output_scale * LSTM(gradient, state), per coordinate.

    One LSTM serves all coordinates of all weights; each coordinate of each task has its own state,
    zero when the task begins. The rate is one learned number. The output layer starts at zero, so
    that meta-training starts at MAML and not at noise: the output layer and the rate are the first
    to learn, the LSTM behind the output layer follows as soon as that is not zero.
    """

    moves_all_learned: ClassVar[bool] = False

    hidden_size: Count = 16
    """Units of the LSTM, >= 1. Time and memory of a step grow in proportion to it, times the
    number of weights and of tasks."""
    init_rate: Positive = 0.1
    """Step size at the start of meta-training, > 0."""
    output_scale: Positive = 0.01
    """Factor on the LSTM's output, > 0. Adam's steps do not depend on the size of a gradient, so
    this is how fast meta-training moves the optimiser away from the plain step."""
    first_order: bool = True
    """Treat the gradients as data when the adaptation is differentiated, as the paper does
    (section 2.1): no second derivatives of the losses."""

    def init(self, weights: Params, generator: Generator) -> Params:
        """As in `Adaptation`, from U(-1, 1) / sqrt(H), as `torch.nn.LSTMCell`, float32.

        The forget gate's bias is 1 (Jozefowicz et al. 2015), so that memory outlasts a step.
        """
        del weights
        H = self.hidden_size
        uniform = torch.rand((2 + H, 4 * H), generator=generator)
        bias = torch.zeros(4 * H)
        bias[H : 2 * H] = 1
        return {
            LOG_RATE: torch.tensor(math.log(self.init_rate)),
            WEIGHT: (2 * uniform - 1) / math.sqrt(H),
            BIAS: bias,
            WEIGHT_OUTPUT: torch.zeros(H, 1),
        }

    def scaled(self, factor: float) -> LearnedOptimizer:
        return dataclasses.replace(self, init_rate=factor * self.init_rate)

    def begin(self, params: Mapping[str, Tensor]) -> Params:
        rule = params[WEIGHT_OUTPUT]
        num_coordinates = sum(value[0].numel() for value in weights(params).values())
        zeros = rule.new_zeros(len(rule), num_coordinates, self.hidden_size)
        return {**params, HIDDEN: zeros, CELL: zeros}

    def step(self, params: Mapping[str, Tensor], batch: Batch, k: int) -> Params:
        """As in `Adaptation`; steps differ by the state alone."""
        del k
        before = weights(params)
        grads = loss_gradient(params, list(before), batch.loss)
        if self.first_order:
            grads = detach(grads)
        M = len(params[LOG_RATE])
        gradient = torch.cat([grads[name].reshape(M, -1) for name in before], dim=1)
        hidden, cell = lstm_cell(preprocess(gradient), params)
        output = (hidden @ params[WEIGHT_OUTPUT]).squeeze(-1)
        rate = params[LOG_RATE].exp().unsqueeze(-1)
        update = self.output_scale * output - rate * gradient
        parts = update.split([value[0].numel() for value in before.values()], dim=1)
        moved = {
            name: value + part.view_as(value)
            for (name, value), part in zip(before.items(), parts, strict=True)
        }
        return {**params, **moved, HIDDEN: hidden, CELL: cell}


def preprocess(gradient: Tensor) -> Tensor:
    """Two inputs of about unit size for gradients of any size: (...) -> (..., 2).

    (log|g| / p, sign g) where |g| >= e^-p, and (-1, e^p g) below: Andrychowicz et al. 2016,
    appendix A. Continuous, and its derivative is finite everywhere, at zero too.
    """
    size = gradient.abs()
    large = size >= math.exp(-LOG_RANGE)
    # The derivative of a branch not taken is multiplied by 0; the logarithm's at 0 is infinite.
    log_size = torch.where(large, size, 1).log() / LOG_RANGE
    return torch.stack(
        [
            torch.where(large, log_size, -1),
            torch.where(large, gradient.sign(), math.exp(LOG_RANGE) * gradient),
        ],
        dim=-1,
    )


def lstm_cell(inputs: Tensor, params: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """The LSTM's next hidden and cell state, each (M, D, H), from inputs (M, D, 2).

    Every task has its own copy of the LSTM's weights: meta-gradients are taken per task.
    """
    joined = torch.cat([inputs, params[HIDDEN]], dim=-1)
    # Gate by gate: the nonlinearities take five times as long on slices of one common product.
    input_gate, forget_gate, candidate, output_gate = (
        torch.baddbmm(bias, joined, weight)
        for bias, weight in zip(
            params[BIAS].unsqueeze(1).chunk(4, dim=-1), params[WEIGHT].chunk(4, dim=-1), strict=True
        )
    )
    cell = forget_gate.sigmoid() * params[CELL] + input_gate.sigmoid() * candidate.tanh()
    return output_gate.sigmoid() * cell.tanh(), cell
