"""The interface of policies: pure functions of named parameters, with a belief about the task.

Axes, here and everywhere: M tasks, E worlds (parallel episodes) per task, T steps, O observation,
A action.
"""

from __future__ import annotations

import functools
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple, Protocol

import torch
from torch import Generator, Tensor

from metarl.policies.gaussian import Gaussian
from metarl.policies.params import Params, head
from metarl_envs import InputError, TaskFamily
from metarl_envs.inputs.numbers import Positive
from metarl_envs.inputs.plain import PlainFields

VAR_FLOOR = 1e-8
"""Added to the variance of observations, so that a constant one is no division by 0."""
CLIP_OBSERVATIONS = 10.0
"""Standardised observations beyond it are cut off."""

Belief = dict[str, Tensor]
"""What a policy carries along through a trial, by name: each (M, E, ...). Empty: nothing."""


class Outcome(NamedTuple):
    """What followed an action."""

    actions: Tensor  # (M, E, A) outputs, cut where controls were cut
    rewards: Tensor  # (M, E)
    terminated: Tensor  # (M, E) the MDP ended
    truncated: Tensor  # (M, E) the clock ran out
    observations: Tensor  # (M, E, O) after it, also after an episode's last step


class Experience(Protocol):
    """Whole episodes, as far as a policy reads them: `metarl.rollouts.data.Rollouts`."""

    @property
    def observations(self) -> Tensor: ...  # (M, E, T, O)
    @property
    def actions(self) -> Tensor: ...  # (M, E, T, A) outputs
    @property
    def rewards(self) -> Tensor: ...  # (M, E, T)
    @property
    def terminated(self) -> Tensor: ...  # (M, E, T)
    @property
    def truncated(self) -> Tensor: ...  # (M, E, T)
    @property
    def valid(self) -> Tensor: ...  # (M, E, T)
    @property
    def final_observations(self) -> Tensor: ...  # (M, E, O)


class Graph(Protocol):
    """An ONNX graph that is being built."""

    def constant(self, name: str, value: Tensor | float) -> str:
        """Add a constant; its name."""
        ...

    def then(self, operator: str, source: str, *operands: str) -> str:
        """Add an operation on named values; the name of its result."""
        ...


class Statistics(NamedTuple):
    """Statistics of the observations that standardise them."""

    mean: Tensor  # (..., O)
    variance: Tensor  # (..., O)
    samples: Tensor  # (..., 1) how many

    def entries(self) -> Params:
        """The same as entries of a policy's parameters."""
        return {"obs_mean": self.mean, "obs_var": self.variance, "obs_count": self.samples}

    def standardised(self, observations: Tensor) -> Tensor:
        """Observations (..., S, O) with mean 0 and variance 1, clipped."""
        std = (self.variance + VAR_FLOOR).sqrt().unsqueeze(-2)
        standard = (observations - self.mean.unsqueeze(-2)) / std
        return standard.clamp(-CLIP_OBSERVATIONS, CLIP_OBSERVATIONS)


@dataclass(frozen=True)
class PolicyConfig(PlainFields, ABC):
    """Settings of a kind of policy: those that every kind has. A subclass adds its network's."""

    init_std: Positive = 1.0
    """Initial standard deviation of the policy's output, > 0. Sizes of inner steps are meant for 1:
    for wider exploration make `action_scale` smaller."""
    min_std: Positive = 1e-6
    """Floor of the standard deviation."""
    action_scale: Positive = 10.0
    """Policy output that means full actuator range: the farther of its bounds, seen from the output
    0. 10 is the literature's (ProMP, pytorch-maml-rl, garage): initial exploration then covers a
    tenth of the range."""
    normalize_observations: bool = False
    """Standardise observations by running statistics kept inside the policy."""

    start_only: ClassVar[tuple[str, ...]] = ("init_std", "min_std")
    """Settings that trained weights do not depend on."""

    @abstractmethod
    def policy_type(self) -> type[Policy]:
        """The class of policies that these are settings of."""

    def with_network_of(self, other: PolicyConfig) -> PolicyConfig:
        """The other's settings, but for those that its weights do not depend on."""
        kept = [name for name in self.start_only if name in other.start_only]
        return replace(other, **{name: getattr(self, name) for name in kept})


# These are made once and read at every step: copying them to a GPU each time would wait for the
# GPU, and a captured step goes on reading them where they are.
@functools.cache
def _action_range(
    low: tuple[float, ...],
    high: tuple[float, ...],
    middle: tuple[float, ...] | None,
    dtype: torch.dtype,
    device: torch.device,
) -> tuple[Tensor, Tensor]:
    """Middle of the actions and the largest distance from it, each (A,)."""
    lows, highs = torch.tensor(low), torch.tensor(high)
    if middle is None:
        return (0.5 * (highs + lows)).to(device, dtype), (0.5 * (highs - lows)).to(device, dtype)
    middles = torch.tensor(middle)
    half = torch.maximum(highs - middles, middles - lows)
    return middles.to(device, dtype), half.to(device, dtype)


