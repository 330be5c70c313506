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
from typing import Any, ClassVar

import torch
from torch import Generator, Tensor

from metarl.policies.belief import Belief, Episodes, Outcome, outcomes, where
from metarl.policies.gaussian import Gaussian
from metarl.policies.graph import Graph, GraphStart, GraphStep
from metarl.policies.normaliser import Statistics
from metarl.policies.params import Params, head
from metarl_envs import InputError, TaskFamily
from metarl_envs.inputs.numbers import Positive
from metarl_envs.inputs.plain import PlainFields


@dataclass(frozen=True)
class PolicyConfig(PlainFields, ABC):
    """Settings that every kind of policy has. A subclass adds those of its network."""

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
        """Class of the policies with these settings."""

    def with_network_of(self, other: PolicyConfig) -> PolicyConfig:
        """The other's settings; `start_only` settings that both have stay these."""
        kept = [name for name in self.start_only if name in other.start_only]
        return replace(other, **{name: getattr(self, name) for name in kept})


# Made once and read at every step: a copy to a GPU each time would wait for it, and a captured step
# reads the same memory again.
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
    """Bounds as tensors, each (A,)."""
    return torch.tensor(low).to(device, dtype), torch.tensor(high).to(device, dtype)


@dataclass(frozen=True)
class Policy(PlainFields, ABC):
    """N(mean, std^2) over outputs: a network's mean, and a std that is the same in every state.

    A subclass is a frozen dataclass of settings and sizes without tensors, and final. Every method
    is a pure function of the parameters of M policies at once, each (M, ...), or of one policy,
    without the axis M anywhere. `init` and `act` make a feed-forward policy; one with a belief adds
    `begin` and `observe`. Names of parameters: see `metarl.policies.params.Params`.
    """

    config: PolicyConfig
    observation_size: int
    action_low: tuple[float, ...]
    action_high: tuple[float, ...]
    control_limits: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    """Bounds tighter than the actuator range. Controls are clipped to them, not rescaled."""
    action_middle: tuple[float, ...] | None = None
    """Control at an output of 0, such as one that holds the starting pose; None: the middle
    between low and high."""

    needs_family: ClassVar[bool] = False
    """True if the policy acts by functions of its family, not by its spaces alone."""

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

    @property
    def reads_rewards(self) -> bool:
        """True if `observe` reads rewards, which a deployed policy then needs after every step.

        Everything else in an outcome but an episode's end a policy knows itself.
        """
        return True

    def distribution(
        self,
        params: Mapping[str, Tensor],
        episodes: Episodes,
    ) -> Gaussian:
        """Output distributions at every step, as if the policy had lived through the episodes.

        Differentiable through the belief. At invalid steps they are finite padding.

        Args:
            params: (M, ...).
            episodes: of M tasks, replayed from the belief that they started from.

        Returns:
            mean (M, E, T, A) and log_std (M, 1, 1, A).
        """
        belief = episodes.start or self.begin(params, episodes.valid.shape[1])
        means = []
        for t, outcome in enumerate(outcomes(episodes, self.sent(episodes.actions))):
            dist, after = self.act(params, belief, episodes.observations[:, :, t])
            after = self.observe(params, after, outcome)
            belief = where(episodes.valid[:, :, t], after, belief)
            means.append(dist.mean)
        return Gaussian(torch.stack(means, dim=2), self.log_std(params).unsqueeze(-2))

    def scan(
        self, params: Mapping[str, Tensor], episodes: Episodes
    ) -> tuple[Gaussian, Tensor | None]:
        """`distribution` with a summary of the trial at every step, (M, E, T, H).

        None: the policy has no memory, and each step's output follows from that step alone.
        """
        return self.distribution(params, episodes), None

    def folded(self, params: Mapping[str, Tensor]) -> Params:
        """Parameters of one policy that acts the same with `task.*` as at a task's start."""
        return dict(params)

    def add_mean(self, params: Mapping[str, Tensor], graph: Graph, observations: str) -> str:
        """Add one policy's mean output to an ONNX graph; returns the result's name.

        Raises:
            InputError: by default; a policy with a belief needs more inputs than observations.
        """
        del params, graph, observations
        raise InputError(self._not_exported)

    def add_step(
        self, params: Mapping[str, Tensor], graph: Graph, step: GraphStep
    ) -> tuple[str, dict[str, str]]:
        """Add `observe` of the last outcome and then `act` of one policy to an ONNX graph.

        Returns:
            Name of the mean output, and of each entry of the memory after the step.

        Raises:
            InputError: by default, naming what can be exported.
        """
        del params, graph, step
        raise InputError(self._not_exported)

    def graph_start(self, belief: Belief) -> GraphStart:
        """Inputs of `add_step` before the first step, from a belief about one robot, each (...).

        Raises:
            InputError: as of `add_step`.
        """
        del belief
        raise InputError(self._not_exported)

    @property
    def _not_exported(self) -> str:
        return (
            f"{type(self).__name__}: cannot be exported as ONNX; policies of kind mlp and memory "
            "(gru, lstm, scan) can; use metarl.load"
        )

    @staticmethod
    def for_family(family: TaskFamily, config: PolicyConfig) -> Policy:
        """The policy that fits the family's spaces."""
        low, high = family.action_bounds()
        return config.policy_type().of(
            family,
            config,
            observation_size=family.observation_size,
            action_low=tuple(low.tolist()),
            action_high=tuple(high.tolist()),
            action_middle=family.action_middle(),
        )

    @classmethod
    def of(cls, family: TaskFamily, config: PolicyConfig, **spaces: Any) -> Policy:  # noqa: ANN401
        """A policy of this kind; one that reads more of a family than its spaces overrides this.

        Args:
            family: the family.
            config: of this kind.
            spaces: fields that follow from the family's spaces.
        """
        del family
        return cls(config, **spaces)

    @property
    def action_size(self) -> int:
        """A."""
        return len(self.action_low)

    # Noise.

    def initial_noise(self) -> Params:
        """Entry of the parameters that `log_std` reads."""
        return {"log_std": torch.full((self.action_size,), math.log(self.config.init_std))}

    def log_std(self, params: Mapping[str, Tensor]) -> Tensor:
        """Logarithm of the standard deviation, floored: (..., 1, A)."""
        return params["log_std"].clamp(min=math.log(self.config.min_std)).unsqueeze(-2)

    def quieter(self, params: Mapping[str, Tensor], std: float) -> Params:
        """Parameters with a standard deviation of at most `std`."""
        return dict(params) | {"log_std": params["log_std"].clamp(max=math.log(std))}

    def with_std(self, params: Mapping[str, Tensor], std: float) -> Params:
        """Parameters with this standard deviation of every output."""
        return dict(params) | {"log_std": torch.full_like(params["log_std"], math.log(std))}

    @torch.no_grad()
    def rescaled(self, params: Mapping[str, Tensor], factor: float) -> Params:
        """Parameters with mean outputs and noise times `factor`."""
        weight, bias, log_std = head(params)
        return dict(params) | {
            weight: params[weight] * factor,
            bias: params[bias] * factor,
            log_std: params[log_std] + torch.tensor(factor).log(),
        }

    def without_mean(self, params: Mapping[str, Tensor]) -> Params:
        """Parameters with the same noise around a mean output of 0."""
        weight, bias, _ = head(params)
        return dict(params) | {weight: 0 * params[weight], bias: 0 * params[bias]}

    # Observations.

    def initial_statistics(self) -> Params:
        """Entries of the observation normaliser; {} without one."""
        if not self.config.normalize_observations:
            return {}
        return Statistics.fresh(self.observation_size).entries()

    def statistics(self, params: Mapping[str, Tensor]) -> Statistics | None:
        """Statistics of the observations; None: they are not standardised."""
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
        """Parameters with observations (..., O) where `valid` (...) in their normaliser."""
        return self.with_statistics(params, Statistics.of(observations[valid]))

    def with_statistics(self, params: Mapping[str, Tensor], others: Statistics) -> Params:
        """Parameters with the statistics of more observations in their normaliser."""
        known = self.statistics(params)
        if known is None:
            return dict(params)
        fresh = known.including(others).entries()
        return dict(params) | {name: value.to(params[name]) for name, value in fresh.items()}

    # Outputs and controls.

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
        controls = middle + half * self.squashed(outputs)
        if self.control_limits is None and self.action_middle is None:
            return controls
        limits = self.control_limits or (self.action_low, self.action_high)
        lows, highs = _bounds(*limits, outputs.dtype, outputs.device)
        return controls.clamp(lows, highs)

    def outputs(self, controls: Tensor) -> Tensor:
        """Controls (..., A) -> the outputs behind them, where they were not clipped."""
        middle, half = self.action_range(controls)
        return self.unsquashed((controls - middle) / half)

    def squashed(self, outputs: Tensor) -> Tensor:
        """Outputs (..., A) as shares of half the action range, in [-1, 1]: by default clipped."""
        return (outputs / self.config.action_scale).clamp(-1, 1)

    def unsquashed(self, shares: Tensor) -> Tensor:
        """Shares (..., A) of half the action range -> the outputs behind them."""
        return shares * self.config.action_scale

    def sent(self, outputs: Tensor) -> Tensor:
        """Outputs (..., A) after clipping of their controls, as they follow from a robot's log."""
        return self.outputs(self.controls(outputs))

    def output_bounds(self, like: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The outputs beyond which controls are clipped, each (A,).

        Args:
            like: has their dtype and device; None: float64 on the CPU.
        """
        dtype, device = (
            (torch.float64, torch.device("cpu")) if like is None else (like.dtype, like.device)
        )
        lows, highs = self.control_limits or (self.action_low, self.action_high)
        low, high = _bounds(lows, highs, dtype, device)
        return self.outputs(low), self.outputs(high)