@functools.cache
def _bounds(
    low: tuple[float, ...], high: tuple[float, ...], dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor]:
    """The same numbers as tensors, each (A,)."""
    return torch.tensor(low).to(device, dtype), torch.tensor(high).to(device, dtype)


@dataclass(frozen=True)
class Policy(PlainFields, ABC):
    """N(mean, std^2) over outputs: a network's mean, and a std that is the same in every state.

    A subclass is a frozen dataclass of settings and sizes without tensors, and final. Every method
    is a pure function of the parameters of M different policies at once, each (M, ...); where one
    policy's come without the axis M, nothing else has it. `init` and `act` make a policy without a
    memory; one with a belief adds `begin` and `observe`. Entries are named as
    `metarl.policies.params.Params` says.
    """

    config: PolicyConfig
    observation_size: int
    action_low: tuple[float, ...]
    action_high: tuple[float, ...]
    control_limits: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    """Low and high bounds within the actuator range that no control leaves, where a robot must not
    use all of it. What an output means does not change: controls are cut, not scaled."""
    action_middle: tuple[float, ...] | None = None
    """Control that an output of 0 means, such as what holds the robot in its starting pose; None:
    the middle between low and high."""

    @staticmethod
    def for_family(family: TaskFamily, config: PolicyConfig) -> Policy:
        """The policy that fits the family's spaces."""
        low, high = family.action_bounds()
        return config.policy_type()(
            config,
            family.observation_size,
            tuple(low.tolist()),
            tuple(high.tolist()),
            action_middle=family.action_middle(),
        )

    @property
    def action_size(self) -> int:
        """A."""
        return len(self.action_low)

    # The network and its belief.

    @abstractmethod
    def init(self, generator: Generator) -> Params:
        """Fresh float32 parameters of one policy, without axis M.

        `initial_noise` and `initial_statistics` are among them.
        """

    def begin(self, params: Mapping[str, Tensor], num_worlds: int) -> Belief:
        """The belief at the start of a trial in E worlds of each task: (M, E, ...)."""
        del params, num_worlds
        return {}

    @abstractmethod
    def act(
        self, params: Mapping[str, Tensor], belief: Belief, observations: Tensor
    ) -> tuple[Gaussian, Belief]:
        """Output distribution and new belief, differentiable.

        Args:
            params: (M, ...).
            belief: (M, E, ...), as `begin`, `act` and `observe` give it.
            observations: (M, E, O).

        Returns:
            mean (M, E, A) and `log_std`; a belief with the same names and shapes.
        """

    def observe(self, params: Mapping[str, Tensor], belief: Belief, outcome: Outcome) -> Belief:
        """The belief after a step, an episode's last one included; the same names and shapes."""
        del params, outcome
        return belief

    def distribution(
        self,
        params: Mapping[str, Tensor],
        episodes: Experience,
        belief: Belief | None = None,
    ) -> Gaussian:
        """Output distributions at every step, as if the policy had lived through the episodes.

        Differentiable through the belief. At invalid steps they are finite and mean nothing.

        Args:
            params: (M, ...).
            episodes: what was seen, done and got.
            belief: at the start; None: that of a trial.

        Returns:
            mean (M, E, T, A) and log_std (M, 1, 1, A).
        """
        seen, means = episodes.observations, []
        belief = self.begin(params, seen.shape[1]) if belief is None else belief
        ended = episodes.terminated | episodes.truncated
        following = torch.cat([seen[:, :, 1:], episodes.final_observations.unsqueeze(2)], dim=2)
        following = torch.where(
            ended.unsqueeze(-1), episodes.final_observations.unsqueeze(2), following
        )
        sent = self.sent(episodes.actions)
        for t in range(seen.shape[2]):
            dist, after = self.act(params, belief, seen[:, :, t])
            outcome = Outcome(
                sent[:, :, t],
                episodes.rewards[:, :, t],
                episodes.terminated[:, :, t],
                episodes.truncated[:, :, t],
                following[:, :, t],
            )
            after = self.observe(params, after, outcome)
            belief = where(episodes.valid[:, :, t], after, belief)
            means.append(dist.mean)
        return Gaussian(torch.stack(means, dim=2), self.log_std(params).unsqueeze(-2))

    def folded(self, params: Mapping[str, Tensor]) -> Params:
        """One policy that acts the same with its entries `task.*` as at the start of a task."""
        return dict(params)

    def add_mean(self, params: Mapping[str, Tensor], graph: Graph, observations: str) -> str:
        """Add the mean output of one policy to an ONNX graph; the name of the result.

        Raises:
            InputError: by default; a policy with a belief needs more inputs than observations.
        """
        del params, graph, observations
        raise InputError(f"{type(self).__name__}: cannot be exported as ONNX; use metarl.load")

    # Its noise.

    def initial_noise(self) -> Params:
        """The entry that `log_std` reads."""
        return {"log_std": torch.full((self.action_size,), math.log(self.config.init_std))}

    def log_std(self, params: Mapping[str, Tensor]) -> Tensor:
        """Logarithm of the standard deviation, floored: (..., 1, A)."""
        return params["log_std"].clamp(min=math.log(self.config.min_std)).unsqueeze(-2)

    @torch.no_grad()
    def rescaled(self, params: Mapping[str, Tensor], factor: float) -> Params:
        """Outputs times `factor`, with their noise."""
        weight, bias, log_std = head(params)
        return dict(params) | {
            weight: params[weight] * factor,
            bias: params[bias] * factor,
            log_std: params[log_std] + torch.tensor(factor).log(),
        }

    def without_mean(self, params: Mapping[str, Tensor]) -> Params:
        """The same noise around the output 0."""
        weight, bias, _ = head(params)
        return dict(params) | {weight: 0 * params[weight], bias: 0 * params[bias]}

    # What it reads.

    def initial_statistics(self) -> Params:
        """The entries of the normaliser of observations, if there is one."""
        if not self.config.normalize_observations:
            return {}
        size = self.observation_size
        return Statistics(torch.zeros(size), torch.ones(size), torch.zeros(1)).entries()

    def statistics(self, params: Mapping[str, Tensor]) -> Statistics | None:
        """Of the observations, where the policy standardises them."""
        if not self.config.normalize_observations:
            return None
        return Statistics(params["obs_mean"], params["obs_var"], params["obs_count"])

    def standardised(self, params: Mapping[str, Tensor], observations: Tensor) -> Tensor:
        """Observations (..., S, O) as the network reads them."""
        known = self.statistics(params)
        return observations if known is None else known.standardised(observations)

    def update_statistics(
        self, params: Mapping[str, Tensor], observations: Tensor, valid: Tensor
    ) -> Params:
        """Fold observations (..., O) with `valid` (...) into the normaliser (Chan et al. 1979)."""
        known = self.statistics(params)
        if known is None:
            return dict(params)
        seen = observations[valid].double()
        count, new = known.samples.double(), float(len(seen))
        total = count + new
        delta = seen.mean(0) - known.mean.double()
        mean = known.mean.double() + delta * new / total
        within = known.variance.double() * count + seen.var(0, unbiased=False) * new
        variance = (within + delta.square() * count * new / total) / total
        fresh = Statistics(mean, variance, total).entries()
        return dict(params) | {k: v.to(params[k].dtype) for k, v in fresh.items()}

    # What its outputs mean.

    def action_range(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """(middle, half), each (A,): an output means middle + half * output / action_scale.

        Where the middle is not that of the range, half is the distance to the farther bound. One
        scale for both sides keeps exploration symmetric around the middle, and the map linear, so
        that a Gaussian output stays Gaussian until the bounds cut it.

        Args:
            like: has the dtype and device that the tensors get.
        """
        return _action_range(
            self.action_low, self.action_high, self.action_middle, like.dtype, like.device
        )

    def controls(self, outputs: Tensor) -> Tensor:
        """Outputs (..., A) -> actuator controls: scaled, then clipped to range and limits."""
        middle, half = self.action_range(outputs)
        controls = middle + half * (outputs / self.config.action_scale).clamp(-1, 1)
        if self.control_limits is None and self.action_middle is None:
            return controls
        limits = self.control_limits or (self.action_low, self.action_high)
        lows, highs = _bounds(*limits, outputs.dtype, outputs.device)
        return controls.clamp(lows, highs)

    def outputs(self, controls: Tensor) -> Tensor:
        """Controls (..., A) -> the outputs behind them, where they were not clipped."""
        middle, half = self.action_range(controls)
        return (controls - middle) / half * self.config.action_scale

    def sent(self, outputs: Tensor) -> Tensor:
        """Outputs (..., A) as far as controls follow them: what a robot can tell of them."""
        return self.outputs(self.controls(outputs))

    def output_bounds(self) -> tuple[Tensor, Tensor]:
        """The outputs beyond which controls are clipped, each (A,) float64."""
        lows, highs = self.control_limits or (self.action_low, self.action_high)
        low, high = _bounds(lows, highs, torch.float64, torch.device("cpu"))
        return self.outputs(low), self.outputs(high)


def where(worlds: Tensor, belief: Belief, other: Belief) -> Belief:
    """A belief in some worlds, (M, E), and another one in the rest."""
    return {
        name: torch.where(
            worlds.view(*worlds.shape, *[1] * (value.dim() - worlds.dim())), value, other[name]
        )
        for name, value in belief.items()
    }
